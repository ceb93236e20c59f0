"""Rolling back: an earlier champion again, from the next tick on, for good reasons that are kept."""

from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta

import pytest

from mlprod_tasks import declaration as ml
from mlprod_tasks.declaration import AtLeast
from mlprod_tasks.evaluation.gate import gate
from mlprod_tasks.evaluation.results import Evaluation
from mlprod_tasks.notifications.events import tell_rollback
from mlprod_tasks.platform.ledger import Mail, Promotion, PromotionKind, Training
from mlprod_tasks.promotion.history import champion_stack, promotions
from mlprod_tasks.promotion.register import promote
from mlprod_tasks.promotion.rollback import CannotRollBack, next_tick, rollback
from mlprod_tasks.scoring.score import score
from mlprod_tasks.steps import register
from mlprod_tasks.training.workspace import TrainingFolder
from tests.support.clock import SetClock
from tests.support.trained_shop import copied

NOON = datetime(2024, 2, 13, 12, tzinfo=UTC)  # of tick 2024-02-13: the next one is the 14th


def at_noon(shop):
    """It is noon of the 13th, and then a minute later whenever somebody asks."""
    shop = replace(shop, platform=replace(shop.platform, clock=SetClock(NOON, step=timedelta(minutes=1))))
    return shop.declared(gates=(AtLeast("roc_auc", 0.6),))


@pytest.fixture(scope="module")
def home_of_two(promoted_home, tmp_path_factory):
    """Versions 1 as of the 10th and 2 as of the 12th."""
    shop = at_noon(copied(promoted_home, tmp_path_factory.mktemp("two")))
    assert shop.promoted("two", "2024-02-12").moved
    shop.platform.ledger.engine.dispose()
    return shop.platform.settings.home


@pytest.fixture
def two(home_of_two, tmp_path):
    """A shop of the test's own with these versions. MLflow's artifacts stay where they were made."""
    return at_noon(copied(home_of_two, tmp_path))


def champions(shop, *days: str) -> list[int]:
    registry = shop.platform.registry
    return [registry.champion_at(shop.pipeline, shop.tick(day), shop.platform.ledger).version for day in days]


def alias(shop) -> int:
    return shop.platform.registry.champion(shop.pipeline).version


def test_the_previous_champion_is_back_at_once_and_counts_from_the_next_tick_on(two):
    done = rollback(two.pipeline, two.platform, reason="it refuses every phone order")
    assert (done.model_version, done.withdrawn, done.effective, done.changed) == (1, 2, "2024-02-14", True)
    assert champions(two, "2024-02-11", "2024-02-12", "2024-02-13", "2024-02-14", "2024-03-01") == [1, 2, 2, 1, 1]
    assert alias(two) == 1
    (last,) = two.platform.ledger.all(Promotion, effective=date(2024, 2, 14))
    assert (last.reason, last.rolled_back_from) == ("rolled back from version 2: it refuses every phone order", 2)
    kinds = [(one.model_version, one.kind) for one in promotions(two.pipeline, two.platform)]
    assert kinds == [(1, PromotionKind.FIRST), (2, PromotionKind.BETTER), (1, PromotionKind.ROLLBACK)]
    beside = two.platform.registry.by_alias("returns_fallback", "fallback")
    assert beside.run_id == two.platform.registry.version("returns", 1).run_id


def test_what_is_scored_then_is_scored_by_the_version_that_is_back(two):
    rollback(two.pipeline, two.platform)
    assert score(two.pipeline, two.tick("2024-02-13"), two.platform, as_of=True).model_version == 2
    assert score(two.pipeline, two.tick("2024-02-14"), two.platform, as_of=True).model_version == 1
    assert score(two.pipeline, two.tick("2024-02-13"), two.platform).model_version == 1


def test_the_same_rollback_twice_changes_nothing_twice(two):
    rollback(two.pipeline, two.platform, to=1, reason="first")
    before = [(row.model_version, row.effective, row.at, row.reason) for row in two.platform.ledger.all(Promotion)]
    again = rollback(two.pipeline, two.platform, to=1, reason="second")
    assert not again.changed
    assert [(row.model_version, row.effective, row.at, row.reason) for row in two.platform.ledger.all(Promotion)] == before


