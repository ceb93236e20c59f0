"""How often the monitor raises an alarm at ticks of few rows on which nothing happened, and whether it still finds what did.

The flights of `python -m benchmarks.power`, shuffled over their ticks, of which each keeps only so many rows, the reference's
too. Watched by the defaults of the task. A shift is put into the ticks from the sixth on; `found` counts those at which a rule
fires that does not fire without it.

`python -m benchmarks.quiet_ticks [--task regression ...] [--rows 5 20 ...] [--shuffles N]`: tables in Markdown.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context

import numpy as np
import pyarrow as pa

from benchmarks.power import (
    BEFORE,
    LONGEST,
    MOST_FALSE_ALARMS,
    OF_ROWS,
    Course,
    course,
    first,
    nulled,
    renamed,
    shifted,
    thinned,
    verdict,
    world,
)
from benchmarks.power_tasks import ASKED, Injected, World
from benchmarks.size import sized
from mlprod_tasks.statistics.intervals import wilson

GREAT = (
    Injected("an important number moves", "3 SD", shifted(3)),
    Injected("nulls in an important feature", "50%", nulled(0.5)),
    Injected("unknown categories", "50%", renamed(0.5)),
    Injected("rows are missing", "80%", thinned(0.2)),
)

_world: World  # of this run: what is forked is shared, not sent


def main() -> int:
    """Print the tables; what is being done goes to standard error."""
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--task", nargs="+", choices=tuple(ASKED), default=sized(tuple(ASKED), ("binary",)))
    asked.add_argument("--rows", nargs="+", type=int, default=sized((5, 20, 60, 200), (20,)), help="of each tick")
    asked.add_argument("--shuffles", type=int, default=sized(12, 1))
    asked.add_argument("--small", action="store_true", help="a few ticks: only to see that it runs")
    given = asked.parse_args()
    logging.basicConfig(level=logging.ERROR)
    began = time.perf_counter()
    global _world
    for task in given.task:
        _world = world(task, shipped=False)
        jobs = [(rows, seed) for rows in given.rows for seed in range(given.shuffles)]
        with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("fork")) as pool:
            courses = dict(zip(jobs, pool.map(on_few_rows, *zip(*jobs, strict=True)), strict=True))
        print(f"{task}: {time.perf_counter() - began:.0f} s", file=sys.stderr)
        by_rows = {rows: [courses[rows, seed] for seed in range(given.shuffles)] for rows in given.rows}
        print_quiet(task, by_rows)
        print_found(task, by_rows)
    return 0


def on_few_rows(rows: int, seed: int) -> Course:
    """One shuffle, of which each tick keeps so many rows."""
    random = np.random.default_rng((rows, seed))
    every = pa.concat_tables([_world.reference, _world.after])
    ticks = [sorted(set(of["tick"].to_pylist())) for of in (_world.reference, _world.after)]
    kept = every.take(random.permutation(every.num_rows)[: rows * sum(map(len, ticks))])
    of_rows = pa.array(np.repeat(np.array([tick for of in ticks for tick in of]), rows), every["tick"].type)
    kept = kept.drop_columns(["tick"]).append_column("tick", of_rows).combine_chunks()
    n = rows * len(ticks[0])
    return course(replace(_world, reference=kept.slice(0, n), after=kept.slice(n)), random, [BEFORE], faults(_world))


def faults(of: World) -> Sequence[Injected]:
    """Shifts that must be found among hundreds of rows, and greater ones that few rows tell, too."""
    return (*GREAT, *(shift for shift in (*OF_ROWS, *ASKED[of.pipeline.task].shifts) if shift.goal))


def print_quiet(task: str, courses: dict[int, list[Course]]) -> None:
    """How often a rule fires where nothing was put in."""
    print(f"### {task}: alarms where nothing was put in\n")
    print("| rows a tick | pipeline-days | with an alarm | share, 95 % interval | which rules | at most 0.02 |")
    print("| ---: | ---: | ---: | --- | --- | --- |")
    for rows, of in courses.items():
        days = [rules for one in of for rules in one.quiet]
        alarms = sum(map(bool, days))
        low, high = wilson(alarms, len(days))
        which = Counter(rule for rules in days for rule in rules).most_common()
        named = ", ".join(f"{rule} {n}" for rule, n in which) or "none"
        kept = verdict(alarms / len(days) <= MOST_FALSE_ALARMS)
        print(f"| {rows} | {len(days)} | {alarms} | {alarms / len(days):.3f} [{low:.3f}, {high:.3f}] | {named} | {kept} |")
    print()


def print_found(task: str, courses: dict[int, list[Course]]) -> None:
    """For each fault how often it is found at the first tick, and within LONGEST ticks."""
    print(f"### {task}: shifts found at the first tick / within {LONGEST} ticks\n")
    print(f"| shift | size | {' | '.join(f'{rows} rows' for rows in courses)} |")
    print(f"| --- | --- |{' ---: |' * len(courses)}")
    for shift in faults(_world):
        cells = []
        for of in courses.values():
            found = [one for each in of for one in each.found if one.at == (shift.kind, shift.size)]
            within = sum(one.delay is not None for one in found) / len(found)
            cells.append(f"{first(found):.0%} / {within:.0%}")
        print(f"| {shift.kind} | {shift.size} | {' | '.join(cells)} |")
    print()


if __name__ == "__main__":
    sys.exit(main())
