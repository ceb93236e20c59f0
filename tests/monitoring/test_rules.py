"""The rules as a pure fold over measurements."""

from collections.abc import Iterable
from datetime import UTC, date, datetime, time, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from mlprod_tasks.declaration import Retraining, Rule, Schedule, days
from mlprod_tasks.declaration.monitoring import Breach
from mlprod_tasks.monitoring.retraining_limits import budget_spent
from mlprod_tasks.monitoring.rules import (
    ALERT,
    ASKED,
    FALLBACK,
    NOTE,
    NOTHING,
    RETRAIN,
    ROLLBACK,
    STALE_TICKS,
    Ruling,
    fold,
)
from mlprod_tasks.monitoring.tick_means import student_quantile, tick_mean
from mlprod_tasks.platform.ledger import Measurement, Promotion

START = date(2024, 1, 1)
SCHEDULE = Schedule(time(4), "UTC", START)
DELAY = 2
PSI = Rule("inputs moved", "feature_psi", "alert")
AUC = Rule("ranking is poor", "roc_auc", "retrain", breaches=3, of=5)


def day(n: int) -> date:
    return START + timedelta(days=n)


def measured(
    n: int,
    what: str,
    breached: bool,
    value: float | None = 0.5,
    name: str = "",
    version: int = 1,
    important: bool = False,
    cause: str = "",
) -> Measurement:
    return Measurement(
        pipeline="shop",
        tick=day(n),
        what=what,
        slice=name,
        value=value,
        n=100,
        breached=breached,
        model_version=version,
        low=0.6,
        important=important,
        cause=cause,
        sentence=f"{day(n)}: {what}",
        at=datetime(2024, 6, 1, tzinfo=UTC),
    )


def ruled(
    measurements: Iterable[Measurement],
    ticks: Iterable[int],
    rules: tuple[Rule, ...] = (PSI, AUC),
    cooldown: float = 7,
    most: int = 4,
    **more: object,
) -> dict[int, Ruling]:
    rulings = fold(rules, Retraining(days(cooldown), most), SCHEDULE, DELAY, measurements, [day(n) for n in ticks], **more)
    return {(ruling.tick - START).days: ruling for ruling in rulings}


def test_an_input_counts_at_its_own_tick_and_an_outcome_when_its_labels_are_complete() -> None:
    rule = Rule("ranking is poor", "roc_auc", "retrain")
    rulings = ruled([measured(4, "feature_psi", True), measured(4, "roc_auc", True)], range(8), (PSI, rule))
    assert {n: ruling.action for n, ruling in rulings.items() if ruling.action != NOTHING} == {4: ALERT, 6: RETRAIN}


@pytest.mark.parametrize(
    ("breaches", "fires"),
    [([0, 1, 2], True), ([0, 2, 4], True), ([0, 1, 5], False), ([3, 4], False), ([], False)],
)
def test_three_breaches_of_the_last_five_values_fire(breaches: list[int], fires: bool) -> None:
    last = max([4, *breaches])
    rulings = ruled([measured(n, "roc_auc", n in breaches) for n in range(last + 1)], [last + DELAY])
    assert (rulings[last + DELAY].action == RETRAIN) is fires


def test_ticks_without_a_value_are_passed_over() -> None:
    values = [measured(n, "roc_auc", True) for n in (0, 3, 9)] + [measured(n, "roc_auc", False, None) for n in range(4, 9)]
    assert ruled(values, [11])[11].action == RETRAIN


def test_a_tick_without_a_value_of_its_own_brings_no_news() -> None:
    values = [measured(n, "roc_auc", True) for n in (0, 1, 2)] + [measured(3, "roc_auc", False, None)]
    assert ruled(values, [5])[5].action == NOTHING


def test_what_must_be_there_and_is_not_is_a_breach_without_a_value() -> None:
    assert ruled([measured(0, "feature_psi", True, None, "price")], [0])[0].action == ALERT


def test_evidence_goes_stale() -> None:
    old = [measured(n, "roc_auc", True) for n in (1, 2)]
    assert ruled([*old, measured(STALE_TICKS, "roc_auc", True)], [STALE_TICKS + DELAY])[STALE_TICKS + DELAY].action == RETRAIN
    late = STALE_TICKS + 1
    assert ruled([*old, measured(late, "roc_auc", True)], [late + DELAY])[late + DELAY].action == NOTHING


