"""Record every run of a step: duration, rows, memory, and whether it succeeded."""

from __future__ import annotations

import dis
import functools
import inspect
import logging
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

if TYPE_CHECKING:
    from mlprod_tasks.declaration import Pipeline
    from mlprod_tasks.platform import Platform
    from mlprod_tasks.platform.ledger import StepRun
    from mlprod_tasks.platform.ledger_store import Ledger

log = logging.getLogger(__name__)

P = ParamSpec("P")
R = TypeVar("R")
LONGEST = 100  # characters of a step's and a subject's name in the ledger
OWN_MEMORY = Path("/proc/self")
RESET_PEAK = "5"


@dataclass(frozen=True)
class _Step:
    """The declaration of a step: see `step`."""

    name: str
    about: str
    parts: tuple[str, ...]
    opens: str


@dataclass(frozen=True)
class _Running:
    """A running step."""

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


def step(
    *, about: str, parts: Sequence[str] = (), name: str | None = None, opens: str = ""
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Declare a function to be a step: each run, successful or not, is written to the ledger as a StepRun.

    about: the parameter with the subject of a run (a tick, ticks or a training), or an attribute of it ('verdict.training_id').
    parts: parameters that name a part of the subject, such as a table; if a call gives them, they are part of the run's name.
    name: the name of the runs; default: the function's name. opens: the shared folder that has a folder for each subject, if
    the step writes to that.

    One row is inserted after each run; if that fails, it is logged and does not affect the step. A killed process leaves no
    record. The imports in the function's body are loaded before the time is measured.

    Memory is the resident peak of the process during the step, including everything loaded before. If the peak cannot be reset
    (not on Linux), it is the peak since the process started.

    Raises: TypeError if the function has no parameter with one of these names, or no `pipeline` or `platform`.
    """

    def declare(function: Callable[P, R]) -> Callable[P, R]:
        declared = _Step(name or function.__name__, about, tuple(parts), opens)
        signature = inspect.signature(function)
        _refuse_unknown(declared, signature)

        @functools.wraps(function)
        def run(*args: P.args, **kwargs: P.kwargs) -> R:
            given = signature.bind(*args, **kwargs).arguments
            _load_imports(function)
            started = _start(declared, given)
            token = _running.set(started)
            result: R | None = None
            succeeded = False
            try:
                with started.platform.shared.opened(f"{opens}/{started.subject}") if opens else nullcontext():
                    result = function(*args, **kwargs)
                succeeded = True
                return result
            finally:
                _running.reset(token)
                _record(started, succeeded, result)

        return run

    return declare


def unrecorded_step(function: Callable[P, R]) -> Callable[P, R]:
    """Declare a function to be a step whose runs are not recorded, because it has no tick or training."""
    return function


def so_far(pipeline: Pipeline, subject: str) -> StepRun | None:
    """The run of the current step up to now.

    Returns None if it is not recorded or has another subject.
    """
    running = _running.get()
    if running is None or (running.pipeline.name, running.subject) != (pipeline.name, subject):
        return None
    return running.as_row(succeeded=True, rows=None)


def running_step(subject: str) -> str:
    """The name of the current step's runs; '' if it is not recorded or has another subject."""
    running = _running.get()
    return running.step[:LONGEST] if running is not None and running.subject == subject else ""


@dataclass(frozen=True)
class Wait:
    """How long a step waited for a worker, and when it then started and ended."""

    step: str
    started: datetime
    ended: datetime
    seconds: float


def note_waits(pipeline: str, waits: Sequence[Wait], ledger: Ledger) -> int:
    """Add waiting times to recorded runs. Returns the number of runs.

    Running it twice gives the same result.
    """
    from sqlalchemy import update

    from mlprod_tasks.platform.ledger import StepRun

    updated = 0
    with ledger.session() as session:
        for wait in waits:
            of_step = (StepRun.pipeline == pipeline) & (StepRun.step == wait.step)
            result = session.execute(
                update(StepRun)
                .where(of_step & StepRun.at.between(wait.started, wait.ended))
                .values(waited_seconds=wait.seconds)
            )
            updated += result.rowcount  # type: ignore[attr-defined]
    return updated


def _refuse_unknown(declared: _Step, signature: inspect.Signature) -> None:
    needed = ("pipeline", "platform", declared.about.partition(".")[0])
    missing = [one for one in (*needed, *declared.parts) if one not in signature.parameters]
    if missing:
        raise TypeError(f"step {declared.name}{signature} has no parameter {', '.join(missing)}")
    optional = [one for one in needed if signature.parameters[one].default is not inspect.Parameter.empty]
    if optional:
        raise TypeError(f"step {declared.name}{signature}: {', '.join(optional)} must not have a default")


def _load_imports(function: Callable[..., Any]) -> None:
    """Load the imports in a step's body, so that their time does not count."""
    for instruction in dis.get_instructions(function):
        if instruction.opname == "IMPORT_NAME":
            import_module(instruction.argval)


def _start(declared: _Step, given: Mapping[str, Any]) -> _Running:
    parts = [str(given[part]) for part in declared.parts if part in given]
    parameter, _, attribute = declared.about.partition(".")
    subject = getattr(given[parameter], attribute) if attribute else given[parameter]
    platform = given["platform"]
    _reset_peak()
    return _Running(
        pipeline=given["pipeline"],
        step=" ".join([declared.name, *parts]),
        subject=str(subject),
        platform=platform,
        at=platform.clock.now(),
        began=time.perf_counter(),
    )


def _record(started: _Running, succeeded: bool, result: Any) -> None:
    try:
        started.platform.ledger.put(started.as_row(succeeded, _rows(result)))
    except Exception:
        log.warning(
            "%s: the run of %s for %s could not be recorded; the step itself is not affected",
            started.pipeline.name,
            started.step,
            started.subject,
            exc_info=True,
        )


def _rows(result: Any) -> int | None:
    """The number of rows of a step's result, summed over windows.

    Returns None if the result has none.
    """
    rows = getattr(result, "rows", getattr(result, "read", None))
    if isinstance(rows, Mapping):
        return sum(rows.values())
    return rows if isinstance(rows, int) else None


def _reset_peak() -> None:
    """Reset the memory peak of the process if the system allows it."""
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
