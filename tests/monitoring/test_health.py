"""What is said of the pipeline itself: from what ran, was published and was trained, and from nothing else."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.monitoring.health import PAST_TICKS, delay_hours, health, past
from mlprod_tasks.monitoring.measurement import Reading
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.ledger import Measurement, Publication, StepRun, Training
from mlprod_tasks.platform.step_runs import step
from tests.support import monitored_shop as monitored
from tests.support.clock import SetClock

DAY, HOUR = timedelta(days=1), timedelta(hours=1)
T = monitored.FIRST
DUE = monitored.pipeline.schedule.moment(T)
pipeline = monitored.pipeline


class Versions:
    """The tags that the registry has of every version."""

    def __init__(self, tags: dict[str, str]) -> None:
        self.tags = tags

    def version_tags(self, pipeline: Pipeline, version: int) -> dict[str, str]:
        return self.tags


@pytest.fixture
def soon(make_shop: Callable[..., Platform]) -> Platform:
    """A shop an hour after the tick was due."""
    return make_shop(clock=SetClock(DUE + HOUR))


def ran(platform: Platform, step: str, day: date, seconds: float = 1.0, at: datetime | None = None, **given: Any) -> None:
    began = at or pipeline.schedule.moment(day) + timedelta(minutes=1)
    row = {"succeeded": True, "try_number": 1} | given
    platform.ledger.put(StepRun(pipeline="shop", step=step, subject=str(day), at=began, seconds=seconds, **row))


def published(platform: Platform, table: str, day: date, at: datetime, first_at: datetime | None = None) -> None:
    row = {"pipeline": "shop", "table_name": table, "tick": day, "rows": 10, "delta_version": 0}
    platform.ledger.put(Publication(**row, at=at, first_at=first_at))


def read(platform: Platform, day: date = T, of: Pipeline = pipeline) -> dict[tuple[str, str], Reading]:
    found = list(health(of, of.schedule.tick(day), monitored.VERSION, platform))
    assert len({(one.what, one.slice) for one in found}) == len(found)
    return {(one.what, one.slice): one for one in found}


def test_of_a_step_that_ran_again_the_last_run_is_told_and_all_of_them_are_counted(soon: Platform) -> None:
    ran(soon, "score", T, 9.0, try_number=1, succeeded=False)
    ran(soon, "score", T, 4.0, at=DUE + 10 * HOUR, try_number=3, rows=800, peak_mb=512.0, waited_seconds=2.5)
    found = read(soon)
    assert {
        what: found[what, "score"].value for what in ("duration", "retries", "queue_wait", "rows_per_second", "memory")
    } == {
        "duration": 4.0,
        "retries": 2.0,
        "queue_wait": 2.5,
        "rows_per_second": 200.0,
        "memory": 512.0,
    }
    assert found["duration", "score"].n == 2


def test_what_is_not_known_of_a_run_has_no_reading(soon: Platform) -> None:
    ran(soon, "publish", T, 4.0)
    steps = {what for what, slice in read(soon) if slice == "publish"}
    assert steps == {"duration", "retries"}, "no worker was waited for, no rows and no memory are known"


def test_runs_of_other_ticks_of_a_range_and_of_trainings_are_not_of_this_tick(soon: Platform) -> None:
    ran(soon, "extract", T + DAY)
    soon.ledger.put(
        StepRun(pipeline="shop", step="fit", subject="shop-7", at=DUE, seconds=1, succeeded=True),
        StepRun(pipeline="shop", step="extract", subject=f"{T}..{T + DAY}", at=DUE, seconds=1, succeeded=True),
        StepRun(pipeline="other", step="score", subject=str(T), at=DUE, seconds=1, succeeded=True),
    )
    assert not [what for what, _ in read(soon) if what == "duration"]


def test_the_usual_duration_is_the_mean_over_the_ticks_before_and_needs_five_of_them(soon: Platform) -> None:
    for n in range(1, 5):
        ran(soon, "score", T - n * DAY, seconds=n)
    ran(soon, "score", T, 30.0)
    assert read(soon)["duration", "score"].reference is None
    ran(soon, "score", T - 5 * DAY, 5)
    ran(soon, "score", T + DAY, 1000)  # a later tick says nothing of what was usual
    ran(soon, "score", T - (PAST_TICKS + 1) * DAY, 1000)
    assert read(soon)["duration", "score"].reference == 3.0


def test_cost_is_all_computing_of_the_tick_over_the_mean_of_the_ticks_before(soon: Platform) -> None:
    for n in range(1, 6):
        ran(soon, "extract", T - n * DAY, 1.0)
        ran(soon, "score", T - n * DAY, 3.0)
    ran(soon, "extract", T - 6 * DAY, 100.0)  # brought in, never scored: it is no usual tick
    ran(soon, "score", T, 8.0, succeeded=False)
    ran(soon, "score", T, 3.0, at=DUE + HOUR)
    ran(soon, "extract", T, 1.0)
    cost = read(soon)["cost", ""]
    assert (cost.value, cost.reference, cost.n) == (3.0, 4.0, 3)


def test_cost_without_ticks_before_says_so(soon: Platform) -> None:
    ran(soon, "score", T, 8.0)
    cost = read(soon)["cost", ""]
    assert cost.value is None
    assert "only 0 of the 30 ticks before ran" in cost.why


def test_the_step_that_measures_tells_its_own_run_as_far_as_it_is(soon: Platform) -> None:
    seen: list[dict[tuple[str, str], Reading]] = []

    @step(about="tick")
    def measure(pipeline: Pipeline, tick: Any, platform: Platform) -> None:
        seen.append(read(platform))

    measure(pipeline, pipeline.schedule.tick(T), soon)
    assert ("duration", "measure") in seen[0]
    assert ("memory", "measure") in seen[0]


def test_a_partitions_delay_counts_from_the_tick(soon: Platform) -> None:
    published(soon, "orders", T, DUE + 3 * HOUR)
    soon.clock.at = DUE + 5 * HOUR  # type: ignore[attr-defined]
    found = read(soon)
    assert (found["data_delay", "orders"].value, found["data_delay", "orders"].n) == (3.0, 10)
    missing = found["data_delay", "returns"]
    assert (missing.value, missing.detail) == (5.0, "not published yet")


def test_publishing_a_partition_again_makes_it_no_later(soon: Platform) -> None:
    published(soon, "orders", T, DUE + 60 * HOUR, first_at=DUE + HOUR)
    assert read(soon)["data_delay", "orders"].value == 1.0


def test_a_tick_brought_in_as_history_has_no_delay(soon: Platform) -> None:
    published(soon, "orders", T, DUE + 12 * DAY)
    soon.clock.at = DUE + 20 * DAY  # type: ignore[attr-defined]
    found = read(soon)
    assert found["data_delay", "orders"].value is None
    assert "was backfilled 12 days after it was due" in found["data_delay", "orders"].why
    assert found["data_delay", "returns"].value is None
    assert "is missing" in found["data_delay", "returns"].why


@pytest.mark.parametrize(("late", "hours"), [(6.9, 6.9 * 24), (7.1, None)])
def test_a_week_is_what_parts_a_delay_from_history(late: float, hours: float | None) -> None:
    value, _ = delay_hours(DUE, DUE + late * DAY, DUE + 30 * DAY)
    assert value == (hours if hours is None else pytest.approx(hours))


def test_labels_are_as_late_as_the_last_partition_that_completes_them(soon: Platform) -> None:
    published(soon, "returns", T, DUE + 2 * HOUR)
    published(soon, "returns", T - DAY, DUE + 4 * HOUR)
    assert read(soon)["label_delay", ""].value == 4.0


def test_labels_that_lack_a_partition_are_as_late_as_it_is_now(soon: Platform) -> None:
    published(soon, "returns", T, DUE + HOUR / 2)
    found = read(soon)["label_delay", ""]
    assert (found.value, found.detail) == (1.0, "not published yet")


def test_at_the_first_ticks_no_labels_are_due(soon: Platform) -> None:
    assert ("label_delay", "") not in read(soon, pipeline.schedule.starts + DAY)
    assert ("label_delay", "") in read(soon, pipeline.schedule.starts + 2 * DAY)


def test_a_models_age_counts_from_the_last_tick_it_was_fitted_on(soon: Platform) -> None:
    assert read(soon)["model_age", ""].value is None
    soon.ledger.put(
        Training(
            id="one",
            pipeline="shop",
            as_of=T,
            reason="",
            state="promoted",
            at=DUE,
            run_id="r",
            model_version=monitored.VERSION,
        )
    )
    soon.__dict__["registry"] = Versions({"mlprod.window.train": "2024-01-02..2024-02-20"})
    assert read(soon)["model_age", ""].value == 10.0
    soon.__dict__["registry"] = Versions({})
    assert "does not say" in read(soon)["model_age", ""].why


def test_what_was_usual_is_learned_from_the_ticks_before(soon: Platform) -> None:
    def measured(day: date, what: str, slice: str, value: float | None) -> Measurement:
        return Measurement(
            pipeline="shop", tick=day, what=what, slice=slice, value=value, n=1, breached=False, model_version=3, at=DUE
        )

    soon.ledger.put(
        measured(T - 2 * DAY, "duration", "score", 4.0),
        measured(T - DAY, "duration", "score", 6.0),
        measured(T - DAY, "cost", "", None),
        measured(T - DAY, "volume", "", 1.0),
        measured(T, "duration", "score", 99.0),
        measured(T - 40 * DAY, "duration", "score", 99.0),
    )
    found = past(pipeline, pipeline.schedule.tick(T), soon)
    assert found is not None
    assert found.days == (T - 2 * DAY, T - DAY)
    assert dict(found.values) == {"duration/score": (4.0, 6.0), "cost": (None, None)}
    assert past(pipeline, pipeline.schedule.tick(T - 20 * DAY), soon) is not None
    assert past(pipeline, pipeline.schedule.tick(T - 40 * DAY), soon) is None


def test_measuring_writes_health_beside_the_rest_and_again_replaces_it(make_shop: Callable[..., Platform]) -> None:
    from mlprod_tasks.declaration import Learned, Watch

    platform = make_shop(clock=SetClock(DUE + HOUR))
    of = replace(pipeline, watches=(*pipeline.watches, Watch("duration", learned=Learned(k=3.0))))
    days = [T + n * DAY for n in range(8)]
    from mlprod_tasks.monitoring.measure import measure

    for n, day in enumerate(days):
        platform.clock.at = pipeline.schedule.moment(day) + HOUR  # type: ignore[attr-defined]
        monitored.score_tick(platform, monitored.scored(day))
        ran(platform, "score", day, 100.0 if day == days[-1] else 4.0 + n / 10)
        measure(of, of.schedule.tick(day), platform)
    last = platform.ledger.get(Measurement, "shop", days[-1], "duration", "score")
    assert last is not None
    assert (last.value, last.breached) == (100.0, True)
    assert last.high is not None
    assert 4.5 < last.high < 10
    assert "above the bound" in last.sentence
    quiet = platform.ledger.get(Measurement, "shop", days[-2], "duration", "score")
    assert quiet is not None
    assert not quiet.breached
    before = {(row.what, row.slice) for row in platform.ledger.all(Measurement, tick=days[-1])}
    ran(platform, "score", days[-1], 4.2, at=datetime(2024, 3, 19, tzinfo=UTC))
    measure(of, of.schedule.tick(days[-1]), platform)
    again = platform.ledger.get(Measurement, "shop", days[-1], "duration", "score")
    assert again is not None
    assert (again.value, again.breached) == (4.2, False)
    assert {(row.what, row.slice) for row in platform.ledger.all(Measurement, tick=days[-1])} == before