def test_breaches_of_the_model_before_are_not_held_against_its_successor() -> None:
    old = [measured(n, "roc_auc", True, version=1) for n in (0, 1)]
    assert ruled([*old, measured(2, "roc_auc", True, version=2)], [4])[4].action == NOTHING
    assert ruled([*old, measured(2, "roc_auc", True, version=1)], [4])[4].action == RETRAIN


def test_retraining_waits_for_the_cooldown_and_says_so() -> None:
    rulings = ruled([measured(n, "roc_auc", True) for n in range(20)], range(20))
    assert [n for n, ruling in rulings.items() if ruling.action == RETRAIN] == [4, 11, 18]
    assert rulings[5].action == ALERT
    assert f"its cooldown ends at {day(11)}" in rulings[5].reason


def test_a_training_by_hand_starts_the_cooldown_too() -> None:
    rulings = ruled([measured(n, "roc_auc", True) for n in range(20)], range(20), retrained=[day(3)])
    assert [n for n, ruling in rulings.items() if ruling.action == RETRAIN] == [10, 17]


def test_a_ruling_carries_its_reasons_the_worst_measurement_first() -> None:
    slight = measured(1, "feature_psi", True, 0.5, "b")
    worst = measured(1, "feature_psi", True, 0.1, "a")
    fine = measured(1, "feature_psi", False, 0.9, "c")
    ruling = ruled([slight, worst, fine], [1])[1]
    (fired,) = ruling.fired
    assert [one.slice for one in fired.measurements] == ["a", "b"]
    assert ruling.reason == f"Alert: inputs moved ({worst.sentence}, and 1 more)."
    written = fired.as_json()
    assert (written["rule"], written["ticks"]) == ("inputs moved", [str(day(1))])
    assert written["measurements"][0]["value"] == 0.1


def test_the_reason_of_a_retraining_can_be_told_from_one_by_hand() -> None:
    assert ruled([measured(n, "roc_auc", True) for n in range(3)], [4])[4].reason.startswith(ASKED)


BOTH = Rule("moved and worse", "feature_psi", "alert", also=(Breach("roc_auc", breaches=2, of=3),))


@pytest.mark.parametrize(
    ("inputs", "outcomes", "fires"),
    [
        ([9], [6, 7], True),
        ([9], [5, 7], True),
        ([9], [7], False),
        ([8], [6, 7], False),
        ([9], [4, 7], False),
        ([], [6, 7], False),
    ],
)
def test_all_conditions_must_hold_at_the_tick_each_of_what_was_known_then(
    inputs: list[int], outcomes: list[int], fires: bool
) -> None:
    rows = [measured(n, "feature_psi", n in inputs) for n in range(10)]
    rows += [measured(n, "roc_auc", n in outcomes) for n in range(8)]  # the 8th and 9th are not known before the 10th and 11th
    ruling = ruled(rows, [9], (BOTH,))[9]
    assert (ruling.action == ALERT) is fires


def test_a_rule_with_several_conditions_keeps_the_rows_of_each() -> None:
    rows = [measured(9, "feature_psi", True, name="price"), *(measured(n, "roc_auc", True) for n in range(8))]
    written = ruled(rows, [9], (BOTH,))[9].fired[0].as_json()
    assert [(one["what"], one["tick"]) for one in written["measurements"]] == [
        ("feature_psi", str(day(9))), ("roc_auc", str(day(7))), ("roc_auc", str(day(6))), ("roc_auc", str(day(5))),
    ]  # fmt: skip
    assert written["ticks"] == [str(day(n)) for n in (9, 7, 6, 5)]


def test_two_features_must_move_where_two_are_declared() -> None:
    rule = Rule("several inputs moved", "feature_psi", "alert", least=2)
    one, other = measured(1, "feature_psi", True, name="a"), measured(1, "feature_psi", True, name="b")
    fine = measured(1, "feature_psi", False, name="b")
    assert ruled([one, other], [1], (rule,))[1].action == ALERT
    assert ruled([one, fine], [1], (rule,))[1].action == NOTHING


