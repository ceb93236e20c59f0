"""Performance estimated from scores alone, against every way that the labels can come out, and against drawn ones."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from sklearn import metrics as sk

from mlprod_tasks import declaration as ml
from mlprod_tasks.monitoring import estimate, expected_worth
from mlprod_tasks.monitoring.estimate import Promised, estimates, promised_by
from mlprod_tasks.platform.engine import engine
from mlprod_tasks.statistics.metrics import CannotBeMeasured, Estimate, roc_auc
from tests.support import monitored_shop as monitored

SMALL = np.array([0.1, 0.1, 0.2, 0.35, 0.6, 0.6, 0.8, 0.9])
THRESHOLD = 0.35
PRICES = np.array([5.0, 80, 3, 30, 40, 9, 10, 2])
BY_PRICE = replace(monitored.pipeline, value=ml.ValueFunction(act="CASE WHEN outcome THEN price ELSE -2 END", wait="-score"))


def ways(score: np.ndarray) -> Iterator[tuple[np.ndarray, float]]:
    """Every way that labels can come out, with its probability."""
    for labels in product((False, True), repeat=len(score)):
        y = np.array(labels)
        yield y, float(np.prod(np.where(y, score, 1 - score)))


def expected(score: np.ndarray, metric: Callable[[np.ndarray], float], weight: Callable[[np.ndarray], float]) -> float:
    """The metric over all ways, each weighted with its probability and with the metric's denominator there."""
    top = bottom = 0.0
    for y, probability in ways(score):
        if weight(y):
            top += probability * weight(y) * metric(y)
            bottom += probability * weight(y)
    return top / bottom


def promised(score: np.ndarray, pipeline: ml.Pipeline = monitored.pipeline, **columns: Any) -> Promised:
    rows = pa.table({"score": score, "decision": score >= THRESHOLD, **columns})
    with engine(threads=1) as con:
        con.register("rows", rows)
        return promised_by(con, "rows", pipeline)


def promised_value(score: np.ndarray, decided: np.ndarray) -> tuple[expected_worth.Worths, ...]:
    """What `promised` says of the value, without an engine for each of many draws."""
    return (expected_worth.expected_worth(score, np.where(decided, 10.0, 0.0), np.where(decided, -2.0, 0.0)),)


def test_auc_is_the_expected_right_pairs_over_the_expected_pairs_of_every_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(estimate, "FEWEST_OF_A_CLASS", 1)
    found = estimate.roc_auc(SMALL, np.ones(8))
    pairs = lambda y: float(y.sum() * (~y).sum())  # noqa: E731
    assert found.value == pytest.approx(expected(SMALL, lambda y: sk.roc_auc_score(y, SMALL), pairs), abs=1e-12)


def test_the_error_of_the_auc_is_that_of_every_way_to_first_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """The linear statistic behind it, sum of y_i (1 - y_j) (h_ij - AUC), has exactly the variance that is told."""
    monkeypatch.setattr(estimate, "FEWEST_OF_A_CLASS", 1)
    monkeypatch.setattr(estimate.intervals, "normal", lambda value, error, *_: (error, error))
    found = estimate.roc_auc(SMALL, np.ones(8))
    above = (SMALL[:, None] > SMALL) + 0.5 * (SMALL[:, None] == SMALL)
    mean = square = pairs = 0.0
    for y, probability in ways(SMALL):
        statistic = float((np.outer(y, ~y) * (above - found.value)).sum())
        mean += probability * statistic
        square += probability * statistic**2
        pairs += probability * float(y.sum() * (~y).sum())
    assert mean == pytest.approx(0, abs=1e-12)
    assert found.low == pytest.approx(np.sqrt(square) / pairs)


def test_precision_recall_and_value_are_the_expected_ones_of_every_way() -> None:
    decided, ones = SMALL >= THRESHOLD, np.ones(8)
    precision = expected(SMALL, lambda y: sk.precision_score(y, decided), lambda y: 1.0)
    assert estimate.precision(SMALL, decided, ones).value == pytest.approx(precision)
    recall = expected(SMALL, lambda y: sk.recall_score(y, decided), lambda y: float(y.sum()))
    assert estimate.recall(SMALL, decided, ones).value == pytest.approx(recall)
    assert promised(SMALL).value.value == pytest.approx(expected_worth.value(*promised_value(SMALL, decided)).value)  # type: ignore[union-attr]
    worth = expected(SMALL, lambda y: 1000 * np.where(decided, np.where(y, 10, -2), 0).mean(), lambda y: 1.0)
    assert promised(SMALL).value.value == pytest.approx(worth)  # type: ignore[union-attr]


def test_the_value_of_each_row_by_a_function_is_the_expected_one_of_every_way_and_so_is_its_spread() -> None:
    decided = SMALL >= THRESHOLD
    by_way = lambda y: 1000 * np.where(decided, np.where(y, PRICES, -2), -SMALL).mean()  # noqa: E731
    found = promised(SMALL, BY_PRICE, price=PRICES).value
    assert found is not None
    mean = expected(SMALL, by_way, lambda y: 1.0)
    sd = np.sqrt(expected(SMALL, lambda y: (by_way(y) - mean) ** 2, lambda y: 1.0))
    assert found.value == pytest.approx(mean)
    assert found.high - found.low == pytest.approx(2 * 1.959964 * sd, rel=1e-6)


