"""Rollouts and reviews on the page are those of the ledger, as they stood at the moment that is shown."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from mlprod_tasks.dashboard.data import detail, overview
from mlprod_tasks.dashboard.served import MOST_REVIEWS, MOST_ROLLOUTS
from mlprod_tasks.dashboard.served_schemas import ServingDetail
from mlprod_tasks.declaration import Pipeline, Ramp
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.ledger import Review, Rollout, RolloutCheck
from mlprod_tasks.scoring.review_queue import decide_review, open_reviews
from tests.support.seeded_ledger import DAY, FIRST, LAST, answer_requests, check, evening, fill, leave_to_people, moment, roll

HOUR = timedelta(hours=1)
MakeLedger = Callable[..., Platform]


def told(pipeline: Pipeline, platform: Platform) -> ServingDetail:
    found = detail(pipeline, platform).served
    assert found is not None
    return found


def test_every_rollout_check_and_review_shown_is_the_ledgers_own(months: Platform, flights_pipeline: Pipeline) -> None:
    served, ledger = told(flights_pipeline, months), months.ledger
    rollouts = sorted(ledger.all(Rollout), key=lambda one: one.at, reverse=True)
    assert [(r.at, r.by, r.reason, r.mode, r.challenger, r.share, r.automation, r.band) for r in served.rollouts] == [
        (r.at.isoformat(), r.by, r.reason, r.mode, r.challenger, r.share, r.automation,
         None if r.band_low is None else (r.band_low, r.band_high))
        for r in rollouts
    ]  # fmt: skip
    assert served.rollout == served.rollouts[0]
    assert (served.rollout.mode, served.rollout.share, served.rollout.band) == ("canary", 0.25, (0.3, 0.45))
    assert served.checks is not None
    assert served.checks.challenger == 3
    kept = {(one.share, one.what): one for one in ledger.all(RolloutCheck)}
    assert [(one.share, one.what) for one in served.checks.rows] == [
        (share, what) for share in (0.05, 0.25) for what in ("errors", "latency", "scores", "quality")
    ]
    for one in served.checks.rows:
        row = kept[one.share, one.what]
        assert (one.passed, one.champion_value, one.challenger_value) == (row.passed, row.champion_value, row.challenger_value)
        assert (one.bound, one.champion_rows, one.challenger_rows) == (row.bound, row.champion_rows, row.challenger_rows)
        assert one.sentence == row.sentence
    assert [(one.request_id, one.row, one.key, one.score, one.version) for one in served.reviews] == [
        (one.request_id, one.row, one.key, one.score, one.model_version) for one in open_reviews(flights_pipeline, months)
    ]
    assert served.open_reviews == len(served.reviews) == 12
    assert [(one.decision, one.by, one.reason) for one in served.decided] == [(True, "grace", "called")] * 3


def test_of_each_share_of_the_last_ramp_only_the_newest_checks_are_shown(
    make_ledger: MakeLedger, flights_pipeline: Pipeline
) -> None:
    platform, at = make_ledger(), moment(FIRST)
    roll(platform, flights_pipeline, at, "canary", share=0.5)
    check(platform, flights_pipeline, at + HOUR, "errors", 0.5, passed=False, sentence="of a ramp before")
    roll(platform, flights_pipeline, at + 2 * HOUR, "champion")
    roll(platform, flights_pipeline, at + 3 * HOUR, "shadow")
    roll(platform, flights_pipeline, at + 4 * HOUR, "canary", share=0.05)
    check(platform, flights_pipeline, at + 5 * HOUR, "errors", 0.05, passed=None, sentence="too early")
    check(platform, flights_pipeline, at + 6 * HOUR, "errors", 0.05, sentence="late enough")
    roll(platform, flights_pipeline, at + 7 * HOUR, "canary", share=0.25)
    check(platform, flights_pipeline, at + 8 * HOUR, "errors", 0.25, sentence="more of them")
    roll(platform, flights_pipeline, at + 9 * HOUR, "champion")
    checks = told(flights_pipeline, platform).checks
    assert checks is not None
    assert [(one.share, one.sentence) for one in checks.rows] == [(0.05, "late enough"), (0.25, "more of them")]


def test_a_use_case_that_answers_no_requests_tells_nothing_of_them(months: Platform, flights_pipeline: Pipeline) -> None:
    silent = replace(flights_pipeline, serving=None)
    assert detail(silent, months).served is None
    (card,) = overview([silent], months).pipelines
    assert (card.rollout, card.open_reviews) == (None, 0)


def test_a_card_counts_what_waits_for_people_and_tells_of_a_challenger(
    make_ledger: MakeLedger, flights_pipeline: Pipeline
) -> None:
    platform = make_ledger()
    answer_requests(platform, flights_pipeline, moment(FIRST))
    others = [replace(flights_pipeline, name=name) for name in ("other", "back")]
    leave_to_people(platform, others[0], moment(FIRST), 2)
    roll(platform, others[1], moment(FIRST), "canary", share=0.1)
    roll(platform, others[1], moment(FIRST) + HOUR, "champion")
    cards = {card.name: card for card in overview([flights_pipeline, *others], platform).pipelines}
    assert {name: card.open_reviews for name, card in cards.items()} == {"flight_delays": 12, "other": 2, "back": 0}
    modes = {name: card.rollout.mode if card.rollout else None for name, card in cards.items()}
    assert modes == {"flight_delays": "canary", "other": None, "back": None}
    first = open_reviews(flights_pipeline, platform)[0]
    decide_review(flights_pipeline, first.request_id, first.row, False, "ada", platform)
    assert overview([flights_pipeline], platform).pipelines[0].open_reviews == 11


def test_the_queue_and_the_history_are_bounded_and_counted(make_ledger: MakeLedger, flights_pipeline: Pipeline) -> None:
    platform = make_ledger()
    leave_to_people(platform, flights_pipeline, moment(FIRST), MOST_REVIEWS + 5)
    for n in range(MOST_ROLLOUTS + 3):
        roll(platform, flights_pipeline, moment(FIRST) + n * HOUR, "champion", reason=str(n))
    served = told(flights_pipeline, platform)
    assert (served.open_reviews, len(served.reviews), served.reviews[0].row) == (MOST_REVIEWS + 5, MOST_REVIEWS, 0)
    assert [one.reason for one in served.rollouts] == [str(n) for n in reversed(range(3, MOST_ROLLOUTS + 3))]


@pytest.mark.parametrize(("hours", "mode", "waiting", "decided"), [(0.5, "shadow", 0, 0), (1.5, "champion", 3, 0)])
def test_how_it_stood_holds_nothing_that_came_later(
    make_ledger: MakeLedger, flights_pipeline: Pipeline, hours: float, mode: str, waiting: int, decided: int
) -> None:
    platform, tick = make_ledger(), flights_pipeline.schedule.tick(FIRST)
    platform.clock.at = evening(FIRST + DAY)  # type: ignore[attr-defined]
    answer_requests(platform, flights_pipeline, tick.end - hours * HOUR)
    fill(platform, flights_pipeline, 2)
    served = detail(flights_pipeline, platform, as_of=tick).served
    assert served is not None
    assert served.rollout is not None
    assert (served.rollout.mode, len(served.reviews), len(served.decided)) == (mode, waiting, decided)
    assert served.checks is None
    now = told(flights_pipeline, platform)
    assert (len(now.reviews), len(now.decided)) == (12, 3)
    assert {one.decision for one in served.reviews} <= {None}


def test_of_history_that_was_caught_up_with_a_report_tells_what_held_when_it_was_decided(
    make_ledger: MakeLedger, flights_pipeline: Pipeline
) -> None:
    platform, tick = make_ledger(), flights_pipeline.schedule.tick(FIRST)
    fill(platform, flights_pipeline, 2)
    from mlprod_tasks.platform.ledger import Decision

    decision = platform.ledger.get(Decision, flights_pipeline.name, FIRST)
    assert decision is not None
    decision.at = moment(LAST)
    platform.ledger.put(decision)
    roll(platform, flights_pipeline, moment(LAST) - HOUR, "shadow")
    roll(platform, flights_pipeline, moment(LAST) + HOUR, "champion")
    served = detail(flights_pipeline, platform, as_of=tick).served
    assert served is not None
    assert [one.mode for one in served.rollouts] == ["shadow"]


def test_the_shares_of_a_ramp_are_told_as_declared_or_by_default(make_ledger: MakeLedger, flights_pipeline: Pipeline) -> None:
    assert flights_pipeline.serving is not None
    ramped = replace(flights_pipeline, serving=replace(flights_pipeline.serving, ramp=Ramp(shares=(0.1, 1.0))))
    without = replace(flights_pipeline, serving=replace(flights_pipeline.serving, ramp=None))
    assert (told(ramped, make_ledger()).ramp, told(without, make_ledger()).ramp) == ((0.1, 1.0), Ramp().shares)


def test_reviews_of_another_use_case_are_not_shown(make_ledger: MakeLedger, flights_pipeline: Pipeline) -> None:
    platform = make_ledger()
    leave_to_people(platform, replace(flights_pipeline, name="other"), moment(FIRST), 2)
    assert len(platform.ledger.all(Review)) == 2
    assert told(flights_pipeline, platform).reviews == ()