def test_each_of_the_ticks_needs_that_many_features() -> None:
    rule = Rule("several inputs moved", "feature_psi", "alert", breaches=2, of=2, least=2)
    rows = [measured(n, "feature_psi", True, name=name) for n, name in [(0, "a"), (1, "a"), (1, "b")]]
    assert ruled(rows, [1], (rule,))[1].action == NOTHING
    assert ruled([*rows, measured(0, "feature_psi", True, name="b")], [1], (rule,))[1].action == ALERT


def test_only_important_features_count_where_that_is_declared() -> None:
    rule = Rule("inputs moved", "feature_psi", "alert", only_important=True)
    slight, grave = measured(1, "feature_psi", True, name="a"), measured(2, "feature_psi", True, name="b", important=True)
    rulings = ruled([slight, grave], [1, 2], (rule,))
    assert (rulings[1].action, rulings[2].action) == (NOTHING, ALERT)
    assert [one.slice for one in rulings[2].fired[0].measurements] == ["b"]


def test_a_check_of_the_night_counts_at_the_next_tick() -> None:
    rule = Rule("answers changed", "replayed", "alert")
    assert {n: one.action for n, one in ruled([measured(3, "replayed", True)], [3, 4, 5], (rule,)).items()} == {
        3: NOTHING, 4: ALERT, 5: NOTHING,
    }  # fmt: skip


def test_the_strongest_action_that_may_be_done_is_ruled() -> None:
    rules = tuple(Rule(action, "volume", action) for action in ("note", "alert", "retrain", "fallback", "rollback"))
    promotions = [promoted(1, 0), promoted(2, 3)]
    rows = [measured(5, "volume", True, version=2)]
    for n, action in enumerate([NOTE, ALERT, RETRAIN, FALLBACK, ROLLBACK], start=1):
        ruling = ruled(rows, [5], rules[:n], promotions=promotions)[5]
        assert ruling.action == action
        assert ruling.retrain is (n >= 3), "the fallback and a rollback ask for a training too"
        assert {one.held for one in ruling.fired} == {""}


def promoted(version: int, effective: int) -> Promotion:
    at = datetime(2024, 6, 1, version, tzinfo=UTC)
    return Promotion(pipeline="shop", model_version=version, effective=day(effective), training_id="t", reason="r", at=at)


def test_a_rollback_waits_where_nothing_was_champion_before() -> None:
    rule = Rule("useless", "volume", "rollback")
    ruling = ruled([measured(5, "volume", True, version=1)], [5], (rule,), promotions=[promoted(1, 0)])[5]
    assert (ruling.action, ruling.retrain) == (RETRAIN, True)
    assert ruling.fired[0].held == "the rollback waits: there was no champion before version 1"
    assert ruling.fired[0].held in ruling.reason


@pytest.mark.parametrize("action", [FALLBACK, ROLLBACK])
def test_what_an_earlier_version_did_moves_nothing_away_from_its_successor(action: str) -> None:
    rule = Rule("useless", "roc_auc", action)
    promotions = [promoted(1, 0), promoted(2, 2), promoted(3, 5)]
    rulings = ruled([measured(n, "roc_auc", True, version=2) for n in (2, 3)], [4, 5], (rule,), promotions=promotions)
    assert rulings[4].action == action
    assert rulings[5].action == ALERT
    assert "version 2 was measured, but version 3 is champion now" in rulings[5].reason


def test_a_champion_of_later_ticks_changes_no_earlier_ruling() -> None:
    rule = Rule("useless", "volume", "rollback")
    rows, promotions = [measured(5, "volume", True, version=2)], [promoted(1, 0), promoted(2, 3)]
    assert ruled(rows, [5], (rule,), promotions=promotions) == ruled(
        rows, [5], (rule,), promotions=[*promotions, promoted(3, 6)]
    )


def test_the_budget_of_thirty_days_holds_a_retraining_back_and_says_so() -> None:
    rulings = ruled([measured(n, "roc_auc", True) for n in range(45)], range(45), cooldown=3, most=4)
    assert [n for n, one in rulings.items() if one.retrain] == [4, 7, 10, 13, 34, 37, 40, 43]
    assert rulings[20].action == ALERT
    assert rulings[20].reason.endswith("; retraining waits: the budget of 4 in 30 days is spent.")