@pytest.mark.parametrize(("n", "a", "b"), [(200, 2, 4), (900, 1, 5), (2000, 0.6, 2)])
def test_labels_drawn_from_the_scores_realise_what_was_estimated_and_95_in_100_within_the_interval(
    n: int, a: float, b: float
) -> None:
    random, draws = np.random.default_rng(n), 500
    off: dict[str, list[float]] = {}
    held: dict[str, list[bool]] = {}
    for _ in range(draws):
        score = random.beta(a, b, n)
        y, decided = random.random(n) < score, score >= THRESHOLD
        found = Promised(score, decided, np.ones(n), score[None, :], promised_value(score, decided))
        worth = 1000 * np.where(decided, np.where(y, 10, -2), 0).mean()
        for metric, realised in (
            ("roc_auc", roc_auc(y, score)),
            ("precision", y[decided].mean()),
            ("recall", decided[y].mean()),
            ("value", worth),
        ):
            one = found.estimate(metric)
            off.setdefault(metric, []).append(realised - one.value)
            held.setdefault(metric, []).append(one.low - 1e-12 <= realised <= one.high + 1e-12)
    for metric in off:
        error = np.std(off[metric]) / np.sqrt(draws)
        assert abs(np.mean(off[metric])) < 4 * error, metric
        assert 0.92 <= np.mean(held[metric]) <= 0.985, metric


def test_rows_counted_together_promise_what_single_rows_do(monkeypatch: pytest.MonkeyPatch) -> None:
    score = np.random.default_rng(5).beta(1, 5, 20_000)
    single = promised(score)
    monkeypatch.setattr(estimate, "MOST_SINGLE_SCORES", 1000)
    together = promised(score)
    assert len(together.score) < len(single.score)
    assert together.n == single.n == 20_000
    for metric in estimate.METRICS:
        one, other = single.estimate(metric), together.estimate(metric)
        assert (other.value, other.low, other.high) == pytest.approx((one.value, one.low, one.high), rel=1e-4)


def test_many_rows_of_a_value_function_are_summed_up_some_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(6)
    score, price = random.beta(1, 5, 5000), random.exponential(20, 5000)
    whole = promised(score, BY_PRICE, price=price).value
    monkeypatch.setattr(expected_worth, "ROWS_AT_ONCE", 2048)
    parts = promised(score, BY_PRICE, price=price).value
    assert whole is not None
    assert parts is not None
    assert parts.value == pytest.approx(whole.value)
    assert parts.high == pytest.approx(whole.high)


def test_where_no_row_is_decided_positive_there_is_no_precision_and_it_says_why() -> None:
    readings = {r.what: r for r in estimates(monitored.reference(), promised(np.full(100, 0.2)))}
    precision = readings["estimated_precision"]
    assert (precision.value, precision.missing) == (None, False)
    assert precision.why == "none of 100 rows was decided positive, so there is no precision"
    assert readings["estimated_recall"].value == 0
    assert readings["estimated_value"].value == 0
    assert readings["estimated_roc_auc"].value == pytest.approx(0.5)


def test_too_few_rows_and_too_few_of_a_class_promise_nothing() -> None:
    few = list(estimates(monitored.reference(), promised(np.full(12, 0.5))))
    assert all(one.value is None and "answered 12 rows, too few" in one.why for one in few)
    none = list(estimates(monitored.reference(), promised(np.empty(0))))
    assert [(one.what, one.value) for one in none] == [(f"estimated_{metric}", None) for metric in estimate.METRICS]
    with pytest.raises(CannotBeMeasured, match=r"1 positive and 99 negative outcomes are expected, too few to rank"):
        estimate.roc_auc(np.full(100, 0.01), np.ones(100))
    with pytest.raises(CannotBeMeasured, match="so there is no recall"):
        estimate.recall(np.full(50, 0.01), np.zeros(50, bool), np.ones(50))


def test_a_value_that_cannot_be_computed_is_missing_with_the_reason() -> None:
    readings = {r.what: r for r in estimates(monitored.reference(), promised(np.full(100, 0.6), BY_PRICE))}
    assert readings["estimated_value"].missing
    assert "value.act" in readings["estimated_value"].why
    assert readings["estimated_precision"].value == pytest.approx(0.6)


def test_decisions_that_differ_at_one_score_are_told_apart() -> None:
    score, decided = np.full(40, 0.5), np.arange(40) < 10
    rows = pa.table({"score": score, "decision": decided})
    with engine(threads=1) as con:
        con.register("rows", rows)
        found = promised_by(con, "rows", monitored.pipeline)
    assert found.estimate("recall").value == pytest.approx(0.25)
    assert found.estimate("roc_auc") == Estimate(pytest.approx(0.5), pytest.approx(0.5, abs=1e-6), pytest.approx(0.5, abs=1e-6))


def test_scores_that_no_longer_fit_are_not_noticed_for_the_estimate_rests_on_calibration() -> None:
    random = np.random.default_rng(8)
    score = random.beta(2, 5, 2000)
    y = random.random(2000) < 0.2  # whatever the score
    assert sk.roc_auc_score(y, score) < promised(score).estimate("roc_auc").low