def test_killed_before_the_alias_was_moved_the_same_call_finishes_it(two, monkeypatch):
    from mlprod_tasks.promotion import history

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(history, "move_aliases", die)
        with pytest.raises(KeyboardInterrupt):
            rollback(two.pipeline, two.platform, reason="why")
    assert (alias(two), len(two.platform.ledger.all(Promotion))) == (2, 3)
    done = rollback(two.pipeline, two.platform, reason="why")
    assert (done.model_version, alias(two), len(two.platform.ledger.all(Promotion))) == (1, 1, 3)


def test_back_and_forth_and_back_again(two):
    rollback(two.pipeline, two.platform)
    assert rollback(two.pipeline, two.platform, to=2).withdrawn == 1
    assert (alias(two), champions(two, "2024-02-14")) == (2, [2])
    assert rollback(two.pipeline, two.platform).model_version == 1
    assert champions(two, "2024-02-14") == [1]


def test_a_training_begun_before_the_rollback_does_not_undo_it(two):
    two.trained("three", "2024-02-13")
    verdict = gate(two.pipeline, "three", two.platform)
    rollback(two.pipeline, two.platform, reason="bad")
    outcome = promote(two.pipeline, register(two.pipeline, "three", two.platform), verdict, two.platform)
    assert not outcome.moved
    assert (
        "version 1 is champion from tick 2024-02-14 on (rolled back from version 2: bad): the alias stays" in outcome.sentence
    )
    assert (alias(two), two.platform.ledger.get(Training, "three").state) == (1, "superseded")


def test_nor_does_one_as_of_a_later_tick_than_the_rollbacks(two):
    two.trained("three", "2024-02-13")
    two.trained("four", "2024-02-14")  # as in a replay: the rollback counts from this very tick on
    verdicts = {name: gate(two.pipeline, name, two.platform) for name in ("three", "four")}
    rollback(two.pipeline, two.platform)
    outcome = promote(two.pipeline, register(two.pipeline, "four", two.platform), verdicts["four"], two.platform)
    assert not outcome.moved
    assert alias(two) == 1


def test_a_training_begun_after_the_rollback_takes_its_place_from_the_same_tick_on(two):
    rollback(two.pipeline, two.platform)
    # The same evening, as of today's tick, though the rollback counts from tomorrow's on.
    outcome = two.promoted("three", "2024-02-13")
    assert outcome.moved
    assert outcome.sentence == "version 3 of returns is champion from tick 2024-02-14 on"
    assert champions(two, "2024-02-13", "2024-02-14") == [2, 3]
    judged = TrainingFolder(two.platform, "three").read(Evaluation)
    assert judged.champion_version == 1  # not the version that was withdrawn
    assert two.promoted("three", "2024-02-13") == outcome
    assert two.promoted("four", "2024-02-14").moved
    assert rollback(two.pipeline, two.platform).model_version == 3
    assert rollback(two.pipeline, two.platform).model_version == 1  # version 2 was taken away before


def test_the_withdrawn_version_is_not_promoted_by_clearing_its_task(two):
    rollback(two.pipeline, two.platform)
    assert not two.promoted("two", "2024-02-12").moved
    assert alias(two) == 1


def test_a_version_that_passed_its_gates_but_came_too_late_can_be_named(two):
    late = two.promoted("late", "2024-02-11")
    assert not late.moved
    assert rollback(two.pipeline, two.platform, to=late.model_version).changed
    assert alias(two) == late.model_version == 3


def test_an_alias_that_somebody_moved_is_what_is_rolled_back(two):
    two.platform.registry.set_alias("returns", "champion", 1)
    with pytest.raises(CannotRollBack, match="version 1 is the first champion"):
        rollback(two.pipeline, two.platform)
    done = rollback(two.pipeline, two.platform, to=1, reason="as in the UI")
    assert (done.withdrawn, champions(two, "2024-02-14")) == (2, [1])