@given(st.lists(st.integers(0, 80), unique=True, max_size=12), st.integers(0, 80), st.integers(1, 4))
def test_a_spent_budget_is_one_that_some_thirty_days_would_pass(before: list[int], tick: int, most: int) -> None:
    slow = any(
        first <= tick < first + 30 and sum(first <= n < first + 30 for n in before if n != tick) + 1 > most
        for first in range(-30, 81)
    )
    assert budget_spent(day(tick), [day(n) for n in before if n != tick], most, SCHEDULE) is slow


def test_one_training_at_a_time() -> None:
    rows = [measured(n, "roc_auc", True) for n in range(20)]
    rulings = ruled(rows, range(20), cooldown=0, most=30, under_way=[(day(6), "still awaits approval")])
    assert [n for n, one in rulings.items() if one.retrain] == [4, 5, 6]
    assert f"retraining waits: the training as of {day(6)} still awaits approval" in rulings[9].reason


def test_a_fired_rule_names_the_cause_that_most_of_its_newest_breaches_have() -> None:
    rows = [measured(1, "feature_psi", True, name=name, cause=cause) for name, cause in
            [("a", "data fault upstream"), ("b", "covariate shift"), ("c", "covariate shift")]]  # fmt: skip
    assert ruled(rows, [1])[1].fired[0].as_json()["cause"] == "covariate shift"


entries = st.lists(
    st.builds(
        measured,
        st.integers(0, 15),
        st.sampled_from(["feature_psi", "roc_auc"]),
        st.booleans(),
        st.sampled_from([0.1, 0.5, 0.55]),
        version=st.sampled_from([1, 1, 1, 2]),
    ),
    max_size=40,
    unique_by=lambda one: (one.tick, one.what),
)


@given(entries, st.randoms(use_true_random=False))
def test_the_order_of_measurements_and_ticks_changes_nothing(measurements: list[Measurement], random: st.DataObject) -> None:
    ticks = list(range(18))
    in_order = ruled(measurements, ticks, cooldown=3)
    mixed = [*measurements]
    random.shuffle(mixed)
    random.shuffle(ticks)
    assert ruled(mixed, ticks + ticks[:3], cooldown=3) == in_order


@given(entries, st.integers(0, 17))
def test_what_comes_later_changes_no_earlier_ruling(measurements: list[Measurement], now: int) -> None:
    known = [m for m in measurements if m.tick <= day(now if m.what == "feature_psi" else now - DELAY)]
    whole = ruled(measurements, range(18), cooldown=3)
    assert ruled(known, range(now + 1), cooldown=3) == {n: whole[n] for n in range(now + 1)}


def moved(n: int, cause: str = "", **more: object) -> Measurement:
    return measured(n, "feature_psi", True, name="price", cause=cause, **more)  # type: ignore[arg-type]


def test_a_shift_is_an_alarm_until_outcomes_of_such_ticks_are_known() -> None:
    rows = [*(moved(n) for n in range(8)), *(measured(n, "roc_auc", False) for n in range(8))]
    actions = [ruling.action for ruling in ruled(rows, range(8)).values()]
    # At tick 4 the outcomes of ticks 0, 1 and 2 are known.
    assert actions == [ALERT] * 4 + [NOTE] * 4


def test_a_note_says_why_and_is_written_as_one() -> None:
    rows = [*(moved(n) for n in range(6)), *(measured(n, "roc_auc", False) for n in range(6))]
    ruling = ruled(rows, range(6))[5]
    assert ruling.reason.startswith("Note: inputs moved (")
    assert "outcomes of 4 ticks with this shift are known, and no rule about performance fires" in ruling.reason
    (fired,) = ruling.fired
    assert fired.as_json()["action"] == NOTE
    assert fired.as_json()["harmless"] in ruling.reason


def test_a_shift_with_poor_performance_stays_an_alarm() -> None:
    rows = [*(moved(n) for n in range(8)), *(measured(n, "roc_auc", True) for n in range(8))]
    assert all(
        "inputs moved" in {one.rule.name for one in r.fired if one.action == ALERT} for r in ruled(rows, range(8)).values()
    )


