"""When an experiment is looked at: the moments at which its design gives a verdict, and what is complete by a tick.

Looks are counted in time: after each whole week, whatever came in it. So the verdict depends on the data alone, not on who read
the experiment, when, and how often.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mlprod_tasks.declaration import Pipeline, Tick, TickRange
from mlprod_tasks.declaration.experiment import Rows
from mlprod_tasks.declaration.rhythm import TickName
from mlprod_tasks.experiments.plan import Plan, ticks_a_period
from mlprod_tasks.experiments.run import last_of, plan_of
from mlprod_tasks.experiments.scored_rows import SOURCES
from mlprod_tasks.experiments.units import delay_ticks, waits
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.experiment_entries import ExperimentRun
from mlprod_tasks.platform.ledger import Publication
from mlprod_tasks.statistics import sequential


@dataclass(frozen=True)
class Look:
    """A moment at which a design gives a verdict.

    tick: from whose start on the outcomes are complete; ticks: whose rows are read; time: the share of the planned time that
    has passed, above 0 and at most 1.
    """

    tick: TickName
    ticks: TickRange
    time: float


def planned_looks(pipeline: Pipeline, run: ExperimentRun) -> tuple[Look, ...]:
    """The looks of a design that has them at planned moments; an experiment that was ended has those before its end."""
    planned, schedule = plan_of(run), pipeline.schedule
    if planned.wanted.design == "always_valid":
        return ()
    first = planned.periods - 1 if planned.wanted.design == "fixed" else 0
    last_ticks = [schedule.shift(run.starts, (one + 1) * ticks_a_period(schedule) - 1) for one in range(first, planned.periods)]
    return tuple(
        Look(
            schedule.shift(last, delay_ticks(pipeline)),
            schedule.range(run.starts, last),
            (first + i + 1) / planned.periods,
        )
        for i, last in enumerate(last_ticks)
        if last <= last_of(pipeline, run)
    )


def complete_ticks(pipeline: Pipeline, run: ExperimentRun, tick: Tick, platform: Platform) -> TickRange | None:
    """The ticks of an experiment, from its first on, that are scored and whose outcomes are complete before `tick`.

    Outcomes are complete when their delay has passed and all partitions that hold them are published: a partition that is
    missing would look like outcomes that did not happen.
    """
    last = min(pipeline.schedule.shift(tick.name, -delay_ticks(pipeline)), last_of(pipeline, run))
    if last < run.starts:
        return None
    rows = plan_of(run).wanted.rows
    done = list(complete(pipeline, rows, run.starts, last, waits(pipeline), platform))
    return pipeline.schedule.range(run.starts, done[-1]) if done else None


def complete(
    pipeline: Pipeline, rows: Rows, first: TickName, last: TickName, read: Sequence[tuple[str, int]], platform: Platform
) -> Iterator[TickName]:
    """The ticks from `first` on, up to the first one that is not scored or whose outcomes are not all published.

    read: the tables that hold them, each with the number of ticks after which it is complete.
    """
    scored = SOURCES[rows].complete(pipeline, first, last, platform)
    whole = [_with_partitions(pipeline, table, delay, first, platform) for table, delay in read]
    for i, name in enumerate(pipeline.schedule.names(first, last)):
        if name not in scored or any(i >= ticks for ticks in whole):
            return
        yield name


def _with_partitions(pipeline: Pipeline, table: str, delay: int, first: TickName, platform: Platform) -> int:
    """How many ticks from `first` on have all partitions of a table in which their outcomes are."""
    published = {
        row.tick for row in platform.ledger.all(Publication, Publication.tick > first, pipeline=pipeline.name, table_name=table)
    }
    there = 0
    while pipeline.schedule.shift(first, there + 1) in published:
        there += 1
    # The outcomes of the i-th tick are in the partitions i + 1, ..., i + delay after the first.
    return max(0, there - delay + 1)


def information(planned: Plan, units: dict[str, int]) -> float:
    """The share of the planned units that the smallest variant has; it may be more than 1."""
    return min((units.get(one.name, 0) for one in planned.variants), default=0) / planned.units


LEAST_GROWTH = 1.01  # of the units since the look before: with hardly any new ones, two looks are one


def bound(planned: Plan, seen: tuple[tuple[float, float], ...]) -> float | None:
    """The bound of |z| at the last of the looks of a sequential design; None if hardly anything came since the look before.

    seen: the share of the planned time and of the planned units at each look, in order. What may be spent follows from the
    time; how looks hang together, from the units (Lan and DeMets, Biometrics 45, 1989).
    """
    grown = [seen[0]] if seen[0][1] > 0 else []
    for time, share in seen[1:]:
        if share > (LEAST_GROWTH * grown[-1][1] if grown else 0.0):
            grown.append((time, share))
    if not grown or grown[-1] != seen[-1]:
        return None
    times, shares = (tuple(values) for values in zip(*grown, strict=True))
    alpha = planned.wanted.alpha / len(planned.treated)
    return sequential.bounds(shares, alpha, planned.wanted.design, times)[-1]
