"""A version rolled out step by step: promoted at the end, taken back where it is worse, never against a person's will."""

from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import delete

from mlprod_tasks import champion, rollout
from mlprod_tasks import declaration as ml
from mlprod_tasks.approve import NotApproved
from mlprod_tasks.gate import GatesRefused
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.ledger import Promotion, Rollout, RolloutCheck, Training
from mlprod_tasks.ramp.foreground import ramp
from mlprod_tasks.ramp.state import RampStopped, ramp_of, with_ramp
from mlprod_tasks.ramp.steps import (
    CannotRamp,
    NotChecked,
    Overtaken,
    begin,
    check,
    finish,
    look,
    take_back,
    take_back_abandoned,
    take_step,
)
from mlprod_tasks.register import ramp_wanted
from mlprod_tasks.rollback import rollback
from mlprod_tasks.rollout import CannotRollOut, roll_out
from tests.ramp.conftest import Ramped


def begun(shop: Ramped, share: float = 0.0, version: int = 3) -> None:
    begin(shop.pipeline, version, "Ada", "it is newer", shop.platform)
    if share:
        take_step(shop.pipeline, share, shop.platform)


def fails(_: dict[str, Any]) -> bool:
    return True


def test_a_good_version_goes_through_all_shares_and_becomes_champion(shop: Ramped) -> None:
    roll_out(shop.pipeline, shop.platform, mode="champion", by="Bo", reason="doubts", automation="band", band=(0.3, 0.6))
    begun(shop)
    assert (shop.rollout().mode, shop.rollout().challenger) == ("shadow", 3)
    for share in (0.2, 0.5, 1.0):
        take_step(shop.pipeline, share, shop.platform)
        assert (shop.rollout().mode, shop.rollout().share) == ("canary", share)
        assert check(shop.pipeline, shop.platform).verdict == "waiting"
        shop.answered(800)
        found = check(shop.pipeline, shop.platform)
        assert found.verdict == "passed", found.sentence
        assert ("steps before" in found.sentence) == (share == 1.0)
        assert {one.what for one in found.checks} == {"errors", "latency", "scores", "quality"}
    assert shop.champion() == 2
    assert finish(shop.pipeline, shop.platform).promoted
    assert (shop.champion(), shop.alias()) == (3, 3)
    training = shop.platform.ledger.get(Training, "three")
    assert training is not None
    assert (training.state, training.model_version) == ("promoted", 3)
    now = shop.rollout()
    assert (now.mode, now.challenger, now.automation, now.band_low, now.band_high) == ("champion", None, "band", 0.3, 0.6)
    kept = shop.platform.ledger.all(RolloutCheck, pipeline="returns")
    assert {(one.share, one.what) for one in kept} == {
        (share, what) for share in (0.2, 0.5, 1.0) for what in ("errors", "latency", "scores", "quality")
    }
    assert shop.mails() == []


def test_a_version_that_fails_is_found_before_the_hold_is_over_and_taken_back_with_one_mail(shop: Ramped) -> None:
    shop.pipeline = with_ramp(shop.pipeline, hold_minutes=59)
    begun(shop, 0.2)
    shop.answered(300, error=fails, route=lambda _: "fallback", model_version=lambda _: 2, fallback=fails)
    found = check(shop.pipeline, shop.platform)
    assert found.verdict == "failed"
    assert "version 3 did not answer" in found.sentence.lower()
    done = take_back(shop.pipeline, "rule ramp", "a check failed", shop.platform, (("Run", "http://airflow.example"),))
    assert (done.changed, done.told, done.model_version) == (True, True, 3)
    assert (shop.rollout().mode, shop.champion(), shop.alias()) == ("champion", 2, 2)
    again = take_back(shop.pipeline, "rule ramp", "a check failed", shop.platform)
    assert (again.changed, again.told) == (False, False)
    (mail,) = shop.mails()
    assert mail.startswith("[returns] version 3 was taken back at 20% of entities\n")
    for told in (
        "a check failed",
        "surely more than 1 percentage point above",
        "FAILED",
        "http://airflow.example",
        "version 2",
    ):
        assert told in mail


