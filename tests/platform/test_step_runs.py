"""What is kept of each run of a step, and that keeping it never touches the step."""

import logging
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from mlprod_tasks import steps
from mlprod_tasks.declaration import Pipeline, Tick, TickRange
from mlprod_tasks.platform import Platform, step_runs
from mlprod_tasks.platform.ledger import StepRun
from mlprod_tasks.platform.step_runs import recorded
from tests.support.clock import SetClock
from tests.support.paths import REPOSITORY

MEGABYTE = 1024**2


def going_on() -> SetClock:
    return SetClock(datetime(2013, 6, 17, 8, tzinfo=UTC), step=timedelta(minutes=1))


@dataclass(frozen=True)
class Done:
    rows: int


@pytest.fixture
def platform(make_platform: Callable[..., Platform]) -> Platform:
    made = make_platform()
    return Platform(made.settings, clock=going_on())


@pytest.fixture
def tick(flights_pipeline: Pipeline) -> Tick:
    return flights_pipeline.schedule.tick("2013-06-17")


def runs(platform: Platform) -> list[StepRun]:
    return platform.ledger.all(StepRun)


def score(pipeline: Pipeline, tick: Tick, platform: Platform) -> Done:
    return Done(7)


def extract(pipeline: Pipeline, table: str, ticks: TickRange, platform: Platform) -> Done:
    return Done(3)


def test_a_run_leaves_its_step_tick_start_duration_rows_and_memory(
    flights_pipeline: Pipeline, tick: Tick, platform: Platform
) -> None:
    assert recorded("score", score)(flights_pipeline, tick, platform) == Done(7)
    (run,) = runs(platform)
    assert (run.pipeline, run.step, run.subject) == (flights_pipeline.name, "score", "2013-06-17")
    assert run.at == datetime(2013, 6, 17, 8, 1, tzinfo=UTC)
    assert (run.rows, run.succeeded, run.try_number, run.waited_seconds) == (7, True, 1, None)
    assert 0 <= run.seconds < 1
    assert run.peak_mb is not None
    assert run.peak_mb > 10


def test_every_run_is_kept_and_each_table_is_a_step_of_its_own(
    flights_pipeline: Pipeline, tick: Tick, platform: Platform
) -> None:
    step, ticks = recorded("extract", extract), flights_pipeline.schedule.range("2013-06-17")
    for table in ("flights", "weather", "flights"):
        step(flights_pipeline, table, ticks, platform=platform)
    assert [run.step for run in runs(platform)] == ["extract flights", "extract flights", "extract weather"]
    assert {run.subject for run in runs(platform)} == {str(tick)}


def test_a_range_of_ticks_and_a_training_are_subjects_too(flights_pipeline: Pipeline, tick: Tick, platform: Platform) -> None:
    def assemble(pipeline: Pipeline, as_of: Tick, training_id: str, platform: Platform) -> None: ...

    recorded("assemble", assemble)(flights_pipeline, tick, "flights-42", platform)
    recorded("extract", extract)(flights_pipeline, "a", flights_pipeline.schedule.range("2013-01-02", "2013-01-09"), platform)
    assert {run.subject for run in runs(platform)} == {"flights-42", "2013-01-02..2013-01-09"}


def test_a_step_that_fails_is_recorded_as_failed_and_its_error_goes_on(
    flights_pipeline: Pipeline, tick: Tick, platform: Platform
) -> None:
    def broken(pipeline: Pipeline, tick: Tick, platform: Platform) -> None:
        raise LookupError("no champion")

    with pytest.raises(LookupError, match="no champion"):
        recorded("score", broken)(flights_pipeline, tick, platform)
    (run,) = runs(platform)
    assert (run.succeeded, run.rows) == (False, None)


def test_that_a_run_cannot_be_recorded_does_not_fail_the_step(
    flights_pipeline: Pipeline, tick: Tick, platform: Platform, caplog: pytest.LogCaptureFixture
) -> None:
    from sqlalchemy import text

    with platform.ledger.session() as session:
        session.execute(text("DROP TABLE step_runs"))
    with caplog.at_level(logging.WARNING):
        assert recorded("score", score)(flights_pipeline, tick, platform) == Done(7)
    assert "the run of score for 2013-06-17 could not be recorded" in caplog.text


