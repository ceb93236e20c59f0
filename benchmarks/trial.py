"""What every trial has: a place where all runs, and what came of it."""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.load import Load, Outcome
from benchmarks.replicas import Nginx, PostgreSQL, Redis, Replica
from mlprod_tasks.platform import Platform

BEFORE = 3.0  # seconds of load before a fault
CHANCE = random.Random(7)
SEEDS = itertools.count(1)  # so that no load asks about the orders of another


@dataclass
class Place:
    """Everything that runs, and where it writes."""

    folder: Path
    platform: Platform
    replicas: Sequence[Replica]
    nginx: Nginx
    redis: Redis
    postgres: PostgreSQL
    rate: float

    def load(self, rate: float | None = None, url: str | None = None, connections: int = 0) -> Load:
        file = self.folder / f"load-{next(SEEDS)}.jsonl"
        return Load(url or self.nginx.url, rate or self.rate, file, seed=next(SEEDS), connections=connections)


@dataclass(frozen=True)
class Trial:
    """What a fault did to requests, and what else there is to tell."""

    name: str
    before: Outcome
    during: Outcome
    whole: Outcome
    told: tuple[str, ...] = ()

    @property
    def line(self) -> str:
        return (
            f"| {self.name} | {len(self.whole):,} | {self.whole.failed} | {self.during.share('fallback'):.1%} | "
            f"{self.before.milliseconds(99):.1f} | {self.during.milliseconds(99):.1f} | {1000 * self.whole.longest_wait:.0f} |"
        )


def under_load(
    place: Place, name: str, fault: Callable[[], object], after: Callable[[], object] = lambda: time.sleep(2)
) -> tuple[Trial, float, float]:
    """Load before, during and after a fault. The trial, and when the fault began and ended."""
    with place.load() as load:
        time.sleep(BEFORE)
        began = time.monotonic()
        fault()
        ended = time.monotonic()
        after()
    whole = load.outcome
    return Trial(name, whole.between(began - BEFORE + 1, began), whole.between(began, ended), whole), began, ended


def with_told(trial: Trial, *told: str) -> Trial:
    return replace(trial, told=told)