@pytest.mark.parametrize(
    ("what", "worse"),
    [
        ("scores", {"score": lambda values: min(1.0, values["score"] + 0.3)}),
        ("latency", {"milliseconds": lambda values: 20 * values["milliseconds"]}),
    ],
)
def test_a_version_that_is_worse_otherwise_fails_by_that_check(shop: Ramped, what: str, worse: dict[str, Any]) -> None:
    begun(shop, 0.2)
    shop.answered(3000, **worse)
    found = check(shop.pipeline, shop.platform)
    assert found.verdict == "failed"
    assert [one.what for one in found.checks if one.passed is False] == [what]


def test_outcomes_that_have_arrived_judge_the_quality(shop: Ramped) -> None:
    day = date(2024, 2, 10)
    table = shop.platform.lake.table("returns/raw/orders").to_pyarrow_table(filters=[("tick", "=", day)])
    keys = table["order_id"].to_pylist()
    outcomes = shop.platform.lake.table("returns/raw/returns").to_pyarrow_table().to_pylist()
    came_back = {row["order_id"]: row["returned"] for row in outcomes}
    shop.pipeline = with_ramp(shop.pipeline, rows=40)
    begun(shop, 0.5)
    assert check_of(shop, "quality") is None
    shop.answered(len(keys), keys, day, score=lambda values: 0.0 if came_back.get(values["key"]) else 1.0)
    found = check_of(shop, "quality")
    assert found is not None
    assert found.passed is False
    mine = [key for key in keys if key in came_back]
    assert 0.9 < (found.challenger_value or 0) <= 1.0, "each of its scores lies 1 away from the outcome"
    assert found.champion_rows + found.challenger_rows == len(keys) > len(mine)


def check_of(shop: Ramped, what: str) -> RolloutCheck | None:
    return next((one for one in check(shop.pipeline, shop.platform).checks if one.what == what), None)


def test_a_challenger_that_answers_too_few_rows_in_time_fails(shop: Ramped) -> None:
    declared = with_ramp(shop.pipeline).serving
    assert declared is not None
    assert declared.ramp is not None
    begun(shop, 0.2)
    shop.answered(20)
    assert check(shop.pipeline, shop.platform).verdict == "waiting"
    shop.pipeline = replace(shop.pipeline, serving=replace(declared, ramp=replace(declared.ramp, at_most=timedelta(0))))
    found = check(shop.pipeline, shop.platform)
    assert found.verdict == "failed"
    assert "and 100 are needed" in found.sentence


def test_rows_of_before_the_step_and_of_other_versions_do_not_count(shop: Ramped) -> None:
    begun(shop, 0.5)
    shop.answered(400, error=fails)
    take_step(shop.pipeline, 1.0, shop.platform)
    shop.answered(200, model_version=lambda _: 1)
    assert "0 of 100 rows" in check(shop.pipeline, shop.platform).sentence
    shop.answered(200)
    assert check(shop.pipeline, shop.platform).verdict == "passed"


def test_each_step_taken_or_checked_again_changes_nothing(shop: Ramped) -> None:
    begun(shop)
    before = shop.rollout().at
    begun(shop)
    assert shop.rollout().at == before
    take_step(shop.pipeline, 0.5, shop.platform)
    before = shop.rollout().at
    assert take_step(shop.pipeline, 0.5, shop.platform).step_at == before
    assert take_step(shop.pipeline, 0.2, shop.platform).share == 0.5, "never back to fewer"
    shop.answered(300)
    check(shop.pipeline, shop.platform)
    check(shop.pipeline, shop.platform)
    assert len(shop.platform.ledger.all(RolloutCheck, pipeline="returns")) == 4
    look(shop.pipeline, shop.platform)
    take_step(shop.pipeline, 1.0, shop.platform)
    shop.answered(300)
    check(shop.pipeline, shop.platform)
    finish(shop.pipeline, shop.platform)
    with pytest.raises(RampStopped):
        finish(shop.pipeline, shop.platform)
    assert len(champion.promotions(shop.pipeline, shop.platform)) == 3


@pytest.mark.parametrize("mode", ["champion", "blue-green", "canary"])
def test_what_a_person_sets_by_hand_ends_the_ramp_and_is_left_alone(shop: Ramped, mode: str) -> None:
    begun(shop, 0.5)
    shop.answered(300)
    given = {"challenger": 3, "share": 0.1 if mode == "canary" else 0.0} if mode != "champion" else {}
    by_hand = roll_out(shop.pipeline, shop.platform, mode=mode, by="Bo", reason="I know better", **given)
    for step in (check, look, finish):
        with pytest.raises(RampStopped, match="as Bo wanted it"):
            step(shop.pipeline, shop.platform)
    with pytest.raises(RampStopped):
        take_step(shop.pipeline, 1.0, shop.platform)
    assert not take_back(shop.pipeline, "rule ramp", "stopped", shop.platform).changed
    assert shop.rollout().at == by_hand.at
    assert (shop.champion(), shop.mails()) == (2, [])


