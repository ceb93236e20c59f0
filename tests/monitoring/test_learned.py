"""Bounds that the reference's own ticks set."""

from dataclasses import replace
from datetime import date, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from mlprod_tasks import declaration as ml
from mlprod_tasks.monitoring import learned
from mlprod_tasks.monitoring.kinds import KINDS
from tests.support import monitored_shop as monitored

DAYS = [date(2024, 1, 1) + timedelta(days=n) for n in range(28)]  # the first is a Monday


def spread_of(what: str, values: np.ndarray, by_weekday: bool = False) -> learned.Spread:
    weekdays = [day.weekday() for day in DAYS[: len(values)]]
    found = learned.learn(what, list(values), weekdays, 7) if by_weekday else learned.learn(what, list(values))
    assert found is not None
    return found


@pytest.mark.parametrize(("what", "tail"), [("roc_auc", 0.05), ("calibration", 0.05), ("label_rate", 0.02)])
def test_a_further_quiet_tick_leaves_its_bounds_as_often_as_asked(what: str, tail: float) -> None:
    random, left, tries = np.random.default_rng(0), 0, 4000
    for _ in range(tries):
        *reference, further = random.normal(0.7, 0.05, 29) if what != "label_rate" else random.lognormal(0, 0.3, 29)
        low, high = learned.limits(what, spread_of(what, np.array(reference)), 0, tail=tail)
        left += (low is not None and further < low) or (high is not None and further > high)
    assert 0.5 * tail < left / tries < tail + 4 * np.sqrt(tail / tries), "rarer at most for what the ticks themselves reached"


def test_the_bound_is_the_prediction_interval_of_students_t_as_scipy_has_it() -> None:
    values = np.random.default_rng(1).normal(0, 0.02, 28)
    low, high = learned.limits("calibration", spread_of("calibration", values), 0, tail=0.001)
    expected = stats.t.interval(0.999, 27, loc=values.mean(), scale=values.std(ddof=1) * np.sqrt(1 + 1 / 28))
    assert (low, high) == pytest.approx(expected)


def test_with_k_the_bound_is_the_mean_and_k_standard_deviations() -> None:
    values = np.random.default_rng(2).normal(0.1, 0.02, 28)
    low, high = learned.limits("calibration", spread_of("calibration", values), 0, tail=0.5, k=3)
    assert (low, high) == pytest.approx((values.mean() - 3 * values.std(ddof=1), values.mean() + 3 * values.std(ddof=1)))


def test_what_the_ticks_themselves_reached_is_within_the_bound_however_long_their_tail() -> None:
    values = np.array([0.01] * 27 + [0.6])
    _, high = learned.limits("feature_psi", spread_of("feature_psi", values), 0, tail=0.01)
    assert high == pytest.approx(0.6)


@given(st.sampled_from(sorted(KINDS)), st.floats(0.001, 0.999))
def test_a_tick_that_does_what_every_tick_of_the_reference_did_is_within_its_bounds(what: str, value: float) -> None:
    low, high = learned.limits(what, spread_of(what, np.full(28, value)), 0, tail=0.01)
    assert low is None or low <= value
    assert high is None or value <= high


def test_only_the_side_that_is_worse_has_a_bound() -> None:
    values = np.random.default_rng(3).uniform(0.3, 0.5, 28)
    for what, sides in {"feature_psi": (False, True), "roc_auc": (True, False), "label_rate": (True, True)}.items():
        low, high = learned.limits(what, spread_of(what, values), 0, tail=0.01)
        assert (low is not None, high is not None) == sides


@given(st.lists(st.floats(-3, 3), min_size=5, max_size=28), st.floats(1e-9, 0.4), st.sampled_from(sorted(KINDS)))
def test_no_bound_lies_beyond_what_a_value_can_be(values: list[float], tail: float, what: str) -> None:
    possible = np.clip(values, 0, 1) if what not in learned.BELOW_ZERO else np.clip(values, -1, 1)
    low, high = learned.limits(what, spread_of(what, possible), 2, tail=tail)
    for bound in (low, high):
        assert bound is None or np.isfinite(bound)
        assert bound is None or what in learned.BELOW_ZERO or bound >= 0
        assert bound is None or what not in learned.SHARES or abs(bound) <= 1


@given(st.floats(1e-6, 0.3), st.floats(1e-6, 0.3))
def test_a_rarer_false_alarm_needs_a_wider_bound(one: float, other: float) -> None:
    spread = spread_of("label_rate", np.random.default_rng(4).lognormal(0, 0.2, 28))
    rarer, oftener = (learned.limits("label_rate", spread, 0, tail=tail) for tail in sorted((one, other)))
    assert rarer[0] <= oftener[0]
    assert oftener[1] <= rarer[1]