def test_a_shift_that_estimates_call_bad_stays_an_alarm() -> None:
    rows = [*(moved(n) for n in range(6)), *(measured(n, "roc_auc", False) for n in range(6))]
    rows.append(measured(5, "estimated_roc_auc", True))
    assert [ruling.action for ruling in ruled(rows, [4, 5]).values()] == [NOTE, ALERT]


def test_a_fault_of_the_data_stays_an_alarm_whatever_outcomes_say() -> None:
    rows = [*(moved(n, cause="data fault upstream") for n in range(8)), *(measured(n, "roc_auc", False) for n in range(8))]
    nulls = [measured(n, "null_share", True, name="price") for n in range(8)]
    assert {ruling.action for ruling in ruled(rows, range(8)).values()} == {ALERT}
    rules = (Rule("nulls", "null_share", "alert"),)
    assert {ruling.action for ruling in ruled([*rows, *nulls], range(8), rules).values()} == {ALERT}


def test_outcomes_of_another_version_or_of_ticks_without_the_shift_prove_nothing() -> None:
    before = [measured(n, "roc_auc", False) for n in range(8)]
    rows = [*before, *(moved(n) for n in range(6, 8))]
    assert ruled(rows, [7])[7].action == ALERT
    other = [*(moved(n, version=2) for n in range(8)), *before]
    assert ruled(other, [7])[7].action == ALERT


MEAN = Rule("ranking is poor", "roc_auc_change", "retrain", mean_of=7)


def change(n: int, value: float, version: int = 1, rows: int = 100) -> Measurement:
    one = measured(n, "roc_auc_change", value < 0, value, version=version)
    one.low, one.n = 0.0, rows
    return one


def test_a_mean_of_ticks_that_is_certainly_outside_fires_though_single_ticks_differ() -> None:
    poor = [-0.05, 0.01, -0.06, -0.02, -0.07, 0.0, -0.04]
    ruling = ruled([change(n, value) for n, value in enumerate(poor)], [8], rules=(MEAN,))[8]
    assert ruling.action == RETRAIN
    assert "the mean of the last 7 ticks is -0.0329, 90 % interval" in ruling.reason
    (fired,) = ruling.fired
    assert fired.ticks == tuple(day(n) for n in reversed(range(7)))


def test_a_mean_of_ticks_that_may_be_inside_fires_nothing() -> None:
    unsure = [-0.20, 0.10, -0.15, 0.12, -0.09, 0.08, -0.10]
    assert ruled([change(n, value) for n, value in enumerate(unsure)], [8], rules=(MEAN,))[8].action == NOTHING
    assert ruled([change(n, -0.05) for n in range(2)], [3], rules=(MEAN,))[3].action == NOTHING, "two ticks tell no spread"
    other = [change(n, -0.05 - 0.001 * n, version=1 if n < 5 else 2) for n in range(7)]
    assert ruled(other, [8], rules=(MEAN,))[8].action == NOTHING, "only two ticks are of the version that scores now"


def test_the_interval_of_a_mean_is_students_of_the_ticks() -> None:
    values = [0.4, 0.1, 0.3, 0.35, 0.2]
    found = tick_mean(values, [50] * 5)
    assert found is not None
    expected = stats.t.interval(0.9, 4, loc=np.mean(values), scale=stats.sem(values))
    assert (found.value, found.low, found.high) == pytest.approx((np.mean(values), *expected), abs=1e-4)
    weighed = tick_mean([0.0, 1.0, 0.0], [100, 300, 100])
    assert weighed is not None
    assert weighed.value == pytest.approx(0.6)


def test_nine_of_ten_intervals_of_a_mean_hold_it_where_rows_of_a_tick_are_alike() -> None:
    random = np.random.default_rng(11)
    held = 0
    for _ in range(1000):
        rows = random.integers(300, 1000, 7)
        ticks = random.normal(0.0, 1.0, 7) + random.normal(0.0, 3.0 / np.sqrt(rows))
        found = tick_mean(list(ticks), list(rows))
        assert found is not None
        held += found.low <= 0 <= found.high
    assert 0.85 < held / 1000 < 0.93


def test_students_quantile_is_that_of_scipy() -> None:
    assert [student_quantile(n) for n in range(2, 60)] == pytest.approx([stats.t.ppf(0.95, n) for n in range(2, 60)], rel=3e-3)
