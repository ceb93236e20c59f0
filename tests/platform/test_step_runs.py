"""What is kept of each run of a step, and that keeping it never touches the step."""

import dis
import inspect
import logging
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mlprod_tasks import steps
from mlprod_tasks.declaration import Pipeline, Tick, TickRange
from mlprod_tasks.platform import Platform, step_runs
from mlprod_tasks.platform.ledger import StepRun
from mlprod_tasks.platform.step_runs import step, unrecorded_step
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


@step(about="tick")
def score(pipeline: Pipeline, tick: Tick, platform: Platform) -> Done:
    return Done(7)


@step(about="ticks", parts=("table",))
def extract(pipeline: Pipeline, table: str, ticks: TickRange, platform: Platform) -> Done:
    return Done(3)


def test_a_run_leaves_its_step_tick_start_duration_rows_and_memory(
    flights_pipeline: Pipeline, tick: Tick, platform: Platform
) -> None:
    began = time.perf_counter()
    assert score(flights_pipeline, tick, platform) == Done(7)
    elapsed = time.perf_counter() - began
    (run,) = runs(platform)
    assert (run.pipeline, run.step, run.subject) == (flights_pipeline.name, "score", "2013-06-17")
    assert run.at == datetime(2013, 6, 17, 8, 1, tzinfo=UTC)
    assert (run.rows, run.succeeded, run.try_number, run.waited_seconds) == (7, True, 1, None)
    assert 0 < run.seconds <= elapsed
    assert run.peak_mb is not None
    assert run.peak_mb > 10


def test_every_run_is_kept_and_each_part_is_a_step_of_its_own(
    flights_pipeline: Pipeline, tick: Tick, platform: Platform
) -> None:
    ticks = flights_pipeline.schedule.range("2013-06-17")
    for table in ("flights", "weather", "flights"):
        extract(flights_pipeline, table, ticks, platform=platform)
    assert [run.step for run in runs(platform)] == ["extract flights", "extract flights", "extract weather"]
    assert {run.subject for run in runs(platform)} == {str(tick)}


def test_a_range_of_ticks_and_a_training_are_subjects_too(flights_pipeline: Pipeline, tick: Tick, platform: Platform) -> None:
    @step(about="training_id")
    def assemble(pipeline: Pipeline, as_of: Tick, training_id: str, platform: Platform) -> None: ...

    assemble(flights_pipeline, tick, "flights-42", platform)
    extract(flights_pipeline, "a", flights_pipeline.schedule.range("2013-01-02", "2013-01-09"), platform)
    assert {run.subject for run in runs(platform)} == {"flights-42", "2013-01-02..2013-01-09"}


def test_a_step_that_fails_is_recorded_as_failed_and_its_error_goes_on(
    flights_pipeline: Pipeline, tick: Tick, platform: Platform
) -> None:
    @step(about="tick", name="score")
    def broken(pipeline: Pipeline, tick: Tick, platform: Platform) -> None:
        raise LookupError("no champion")

    with pytest.raises(LookupError, match="no champion"):
        broken(flights_pipeline, tick, platform)
    (run,) = runs(platform)
    assert (run.succeeded, run.rows) == (False, None)


def test_that_a_run_cannot_be_recorded_does_not_fail_the_step(
    flights_pipeline: Pipeline, tick: Tick, platform: Platform, caplog: pytest.LogCaptureFixture
) -> None:
    from sqlalchemy import text

    with platform.ledger.session() as session:
        session.execute(text("DROP TABLE step_runs"))
    with caplog.at_level(logging.WARNING):
        assert score(flights_pipeline, tick, platform) == Done(7)
    assert "the run of score for 2013-06-17 could not be recorded" in caplog.text


def test_the_try_is_what_the_platform_says(flights_pipeline: Pipeline, tick: Tick, platform: Platform) -> None:
    third = Platform(platform.settings, clock=going_on(), attempt=lambda: 3)
    score(flights_pipeline, tick, third)
    assert [run.try_number for run in runs(platform)] == [3]


def test_a_platform_that_cannot_say_the_try_does_not_fail_the_step(
    flights_pipeline: Pipeline, tick: Tick, platform: Platform
) -> None:
    def unknown() -> int:
        raise RuntimeError("no task")

    assert score(flights_pipeline, tick, Platform(platform.settings, attempt=unknown)) == Done(7)
    assert runs(platform) == []


