"""Doing what a decision asks for: the fallback answers, or the champion before is back; once, and only if it still fits."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest

from mlprod_tasks.declaration import AtLeast
from mlprod_tasks.monitoring.act import NotDecided, act, retraining_asked
from mlprod_tasks.notifications import events
from mlprod_tasks.platform.ledger import Decision, Fallback, Intervention, Mail, Promotion, Scoring
from mlprod_tasks.promotion import fallback_switch, history, operator_actions
from mlprod_tasks.promotion.fallback_switch import CannotSwitch, switch_to_champion, switch_to_fallback, switched
from mlprod_tasks.promotion.rollback import rollback
from mlprod_tasks.scoring.score import score
from tests.support.clock import SetClock

NOON = datetime(2024, 2, 13, 12, tzinfo=UTC)  # of tick 2024-02-13: the next one is the 14th
DAY = "2024-02-13"


@pytest.fixture
def one(promoted_shop):
    """Version 1 is champion since the 10th; it is noon of the 13th."""
    with promoted_shop.platform.ledger.session() as session:
        session.query(Promotion).update({"at": NOON - timedelta(days=3)})
    return replace(promoted_shop, platform=replace(promoted_shop.platform, clock=SetClock(NOON, step=timedelta(minutes=1))))


@pytest.fixture
def two(one):
    """Versions 1 as of the 10th and 2 as of the 12th."""
    shop = one.declared(gates=(AtLeast("roc_auc", 0.6),))
    assert shop.promoted("two", "2024-02-12").moved
    return shop


def decided(shop, action, version, day=DAY, held=""):
    row = {"tick": day, "what": "kpi", "slice": "", "value": -1.0, "model_version": version, "sentence": "the KPI fell"}
    rule = {"rule": "useless", "watch": "kpi", "action": action, "held": held, "measurements": [row]}
    shop.platform.ledger.put(
        Decision(
            pipeline="returns", tick=date.fromisoformat(day), action=action, reason="x", at=NOON, rules=[rule], retrain=True
        )
    )


def acting(shop, day=DAY):
    return act(shop.pipeline, shop.tick(day), shop.platform)


def alias(shop):
    return shop.platform.registry.champion(shop.pipeline).version


def done(shop):
    found = operator_actions.interventions(shop.pipeline, shop.platform)
    return [(one.kind, one.by, one.subject, str(one.tick)) for one in found]


def test_a_rollback_makes_the_champion_before_champion_again_and_says_by_which_rule(two):
    decided(two, "rollback", 2)
    acted = acting(two)
    assert (acted.done, alias(two)) == ("rollback", 1)
    assert done(two) == [("rollback", "rule useless", "1", DAY)]
    (back,) = [row for row in two.platform.ledger.all(Promotion) if row.rolled_back_from == 2]
    assert back.reason == "rolled back from version 2: useless: the KPI fell"
    assert back.at == two.platform.ledger.all(Intervention)[0].at


def test_the_same_tick_twice_rolls_back_once_also_after_a_newer_training(two):
    decided(two, "rollback", 2)
    acting(two)
    assert acting(two).sentence.startswith("already done")
    assert len(two.platform.ledger.all(Promotion, rolled_back_from=2)) == 1
    two.promoted("three", "2024-02-14")
    before = two.platform.ledger.all(Promotion)
    assert acting(two).done == "rollback"
    assert (alias(two), len(two.platform.ledger.all(Promotion))) == (before[-1].model_version, len(before))


def test_killed_before_the_aliases_moved_the_same_tick_finishes_it(two, monkeypatch):
    decided(two, "rollback", 2)

    def die(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(history, "move_aliases", die)
        with pytest.raises(KeyboardInterrupt):
            acting(two)
    assert (alias(two), len(done(two))) == (2, 1)
    acting(two)
    assert (alias(two), len(done(two))) == (1, 1)
    assert len(two.platform.ledger.all(Promotion, rolled_back_from=2)) == 1


def test_a_rollback_of_a_version_that_is_no_longer_champion_is_not_done_and_that_is_kept(two):
    decided(two, "rollback", 1)
    acted = acting(two)
    assert (acted.done, alias(two)) == ("nothing", 2)
    assert "version 1 was measured, but version 2 is champion now" in acted.sentence
    acting(two)
    assert done(two) == [("not done", "rule useless", "rollback", DAY)]


@pytest.mark.parametrize("action", ["rollback", "fallback"])
def test_an_old_tick_decided_again_leaves_production_alone_where_a_later_one_was_quiet(two, action):
    decided(two, action, version=2)
    later = Decision(pipeline="returns", tick=date(2024, 2, 14), action="nothing", reason="x", at=NOON, rules=[])
    two.platform.ledger.put(later)
    left = acting(two)
    assert (left.done, alias(two), switched(two.pipeline, two.platform)) == ("nothing", 2, None)
    assert "the later tick 2024-02-14 has been decided, and no rule fires there" in left.sentence
    two.platform.ledger.put(replace(later, action="alert"))
    assert acting(two).done == action


def test_the_first_champion_cannot_be_rolled_back(one):
    decided(one, "rollback", 1)
    assert "there is no earlier one to go back to" in acting(one).sentence
    assert alias(one) == 1


@pytest.mark.parametrize("action", ["nothing", "note", "alert", "retrain"])
def test_milder_decisions_move_nothing(one, action):
    decided(one, action, 1)
    assert acting(one).done == "nothing"
    assert done(one) == []


def test_a_tick_that_was_not_decided_is_said_to_be(one):
    with pytest.raises(NotDecided, match="tick 2024-02-13 has no decision"):
        acting(one)


def test_the_fallback_answers_from_the_next_scoring_on_and_says_why(one):
    decided(one, "fallback", 1)
    assert acting(one).done == "fallback"
    scored = score(one.pipeline, one.tick("2024-02-14"), one.platform)
    assert scored.fallback_reason == "switched to the fallback by rule useless at tick 2024-02-13: useless: the KPI fell"
    row = one.platform.ledger.get(Scoring, "returns", date(2024, 2, 14))
    assert row.fallback_rows == row.rows > 0
    assert not events.tell_fallback(one.pipeline, one.tick("2024-02-14"), one.platform)
    assert one.platform.ledger.all(Mail) == []


def test_the_fallback_is_switched_to_once(one):
    decided(one, "fallback", 1)
    acting(one)
    assert acting(one).sentence.startswith("already done")
    decided(one, "fallback", 1, "2024-02-14")
    assert "already answers" in acting(one, "2024-02-14").sentence
    assert done(one) == [("fallback", "rule useless", "1", DAY)]


def test_a_newer_promotion_ends_the_switch(one):
    decided(one, "fallback", 1)
    acting(one)
    shop = one.declared(gates=(AtLeast("roc_auc", 0.6),))
    assert shop.promoted("two", "2024-02-12").moved
    assert switched(shop.pipeline, shop.platform) is None
    scored = score(shop.pipeline, shop.tick("2024-02-14"), shop.platform)
    assert (scored.fallback_reason, scored.model_version) == (None, 2)


def test_a_rollback_ends_the_switch_too(two):
    switch_to_fallback(two.pipeline, "ana", two.platform, reason="odd scores")
    rollback(two.pipeline, two.platform, by="ana")
    assert switched(two.pipeline, two.platform) is None


@pytest.mark.parametrize("person", ["ana", "rule useless"])
def test_a_person_switches_back_and_no_rule_switches_again_before_a_new_champion(one, person):
    decided(one, "fallback", 1)
    acting(one)
    assert switch_to_champion(one.pipeline, person, one.platform, reason="looked at it") is not None
    assert switch_to_champion(one.pipeline, person, one.platform) is None
    assert score(one.pipeline, one.tick("2024-02-14"), one.platform).fallback_reason is None
    assert acting(one).sentence.startswith("already done"), "the same tick asks for nothing new"
    decided(one, "fallback", 1, "2024-02-14")
    assert f"{person} switched back to the champion" in acting(one, "2024-02-14").sentence
    assert switched(one.pipeline, one.platform) is None
    assert [kind for kind, *_ in done(one)] == ["fallback", "champion", "not done"]


def test_as_of_a_tick_the_switch_counts_from_the_next_tick_on(one):
    decided(one, "fallback", 1)
    acting(one)
    assert score(one.pipeline, one.tick(DAY), one.platform, as_of=True).fallback_reason is None
    assert score(one.pipeline, one.tick("2024-02-14"), one.platform, as_of=True).fallback_reason is not None
    switch_to_champion(one.pipeline, "ana", one.platform)  # on the 13th: from the 14th on
    assert score(one.pipeline, one.tick("2024-02-14"), one.platform, as_of=True).fallback_reason is None


def test_without_a_fallback_there_is_no_switch(one):
    with one.platform.ledger.session() as session:
        session.query(Fallback).delete()
    with pytest.raises(CannotSwitch, match="no fallback beside version 1"):
        switch_to_fallback(one.pipeline, "ana", one.platform)
    decided(one, "fallback", 1)
    assert acting(one).done == "nothing"


def test_an_action_that_was_held_back_is_not_done(one):
    decided(one, "fallback", 1, held="the fallback waits")
    assert acting(one).done == "nothing"
    assert fallback_switch.switched(one.pipeline, one.platform) is None


def test_what_people_do_is_kept_with_their_name(two):
    rollback(two.pipeline, two.platform, by="ana", reason="bad day")
    rollback(two.pipeline, two.platform, to=1, by="ben")  # is so already
    retraining_asked(two.pipeline, date(2024, 2, 12), "cleo", two.platform, reason="new data")
    assert done(two) == [("rollback", "ana", "1", "None"), ("retrain", "cleo", "2024-02-12", "None")]
