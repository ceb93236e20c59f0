"""The steps of the use case as Airflow's tasks call them, each in a process of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from mlprod_tasks import steps, workflows
from mlprod_tasks.declaration import Pipeline, load
from mlprod_tasks.platform import Platform

DECLARED = Path(__file__).parent / "declared"
FIRST, HISTORY = "2024-01-01", "2024-02-11"  # ingested before the trials
NEW = ("2024-02-12", "2024-02-13")  # ingested in them
CHAMPION_AS_OF, AS_OF = "2024-02-10", "2024-02-12"
SCORED_BEFORE, SCORED = "2024-02-11", "2024-02-12"
CHAMPION, TRAINING, RUN = "champion", "challenger", "a run"
BY, REASON = "ada", "a trial"
BEGINS = datetime(2024, 2, 14, 4, tzinfo=UTC)  # on the clock of all steps


class ShiftedClock:
    """The machine's clock, set so that it shows `begins` at the machine's time `since`; it jumps by `jump` after some looks.

    jump: (looks, how far). A clock of a virtual machine that was stopped, or that a person sets, does so.
    """

    def __init__(self, begins: datetime, since: datetime, jump: tuple[int, timedelta] | None = None) -> None:
        self._shift, self._jump, self._looks = begins - since, jump, 0

    def now(self) -> datetime:
        self._looks += 1
        jumped = self._jump[1] if self._jump and self._looks > self._jump[0] else timedelta(0)
        return datetime.now(UTC) + self._shift + jumped


def declared() -> Pipeline:
    return load(DECLARED / "orders.py")


@dataclass(frozen=True)
class Work:
    """One step: its name, and what it does."""

    name: str
    run: Callable[[Pipeline, Platform], object]


@dataclass(frozen=True)
class Phase:
    """Steps that follow each other, and at the end of which what stands is compared."""

    name: str
    works: tuple[Work, ...]


def _ingest(pipeline: Pipeline, platform: Platform) -> object:
    return workflows.ingest(pipeline, pipeline.schedule.range(FIRST, HISTORY), platform)


def _first_champion(pipeline: Pipeline, platform: Platform) -> object:
    steps.assemble(pipeline, pipeline.schedule.tick(CHAMPION_AS_OF), CHAMPION, REASON, platform, by=BY)
    for step in (steps.search, steps.train, steps.evaluate, steps.run_checks, steps.gate):
        step(pipeline, CHAMPION, platform)
    steps.register(pipeline, CHAMPION, platform)
    return _promote(CHAMPION)(pipeline, platform)


def _earlier_day(pipeline: Pipeline, platform: Platform) -> object:
    tick = pipeline.schedule.tick(SCORED_BEFORE)
    workflows.score(pipeline, [tick], platform)
    workflows.monitor(pipeline, [tick], platform)
    steps.tell_decision(pipeline, tick, platform)
    return steps.fill_online(pipeline, tick, platform)


def _promote(training: str) -> Callable[[Pipeline, Platform], object]:
    def promote(pipeline: Pipeline, platform: Platform) -> object:
        from mlprod_tasks.evaluation.gate import gates_passed

        passed = gates_passed(pipeline, training, platform).model_digest
        return steps.promote_training(pipeline, training, passed, platform)

    return promote


def _new_ticks(step: Callable[..., object]) -> Callable[[Pipeline, Platform], object]:
    return lambda pipeline, platform: step(pipeline, pipeline.schedule.range(*NEW), platform, run=RUN)


def _of_training(step: Callable[..., object]) -> Callable[[Pipeline, Platform], object]:
    return lambda pipeline, platform: step(pipeline, TRAINING, platform)


def _of_tick(step: Callable[..., object]) -> Callable[[Pipeline, Platform], object]:
    return lambda pipeline, platform: step(pipeline, pipeline.schedule.tick(SCORED), platform)


def _whole_training(pipeline: Pipeline, platform: Platform) -> object:
    return workflows.train(pipeline, pipeline.schedule.tick(AS_OF), "asked for by hand", platform, by=BY)


BEFORE = Phase("before", (Work("history", _ingest), Work("first champion", _first_champion), Work("earlier day", _earlier_day)))
PHASES = (
    Phase(
        "ingest",
        (
            Work("extract", _new_ticks(steps.extract)),
            Work("audit", _new_ticks(steps.audit)),
            Work("publish", _new_ticks(steps.publish)),
        ),
    ),
    Phase(
        "train",
        (
            Work("assemble", lambda p, here: steps.assemble(p, p.schedule.tick(AS_OF), TRAINING, REASON, here, by=BY)),
            Work("search", _of_training(steps.search)),
            Work("fit", lambda p, here: steps.fit(p, TRAINING, "*", here)),
            Work("train", _of_training(steps.train)),
            Work("evaluate", _of_training(steps.evaluate)),
            Work("backtest", _of_training(steps.backtest)),
            Work("run_checks", _of_training(steps.run_checks)),
            Work("report", _of_training(steps.report)),
            Work("gate", _of_training(steps.gate)),
            Work("register", _of_training(steps.register)),
            Work("promote", _promote(TRAINING)),
        ),
    ),
    Phase("score", (Work("score", _of_tick(steps.score)),)),
    Phase(
        "monitor",
        (
            Work("measure", _of_tick(steps.measure)),
            Work("decide", _of_tick(steps.decide_and_act)),
            Work("tell_decision", _of_tick(steps.tell_decision)),
            Work("verify", _of_tick(steps.verify)),
        ),
    ),
    Phase(
        "requests",
        (
            Work("fill_online", _of_tick(steps.fill_online)),
            Work("collect", lambda p, here: steps.collect(p, here, tidy=True)),
            Work("measure_collected", lambda p, here: steps.measure_collected(p, here)),
        ),
    ),
    Phase("whole training", (Work("the whole training", _whole_training),)),
)
WORKS = {work.name: work for phase in (BEFORE, *PHASES) for work in phase.works}