def test_the_try_is_what_the_platform_says(flights_pipeline: Pipeline, tick: Tick, platform: Platform) -> None:
    third = Platform(platform.settings, clock=going_on(), attempt=lambda: 3)
    recorded("score", score)(flights_pipeline, tick, third)
    assert [run.try_number for run in runs(platform)] == [3]


def test_a_platform_that_cannot_say_the_try_does_not_fail_the_step(
    flights_pipeline: Pipeline, tick: Tick, platform: Platform
) -> None:
    def unknown() -> int:
        raise RuntimeError("no task")

    assert recorded("score", score)(flights_pipeline, tick, Platform(platform.settings, attempt=unknown)) == Done(7)
    assert runs(platform) == []


def test_memory_is_the_peak_while_the_step_ran_not_of_what_ran_before(
    flights_pipeline: Pipeline, tick: Tick, platform: Platform
) -> None:
    if not (step_runs.OWN_MEMORY / "clear_refs").exists():
        pytest.skip("only Linux lets a process reset its peak")

    def large(pipeline: Pipeline, tick: Tick, platform: Platform) -> Done:
        held = b"x" * (300 * MEGABYTE)
        return Done(len(held))

    recorded("large", large)(flights_pipeline, tick, platform)
    recorded("small", score)(flights_pipeline, tick, platform)
    peak = {run.step: run.peak_mb for run in runs(platform)}
    assert peak["large"] is not None
    assert peak["small"] is not None
    assert peak["large"] - peak["small"] > 250


def test_while_it_runs_a_step_can_ask_for_its_own_run(flights_pipeline: Pipeline, tick: Tick, platform: Platform) -> None:
    seen: list[StepRun | None] = []

    def curious(pipeline: Pipeline, tick: Tick, platform: Platform) -> None:
        seen.extend([step_runs.so_far(pipeline, str(tick)), step_runs.so_far(pipeline, "2013-06-18")])

    recorded("measure", curious)(flights_pipeline, tick, platform)
    assert seen[0] is not None
    assert (seen[0].step, seen[1]) == ("measure", None)
    assert step_runs.so_far(flights_pipeline, str(tick)) is None


def test_a_step_that_is_about_no_tick_and_no_training_is_left_as_it_is() -> None:
    def build_data_docs(platform: Platform) -> None: ...

    assert recorded("build_data_docs", build_data_docs) is build_data_docs


# What is about no tick and no training: it comes around every few minutes, for whatever there is.
COMES_AROUND = {
    "build_data_docs", "collect", "measure_collected", "decide_again", "begin", "take_step", "check", "finish", "take_back",
    "take_back_abandoned",
}  # fmt: skip


def every_step() -> Iterator[str]:
    yield from (name for name in steps.__all__ if name not in COMES_AROUND and not name.startswith("tell_"))


@pytest.mark.parametrize("name", every_step())
def test_every_step_that_dags_and_workflows_call_is_recorded(name: str) -> None:
    assert hasattr(getattr(steps, name), "__wrapped__")


def test_workflows_leave_a_run_for_each_step(
    make_platform: Callable[..., Platform], orders_pipeline: Any, orders_in: Any
) -> None:
    from mlprod_tasks import workflows

    rows = [{"order_id": 1, "ordered_at": "2024-03-04 10:00:00", "amount": 3.5, "items": 1, "state": "paid"}]
    rows = [row | {"customer": "c", "email": "e"} for row in rows]
    platform, pipeline = make_platform(shop=orders_in(rows)), orders_pipeline()
    workflows.ingest(pipeline, pipeline.schedule.range(date(2024, 3, 5)), platform)
    found = {run.step: run for run in platform.ledger.all(StepRun)}
    assert set(found) == {"extract orders", "audit orders", "publish orders"}
    assert {run.subject for run in found.values()} == {"2024-03-05"}
    assert {run.rows for run in found.values()} == {1}


def test_a_step_that_is_stopped_by_an_interrupt_is_recorded_as_failed(
    flights_pipeline: Pipeline, tick: Tick, platform: Platform
) -> None:
    def stopped(pipeline: Pipeline, tick: Tick, platform: Platform) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        recorded("score", stopped)(flights_pipeline, tick, platform)
    assert [run.succeeded for run in runs(platform)] == [False]


def test_recording_loads_nothing_heavy_before_a_step_runs() -> None:
    code = "import sys; import mlprod_tasks.platform.step_runs; print(*{name.split('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert {"sqlalchemy", "pandas", "numpy", "pyarrow"} & set(done.stdout.split()) == set()