def test_without_a_champion_there_is_nothing_to_roll_back(shop):
    with pytest.raises(CannotRollBack, match="returns has no champion"):
        rollback(shop.pipeline, shop.platform)


def test_without_an_earlier_champion_or_a_known_version_it_is_said(promoted_shop):
    with pytest.raises(CannotRollBack, match="version 1 is the first champion, there is no earlier one"):
        rollback(promoted_shop.pipeline, promoted_shop.platform)
    with pytest.raises(CannotRollBack, match=r"version 7 was never champion .* Versions that were champion: 1"):
        rollback(promoted_shop.pipeline, promoted_shop.platform, to=7)


def test_a_version_with_broken_files_is_refused_and_the_champion_stays(two):
    two.platform.registry.client.set_model_version_tag("returns", "1", "mlprod.digest", "0" * 64)
    with pytest.raises(
        CannotRollBack, match="cannot be rolled back to version 1: the files of returns version 1 are not the registered ones"
    ):
        rollback(two.pipeline, two.platform)
    assert (alias(two), len(two.platform.ledger.all(Promotion))) == (2, 2)


def test_people_are_told_once_of_a_rollback(two, monkeypatch):
    sent = []
    monkeypatch.setattr(type(two.platform.mailer), "send", lambda _, letter: sent.append(letter))
    done = rollback(two.pipeline, two.platform, reason="bad scores")
    assert tell_rollback(two.pipeline, done, two.platform)
    assert not tell_rollback(two.pipeline, done, two.platform)
    assert not tell_rollback(two.pipeline, rollback(two.pipeline, two.platform, to=1), two.platform)
    (letter,) = sent
    assert letter.subject == "[returns] rolled back to version 1"
    assert "bad scores" in letter.text
    assert [mail.kind for mail in two.platform.ledger.all(Mail)] == ["rollback"]


def test_a_silent_mail_server_does_not_stop_a_rollback(two):
    done = rollback(two.pipeline, two.platform, reason="bad scores")  # nothing is configured to send mails with
    assert not tell_rollback(two.pipeline, done, two.platform)
    assert alias(two) == 1


@pytest.mark.parametrize(
    ("now", "scored", "expected"),
    [
        ("2024-03-05T02:59", None, "2024-03-05"),  # 03:59 in Zurich: today's tick is yet to come
        ("2024-03-05T03:00", None, "2024-03-06"),
        ("2023-12-01T12:00", None, "2024-01-01"),  # before the schedule starts
        ("2026-01-01T12:00", "2024-03-09", "2024-03-10"),  # history that has ended, replayed
        ("2026-01-01T12:00", None, "2024-04-01"),
    ],
)
def test_the_next_tick_is_the_first_that_is_still_due(now: str, scored: str | None, expected: str) -> None:
    schedule = ml.Schedule(at=time(4), timezone="Europe/Zurich", starts=date(2024, 1, 1), ends=date(2024, 4, 1))
    moment = datetime.fromisoformat(now).replace(tzinfo=UTC)
    assert str(next_tick(schedule, moment, date.fromisoformat(scored) if scored else None)) == expected


@pytest.mark.parametrize(
    ("versions", "alias_at", "expected"),
    [
        ((1, 2, 3), None, [1, 2, 3]),
        ((1, 2, 3, 2), None, [1, 2]),
        ((1, 2, 3, 2, 3), None, [1, 2, 3]),
        ((1, 2, 1, 4), None, [1, 4]),
        ((1, 2), 1, [1]),
        ((1, 2), 9, [1, 2, 9]),
        ((), 1, [1]),
    ],
)
def test_a_rollback_takes_away_what_stood_above(versions: tuple[int, ...], alias_at: int | None, expected: list[int]) -> None:
    known = [
        Promotion(pipeline="p", model_version=v, effective=date(2024, 1, 1), training_id="t", reason="", at=NOON)
        for v in versions
    ]
    assert champion_stack(known, alias_at) == expected
