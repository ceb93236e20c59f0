"""Run one step in a process of its own, forked from one that has imported everything; kill it where a trial says so."""

from __future__ import annotations

import logging
import multiprocessing
import os
import random
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from multiprocessing.connection import Connection
from pathlib import Path

from benchmarks.recovery.moments import Moments, Recorded

LONGEST = 300.0  # seconds of one step
PRELOADED = [
    "benchmarks.recovery.work", "mlprod_tasks.ingest.run_expectations", "mlprod_tasks.monitoring.act",
    "mlprod_tasks.monitoring.measure", "mlprod_tasks.monitoring.verify", "mlprod_tasks.notifications.decision_mails",
    "mlprod_tasks.online.fill", "mlprod_tasks.promotion.register", "mlprod_tasks.reporting.write",
    "mlprod_tasks.scoring.collect", "mlprod_tasks.scoring.score", "mlprod_tasks.training.train",
    "mlprod_tasks.training.search", "mlprod_tasks.evaluation.backtest", "mlprod_tasks.evaluation.run_checks", "mlflow",
    "mlprod_tasks.ingest.loaded_expectations", "lightgbm", "optuna", "matplotlib.pyplot",
]  # fmt: skip


@dataclass(frozen=True)
class Moment:
    """A point of a step: just before what it does as number `number`, or, if `later` is given, that many seconds after it."""

    number: int
    later: float | None = None

    def __str__(self) -> str:
        return f"moment {self.number}" + ("" if self.later is None else f" and {1000 * self.later:.1f} ms")


@dataclass(frozen=True)
class Ended:
    """How a step ended: whether it was killed, or its error ('' if it succeeded), and when its moments were."""

    killed: bool
    error: str
    moments: tuple[float, ...]

    @property
    def succeeded(self) -> bool:
        return not self.killed and not self.error


@dataclass(frozen=True)
class Order:
    """What a process is to do: a step, with these environment variables, and a clock."""

    work: str
    variables: Mapping[str, str]
    output: Path
    begins: datetime
    since: datetime
    jump: tuple[int, timedelta] | None = None
    moment: Moment | None = None


class Children:
    """Forks processes that run steps."""

    def __init__(self) -> None:
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(PRELOADED)

    def run(self, order: Order, act: Callable[[], object] | None = None) -> Ended:
        """Run a step to its end, or to its moment, at which it is killed. act: done at that moment instead, while it waits."""
        ours, theirs = self._context.Pipe(duplex=True)
        process = self._context.Process(target=_run, args=(order, theirs, act is None), daemon=True)
        process.start()
        theirs.close()
        try:
            error, moments = _until_end(ours, process.pid, order, act)
        except (EOFError, ConnectionResetError):
            error, moments = "", ()
        process.join(20)
        ours.close()
        killed = process.exitcode == -signal.SIGKILL and not error
        if process.exitcode and not killed:
            error = error or f"the process ended with status {process.exitcode}"
        return Ended(killed, error, tuple(moments))


def _until_end(
    child: Connection, pid: int | None, order: Order, act: Callable[[], object] | None
) -> tuple[str, Sequence[float]]:
    """Do at the moment what is to be done; the child's error, and when its moments were. Raises: EOFError if it was killed."""
    while child.poll(LONGEST):
        told, *rest = child.recv()
        if told == "end":
            error, moments = rest
            return error, moments
        if act is None:
            assert order.moment is not None
            time.sleep(order.moment.later or 0.0)
            _kill(pid)
        else:
            act()
            child.send("go on")
    _kill(pid)
    return f"it took more than {LONGEST:g} s", ()


def _kill(pid: int | None) -> None:
    """All processes of a child's group, which is its own."""
    assert pid is not None
    for kill in (os.killpg, os.kill):  # it may not have its group yet
        with suppress(ProcessLookupError):
            kill(pid, signal.SIGKILL)


def _run(order: Order, parent: Connection, to_be_killed: bool) -> None:
    os.setpgid(0, 0)
    os.environ.update(order.variables)
    file = os.open(order.output, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(file, 1)
    os.dup2(file, 2)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, force=True)
    from benchmarks.recovery.work import WORKS, ShiftedClock, declared
    from mlprod_tasks.platform import Platform
    from mlprod_tasks.platform.settings import from_environment

    platform = Platform(from_environment(), clock=ShiftedClock(order.begins, order.since, order.jump))
    recorded = Recorded()
    Moments(recorded if order.moment is None else _at(order.moment, parent, to_be_killed)).begin()
    error = ""
    try:
        WORKS[order.work].run(declared(), platform)
    except Exception as raised:
        traceback.print_exc()
        error = f"{type(raised).__name__}: {raised}"
    parent.send(("end", error, recorded.at))
    parent.close()


def _at(moment: Moment, parent: Connection, to_be_killed: bool) -> Callable[[int], None]:
    """What to do at each moment: nothing but at one, at which the process is killed or waits."""

    def on(number: int) -> None:
        if number != moment.number:
            return
        if to_be_killed and moment.later is None:
            os.killpg(0, signal.SIGKILL)  # its own group
        parent.send(("now",))
        if not to_be_killed:
            parent.recv()

    return on


def chosen(moments: Sequence[float], chance: random.Random) -> Moment:
    """A moment to kill at: one of those counted, or any point of the time up to the last one, told from the one before it."""
    if chance.random() < 0.5:
        return Moment(chance.randrange(1, len(moments) + 1))
    at = chance.uniform(0.0, moments[-1])
    before = [number for number, moment in enumerate(moments, 1) if moment <= at]
    return Moment(before[-1], at - moments[before[-1] - 1]) if before else Moment(1)
