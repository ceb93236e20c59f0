"""A feature that knows the outcome is caught and named; an honest one is measured as by hand."""

import numpy as np
import pyarrow as pa
import pytest
from sklearn.metrics import roc_auc_score

from mlprod_tasks import declaration as ml
from mlprod_tasks.evaluation.gates import names
from mlprod_tasks.evaluation.model_checks import leakage
from mlprod_tasks.models.feature_frame import Predictions


def test_a_feature_that_knows_the_outcome_is_caught_and_named(retold, tables):
    made_, outcomes = tables
    came_back = dict(zip(outcomes["order_id"].to_pylist(), outcomes["returned"].to_pylist(), strict=True))
    known = np.array([came_back.get(order, False) for order in made_["order_id"].to_pylist()])
    items = np.where(known, 7, 2) + np.random.default_rng(1).integers(-1, 2, len(known))
    leaking = made_.set_column(made_.column_names.index("items"), "items", pa.array(items, pa.int64()))
    (verdict,) = retold((leaking, outcomes)).checked(ml.NoLeakageSuspicion())
    assert not verdict.passed
    assert verdict.value > 0.99
    assert "feature 'items' alone has a ROC AUC of" in verdict.sentence
    assert "check that 'items' is known when a row is scored" in verdict.sentence


def test_a_category_or_a_null_that_knows_the_outcome_is_caught(tables):
    made_, _ = tables
    random = np.random.default_rng(2)
    y = random.random(made_.num_rows) < 0.3
    rows = pa.table(
        {
            "label": y,
            "status": pa.array(np.where(y, "refunded", random.choice(["paid", "shipped"], len(y)))),
            "refund_day": pa.array(random.gamma(2, 3, len(y)), mask=~y),  # filled in once it came back
            "channel": made_["channel"],
            "code": pa.array(np.where(y, 0.5, random.random(len(y)))),  # neither high nor low, but one value
        }
    )
    found = leakage.alone(rows.slice(0, 4000), rows.slice(4000), ("status", "refund_day", "channel", "code"), ())
    alone = {one.subject: one.value for one in found}
    assert [one.subject for one in found][-1] == "channel"
    assert alone["status"] == alone["refund_day"] == alone["code"] == 1.0
    assert alone["channel"] < 0.55


def test_one_feature_alone_is_measured_as_by_hand_on_rows_that_it_did_not_learn_from(trained):
    assert trained.checked(ml.NoLeakageSuspicion())[0].passed
    train, test = trained.rows("train").to_pandas(), trained.rows().to_pandas()
    by = train.assign(channel=train["channel"].fillna("none")).groupby("channel")["label"].agg(["sum", "size"])
    rate = (by["sum"] + 20 * train["label"].mean()) / (by["size"] + 20)
    expected = roc_auc_score(test["label"], test["channel"].fillna("none").map(rate))
    assert trained.found(names.POWER_ALONE)["channel"].value == pytest.approx(expected)
    amount = roc_auc_score(test["label"], test["amount"].fillna(test["amount"].median()))
    assert trained.found(names.POWER_ALONE)["amount"].value == pytest.approx(amount, abs=0.02)


def test_a_number_of_pure_chance_has_no_power_alone():
    random = np.random.default_rng(3)
    y = random.random(20_000) < 0.2
    rows = pa.table({"label": y, "noise": random.random(20_000), "id": [f"{i}" for i in range(20_000)]})
    for one in leakage.alone(rows.slice(0, 10_000), rows.slice(10_000), ("noise", "id"), ()):
        assert one.value == pytest.approx(0.5, abs=0.03), one.subject


def test_a_model_that_tells_nothing_rests_on_no_feature():
    random = np.random.default_rng(4)

    class Weak:
        feature_names = ("noise",)

        def predict(self, rows: pa.Table) -> Predictions:
            return Predictions(rows["noise"].to_numpy(), np.zeros(rows.num_rows, bool))

    noise = random.random(4000)
    rows = pa.table({"noise": noise, "label": random.random(4000) < 0.3 + 0.02 * noise})
    (found,) = leakage.lost(Weak(), rows, seed=1)
    assert roc_auc_score(rows["label"], noise) > 0.5
    assert found.value == 0.0
    assert "which is hardly any power" in found.sentence


def test_a_feature_that_carries_the_model_is_suspicious_from_the_declared_share_on(trained):
    carried = trained.checked(ml.NoLeakageSuspicion(most_share=0.3))[0]
    assert not carried.passed
    assert "without 'amount' the model's ROC AUC goes from" in carried.sentence
    whole, rows = trained.loaded(), trained.rows()
    outcome = rows["label"].to_numpy(zero_copy_only=False)
    auc = roc_auc_score(outcome, whole.predict(rows).score)
    shuffled = [
        roc_auc_score(
            outcome,
            whole.predict(
                rows.set_column(
                    rows.column_names.index("amount"),
                    "amount",
                    rows["amount"].take(pa.array(np.random.default_rng(seed).permutation(rows.num_rows))),
                )
            ).score,
        )
        for seed in range(20)
    ]
    share = trained.found(names.POWER_LOST)["amount"].value
    assert share == pytest.approx((auc - np.mean(shuffled)) / (auc - 0.5), abs=0.15)
    assert trained.found(names.POWER_LOST)["weekday"].value < 0.2
