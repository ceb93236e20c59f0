"""Keep a record of every run of a step: how long it took, how many rows, how much memory, whether it succeeded."""

from __future__ import annotations

import functools
import inspect
import logging
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlprod_tasks.declaration import Pipeline
    from mlprod_tasks.platform import Platform
    from mlprod_tasks.platform.ledger import StepRun
    from mlprod_tasks.platform.ledger_store import Ledger

log = logging.getLogger(__name__)

# What a run is about, by the name of the step's parameter: its tick or ticks, or its training.
TICKS, TRAINING, VERDICT = ("tick", "ticks"), "training_id", "verdict"
# What a step is called for more than once a subject, by the name of its parameter.
PARTS = ("table", "segment", "worker")
LONGEST = 100  # of a step's and a subject's name in the ledger
OWN_MEMORY = Path("/proc/self")
RESET_PEAK = "5"


@dataclass(frozen=True)
class _Running:
    """A step that has begun."""

    pipeline: Pipeline
    step: str
    subject: str
    platform: Platform
    at: datetime
    began: float

    def as_row(self, succeeded: bool, rows: int | None) -> StepRun:
        from mlprod_tasks.platform.ledger import StepRun

        return StepRun(
            pipeline=self.pipeline.name,
            step=self.step[:LONGEST],
            subject=self.subject[:LONGEST],
            at=self.at,
            seconds=time.perf_counter() - self.began,
            succeeded=succeeded,
            try_number=self.platform.attempt() if self.platform.attempt else 1,
            rows=rows,
            peak_mb=_peak_mb(),
        )


_running: ContextVar[_Running | None] = ContextVar("running step", default=None)


def recorded(name: str, step: Callable[..., Any]) -> Callable[..., Any]:
    """The step, leaving a StepRun in the ledger each time that it ends, well or not.

    Only a step that is handed a pipeline, a platform and what it is about (its tick, ticks or training) can be recorded;
    another is given back as it is. One insert a run, after the step's own work; that it fails is logged and changes nothing.
    A process that is killed leaves no record.

    Memory is the process's resident peak while the step ran, with all that the process had loaded before; where the system
    does not let a process reset its peak (not Linux), it is the peak since the process began.
    """
    signature = inspect.signature(step)
    if not {"pipeline", "platform"} <= set(signature.parameters) or _subject(signature.parameters) is None:
        return step

    @functools.wraps(step)
    def run(*args: Any, **kwargs: Any) -> Any:
        started = _started(name, signature.bind(*args, **kwargs).arguments)
        token = _running.set(started)
        done, succeeded = None, False
        try:
            done = step(*args, **kwargs)
            succeeded = True
            return done
        finally:
            _running.reset(token)
            _leave(started, succeeded, done)

    return run


def so_far(pipeline: Pipeline, subject: str) -> StepRun | None:
    """The run of the step that asks, up to now; None where it is not being recorded, or is about something else."""
    running = _running.get()
    if running is None or (running.pipeline.name, running.subject) != (pipeline.name, subject):
        return None
    return running.as_row(succeeded=True, rows=None)


@dataclass(frozen=True)
class Wait:
    """How long the work of a step waited for a worker, and between which moments it then ran."""

    step: str
    started: datetime
    ended: datetime
    seconds: float


def note_waits(pipeline: str, waits: Sequence[Wait], ledger: Ledger) -> int:
    """Add to runs that were recorded how long they had waited; how many there were. Noted again, it is the same."""
    from sqlalchemy import update

    from mlprod_tasks.platform.ledger import StepRun

    noted = 0
    with ledger.session() as session:
        for wait in waits:
            of_step = (StepRun.pipeline == pipeline) & (StepRun.step == wait.step)
            done = session.execute(
                update(StepRun)
                .where(of_step & StepRun.at.between(wait.started, wait.ended))
                .values(waited_seconds=wait.seconds)
            )
            noted += done.rowcount  # type: ignore[attr-defined]
    return noted


def _started(name: str, given: Mapping[str, Any]) -> _Running:
    parts = [str(given[part]) for part in PARTS if part in given]
    platform, subject = given["platform"], _subject(given)
    assert subject is not None
    about = given[subject]
    _reset_peak()
    return _Running(
        pipeline=given["pipeline"],
        step=" ".join([name, *parts]),
        subject=about.training_id if subject == VERDICT else str(about),
        platform=platform,
        at=platform.clock.now(),
        began=time.perf_counter(),
    )


def _subject(names: Mapping[str, Any]) -> str | None:
    """The parameter that says what a run is about: of a training that stands at a tick it is the training."""
    return next((name for name in (TRAINING, VERDICT, *TICKS) if name in names), None)


def _leave(started: _Running, succeeded: bool, done: Any) -> None:
    try:
        started.platform.ledger.put(started.as_row(succeeded, _rows(done)))
    except Exception:
        log.warning(
            "%s: the run of %s for %s could not be recorded; its work is not touched by that",
            started.pipeline.name,
            started.step,
            started.subject,
            exc_info=True,
        )


def _rows(done: Any) -> int | None:
    """What a step's outcome says of how many rows it went through: in all, or by window."""
    told = getattr(done, "rows", getattr(done, "read", None))
    if isinstance(told, Mapping):
        return sum(told.values())
    return told if isinstance(told, int) else None


def _reset_peak() -> None:
    """Let the system count the process's peak anew, where it can."""
    with suppress(OSError):
        (OWN_MEMORY / "clear_refs").write_text(RESET_PEAK, encoding="ascii")


def _peak_mb() -> float | None:
    try:
        lines = (OWN_MEMORY / "status").read_text(encoding="ascii", errors="replace").splitlines()
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        pass
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1024**2 if sys.platform == "darwin" else peak / 1024
