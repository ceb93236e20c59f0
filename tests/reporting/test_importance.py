"""What a model goes by: compared with scikit-learn on the same shuffles and grids, and with dependences that are known."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.inspection import partial_dependence, permutation_importance
from sklearn.metrics import roc_auc_score

from mlprod_tasks import declaration as ml
from mlprod_tasks.models.feature_frame import Predictions
from mlprod_tasks.reporting import importance
from mlprod_tasks.reporting.importance import dependence, draw, drops, groups_of, measure

NAMES = ("a", "b", "c")


class Known(ClassifierMixin, BaseEstimator):
    """P = 1 / (1 + exp(-(2a + sin(3b)))): nothing comes from c."""

    classes_ = np.array([0, 1])

    def fit(self, x: object, y: object) -> "Known":
        return self

    def predict_proba(self, x: np.ndarray) -> np.ndarray:
        positive = 1 / (1 + np.exp(-(2 * x[:, 0] + np.sin(3 * x[:, 1]))))
        return np.stack((1 - positive, positive), axis=1)

    def __sklearn_is_fitted__(self) -> bool:
        return True


def score(rows: pa.Table) -> np.ndarray:
    x = np.stack([rows[name].to_numpy() for name in NAMES], axis=1)
    return Known().predict_proba(x)[:, 1]


def world(n: int = 600, seed: int = 0) -> tuple[pa.Table, np.ndarray]:
    random = np.random.default_rng(seed)
    rows = pa.table({"a": random.normal(size=n), "b": random.integers(0, 5, n).astype(float), "c": random.normal(size=n)})
    return rows, random.random(n) < score(rows)


def matrix(rows: pa.Table) -> np.ndarray:
    return np.stack([rows[name].to_numpy() for name in NAMES], axis=1)


def test_the_loss_of_auc_is_scikit_learns_on_the_same_shuffles():
    rows, outcome = world()
    repeats, seed = 3, 11
    expected = permutation_importance(
        Known(), matrix(rows), outcome.astype(int), scoring="roc_auc", n_repeats=repeats, random_state=seed
    )
    # As scikit-learn draws them: one seed for every column, and each shuffle on top of the one before.
    state = np.random.RandomState(np.random.RandomState(seed).randint(np.iinfo(np.int32).max + 1))
    order, at, lenders = np.arange(len(outcome)), np.arange(len(outcome)), []
    for _ in range(repeats):
        state.shuffle(order)
        at = at[order]
        lenders.append(rows.take(at))
    found = drops(score, rows, outcome, [(name, (name,)) for name in NAMES], lenders)
    assert [one.drop for one in found] == pytest.approx(expected.importances_mean.tolist(), abs=1e-12)
    assert found[2].drop == 0
    assert found[0].low > 0


def test_a_group_is_shuffled_as_one_and_two_that_say_the_same_matter_only_together():
    random = np.random.default_rng(3)
    a = random.normal(size=800)
    rows = pa.table({"a": a, "twin": a, "c": random.normal(size=800)})
    outcome = random.random(800) < 1 / (1 + np.exp(-3 * a))

    def either(table: pa.Table) -> np.ndarray:
        """Goes by the stronger of the two."""
        first, second = table["a"].to_numpy(), table["twin"].to_numpy()
        return 1 / (1 + np.exp(-np.where(np.abs(first) > np.abs(second), first, second)))

    lenders = [rows.take(random.permutation(800)) for _ in range(3)]
    alone, twin, both = drops(either, rows, outcome, [("a", ("a",)), ("twin", ("twin",)), ("both", ("a", "twin"))], lenders)
    by_hand = np.mean([roc_auc_score(outcome, either(rows)) - roc_auc_score(outcome, either(lent)) for lent in lenders])
    assert both.drop == pytest.approx(by_hand, abs=1e-12)
    assert both.drop > 1.5 * max(alone.drop, twin.drop)


def test_the_interval_holds_the_loss_that_all_rows_have_about_as_often_as_it_says():
    many, outcome = world(40_000, seed=5)
    random = np.random.default_rng(6)
    lenders = [many.take(random.permutation(40_000)) for _ in range(3)]
    true = drops(score, many, outcome, [("a", ("a",))], lenders)[0].drop
    held = 0
    for i in range(120):
        rows, came = world(400, seed=100 + i)
        lent = [rows.take(np.random.default_rng(i).permutation(400)) for _ in range(3)]
        one = drops(score, rows, came, [("a", ("a",))], lent)[0]
        held += one.low <= true <= one.high
    assert held >= 105  # of 120; 114 are expected at 95 %


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 400), st.integers(1, 400), st.integers(2, 500), st.integers(0, 9))
def test_the_rows_that_are_scored_hold_both_outcomes_and_no_row_twice(positives, negatives, wanted, seed):
    outcome = np.arange(positives + negatives) < positives
    scored, lenders = draw(outcome, wanted, 3, np.random.default_rng(seed))
    assert len(scored) == min(wanted, len(outcome))
    assert len(set(scored.tolist())) == len(scored)
    assert outcome[scored].any()
    assert not outcome[scored].all()
    assert all(len(set(lent.tolist())) == len(scored) for lent in lenders)


@pytest.mark.parametrize("name", NAMES)
def test_partial_dependence_is_scikit_learns_by_brute_force(name):
    rows, _ = world(300)
    found = dependence(score, rows, rows, name)
    at = NAMES.index(name)
    expected = partial_dependence(
        Known(),
        matrix(rows),
        [at],
        method="brute",
        kind="both",
        response_method="predict_proba",
        custom_values={at: np.array(found.values)},
    )
    assert found.mean == pytest.approx(expected["average"][0], abs=1e-12)
    assert found.each == pytest.approx(expected["individual"][0], abs=1e-12)
    assert (len(found.values) == 5) == (name == "b")


def test_a_category_has_its_most_frequent_values_with_their_shares_and_missing_ones_none():
    kind = pa.array(["x"] * 50 + ["y"] * 30 + [None] * 20)
    rows = pa.table({"kind": kind})
    found = dependence(
        lambda table: np.array([0.8 if one == "x" else 0.2 for one in table["kind"].to_pylist()]), rows, rows, "kind"
    )
    assert found.categorical
    assert found.values == ("x", "y")
    assert found.mean.tolist() == pytest.approx([0.8, 0.2])
    assert found.share is not None
    assert found.share.tolist() == pytest.approx([0.5, 0.3])


def declared(shop_pipeline: ml.Pipeline) -> ml.Pipeline:
    features = (
        ml.Expression("a", "amount", "float", "price"),
        ml.Trailing("c", "returns", {"order_id": "order_id"}, (ml.days(7),), (ml.Count("b"), ml.Rate("rate", "returned"))),
    )
    return replace(shop_pipeline, features=features, fallback=ml.RateTable(by=("a",)), model=ml.Model(seed=4))


def test_what_one_declaration_adds_is_one_group(shop_pipeline):
    assert groups_of(declared(shop_pipeline)) == {"a": ("a",), "c (trailing)": ("c_b_7d", "c_rate_7d")}


def test_everything_is_measured_on_bounded_samples_and_twice_the_same(shop_pipeline, monkeypatch):
    monkeypatch.setattr(importance, "MOST_ROWS", 500)
    made, outcome = world(3000)
    rows = pa.table({"a": made["a"], "c_b_7d": made["b"], "c_rate_7d": made["c"], "label": pa.array(outcome)})
    seen = []

    def predict(table: pa.Table) -> Predictions:
        seen.append(table.num_rows)
        found = score(table.select(["a", "c_b_7d", "c_rate_7d"]).rename_columns(list(NAMES)))
        return Predictions(found, found > 0.5)

    model = SimpleNamespace(
        feature_names=("a", "c_b_7d", "c_rate_7d"), importance={}, predict=predict, contributions=lambda table: None
    )
    found, again = (measure(model, rows, declared(shop_pipeline)) for _ in range(2))
    assert max(seen) <= importance.DEPENDENCE_ROWS * importance.GRID
    assert found.rows == 500
    assert [one.drop for one in found.features] == [one.drop for one in again.features]
    assert found.features[0].name == "a"
    assert {one.name: one.features for one in found.groups} == {"a": ("a",), "c (trailing)": ("c_b_7d", "c_rate_7d")}
    assert found.contributions is None
    assert found.gain is None
    assert all(np.array_equal(x.each, y.each) for x, y in zip(found.dependence, again.dependence, strict=True))