def test_memory_is_the_peak_while_the_step_ran_not_of_what_ran_before(
    flights_pipeline: Pipeline, tick: Tick, platform: Platform
) -> None:
    if not (step_runs.OWN_MEMORY / "clear_refs").exists():
        pytest.skip("only Linux lets a process reset its peak")

    @step(about="tick")
    def large(pipeline: Pipeline, tick: Tick, platform: Platform) -> Done:
        held = b"x" * (300 * MEGABYTE)
        return Done(len(held))

    large(flights_pipeline, tick, platform)
    step(about="tick", name="small")(inspect.unwrap(score))(flights_pipeline, tick, platform)
    peak = {run.step: run.peak_mb for run in runs(platform)}
    assert peak["large"] is not None
    assert peak["small"] is not None
    assert peak["large"] - peak["small"] > 250


def test_while_it_runs_a_step_can_ask_for_its_own_run(flights_pipeline: Pipeline, tick: Tick, platform: Platform) -> None:
    seen: list[StepRun | None] = []

    @step(about="tick", name="measure")
    def curious(pipeline: Pipeline, tick: Tick, platform: Platform) -> None:
        seen.extend([step_runs.so_far(pipeline, str(tick)), step_runs.so_far(pipeline, "2013-06-18")])

    curious(flights_pipeline, tick, platform)
    assert seen[0] is not None
    assert (seen[0].step, seen[1]) == ("measure", None)
    assert step_runs.so_far(flights_pipeline, str(tick)) is None


def test_a_step_that_is_declared_unrecorded_is_left_as_it_is() -> None:
    def build_data_docs(platform: Platform) -> None: ...

    assert unrecorded_step(build_data_docs) is build_data_docs


def test_a_step_is_recorded_by_what_is_declared_whatever_its_parameters_are_called(
    flights_pipeline: Pipeline, platform: Platform
) -> None:
    @step(about="model.version", parts=("tick",))
    def stamp(pipeline: Pipeline, training_id: str, tick: str, model: Any, platform: Platform) -> None: ...

    stamp(flights_pipeline, "flights-42", "noon", SimpleNamespace(version=7), platform)
    assert [(run.step, run.subject) for run in runs(platform)] == [("stamp noon", "7")]


def test_a_step_that_declares_a_parameter_that_it_has_not_is_refused() -> None:
    def scored(pipeline: Pipeline, tick: Tick, platform: Platform) -> None: ...

    def optional(pipeline: Pipeline, platform: Platform, tick: Tick | None = None) -> None: ...

    with pytest.raises(TypeError, match=r"step scored.* has no parameter ticks"):
        step(about="ticks")(scored)
    with pytest.raises(TypeError, match="has no parameter table"):
        step(about="tick", parts=("table",))(scored)
    with pytest.raises(TypeError, match="tick must not have a default"):
        step(about="tick")(optional)


