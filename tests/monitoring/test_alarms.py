"""Alarms as episodes of rules, what people say about them, and the mails that follow."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from demo.mail_catcher import MailCatcher
from mlprod_tasks.monitoring import alarms
from mlprod_tasks.monitoring.alarms import NoSuchAlarm, acknowledge, episodes, mute, open_alarms, unmute
from mlprod_tasks.notifications.decision_mails import tell_decision
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.ledger import Decision, Intervention, Mail
from mlprod_tasks.promotion.operator_actions import ByRule, intervene, interventions
from tests.support import monitored_shop as monitored
from tests.support.clock import SetClock

DAY = timedelta(days=1)
FIRST = date(2024, 3, 1)
NOW = datetime(2024, 3, 20, 5, tzinfo=UTC)
PIPELINE = monitored.pipeline
PSI, AUC = "inputs moved", "ranking is poor"


@pytest.fixture
def platform(mailing: Callable[[Any], Platform]) -> Platform:
    return mailing(SetClock(NOW, step=timedelta(seconds=1)))


def day(n: int) -> date:
    return FIRST + n * DAY


def fired(rule: str, n: int, value: float = 0.5, action: str = "alert", held: str = "") -> dict[str, Any]:
    measured = {
        "tick": str(day(n)), "what": "feature_psi", "slice": "price", "value": value, "reference": 0.01, "low": None,
        "high": 0.25, "n": 400, "model_version": 3, "cause": "covariate shift",
        "sentence": f"{day(n)}: PSI of feature price is {value}, above the bound 0.25",
    }  # fmt: skip
    return {
        "rule": rule, "watch": "feature_psi", "action": action, "breaches": 1, "of": 1, "cause": "covariate shift",
        "held": held, "ticks": [str(day(n))], "measurements": [measured],
    }  # fmt: skip


def decided(platform: Platform, n: int, *rules: dict[str, Any], action: str = "", retrain: bool = False, **more: Any) -> None:
    what = action or ("alert" if rules else "nothing")
    platform.ledger.put(
        Decision(pipeline="shop", tick=day(n), action=what, reason="x", at=NOW, rules=list(rules), retrain=retrain, **more)
    )


def tell(platform: Platform, n: int) -> bool:
    return tell_decision(PIPELINE, PIPELINE.schedule.tick(day(n)), platform)


def story(platform: Platform, fires: Sequence[bool], rule: str = PSI) -> list[bool]:
    """Decide and tell tick by tick; where a mail went out."""
    sent = []
    for n, there in enumerate(fires):
        decided(platform, n, *([fired(rule, n)] if there else []))
        sent.append(tell(platform, n))
    return sent


def mails(catcher: MailCatcher) -> list[tuple[str, str]]:
    told = []
    for mail in catcher.outbox.mails():
        body = mail.get_body(("plain",))
        assert body is not None
        told.append((str(mail["Subject"]), " ".join(body.get_content().split())))
    return told


@given(st.lists(st.sets(st.sampled_from("abc")), max_size=15), st.randoms(use_true_random=False))
def test_episodes_are_the_unbroken_runs_of_each_rule_in_whatever_order(fires: list[set[str]], random: Any) -> None:
    decisions = [
        Decision(pipeline="shop", tick=day(n), action="alert", reason="x", at=NOW, rules=[fired(rule, n) for rule in rules])
        for n, rules in enumerate(fires)
    ]
    random.shuffle(decisions)
    found = {(one.rule, one.since): one for one in episodes(decisions)}
    slow = {}
    for rule in "abc":
        for n, rules in enumerate(fires):
            if rule in rules and (n == 0 or rule not in fires[n - 1]):
                last = n
                while last + 1 < len(fires) and rule in fires[last + 1]:
                    last += 1
                slow[rule, day(n)] = (day(last), last - n + 1, last == len(fires) - 1)
    assert {key: (one.last, one.ticks, one.open) for key, one in found.items()} == slow


def test_an_alarm_remembers_its_worst_tick(platform: Platform) -> None:
    for n, value in enumerate([0.3, 0.9, 0.4]):
        decided(platform, n, fired(PSI, n, value))
    (alarm,) = open_alarms(PIPELINE, platform)
    assert (alarm.since, alarm.last, alarm.ticks, alarm.worst_at, alarm.cause) == (day(0), day(2), 3, day(1), "covariate shift")
    assert "is 0.9" in alarm.worst
    assert "is 0.4" in alarm.sentence


def test_an_acknowledged_alarm_says_who_until_it_is_over(platform: Platform) -> None:
    decided(platform, 0, fired(PSI, 0))
    acknowledge(PIPELINE, PSI, "ana", platform, note="prices rose")
    acknowledge(PIPELINE, PSI, "ben", platform)  # the first to say so stands
    decided(platform, 1, fired(PSI, 1))
    (alarm,) = open_alarms(PIPELINE, platform)
    assert (alarm.acknowledged_by, alarm.note) == ("ana", "prices rose")
    assert len(interventions(PIPELINE, platform, "acknowledge")) == 1
    decided(platform, 2)
    decided(platform, 3, fired(PSI, 3))
    assert [one.acknowledged_by for one in alarms.alarms(PIPELINE, platform)] == ["", "ana"], (
        "another episode, unknown to anybody"
    )


def test_only_what_is_open_can_be_acknowledged_and_only_by_somebody(platform: Platform) -> None:
    decided(platform, 0, fired(PSI, 0))
    with pytest.raises(NoSuchAlarm, match="shop has no open alarm 'volume'; open alarms: 'inputs moved'"):
        acknowledge(PIPELINE, "volume", "ana", platform)
    with pytest.raises(ValueError, match="who does it"):
        acknowledge(PIPELINE, PSI, " ", platform)


def test_the_last_word_about_muting_counts(platform: Platform) -> None:
    decided(platform, 0, fired(PSI, 0), fired(AUC, 0))

    def muted() -> dict[str, datetime | None]:
        return {alarm.rule: alarm.muted_until for alarm in open_alarms(PIPELINE, platform)}

    later, latest = NOW + DAY, NOW + 2 * DAY
    mute(PIPELINE, PSI, "ana", platform, until=later)
    assert muted() == {PSI: later, AUC: None}
    mute(PIPELINE, "", "ana", platform, until=latest)
    assert muted() == {PSI: latest, AUC: latest}
    unmute(PIPELINE, AUC, "ana", platform)
    assert muted() == {PSI: latest, AUC: None}
    unmute(PIPELINE, "", "ana", platform)
    assert muted() == {PSI: None, AUC: None}


def test_a_mute_ends_by_itself(platform: Platform) -> None:
    decided(platform, 0, fired(PSI, 0))
    mute(PIPELINE, PSI, "ana", platform, until=NOW + DAY)
    (alarm,) = open_alarms(PIPELINE, replace(platform, clock=SetClock(NOW + DAY + timedelta(seconds=1))))
    assert alarm.muted_until is None


@pytest.mark.parametrize(
    ("rule", "until", "told"),
    [
        ("no such", NOW + DAY, "has no rule 'no such'"),
        (PSI, NOW - DAY, "is in the past"),
        (PSI, datetime(2030, 1, 1), "no time zone"),  # noqa: DTZ001
    ],
)
def test_a_mute_that_cannot_be_meant_is_refused(platform: Platform, rule: str, until: datetime, told: str) -> None:
    with pytest.raises((LookupError, ValueError), match=told):
        mute(PIPELINE, rule, "ana", platform, until=until)
    assert platform.ledger.all(Intervention) == []


def test_one_mail_when_it_begins_and_one_when_it_is_over(platform: Platform, catcher: MailCatcher) -> None:
    assert story(platform, [False, True, True, True, False, False]) == [False, True, False, False, True, False]
    (begun, over) = mails(catcher)
    assert begun[0] == f"[shop] alert at {day(1)}: inputs moved"
    assert "This looks like a covariate shift. The model scores rows that it knows less well" in begun[1]
    assert over[0] == f"[shop] over at {day(4)}: inputs moved"
    assert f"It lasted from {day(1)} to {day(3)}: 3 ticks." in over[1]


def test_whatever_is_told_again_is_told_once(platform: Platform, catcher: MailCatcher) -> None:
    sent = story(platform, [True, True, False])
    assert [tell(platform, n) for n in range(3)] == [False] * 3
    assert len(catcher.outbox.files()) == sum(sent) == 2


def test_a_tick_has_one_mail_with_all_its_alarms_and_sums_up_what_goes_on(platform: Platform, catcher: MailCatcher) -> None:
    decided(platform, 0, fired(PSI, 0, 0.9))
    decided(platform, 1, fired(PSI, 1))
    decided(platform, 2, fired(PSI, 2), fired(AUC, 2), fired("volume", 2))
    assert tell(platform, 2)
    ((subject, body),) = mails(catcher)
    assert subject == f"[shop] alert at {day(2)}: ranking is poor, volume"
    assert f"Still open: inputs moved: third tick in a row, since {day(0)} (covariate shift); worst on {day(0)}: PSI" in body
    assert body.count("Still open") == 1


def test_reminders_of_what_nobody_knows_of_come_every_seven_ticks(platform: Platform, catcher: MailCatcher) -> None:
    sent = story(platform, [True] * 16)
    assert [n for n, one in enumerate(sent) if one] == [0, 7, 14]
    assert mails(catcher)[1][0] == f"[shop] still open at {day(7)}: inputs moved"
    assert "eighth tick in a row" in mails(catcher)[1][1]


def test_an_acknowledged_alarm_is_not_reminded_of_and_its_end_is_told(platform: Platform) -> None:
    story(platform, [True] * 3)
    acknowledge(PIPELINE, PSI, "ana", platform)
    sent = []
    for n in range(3, 12):
        decided(platform, n, *([fired(PSI, n)] if n < 11 else []))
        sent.append(tell(platform, n))
    assert sent == [False] * 8 + [True]


def test_nothing_is_told_of_a_muted_rule_and_the_others_are(platform: Platform, catcher: MailCatcher) -> None:
    mute(PIPELINE, PSI, "ana", platform, until=NOW + DAY)
    assert story(platform, [True, True, False]) == [False] * 3
    decided(platform, 3, fired(PSI, 3), fired(AUC, 3))
    assert tell(platform, 3)
    ((subject, body),) = mails(catcher)
    assert subject == f"[shop] alert at {day(3)}: ranking is poor"
    assert PSI not in body
    assert len(platform.ledger.all(Decision)) == 4, "the decisions go on"


def test_a_tick_that_overtakes_the_one_at_which_an_alarm_began_reminds_nobody(platform: Platform) -> None:
    decided(platform, 0, fired(PSI, 0))
    decided(platform, 1, fired(PSI, 1))
    assert not tell(platform, 1)
    assert tell(platform, 0)
    (mail,) = platform.ledger.all(Mail)
    assert mail.kind == "alert"


def test_an_alarm_that_was_muted_is_told_when_it_is_heard_again(platform: Platform) -> None:
    mute(PIPELINE, PSI, "ana", platform, until=NOW + DAY)
    assert story(platform, [True, True]) == [False, False]
    unmute(PIPELINE, PSI, "ana", platform)
    decided(platform, 2, fired(PSI, 2))
    assert tell(platform, 2)


def test_what_a_muted_rule_does_to_production_is_told(platform: Platform, catcher: MailCatcher) -> None:
    mute(PIPELINE, AUC, "ana", platform, until=NOW + DAY)
    decided(platform, 0, fired(AUC, 0, action="rollback"), action="rollback")
    assert not tell(platform, 0)
    intervene(PIPELINE, "rollback", ByRule(AUC), platform, subject="1", tick=day(0))
    assert tell(platform, 0)
    ((subject, _),) = mails(catcher)
    assert subject == f"[shop] rollback at {day(0)}: {AUC}"


def test_an_alarm_is_told_to_be_over_though_a_muted_one_goes_on(platform: Platform, catcher: MailCatcher) -> None:
    mute(PIPELINE, AUC, "ana", platform, until=NOW + DAY)
    decided(platform, 0, fired(PSI, 0), fired(AUC, 0))
    decided(platform, 1, fired(AUC, 1))
    assert [tell(platform, 0), tell(platform, 1)] == [True, True]
    assert mails(catcher)[-1][0] == f"[shop] over at {day(1)}: {PSI}"


def test_a_tick_that_is_quiet_when_it_is_measured_again_takes_back_what_was_told_of_it(
    platform: Platform, catcher: MailCatcher
) -> None:
    decided(platform, 0, fired(PSI, 0))
    assert tell(platform, 0)
    decided(platform, 0)
    assert [tell(platform, 0), tell(platform, 0)] == [True, False]
    assert mails(catcher)[-1][0] == f"[shop] over at {day(0)}: measured again"


def test_a_note_is_for_the_ledger_alone(platform: Platform) -> None:
    decided(platform, 0, fired(PSI, 0, action="note"), action="note")
    decided(platform, 1)
    assert [tell(platform, 0), tell(platform, 1)] == [False, False]
    assert alarms.alarms(PIPELINE, platform)[0].action == "note"


def test_a_retraining_is_told_each_time_and_what_holds_one_back_too(platform: Platform, catcher: MailCatcher) -> None:
    asked = {"action": "retrain", "retrain": True, "training_asked_at": NOW}
    decided(platform, 0, fired(AUC, 0, action="retrain"), **asked)
    waits = "retraining waits: the budget of 4 in 30 days is spent"
    decided(platform, 1, fired(AUC, 1, action="retrain", held=waits), fired(PSI, 1))
    decided(platform, 2, fired(AUC, 2, action="retrain"), **asked)
    assert [tell(platform, n) for n in range(3)] == [True, True, True]
    told = mails(catcher)
    assert "A new model is being trained." in told[0][1]
    assert f"Nothing is done automatically: {waits}." in told[1][1]
    assert [mail.kind for mail in platform.ledger.all(Mail)] == ["retrain", "alert", "retrain"]


def test_what_is_over_tells_only_of_trainings_that_were_asked_for(platform: Platform, catcher: MailCatcher) -> None:
    wanted = {"action": "retrain", "retrain": True}
    decided(platform, 0, fired(AUC, 0, action="retrain"), **wanted, training_held="the budget is spent")
    decided(platform, 1, fired(AUC, 1, action="retrain"), **wanted, training_asked_at=NOW)
    decided(platform, 2)
    assert [tell(platform, n) for n in range(3)] == [True, True, True]
    assert f"A retraining was requested at {day(1)}." in mails(catcher)[-1][1]


def test_a_person_who_signs_as_a_rule_is_told_as_no_rule_is(platform: Platform, catcher: MailCatcher) -> None:
    assert story(platform, [True, True]) == [True, False]
    acknowledge(PIPELINE, PSI, "rule volume", platform)
    assert not tell(platform, 1)


def test_ticks_told_out_of_order_are_told_by_what_was_decided_before_them(platform: Platform, catcher: MailCatcher) -> None:
    for n in range(4):
        decided(platform, n, *([fired(PSI, n)] if n in (1, 2) else []))
    assert [tell(platform, n) for n in (1, 3, 2, 0)] == [True, True, False, False]
    assert [subject.split()[1] for subject, _ in mails(catcher)] == ["alert", "over"]


def test_the_mail_carries_the_picture_of_what_moved(platform: Platform, catcher: MailCatcher) -> None:
    decided(platform, 0, fired(PSI, 0))
    tell(platform, 0)
    (mail,) = catcher.outbox.mails()
    assert any(part.get_content_type() == "image/png" for part in mail.walk())


def test_an_alarm_that_turns_out_not_to_matter_is_over_and_goes_on_as_a_note(platform: Platform, catcher: MailCatcher) -> None:
    harmless = {"harmless": "outcomes of 3 ticks with this shift are known, and no rule about performance fires"}
    for n in range(6):
        rule = fired(PSI, n) if n < 4 else {**fired(PSI, n, action="note"), **harmless}
        decided(platform, n, rule, action=rule["action"])
        tell(platform, n)
    note, alarm = alarms.alarms(PIPELINE, platform)
    assert (note.told, note.since, note.last, note.open) == (False, day(4), day(5), True)
    assert note.held == harmless["harmless"]
    assert (alarm.told, alarm.since, alarm.last, alarm.open) == (True, day(0), day(3), False)
    begun, over = mails(catcher)
    assert begun[0] == f"[shop] alert at {day(0)}: inputs moved"
    assert over[0] == f"[shop] over at {day(4)}: inputs moved"
    assert "it is over. What still moves does not matter." in over[1]
    assert f"inputs moved is a note from now on: {harmless['harmless']}." in over[1]