def test_with_weekdays_a_busy_friday_is_nothing_out_of_the_ordinary_and_a_busy_monday_is() -> None:
    busy = np.array([1.5 if day.weekday() == 4 else 1.0 for day in DAYS])
    values = busy * np.random.default_rng(5).lognormal(0, 0.02, 28)
    spread = spread_of("volume", values, by_weekday=True)
    for weekday, expected in ((0, 1.0), (4, 1.5)):
        low, high = learned.limits("volume", spread, weekday, tail=0.01)
        assert low is not None
        assert high is not None
        assert low < expected < high < low * 1.3
    plain = learned.limits("volume", spread_of("volume", values), 0, tail=0.01)
    assert plain[0] < 1 < 1.5 < plain[1], "without weekdays one bound must hold both"


def test_weekdays_that_differ_by_chance_alone_are_drawn_to_one_centre() -> None:
    drawn, raw = [], []
    for seed in range(40):
        values = np.random.default_rng(seed).normal(0, 1, 28)
        drawn.append(np.std(spread_of("calibration", values / 100, by_weekday=True).centres) * 100)
        raw.append(np.std([values[n::7].mean() for n in range(7)]))
    assert np.mean(drawn) < 0.4 * np.mean(raw)


def test_a_weekday_that_is_rarely_there_leaves_all_weekdays_alike() -> None:
    values = np.random.default_rng(6).normal(0, 1, 16)
    assert len(set(spread_of("calibration", values, by_weekday=True).centres)) == 1


def test_of_too_few_ticks_nothing_is_learned_and_ticks_without_a_value_do_not_count() -> None:
    assert learned.learn("roc_auc", [0.7, 0.71, 0.69, 0.7]) is None
    assert learned.learn("roc_auc", [0.7, None, 0.69, 0.7, None, 0.7]) is None
    some = learned.learn("roc_auc", [0.7, None, 0.69, 0.7, None, 0.7, 0.71])
    assert some is not None
    assert (some.centres[0], some.degrees) == (pytest.approx(0.7), 4)


def pipeline_of(*rules: ml.Rule, false_alarms: float = 0.5) -> ml.Pipeline:
    watches = tuple(ml.Watch(what, learned=ml.Learned()) for what in dict.fromkeys(rule.watch for rule in rules))
    return replace(monitored.pipeline, watches=watches, rules=rules, monitoring=ml.Monitoring(false_alarms=false_alarms))


def test_all_rules_together_keep_the_declared_false_alarms_a_month() -> None:
    pipeline = pipeline_of(
        ml.Rule("a", "feature_psi", "alert"), ml.Rule("b", "roc_auc", "alert"), ml.Rule("c", "calibration", "alert")
    )
    slices = {"feature_psi": 58, "roc_auc": 1, "calibration": 1}
    tails = [learned.tail(pipeline, what, n, 28) * n for what, n in slices.items()]
    assert 30 * sum(tails) == pytest.approx(0.5)


@pytest.mark.parametrize(("breaches", "of"), [(1, 1), (2, 3), (3, 5), (1, 3)])
def test_a_rule_over_several_ticks_fires_as_often_as_its_share_of_false_alarms(breaches: int, of: int) -> None:
    """All ticks are held to one bound, learned from 28 normal ticks, with the error that it has."""
    share, random, tries = 0.02, np.random.default_rng(8), 40_000
    rule = ml.Rule("a", "roc_auc", "alert", breaches=breaches, of=of)
    tail = learned.tail(pipeline_of(rule, false_alarms=30 * share), "roc_auc", 1, 28)
    reference, further = random.normal(size=(tries, 28)), random.normal(size=(tries, of))
    reach = stats.t.isf(tail, 27) * reference.std(axis=1, ddof=1) * np.sqrt(1 + 1 / 28)
    beyond = further > (reference.mean(axis=1) + reach)[:, None]
    assert (beyond.sum(axis=1) >= breaches).mean() == pytest.approx(share, rel=0.2)


@given(st.lists(st.floats(0, 1), min_size=8, max_size=28), st.integers(1, 4), st.integers(0, 3))
def test_no_rule_fires_on_the_reference_that_its_bound_was_learned_from(values: list[float], breaches: int, more: int) -> None:
    of = breaches + more
    _, high = learned.limits("feature_js", spread_of("feature_js", np.array(values)), 0, tail=0.49, windows=((breaches, of),))
    beyond = [value > high + 1e-9 for value in values]
    assert all(sum(beyond[at : at + of]) < breaches for at in range(len(values)))


def test_a_bad_week_in_the_reference_widens_the_bound_of_a_rule_over_several_ticks() -> None:
    values = np.random.default_rng(7).normal(0, 0.02, 28)
    bad = np.sort(values)[::-1]  # the same values, the highest side by side
    rule = {"tail": 0.05, "windows": ((3, 5),)}
    mixed = learned.limits("calibration", spread_of("calibration", values), 0, **rule)[1]
    assert mixed < learned.limits("calibration", spread_of("calibration", np.append(bad[:3] * 2, bad[3:])), 0, **rule)[1]