def test_what_a_step_imports_is_loaded_before_its_time_is_taken(
    flights_pipeline: Pipeline, tick: Tick, platform: Platform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a_heavy_library.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    began_loaded: list[bool] = []

    class Noting(SetClock):
        def now(self) -> datetime:
            began_loaded.append("a_heavy_library" in sys.modules)
            return super().now()

    @step(about="tick")
    def heavy(pipeline: Pipeline, tick: Tick, platform: Platform) -> None:
        import a_heavy_library  # noqa: F401

    assert "a_heavy_library" not in sys.modules
    heavy(flights_pipeline, tick, Platform(platform.settings, clock=Noting(platform.clock.now())))
    assert began_loaded == [True]


# A step's runs by name and subject, called with `GIVEN`: the page, the metrics and the health of a tick read them by these.
TICK, TICKS, TRAINING = "2013-06-17", "2013-06-17..2013-06-18", "flights-42"
RECORDED = {
    "extract": ("extract", TICKS),
    "audit": ("audit", TICKS),
    "publish": ("publish", TICKS),
    "assemble": ("assemble", TRAINING),
    "search": ("search 2", TRAINING),
    "segments": ("segments", TRAINING),
    "fit": ("fit B6", TRAINING),
    "train": ("train", TRAINING),
    "evaluate": ("evaluate", TRAINING),
    "backtest": ("backtest", TRAINING),
    "run_checks": ("run_checks", TRAINING),
    "report": ("report", TRAINING),
    "gate": ("gate", TRAINING),
    "request_approval": ("request_approval", TRAINING),
    "approve": ("approve", TRAINING),
    "register": ("register", TRAINING),
    "promote": ("promote", TRAINING),
    "promote_training": ("promote", TRAINING),
    "score": ("score", TICK),
    "measure": ("measure", TICK),
    "decide_and_act": ("decide", TICK),
    "verify": ("verify", TICK),
    "fill_online": ("fill_online", TICK),
    "check_online": ("check_online", TICK),
    "tell_approval": ("tell_approval", TRAINING),
    "tell_decision": ("tell_decision", TICK),
    "tell_digest": ("tell_digest", TICK),
    "tell_experiments": ("tell_experiments", TICK),
    "tell_fallback": ("tell_fallback", TICK),
}
# What is about no tick and no training: it comes around every few minutes, for whatever there is; or tells of a task.
UNRECORDED = {
    "ask_experiment", "build_data_docs", "collect", "measure_collected", "decide_again",
    "begin", "take_step", "check", "finish", "take_back", "take_back_abandoned", "tell_failure", "tell_uncollected",
}  # fmt: skip


@pytest.fixture
def given(flights_pipeline: Pipeline, tick: Tick, platform: Platform) -> dict[str, Any]:
    """A step's arguments by the names of their parameters; those that are not here say nothing of its run."""
    return {
        "pipeline": flights_pipeline,
        "platform": platform,
        "tick": tick,
        "ticks": flights_pipeline.schedule.range("2013-06-17", "2013-06-18"),
        "training_id": TRAINING,
        "verdict": SimpleNamespace(training_id=TRAINING),
        "segment": "B6",
        "worker": 2,
    }


def test_every_step_is_either_recorded_or_declared_unrecorded() -> None:
    declared = {name: one for name, one in vars(steps).items() if getattr(one, "__module__", "") == steps.__name__}
    assert {name for name, one in declared.items() if hasattr(one, "__wrapped__")} == set(RECORDED)
    assert {name for name, one in declared.items() if not hasattr(one, "__wrapped__")} == UNRECORDED


@pytest.mark.parametrize("name", RECORDED)
def test_a_steps_runs_are_named_and_about_what_the_page_and_the_metrics_look_for(
    name: str, given: dict[str, Any], platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    called = getattr(steps, name)
    brings = [one.argval for one in dis.get_instructions(inspect.unwrap(called)) if one.opname == "IMPORT_NAME"]
    (room,) = (module for module in map(import_module, brings) if hasattr(module, name))
    monkeypatch.setattr(room, name, lambda *_, **__: Done(5))  # what it does is tested in its room
    parameters = inspect.signature(called).parameters.values()
    called(**{one.name: given.get(one.name) for one in parameters if one.default is one.empty or one.name in given})
    assert [(run.step, run.subject, run.rows) for run in runs(platform)] == [(*RECORDED[name], 5)]


def test_a_part_that_is_not_given_is_no_part_of_the_name(
    given: dict[str, Any], platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mlprod_tasks.training.search.search", lambda *_, **__: None)
    steps.search(given["pipeline"], TRAINING, platform)
    assert [run.step for run in runs(platform)] == ["search"]


def test_workflows_leave_a_run_for_each_step(
    make_platform: Callable[..., Platform], orders_pipeline: Any, orders_in: Any
) -> None:
    from mlprod_tasks import workflows

    rows = [{"order_id": 1, "ordered_at": "2024-03-04 10:00:00", "amount": 3.5, "items": 1, "state": "paid"}]
    rows = [row | {"customer": "c", "email": "e"} for row in rows]
    platform, pipeline = make_platform(shop=orders_in(rows)), orders_pipeline()
    workflows.ingest(pipeline, pipeline.schedule.range(date(2024, 3, 5)), platform)
    found = {run.step: run for run in platform.ledger.all(StepRun)}
    assert set(found) == {"extract", "audit", "publish"}
    assert {run.subject for run in found.values()} == {"2024-03-05"}
    assert {run.rows for run in found.values()} == {1}


def test_a_step_that_is_stopped_by_an_interrupt_is_recorded_as_failed(
    flights_pipeline: Pipeline, tick: Tick, platform: Platform
) -> None:
    @step(about="tick")
    def stopped(pipeline: Pipeline, tick: Tick, platform: Platform) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped(flights_pipeline, tick, platform)
    assert [run.succeeded for run in runs(platform)] == [False]


def test_recording_loads_nothing_heavy_before_a_step_runs() -> None:
    code = "import sys; import mlprod_tasks.platform.step_runs; print(*{name.split('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert {"sqlalchemy", "pandas", "numpy", "pyarrow"} & set(done.stdout.split()) == set()
