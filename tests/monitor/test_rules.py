"""The rules as a pure fold over measurements."""

from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlprod_tasks.declaration import Retraining, Rule, days
from mlprod_tasks.monitor.rules import ALERT, ASKED, NOTHING, RETRAIN, STALE_TICKS, Ruling, fold
from mlprod_tasks.platform.ledger import Measurement

START = date(2024, 1, 1)
DELAY = 2
PSI = Rule("inputs moved", "feature_psi", "alert")
AUC = Rule("ranking is poor", "roc_auc", "retrain", breaches=3, of=5)


def day(n: int) -> date:
    return START + timedelta(days=n)


def measured(n: int, what: str, breached: bool, value: float | None = 0.5, name: str = "", version: int = 1) -> Measurement:
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
        sentence=f"{day(n)}: {what}",
        at=datetime(2024, 6, 1, tzinfo=UTC),
    )


def ruled(
    measurements: Iterable[Measurement],
    ticks: Iterable[int],
    rules: tuple[Rule, ...] = (PSI, AUC),
    cooldown: float = 7,
    **more: list[date],
) -> dict[int, Ruling]:
    rulings = fold(rules, Retraining(days(cooldown)), DELAY, measurements, [day(n) for n in ticks], **more)
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
