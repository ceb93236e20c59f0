"""The number of replicas follows load: a surge comes and goes, and replicas behind nginx are started and ended by their CPU.

What decides is what a HorizontalPodAutoscaler decides by: the mean CPU of the replicas against a target, with its
tolerance, its limits on how fast, and its waiting before a replica is taken away. Only the times are shorter, and the
target is small, so that few requests are a surge: a third of what one replica needs in it, as three may run. nginx is told all
places where a replica may come to be; in a cluster it asks for their names.

`python -m benchmarks.elastic`. Needs nginx and redis-server. About a minute.
"""

from __future__ import annotations

import logging
import math
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from benchmarks import served_shop
from benchmarks.load import Load, Outcome
from benchmarks.replicas import Nginx, Redis, Replica, allow_open_files, where_is

TOLERANCE = 0.1  # Kubernetes' default: so close to the target nothing changes
LOOK_SECONDS = 3.0
# Of the surge's load, before what a replica needs is measured: its first thousand requests cost twice as much as later ones.
WARM_SECONDS = 5.0
# Requests a second before the surge, and how many times as many in it. A replica under more load does more at a wake: 800
# requests a second need seven times the CPU of 25. So no replica is kept by a machine that is half as fast for a minute.
RATE, TIMES = 25.0, 32.0
CALM_LOOKS = 3  # before the surge; as many in a row must call for fewer before a replica is taken away
LONGEST = 60.0  # seconds that a phase may take
MOST = 3


def wanted(running: int, usage: Sequence[float], target: float, most: int = MOST) -> int:
    """How many replicas the mean usage calls for, as Kubernetes computes it: ceil(running * mean / target), at most doubled.

    usage, target: cores. https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/#algorithm-details
    """
    ratio = sum(usage) / len(usage) / target
    if abs(ratio - 1) <= TOLERANCE:
        return running
    return max(1, min(math.ceil(running * ratio), 2 * running, most))


@dataclass
class Fleet:
    """Replicas that run, of those that may."""

    places: Sequence[Replica]
    running: int = 1
    target: float = math.inf
    # What was called for lately: a replica is taken away only when none of it was more.
    _lately: deque[int] = field(default_factory=deque)
    history: list[int] = field(default_factory=list)

    def usage(self, seconds: float = LOOK_SECONDS) -> list[float]:
        """The CPU of each running replica over some seconds, in cores."""
        processes = [psutil.Process(one.process.pid) for one in self.places[: self.running]]
        before = [_seconds(one) for one in processes]
        began = time.monotonic()
        time.sleep(seconds)
        took = time.monotonic() - began
        return [(_seconds(one) - was) / took for one, was in zip(processes, before, strict=True)]

    def follow(self) -> None:
        """Look once, and start or end replicas."""
        called_for = wanted(self.running, self.usage(), self.target, len(self.places))
        self._lately.append(called_for)
        if len(self._lately) > CALM_LOOKS:
            self._lately.popleft()
        if called_for > self.running:
            for one in self.places[self.running : called_for]:
                one.start()
            self.running = called_for
        elif len(self._lately) == CALM_LOOKS and max(self._lately) < self.running:
            self.running -= 1
            self.places[self.running].stop()
        self.history.append(self.running)

    def until(self, holds: Callable[[], bool]) -> float:
        """Follow the load until it holds. After how many seconds. Raises: TimeoutError."""
        began = time.monotonic()
        while not holds():
            if time.monotonic() - began > LONGEST:
                raise TimeoutError(f"{self.running} replicas run after {LONGEST:g} s: {self.history}")
            self.follow()
        return time.monotonic() - began


def _seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


@dataclass(frozen=True)
class Surge:
    """What came of it. up, down: seconds until as many replicas as may ran, and until one did again."""

    warm: Outcome
    steady: Outcome
    surge: Outcome
    replicas: tuple[int, ...]
    up: float
    down: float


def surge(fleet: Fleet, url: str, folder: Path) -> Surge:
    """Let load grow by a factor and go back, with one replica at first."""
    with Load(url, RATE * TIMES, folder / "warm.jsonl", seed=100) as warm:
        time.sleep(WARM_SECONDS)
        fleet.target = sum(fleet.usage()) / len(fleet.places)
    with Load(url, RATE, folder / "steady.jsonl", seed=101) as steady:
        time.sleep(2)
        fleet.until(lambda: len(fleet.history) == CALM_LOOKS)
        with Load(url, RATE * (TIMES - 1), folder / "surge.jsonl", seed=102) as more:
            up = fleet.until(lambda: fleet.running == len(fleet.places))
            time.sleep(2)
        down = fleet.until(lambda: fleet.running == 1)
        time.sleep(2)
    return Surge(warm.outcome, steady.outcome, more.outcome, tuple(fleet.history), up, down)


def main() -> int:
    """Print what came of a surge."""
    if absent := [name for name in ("nginx", "redis-server") if where_is(name) is None]:
        sys.exit(f"not installed: {', '.join(absent)}")
    allow_open_files()
    logging.getLogger("mlprod_tasks").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as folder, Redis(Path(folder) / "redis") as redis:
        redis.start()
        run = Path(folder) / "run"
        variables = served_shop.environment(Path(folder) / "home", MLPROD_ONLINE_URL=redis.url)
        served_shop.make(variables, versions=1)
        first, *others = (Replica(number, variables, run) for number in range(1, MOST + 1))
        with first, others[0], others[1], Nginx([first, *others], run) as nginx:
            first.start()
            nginx.start()
            told = surge(Fleet([first, *others]), nginx.url, run)
    outcomes = (told.warm, told.steady, told.surge)
    requests, failed = sum(map(len, outcomes)), sum(one.failed for one in outcomes)
    print("| requests | failed | replicas, look by look | all running after, s | one again after, s | p99 in the surge, ms |")
    print("| ---: | ---: | --- | ---: | ---: | ---: |")
    looks = " ".join(map(str, told.replicas))
    print(f"| {requests:,} | {failed} | {looks} | {told.up:.0f} | {told.down:.0f} | {told.surge.milliseconds(99):.1f} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
