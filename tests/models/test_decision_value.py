"""What decisions are worth, and the threshold that is worth most."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlprod_tasks import declaration as ml
from mlprod_tasks.declaration import CostMatrix, DeclarationError, RateTable, ValueFunction
from mlprod_tasks.models import decision_value, fallback
from mlprod_tasks.models.decision_value import ValueUndefined, Worth
from mlprod_tasks.operations.doctor import read_sql
from tests.support.shop import ORDERS, SHOP, with_columns, without

COSTS = CostMatrix(true_positive=120, false_positive=-40, false_negative=-5, true_negative=1)
NOTHING = pa.table({})
AMOUNT = ValueFunction(act="CASE WHEN outcome THEN 0.5 * amount ELSE -4 END", wait="CASE WHEN outcome THEN -1 ELSE 0 END")

ORDERS_WITH_OUTCOME = replace(
    with_columns(
        without(ORDERS, "channel", "amount", "items"),
        ml.Column("price", "float", "francs", nullable=True),
        ml.Column("kind", "text", "what"),
        ml.Column("returned", "bool", "whether it came back", known_at="settled_at"),
        ml.Column("settled_at", "timestamp", "when that was known"),
    ),
    ticks_ahead=0,
)


def worth_of(score: np.ndarray, outcome: np.ndarray) -> Worth:
    return decision_value.worth(COSTS, NOTHING, score, outcome)


def test_each_decision_is_worth_its_cell_of_the_matrix():
    decision, outcome = np.array([True, True, False, False]), np.array([True, False, True, False])
    assert worth_of(np.zeros(4), outcome).of(decision).tolist() == [120, -40, -5, 1]


def test_a_function_is_worth_what_its_expressions_say_of_each_row():
    rows = pa.table({"amount": [10.0, 30.0, 50.0, 70.0], "other": ["a", "b", "c", "d"]})
    made = decision_value.worth(AMOUNT, rows, np.zeros(4), np.array([True, False, True, False]))
    assert made.acted.tolist() == [5, -4, 25, -4]
    assert made.waited.tolist() == [-1, 0, -1, 0]
    assert made.of(np.array([True, True, False, False])).tolist() == [5, -4, -1, 0]


def test_a_function_reads_the_score_that_is_judged_and_not_a_column_of_that_name():
    rows = pa.table({"score": [9.0, 9.0], "outcome": ["x", "y"]})
    made = decision_value.worth(
        ValueFunction("10 * score - CAST(outcome AS INT)"), rows, np.array([0.1, 0.7]), np.array([False, True])
    )
    assert made.acted.tolist() == pytest.approx([1, 6])


def test_the_worth_of_many_rows_stays_in_their_order():
    n = 200_000
    outcome = np.random.default_rng(1).random(n) < 0.5
    made = decision_value.worth(AMOUNT, pa.table({"amount": np.arange(n, dtype=float)}), np.zeros(n), outcome)
    assert np.array_equal(made.acted, np.where(outcome, 0.5 * np.arange(n), -4))


@pytest.mark.parametrize(
    ("amount", "act", "said"),
    [
        ([1.0, None, 3.0], AMOUNT.act, r"value.act .* gives no number for 1 of 3 rows.*coalesce"),
        ([1.0, 2.0, 3.0], "CASE WHEN outcome THEN price END", r"value.act .* cannot be computed: .*price"),
        ([1.0, 0.0, 3.0], "CASE WHEN outcome THEN ln(amount) ELSE 0 END", r"value.act .* (cannot be computed|gives no number)"),
    ],
)
def test_a_row_without_a_worth_is_refused_with_the_expression_and_the_remedy(amount, act, said):
    with pytest.raises(ValueUndefined, match=said):
        decision_value.worth(ValueFunction(act), pa.table({"amount": amount}), np.zeros(3), np.ones(3, bool))


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 20), st.booleans()), min_size=1, max_size=40))
def test_no_threshold_is_worth_more_than_the_best(rows):
    score, outcome = np.array([s / 20 for s, _ in rows]), np.array([o for _, o in rows])
    worth = worth_of(score, outcome)

    def total(threshold: float) -> float:
        return float(worth.of(score >= threshold).sum())

    best = total(decision_value.best_threshold(worth, score))
    assert best == pytest.approx(max(total(t) for t in [*np.linspace(0, 1, 41), decision_value.NEVER]))


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 9), st.integers(-50, 50), st.integers(-50, 50)), min_size=1, max_size=30))
def test_the_profit_curve_holds_the_total_of_acting_down_to_each_score(rows):
    score = np.array([s / 10 for s, *_ in rows])
    worth = Worth(np.array([float(a) for _, a, _ in rows]), np.array([float(w) for *_, w in rows]))
    descending, total = decision_value.total_by_threshold(worth, score)
    assert descending.tolist() == sorted(set(score.tolist()), reverse=True)
    assert total[0] == pytest.approx(worth.waited.sum())
    for threshold, made in zip(descending, total[1:], strict=True):
        assert made == pytest.approx(worth.of(score >= threshold).sum())


def test_acting_on_none_or_on_all_can_be_best():
    score = np.array([0.2, 0.9])
    assert decision_value.best_threshold(worth_of(score, np.array([False, False])), score) == decision_value.NEVER
    assert not (np.array([1.0]) >= decision_value.NEVER).any()
    assert decision_value.best_threshold(worth_of(score, np.array([True, True])), score) == decision_value.ALWAYS


def test_the_threshold_lies_between_two_scores_so_that_rounding_moves_no_decision():
    score = np.array([0.2, 0.6])
    assert decision_value.best_threshold(worth_of(score, np.array([False, True])), score) == pytest.approx(0.4)


def test_break_even_is_where_the_expected_value_of_acting_is_that_of_waiting():
    p = decision_value.break_even(COSTS)
    assert p * 120 + (1 - p) * -40 == pytest.approx(p * -5 + (1 - p) * 1)
    assert decision_value.break_even(CostMatrix(120, -40)) == 0.25
    assert decision_value.break_even(AMOUNT) is None


def test_a_fallback_acts_from_the_rate_on_that_paid_best_on_its_training_rows():
    rows = pa.table({"carrier": ["A"] * 4 + ["B"] * 4, "amount": [100.0] * 4 + [2.0] * 4})
    outcome = np.array([True, False, True, False] * 2)
    outcome[6] = False  # B: one of four
    made = fallback.fit_fallback(RateTable(("carrier",), smoothing=1), AMOUNT, rows, outcome)
    decided = made.predict(rows).decision
    assert decided.tolist() == [True] * 4 + [False] * 4


def small(**changes):
    """A declaration with a value function over one feature of the row and one of other rows."""
    given = {
        "tables": (ORDERS_WITH_OUTCOME,),
        "features": (
            ml.Expression("amount", "price * 2", "float", "twice"),
            ml.Expression("kind", "kind", "text", "what"),
            ml.Trailing("shop", "orders", {"kind": "kind"}, (ml.days(7),), (ml.Mean("price"),)),
        ),
        "label": ml.Label("orders", {"order_id": "order_id"}, "returned", delay=ml.days(2)),
        "model": ml.Model(),
        "fallback": ml.RateTable(by=("kind",)),
        "value": replace(AMOUNT, act="CASE WHEN outcome THEN coalesce(amount, 0) ELSE -4 END"),
        "gates": (ml.AtLeast("roc_auc", 0.6),),
    }
    return replace(SHOP, **{**given, **changes})


def test_a_pipeline_knows_which_features_its_value_reads_and_the_engine_reads_the_expressions():
    assert small().value_features == ("amount",)
    assert small(value=CostMatrix(10, -4)).value_features == ()
    assert read_sql(small()).startswith("the engine accepts label, KPI, value")
    wrong = small(value=ValueFunction("CASE WHEN outcome THEN amonut ELSE 0 END"))
    with pytest.raises(ValueError, match=r"value.act .*amonut"):
        read_sql(wrong)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"value": ValueFunction("amount", "1")}, "neither act nor wait reads `outcome`"),
        ({"value": ValueFunction("CASE WHEN outcome THEN 1 END; DROP")}, "value.act: .* must be one expression"),
        ({"value": ValueFunction("outcome", "")}, "value.wait: sql is empty"),
        (
            {"value": ValueFunction("CASE WHEN outcome THEN shop_mean_price_7d ELSE 0 END")},
            "'shop_mean_price_7d', which rests on as-of or trailing values. The fallback has none",
        ),
        ({"value": CostMatrix(-1, -4)}, "acting must pay when it is right"),
        ({"slices": ("colour",)}, "slices: 'colour' is not a feature; features are"),
        ({"slices": ("kind", "kind")}, "slices: 'kind' is declared 2 times"),
        ({"backtest": ml.Backtest(windows=1)}, "backtest.windows 1 must be at least 2"),
        ({"backtest": ml.Backtest(step=ml.hours(12))}, "backtest.step 12:00:00 must be whole days"),
    ],
)
def test_what_cannot_work_is_refused_when_it_is_declared(changes, said):
    with pytest.raises((DeclarationError, ValueError), match=said):
        small(**changes)


def test_an_expression_over_all_rows_is_no_worth_of_each():
    rows = pa.table({"amount": [1.0, 2.0, 3.0]})
    for act in ("avg(amount) - CAST(bool_or(outcome) AS INT)", "unnest([CAST(outcome AS INT), 2])"):
        with pytest.raises(ValueUndefined, match=r"gives \d numbers? for 3 rows"):
            decision_value.worth(ValueFunction(act), rows, np.zeros(3), np.ones(3, bool))


def test_of_two_scores_next_to_each_other_only_the_higher_is_acted_on():
    low = 0.5
    score = np.array([np.nextafter(low, 1), low])
    worth = Worth(np.array([10.0, -4.0]), np.zeros(2))
    assert (score >= decision_value.best_threshold(worth, score)).tolist() == [True, False]
