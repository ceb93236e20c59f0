"""A version rolled out step by step: promoted at the end, taken back where it is worse, never against a person's will."""

from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import pytest
from sqlalchemy import delete

from mlprod_tasks import declaration as ml
from mlprod_tasks.evaluation.gate import GatesRefused
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.ledger import Promotion, PromotionKind, RolloutCheck, Training
from mlprod_tasks.promotion import history
from mlprod_tasks.promotion.approve import NotApproved
from mlprod_tasks.promotion.register import ramp_wanted
from mlprod_tasks.promotion.rollback import rollback
from mlprod_tasks.rollout.routing import CannotRollOut, roll_out
from mlprod_tasks.rollout.state import RampStopped, ramp_of, ramping, with_ramp
from mlprod_tasks.rollout.steps import CannotRamp, NotChecked, begin, check, look, take_step
from mlprod_tasks.steps import finish, take_back
from tests.support.clock import ahead
from tests.support.ramped_shop import Ramped, begun, fails


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
    (made,) = shop.platform.ledger.all(Promotion, model_version=3)
    assert made.kind is PromotionKind.ROLLOUT
    now = shop.rollout()
    assert (now.mode, now.challenger, now.automation, now.band_low, now.band_high) == ("champion", None, "band", 0.3, 0.6)
    kept = shop.platform.ledger.all(RolloutCheck, pipeline="returns")
    assert {(one.share, one.what) for one in kept} == {
        (share, what) for share in (0.2, 0.5, 1.0) for what in ("errors", "latency", "scores", "quality")
    }
    assert shop.mails() == []


def test_a_person_who_writes_as_a_ramp_does_is_taken_for_none(shop: Ramped) -> None:
    by_hand = {"mode": "shadow", "by": "ramp for Ada", "reason": "taken back: version 3", "challenger": 3}
    roll_out(shop.pipeline, shop.platform, **by_hand)
    assert ramping(shop.pipeline, shop.platform) is None
    assert not take_back(shop.pipeline, "rule ramp", "stopped", shop.platform, challenger=3).told
    assert shop.rollout().mode == "shadow"
    roll_out(shop.pipeline, shop.platform, **(by_hand | {"mode": "champion", "challenger": None}))
    assert not take_back(shop.pipeline, "rule ramp", "stopped", shop.platform, challenger=3).told
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
        "significantly more than 1 percentage point above",
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
    table = shop.platform.lake.rows("returns/raw/orders", [day])
    keys = table["order_id"].to_pylist()
    outcomes = shop.platform.lake.rows("returns/raw/returns").to_pylist()
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
    assert len(history.promotions(shop.pipeline, shop.platform)) == 3


@pytest.mark.parametrize("mode", ["champion", "blue-green", "canary"])
def test_what_a_person_sets_by_hand_ends_the_ramp_and_is_left_alone(shop: Ramped, mode: str) -> None:
    begun(shop, 0.5)
    shop.answered(300)
    given = {"challenger": 3, "share": 0.1 if mode == "canary" else 0.0} if mode != "champion" else {}
    by_hand = roll_out(shop.pipeline, shop.platform, mode=mode, by="Bo", reason="I know better", **given)
    for step in (check, look, finish):
        with pytest.raises(RampStopped, match="Bo set mode"):
            step(shop.pipeline, shop.platform)
    with pytest.raises(RampStopped):
        take_step(shop.pipeline, 1.0, shop.platform)
    assert not take_back(shop.pipeline, "rule ramp", "stopped", shop.platform).changed
    assert shop.rollout().at == by_hand.at
    assert (shop.champion(), shop.mails()) == (2, [])


def test_a_person_who_is_faster_than_a_step_that_has_begun_is_not_overruled(
    shop: Ramped, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlprod_tasks.rollout import steps

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
    with pytest.raises(RampStopped, match="version 1 is being rolled out now"):
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
    rollback(shop.pipeline, shop.platform, to=3, by="Bo")
    assert take_step(shop.pipeline, 0.5, shop.platform).done
    assert check(shop.pipeline, shop.platform).verdict == "passed"
    assert finish(shop.pipeline, shop.platform).promoted
    assert (shop.rollout().mode, shop.champion()) == ("champion", 3)


def test_killed_between_the_promotion_and_the_rollout_finish_goes_on(shop: Ramped, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlprod_tasks.rollout import steps

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
    last = history.promotions(shop.pipeline, shop.platform)[-1]
    assert (last.rolled_back_from, last.reason) == (2, "rolled back from version 2: rolled out share by share: it is newer")


def test_a_version_that_is_overtaken_meanwhile_is_taken_back_and_told(shop: Ramped) -> None:
    begun(shop, 1.0)
    shop.answered(300)
    check(shop.pipeline, shop.platform)
    rollback(shop.pipeline, shop.platform, to=1, by="Bo")
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
    rollback(shop.pipeline, shop.platform, to=1, by="Bo")
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
    assert "it was taken back: version 3 at 20% of entities, no more (Ada)." in mail


def test_a_new_version_is_rolled_out_unless_it_is_the_first_or_was_overtaken_or_no_ramp_is_declared(shop: Ramped) -> None:
    assert ramp_wanted(shop.pipeline, 3, shop.platform)
    assert not ramp_wanted(shop.pipeline, 2, shop.platform), "champion already"
    assert not ramp_wanted(replace(shop.pipeline, serving=ml.Serving()), 3, shop.platform)
    assert not ramp_wanted(replace(shop.pipeline, serving=None), 3, shop.platform)
    rollback(shop.pipeline, shop.platform, to=1, by="Bo")
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
    from mlprod_tasks.rollout import steps

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
    behind = Platform(shop.platform.settings, clock=ahead(timedelta(days=-1)))
    made = roll_out(shop.pipeline, behind, mode="champion", by="Bo", reason="")
    assert shop.rollout().at == made.at
    assert shop.rollout().by == "Bo"
