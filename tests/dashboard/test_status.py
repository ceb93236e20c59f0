"""The traffic light shows the worst, and says why."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from mlprod_tasks.dashboard.data import overview
from mlprod_tasks.dashboard.schemas import PipelineCard
from mlprod_tasks.dashboard.status import behind
from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.operations.status import _ticks
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.ledger import Decision, Publication, Scoring, Training
from tests.support.seeded_ledger import DAY, FIRST, doing, fill, moment, opened, refuse, scoring

LAST = FIRST + 9 * DAY
MakeLedger = Callable[..., Platform]


@pytest.fixture
def quiet(make_ledger: MakeLedger, flights_pipeline: Pipeline) -> Platform:
    """Ten quiet ticks."""
    platform = make_ledger(LAST)
    fill(platform, flights_pipeline, 10, quiet=True)
    return platform


def card(pipeline: Pipeline, platform: Platform) -> PipelineCard:
    (one,) = overview([pipeline], platform).pipelines
    return one


def fire(platform: Platform, pipeline: Pipeline, rule: str = "nulls", action: str = "alert") -> None:
    """Let a rule fire at the last tick."""
    found = {"tick": str(LAST), "what": "null_share", "slice": "dest", "value": 0.4, "low": None, "high": 0.1, "n": 900,
             "reference": 0.0, "model_version": 1, "sentence": f"{LAST}: null share of feature dest is 0.4"}  # fmt: skip
    rules = [
        {
            "rule": rule,
            "watch": "null_share",
            "action": action,
            "breaches": 1,
            "of": 1,
            "ticks": [str(LAST)],
            "measurements": [found],
            "cause": "data fault upstream",
        }
    ]
    platform.ledger.put(Decision(pipeline=pipeline.name, tick=LAST, action=action, reason="", at=moment(LAST), rules=rules))


def test_green_where_nothing_is_to_do(quiet: Platform, flights_pipeline: Pipeline) -> None:
    one = card(flights_pipeline, quiet)
    assert one.state.light == "green"
    assert one.state.reasons == (f"Nothing to do: {LAST} is scored and no alarm is open.",)
    assert one.champion is not None
    assert (one.champion.version, one.champion.age_days) == (1, 9)


def test_red_while_an_alarm_is_open_that_nobody_knows_of(quiet: Platform, flights_pipeline: Pipeline) -> None:
    fire(quiet, flights_pipeline)
    one = card(flights_pipeline, quiet)
    assert (one.state.light, one.open_alarms) == ("red", 1)
    assert one.state.reasons[0] == f"nulls, since {LAST}: null share of feature dest is 0.4"


def test_amber_once_it_is_acknowledged_or_muted(quiet: Platform, flights_pipeline: Pipeline) -> None:
    fire(quiet, flights_pipeline)
    doing(quiet, flights_pipeline, "acknowledge", moment(LAST, 9), subject="nulls", rule="nulls", tick=LAST)
    one = card(flights_pipeline, quiet)
    assert (one.state.light, one.open_alarms, one.acknowledged) == ("amber", 0, 1)
    assert one.state.reasons[0].startswith("Acknowledged by ada: nulls")
    doing(quiet, flights_pipeline, "mute", moment(LAST, 10), subject="nulls", rule="nulls", until=moment(LAST + DAY))
    one = card(flights_pipeline, quiet)
    assert (one.state.light, one.acknowledged, one.muted) == ("amber", 0, 1)


def test_a_mute_that_is_over_hides_nothing(quiet: Platform, flights_pipeline: Pipeline) -> None:
    fire(quiet, flights_pipeline)
    doing(quiet, flights_pipeline, "mute", moment(LAST, 9), subject="nulls", rule="nulls", until=moment(LAST, 19))
    assert card(flights_pipeline, quiet).state.light == "red"


def test_a_note_alone_needs_nobody(quiet: Platform, flights_pipeline: Pipeline) -> None:
    fire(quiet, flights_pipeline, action="note")
    assert card(flights_pipeline, quiet).state.light == "green"


def test_red_when_the_newest_batch_was_refused(quiet: Platform, flights_pipeline: Pipeline) -> None:
    refuse(quiet, flights_pipeline, LAST - DAY, "flights")
    assert card(flights_pipeline, quiet).state.light == "green", "a refused batch that was mended since is history"
    refuse(quiet, flights_pipeline, LAST + DAY, "flights")
    one = card(flights_pipeline, quiet)
    assert one.state.light == "red"
    assert one.state.reasons[0] == f"The batch of flights for {LAST + DAY} was refused: correct it at its source."


def test_red_when_the_fallback_answered_by_itself_amber_when_somebody_switched(
    quiet: Platform, flights_pipeline: Pipeline
) -> None:
    quiet.ledger.put(scoring(flights_pipeline, LAST, fallback_rows=900))
    one = card(flights_pipeline, quiet)
    assert (one.state.light, one.state.reasons[0]) == ("red", f"The fallback answered 900 of 900 rows of {LAST}.")
    doing(quiet, flights_pipeline, "fallback", moment(LAST, 18))
    one = card(flights_pipeline, quiet)
    assert one.champion is not None
    assert (one.state.light, one.champion.fallback_by) == ("amber", "ada")
    doing(quiet, flights_pipeline, "champion", moment(LAST, 19))
    assert card(flights_pipeline, quiet).state.light == "red"


@pytest.mark.parametrize(
    ("state", "light"), [("awaiting approval", "red"), ("refused", "amber"), ("failed", "amber"), ("running", "green")]
)
def test_the_newest_training_counts(quiet: Platform, flights_pipeline: Pipeline, state: str, light: str) -> None:
    quiet.ledger.put(Training(id="t", pipeline=flights_pipeline.name, as_of=LAST, reason="r", state=state, at=moment(LAST, 23)))
    one = card(flights_pipeline, quiet)
    assert (one.state.light, one.training) == (light, state)


def test_ticks_that_are_due_and_not_scored_are_counted(quiet: Platform, flights_pipeline: Pipeline, tmp_path: Path) -> None:
    assert card(flights_pipeline, opened(tmp_path / "home", LAST + DAY)).state.light == "amber"
    late = card(flights_pipeline, opened(tmp_path / "home", LAST + 3 * DAY))
    assert late.last is not None
    assert (late.state.light, late.last.behind) == ("red", 3)
    assert f"3 ticks are due and not scored; the last one is {LAST}." in late.state.reasons


def test_history_that_has_ended_is_never_late(flights_pipeline: Pipeline) -> None:
    schedule = flights_pipeline.schedule  # at 04:00 in New York, which is 08:00 UTC in summer
    assert behind(schedule, LAST, datetime(2026, 1, 1, tzinfo=UTC)) is None
    assert behind(replace(schedule, ends=None), LAST, moment(LAST + DAY, 13)) == 0, "six hours of grace"
    assert behind(replace(schedule, ends=None), LAST, moment(LAST + DAY, 14) + timedelta(minutes=1)) == 1


def test_whoever_is_needed_most_stands_first(quiet: Platform, flights_pipeline: Pipeline) -> None:
    fire(quiet, flights_pipeline)
    pipelines: list[Any] = [replace(flights_pipeline, name=name) for name in ("empty", "aside")]
    fill(quiet, pipelines[1], 10, quiet=True)
    told = overview([*pipelines, flights_pipeline], quiet, [("broken.py", "no such column")])
    assert [(one.name, one.state.light) for one in told.pipelines] == [
        (flights_pipeline.name, "red"),
        ("aside", "green"),
        ("empty", "grey"),
    ]
    assert told.broken == (("broken.py", "no such column"),)


def test_rows_that_arrive_after_their_tick_was_scored_are_told_until_they_are_scored(
    quiet: Platform, flights_pipeline: Pipeline
) -> None:
    entity = {"pipeline": flights_pipeline.name, "table_name": flights_pipeline.entity_name, "tick": LAST, "delta_version": 1}
    scored = quiet.ledger.get(Scoring, flights_pipeline.name, LAST)
    assert scored is not None
    published = {**entity, "rows": scored.rows + 1, "at": moment(LAST)}
    quiet.ledger.put(Publication(**published, rows_late=1))
    (reason,) = card(flights_pipeline, quiet).state.reasons
    assert reason.startswith(f"1 row of {LAST} arrived after scoring and have no prediction")
    assert "NOT SCORED: 1 rows" in "\n".join(_ticks(flights_pipeline, quiet))
    quiet.ledger.put(Publication(**{**published, "rows": scored.rows}, rows_late=1))
    assert "no prediction" not in " ".join(card(flights_pipeline, quiet).state.reasons)