def test_a_person_who_is_faster_than_a_step_that_has_begun_is_not_overruled(
    shop: Ramped, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlprod_tasks.ramp import steps

    begun(shop, 0.2)
    read = steps.in_force

    def meanwhile(*args: Any) -> Any:
        found = read(*args)
        roll_out(shop.pipeline, shop.platform, mode="champion", by="Bo", reason="now")
        return found

    monkeypatch.setattr(steps, "in_force", meanwhile)
    with pytest.raises(RampStopped):
        take_step(shop.pipeline, 0.5, shop.platform)
    assert (shop.rollout().mode, shop.rollout().by) == ("champion", "Bo")


def test_a_run_for_one_version_does_not_go_on_with_the_ramp_of_another(shop: Ramped) -> None:
    begun(shop, 0.2)
    take_back(shop.pipeline, "Ada", "another first", shop.platform)
    begun(shop, version=1)
    with pytest.raises(RampStopped, match="version 1 is being rolled out by now"):
        take_step(shop.pipeline, 0.5, shop.platform, challenger=3)
    assert not take_back(shop.pipeline, "rule ramp", "stopped", shop.platform, challenger=3).changed
    assert (shop.rollout().mode, shop.rollout().challenger) == ("shadow", 1)


def test_nothing_is_promoted_before_the_last_step_passed(shop: Ramped) -> None:
    begun(shop, 0.5)
    with pytest.raises(NotChecked):
        finish(shop.pipeline, shop.platform)
    take_step(shop.pipeline, 1.0, shop.platform)
    with pytest.raises(NotChecked):
        finish(shop.pipeline, shop.platform)
    shop.answered(300, error=fails)
    assert check(shop.pipeline, shop.platform).verdict == "failed"
    with pytest.raises(NotChecked):
        finish(shop.pipeline, shop.platform)
    assert shop.champion() == 2


def test_a_challenger_that_became_champion_meanwhile_is_done(shop: Ramped) -> None:
    begun(shop, 0.2)
    rollback(shop.pipeline, shop.platform, to=3, by="Bo", tell=False)
    assert take_step(shop.pipeline, 0.5, shop.platform).done
    assert check(shop.pipeline, shop.platform).verdict == "passed"
    assert finish(shop.pipeline, shop.platform).promoted
    assert (shop.rollout().mode, shop.champion()) == ("champion", 3)


def test_killed_between_the_promotion_and_the_rollout_finish_goes_on(shop: Ramped, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlprod_tasks.ramp import steps

    begun(shop, 1.0)
    shop.answered(300)
    check(shop.pipeline, shop.platform)

    def killed(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(steps, "roll_out", killed)
        with pytest.raises(KeyboardInterrupt):
            finish(shop.pipeline, shop.platform)
    assert (shop.champion(), shop.rollout().mode) == (3, "canary")
    # Neither does what ends every run take a champion back.
    assert not take_back(shop.pipeline, "rule ramp", "killed", shop.platform).changed
    assert (shop.champion(), shop.rollout().mode, shop.mails()) == (3, "champion", [])


def test_a_version_that_was_champion_before_is_brought_back(shop: Ramped) -> None:
    begun(shop, 1.0, version=1)
    shop.answered(300)
    check(shop.pipeline, shop.platform)
    assert finish(shop.pipeline, shop.platform).promoted
    assert (shop.champion(), shop.alias()) == (1, 1)
    last = champion.promotions(shop.pipeline, shop.platform)[-1]
    assert (last.rolled_back_from, last.reason) == (2, "rolled back from version 2: rolled out share by share: it is newer")


def test_a_version_that_is_overtaken_meanwhile_is_taken_back_and_told(shop: Ramped) -> None:
    begun(shop, 1.0)
    shop.answered(300)
    check(shop.pipeline, shop.platform)
    rollback(shop.pipeline, shop.platform, to=1, by="Bo", tell=False)
    done = finish(shop.pipeline, shop.platform)
    assert not done.promoted
    assert (shop.rollout().mode, shop.champion()) == ("champion", 1)
    (mail,) = shop.mails()
    assert "the alias stays where it is" in mail


def test_what_may_not_become_champion_is_not_rolled_out(shop: Ramped) -> None:
    with pytest.raises(CannotRollOut, match="champion already"):
        begun(shop, version=2)
    with pytest.raises(CannotRollOut):
        begun(shop, version=9)
    with pytest.raises(CannotRamp, match="who"):
        begin(shop.pipeline, 3, " ", "", shop.platform)
    strict = replace(shop.pipeline, gates=(ml.AtLeast("roc_auc", 0.99),))
    with pytest.raises(GatesRefused):
        begin(strict, 3, "Ada", "", shop.platform)
    asked = replace(shop.pipeline, approval=ml.Approval(wait=ml.hours(1)))
    with pytest.raises(NotApproved):
        begin(asked, 3, "Ada", "", shop.platform)
    rollback(shop.pipeline, shop.platform, to=1, by="Bo", tell=False)
    with pytest.raises(CannotRollOut, match="would not be promoted"):
        begun(shop)
    assert shop.platform.ledger.all(Promotion)[-1].model_version != 3
    begun(shop, version=2)
    with pytest.raises(CannotRamp, match="put the champion back first"):
        begun(shop, version=3)


def test_a_mail_that_could_not_be_sent_is_sent_when_it_is_tried_again(shop: Ramped, monkeypatch: pytest.MonkeyPatch) -> None:
    begun(shop, 0.2)

    def down(*_: Any) -> None:
        raise OSError("the mail server is down")

    with monkeypatch.context() as patched:
        patched.setattr(type(shop.platform.mailer), "send", down)
        with pytest.raises(OSError, match="down"):
            take_back(shop.pipeline, "Ada", "no more", shop.platform)
    assert shop.rollout().mode == "champion", "that comes first"
    assert take_back(shop.pipeline, "rule ramp", "again", shop.platform).told
    (mail,) = shop.mails()
    assert "by Ada: version 3 at 20% of entities, no more" in mail


def test_a_new_version_is_rolled_out_unless_it_is_the_first_or_was_overtaken_or_no_ramp_is_declared(shop: Ramped) -> None:
    assert ramp_wanted(shop.pipeline, 3, shop.platform)
    assert not ramp_wanted(shop.pipeline, 2, shop.platform), "champion already"
    assert not ramp_wanted(replace(shop.pipeline, serving=ml.Serving()), 3, shop.platform)
    assert not ramp_wanted(replace(shop.pipeline, serving=None), 3, shop.platform)
    rollback(shop.pipeline, shop.platform, to=1, by="Bo", tell=False)
    assert not ramp_wanted(shop.pipeline, 3, shop.platform), "it was judged against what was withdrawn"
    with shop.platform.ledger.session() as session:
        session.execute(delete(Promotion))
    assert not ramp_wanted(shop.pipeline, 3, shop.platform), "there is no champion to compare it with"


def test_a_run_may_be_held_as_long_as_a_step_may_take_and_no_shorter_than_nothing(shop: Ramped) -> None:
    asked = ramp_of(with_ramp(shop.pipeline, hold_minutes=50, rows=7))
    assert (asked.hold, asked.at_most, asked.rows) == (timedelta(minutes=50), timedelta(hours=1), 7)
    with pytest.raises(ValueError, match="Declare a longer `at_most`"):
        with_ramp(shop.pipeline, hold_minutes=60)
    assert ramp_of(with_ramp(shop.pipeline)) == ramp_of(shop.pipeline)
    for wrong in ({"hold_minutes": -1.0}, {"rows": 0}):
        with pytest.raises(ValueError, match="returns"):
            with_ramp(shop.pipeline, **wrong)


def test_of_two_that_begin_at_once_one_goes_on(shop: Ramped, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlprod_tasks.ramp import steps

    roll_out(shop.pipeline, shop.platform, mode="champion", by="Bo", reason="")
    write = steps._write

    def second(*args: Any, **changed: Any) -> None:
        monkeypatch.setattr(steps, "_write", write)
        begun(shop, version=1)
        write(*args, **changed)

    monkeypatch.setattr(steps, "_write", second)
    with pytest.raises(RampStopped):
        begun(shop)
    assert (shop.rollout().mode, shop.rollout().challenger) == ("shadow", 1)


def test_a_rollout_of_a_machine_whose_clock_is_behind_holds_all_the_same(shop: Ramped) -> None:
    begun(shop, 0.2)
    behind = Platform(shop.platform.settings, clock=Behind())
    made = roll_out(shop.pipeline, behind, mode="champion", by="Bo", reason="")
    assert shop.rollout().at == made.at
    assert shop.rollout().by == "Bo"


class Behind:
    """A clock that is a day late."""

    def now(self) -> datetime:
        return datetime.now(UTC) - timedelta(days=1)


def test_in_the_foreground_it_goes_to_the_end(shop: Ramped) -> None:
    said = list(ramp(shop.pipeline, 3, "Ada", "why not", shop.platform, wait=lambda _: shop.answered(400)))
    assert shop.champion() == 3
    assert said[-1] == "version 3 of returns is champion: why not"


@pytest.mark.parametrize("ending", [KeyboardInterrupt, SystemExit, OSError])
def test_in_the_foreground_whatever_ends_it_takes_the_challenger_back(shop: Ramped, ending: type[BaseException]) -> None:
    def ends(_: float) -> None:
        raise ending("the disk is full")

    with pytest.raises(ending):
        list(ramp(shop.pipeline, 3, "Ada", "", shop.platform, wait=ends))
    assert shop.rollout().mode == "champion"
    (mail,) = shop.mails()
    assert ("the disk is full" in mail) == (ending is OSError)


def test_in_the_foreground_a_worse_version_is_taken_back(shop: Ramped) -> None:
    said = list(ramp(shop.pipeline, 3, "Ada", "", shop.platform, wait=lambda _: shop.answered(400, error=fails)))
    assert "FAIL  errors" in said[-2]
    assert said[-1].startswith("returns: taken back: version 3 at 20% of entities")
    assert (shop.champion(), len(shop.mails())) == (2, 1)


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
    known = len(champion.promotions(shop.pipeline, shop.platform))
    assert finish(shop.pipeline, shop.platform).promoted
    assert (shop.alias(), shop.rollout().mode) == (version, "champion")
    assert len(champion.promotions(shop.pipeline, shop.platform)) == known == 3, "promoted once"


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
    later = Later(timedelta(minutes=119))
    assert not take_back_abandoned(shop.pipeline, Platform(shop.platform.settings, clock=later)).changed
    assert shop.rollout().mode == "canary"
    later.by = timedelta(minutes=121)
    done = take_back_abandoned(shop.pipeline, Platform(shop.platform.settings, clock=later))
    assert done.changed
    assert (shop.rollout().mode, shop.champion()) == ("champion", 2)
    (mail,) = shop.mails()
    assert "nobody has gone on with its rollout since" in mail
    assert not take_back_abandoned(shop.pipeline, Platform(shop.platform.settings, clock=later)).changed


def test_a_ramp_that_was_checked_of_late_is_not_abandoned(shop: Ramped) -> None:
    begun(shop, 0.5)
    shop.answered(300)
    later = Platform(shop.platform.settings, clock=Later(timedelta(minutes=60)))
    assert check(shop.pipeline, later).verdict == "passed"
    later = Platform(shop.platform.settings, clock=Later(timedelta(minutes=150)))
    assert not take_back_abandoned(shop.pipeline, later).changed


@dataclass
class Later:
    """A clock that is ahead."""

    by: timedelta

    def now(self) -> datetime:
        return datetime.now(UTC) + self.by


def test_a_version_that_is_overtaken_answers_no_larger_share(shop: Ramped) -> None:
    begun(shop, 0.2)
    shop.answered(800)
    rollback(shop.pipeline, shop.platform, to=1, by="Bo", tell=False)
    with pytest.raises(Overtaken, match="version 1 is champion"):
        take_step(shop.pipeline, 0.5, shop.platform)
    assert shop.rollout().share == 0.2
    found = check(shop.pipeline, shop.platform)
    assert found.verdict == "failed"
    assert "version 1 is champion" in found.sentence
    take_back(shop.pipeline, "rule ramp", "it stopped", shop.platform)
    (mail,) = shop.mails()
    assert "so it would not be promoted" in mail


def test_in_the_foreground_a_version_that_is_overtaken_is_taken_back(shop: Ramped) -> None:
    def overtakes(_: float) -> None:
        if shop.champion() == 2:
            rollback(shop.pipeline, shop.platform, to=1, by="Bo", tell=False)

    said = list(ramp(shop.pipeline, 3, "Ada", "", shop.platform, wait=overtakes))
    assert "so it would not be promoted" in said[-2]
    assert (shop.rollout().mode, shop.champion(), len(shop.mails())) == ("champion", 1, 1)


def test_a_step_that_failed_once_does_not_pass_with_later_rows(shop: Ramped) -> None:
    begun(shop, 0.2)
    shop.answered(300, error=fails)
    assert check(shop.pipeline, shop.platform).verdict == "failed"
    shop.answered(60_000)
    assert check(shop.pipeline, shop.platform).verdict == "failed"


def test_in_the_foreground_what_looked_bad_for_a_moment_goes_no_further_before_it_has_passed(
    shop: Ramped, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlprod_tasks.ramp import steps

    looks, judged = iter(["failed", "waiting", "failed"]), steps.look

    def flapping(*args: Any, **named: Any) -> Any:
        found = judged(*args, **named)
        verdict = next(looks, "failed")
        return replace(found, verdict=verdict) if not (verdict == "failed" and not found.checks) else found

    monkeypatch.setattr(steps, "look", flapping)
    list(ramp(shop.pipeline, 3, "Ada", "", shop.platform, wait=lambda _: shop.answered(20)))
    shares = {one.share for one in shop.platform.ledger.all(Rollout, pipeline="returns")}
    assert shares == {0.0, 0.2}


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
    later = Platform(shop.platform.settings, clock=Later(timedelta(hours=1)))
    found = check(shop.pipeline, later)
    assert (found.verdict, [one.passed for one in found.checks if one.what == "latency"]) == ("passed", [True])
    assert "steps before" in found.sentence


def keys_of(shop: Ramped, route: str, n: int) -> list[str]:
    """Entities that one of the two answers now."""
    keys = (f"k-{i}" for i in range(100 * n))
    mine = (key for key in keys if rollout.answers(shop.rollout(), "returns", key) == route)
    return [next(mine) for _ in range(n)]


def test_a_slow_version_is_found_though_the_champion_answers_only_some_hundred_rows(shop: Ramped) -> None:
    begun(shop, 0.5)
    shop.answered(600, milliseconds=lambda values: 20 * values["milliseconds"])
    found = check(shop.pipeline, shop.platform)
    assert found.verdict == "failed"
    assert [one.what for one in found.checks if one.passed is False] == ["latency"]


def test_files_of_long_ago_are_not_read_though_they_are_of_the_same_day_as_asked(shop: Ramped) -> None:
    from mlprod_tasks.collect import collect
    from mlprod_tasks.ramp.rows import _files

    begun(shop, 0.5)
    shop.answered(50, tick=date(2024, 2, 10))
    collect(shop.pipeline, shop.platform)
    since = shop.platform.clock.now()
    shop.answered(50, tick=date(2024, 2, 9))  # asked as of an earlier day, but answered later
    collect(shop.pipeline, shop.platform)
    ticks = [file.split("tick=")[1][:10] for file in _files("returns/requests", since, shop.platform)]
    assert ticks == ["2024-02-09"]
    assert len(_files("returns/requests", since - timedelta(hours=1), shop.platform)) == 2


def test_in_the_foreground_a_ledger_that_was_down_for_a_moment_does_not_leave_the_challenger(
    shop: Ramped, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlprod_tasks.ramp import steps

    read, waits = steps.ramping, []

    def wait(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 1:
            monkeypatch.setattr(steps, "ramping", down)
            raise OSError("the ledger is down")
        if len(waits) == 4:
            monkeypatch.setattr(steps, "ramping", read)

    with pytest.raises(OSError, match="the ledger is down"):
        list(ramp(shop.pipeline, 3, "Ada", "", shop.platform, wait=wait))
    assert (shop.rollout().mode, len(shop.mails())) == ("champion", 1)
    assert waits[1:] == [1.0, 2.0, 5.0]


def test_in_the_foreground_it_is_taken_back_also_where_nobody_listens_after_its_beginning(shop: Ramped) -> None:
    said = ramp(shop.pipeline, 3, "Ada", "", shop.platform)
    next(said)
    assert shop.rollout().mode == "shadow"
    said.close()
    assert shop.rollout().mode == "champion"


def test_a_ramp_that_is_refused_in_the_foreground_takes_back_no_other(shop: Ramped) -> None:
    begun(shop, 0.2)
    with pytest.raises(CannotRamp):
        list(ramp(shop.pipeline, 3, " ", "", shop.platform))
    assert shop.rollout().mode == "canary"
