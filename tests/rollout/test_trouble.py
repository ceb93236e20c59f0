"""A ramp in trouble: the registry is down, its driver is gone, it is overtaken, rows are few; and what its training says."""

from datetime import date, timedelta
from typing import Any

import pytest

from mlprod_tasks.monitoring.decide import _is_under_way
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.ledger import Training
from mlprod_tasks.promotion import history
from mlprod_tasks.promotion.rollback import rollback
from mlprod_tasks.rollout import routing
from mlprod_tasks.rollout.routing import roll_out
from mlprod_tasks.rollout.steps import Overtaken, check, take_step
from mlprod_tasks.steps import finish, take_back, take_back_abandoned
from tests.support.clock import ahead
from tests.support.ramped_shop import Ramped, begun, fails


def at_the_end(shop: Ramped) -> None:
    """A ramp whose last step has passed, so that it may finish."""
    begun(shop, 0.5)
    shop.answered(300)
    take_step(shop.pipeline, 1.0, shop.platform)
    shop.answered(300)
    assert check(shop.pipeline, shop.platform).verdict == "passed"


def down(*_: Any, **__: Any) -> None:
    raise OSError("it is down")


@pytest.mark.parametrize("version", [3, 1])
def test_where_the_registry_is_down_when_it_is_promoted_finish_moves_the_alias_later(
    shop: Ramped, monkeypatch: pytest.MonkeyPatch, version: int
) -> None:
    begun(shop, 1.0, version)
    shop.answered(300)
    check(shop.pipeline, shop.platform)
    for _ in range(2):
        with monkeypatch.context() as patched:
            patched.setattr(type(shop.platform.registry), "set_alias", down)
            with pytest.raises(OSError, match="down"):
                finish(shop.pipeline, shop.platform)
        assert (shop.champion(), shop.alias()) == (version, 2), "and a second try is no success either"
    known = len(history.promotions(shop.pipeline, shop.platform))
    assert finish(shop.pipeline, shop.platform).promoted
    assert (shop.alias(), shop.rollout().mode) == (version, "champion")
    assert len(history.promotions(shop.pipeline, shop.platform)) == known == 3, "promoted once"


def test_what_ends_a_run_moves_the_alias_that_a_promotion_has_left(shop: Ramped, monkeypatch: pytest.MonkeyPatch) -> None:
    at_the_end(shop)
    with monkeypatch.context() as patched:
        patched.setattr(type(shop.platform.registry), "set_alias", down)
        with pytest.raises(OSError, match="down"):
            finish(shop.pipeline, shop.platform)
    assert not take_back(shop.pipeline, "rule ramp", "stopped", shop.platform, challenger=3).changed
    assert (shop.alias(), shop.champion(), state(shop), shop.mails()) == (3, 3, "promoted", [])


def state(shop: Ramped, training: str = "three") -> str:
    found = shop.platform.ledger.get(Training, training)
    assert found is not None
    return found.state


def test_the_training_says_how_far_its_version_has_come(shop: Ramped) -> None:
    begun(shop)
    assert state(shop) == "rolling out"
    take_back(shop.pipeline, "Ada", "no more", shop.platform)
    assert state(shop) == "taken back"
    at_the_end(shop)
    assert state(shop) == "rolling out"
    finish(shop.pipeline, shop.platform)
    assert state(shop) == "promoted"
    begun(shop, version=1)
    take_back(shop.pipeline, "Ada", "no more", shop.platform)
    assert state(shop) == "promoted"
    assert all(one.state != "taken back" for one in shop.platform.ledger.all(Training, model_version=1)), "it was champion"


def test_a_version_that_is_rolled_out_for_days_is_under_way_and_one_that_was_taken_back_is_not(shop: Ramped) -> None:
    begun(shop)
    training = shop.platform.ledger.get(Training, "three")
    assert training is not None
    in_a_week = training.at + timedelta(days=7)
    assert _is_under_way(training, in_a_week)
    take_back(shop.pipeline, "Ada", "no more", shop.platform)
    training = shop.platform.ledger.get(Training, "three")
    assert training is not None
    assert not _is_under_way(training, training.at)


def test_a_training_whose_ramp_a_person_ended_is_not_under_way_for_ever(shop: Ramped) -> None:
    for ended in (
        lambda: take_back(shop.pipeline, "rule ramp", "stopped", shop.platform, challenger=3),
        lambda: take_back_abandoned(shop.pipeline, shop.platform),
    ):
        begun(shop, 0.2)
        roll_out(shop.pipeline, shop.platform, mode="champion", by="Bo", reason="not today")
        assert state(shop) == "rolling out"
        ended()
        assert state(shop) == "taken back"
    assert shop.mails() == []


def test_a_ramp_that_nobody_goes_on_with_is_taken_back_an_hour_after_a_step_may_last(shop: Ramped) -> None:
    assert not take_back_abandoned(shop.pipeline, shop.platform).changed
    begun(shop, 0.5)
    later = ahead(timedelta(minutes=119))
    assert not take_back_abandoned(shop.pipeline, Platform(shop.platform.settings, clock=later)).changed
    assert shop.rollout().mode == "canary"
    later.at += timedelta(minutes=2)
    done = take_back_abandoned(shop.pipeline, Platform(shop.platform.settings, clock=later))
    assert done.changed
    assert (shop.rollout().mode, shop.champion()) == ("champion", 2)
    (mail,) = shop.mails()
    assert "its rollout was abandoned: no step or check since" in mail
    assert not take_back_abandoned(shop.pipeline, Platform(shop.platform.settings, clock=later)).changed


def test_a_ramp_that_was_checked_of_late_is_not_abandoned(shop: Ramped) -> None:
    begun(shop, 0.5)
    shop.answered(300)
    later = Platform(shop.platform.settings, clock=ahead(timedelta(minutes=60)))
    assert check(shop.pipeline, later).verdict == "passed"
    later = Platform(shop.platform.settings, clock=ahead(timedelta(minutes=150)))
    assert not take_back_abandoned(shop.pipeline, later).changed


def test_a_version_that_is_overtaken_answers_no_larger_share(shop: Ramped) -> None:
    begun(shop, 0.2)
    shop.answered(800)
    rollback(shop.pipeline, shop.platform, to=1, by="Bo")
    with pytest.raises(Overtaken, match="version 1 is champion"):
        take_step(shop.pipeline, 0.5, shop.platform)
    assert shop.rollout().share == 0.2
    found = check(shop.pipeline, shop.platform)
    assert found.verdict == "failed"
    assert "version 1 is champion" in found.sentence
    take_back(shop.pipeline, "rule ramp", "it stopped", shop.platform)
    (mail,) = shop.mails()
    assert "so it would not be promoted" in mail


def test_a_step_that_failed_once_does_not_pass_with_later_rows(shop: Ramped) -> None:
    begun(shop, 0.2)
    shop.answered(300, error=fails)
    assert check(shop.pipeline, shop.platform).verdict == "failed"
    shop.answered(60_000)
    assert check(shop.pipeline, shop.platform).verdict == "failed"


def test_while_the_champion_has_too_few_rows_to_judge_by_a_step_is_not_over(shop: Ramped) -> None:
    begun(shop, 0.2)
    shop.answered(600)
    assert check(shop.pipeline, shop.platform).verdict == "passed"
    take_step(shop.pipeline, 0.5, shop.platform)
    mine = keys_of(shop, "challenger", 300)
    shop.answered(300, mine)
    found = check(shop.pipeline, shop.platform)
    assert found.verdict == "waiting"
    assert "the champion's 0 are too few" in found.sentence
    # In the end, what it answered in the step before counts, too.
    later = Platform(shop.platform.settings, clock=ahead(timedelta(hours=1)))
    found = check(shop.pipeline, later)
    assert (found.verdict, [one.passed for one in found.checks if one.what == "latency"]) == ("passed", [True])
    assert "steps before" in found.sentence


def keys_of(shop: Ramped, route: str, n: int) -> list[str]:
    """Entities that one of the two answers now."""
    keys = (f"k-{i}" for i in range(100 * n))
    mine = (key for key in keys if routing.answers(routing.routing(shop.rollout()), "returns", key) == route)
    return [next(mine) for _ in range(n)]


def test_a_slow_version_is_found_though_the_champion_answers_only_some_hundred_rows(shop: Ramped) -> None:
    begun(shop, 0.5)
    shop.answered(600, milliseconds=lambda values: 20 * values["milliseconds"])
    found = check(shop.pipeline, shop.platform)
    assert found.verdict == "failed"
    assert [one.what for one in found.checks if one.passed is False] == ["latency"]


def test_files_of_long_ago_are_not_read_though_they_are_of_the_same_day_as_asked(shop: Ramped) -> None:
    from mlprod_tasks.rollout.rows import _files
    from mlprod_tasks.scoring.collect import collect

    begun(shop, 0.5)
    shop.answered(50, tick=date(2024, 2, 10))
    collect(shop.pipeline, shop.platform)
    since = shop.platform.clock.now() + timedelta(minutes=1)
    shop.platform = Platform(shop.platform.settings, clock=ahead(timedelta(minutes=2)))
    shop.answered(50, tick=date(2024, 2, 9))  # asked as of an earlier day, but answered later
    collect(shop.pipeline, shop.platform)
    ticks = [file.split("tick=")[1][:10] for file in _files("returns/requests", since, shop.platform)]
    assert ticks == ["2024-02-09"]
    assert len(_files("returns/requests", since - timedelta(hours=1), shop.platform)) == 2
