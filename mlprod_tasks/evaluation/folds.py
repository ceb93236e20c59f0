"""The folds of a backtest: their ticks, their windows, and whether these have enough rows."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from math import ceil

from mlprod_tasks.declaration import Backtest, Pipeline, Schedule, Split, Tick, TickRange, Ticks
from mlprod_tasks.declaration.rhythm import TickName
from mlprod_tasks.models.feature_frame import outcome_of
from mlprod_tasks.models.stored_rows import Rows
from mlprod_tasks.models.tasks import task_of
from mlprod_tasks.models.tasks.protocol import summary_of
from mlprod_tasks.training import assemble
from mlprod_tasks.training.split import HistoryTooShort, Windows, windows


def moments(declared: Backtest, pipeline: Pipeline, as_of: Tick, populated: Sequence[TickName] = ()) -> list[TickName]:
    """Return the ticks of the folds, earliest first; the last is the training's.

    populated: as of `windows`. Test windows that count such ticks follow each other without a gap, unless a step is declared;
    there are fewer folds if these ticks do not suffice.
    """
    schedule, length = pipeline.schedule, declared.step or pipeline.windows.test
    if isinstance(length, Ticks):
        delay = pipeline.label_delay_ticks
        there = bisect_right(populated, schedule.shift(as_of.name, -delay))
        begins = [populated[there - i * length.count] for i in range(1, declared.windows) if i * length.count <= there]
        return [*(schedule.shift(begin, delay - 1) for begin in reversed(begins)), as_of.name]
    step = schedule.ticks_in(length)
    return [schedule.shift(as_of.name, -i * step) for i in reversed(range(declared.windows))]


def overlapping(declared: Backtest, planned: Iterable[Windows], schedule: Schedule) -> int:
    """Return how many folds apart test windows share no ticks: 1 unless the step is shorter than the window."""
    if declared.step is None:
        return 1
    return ceil(max(len(spans.test) for spans in planned) / schedule.ticks_in(declared.step))


def fold_windows(pipeline: Pipeline, day: TickName, populated: Sequence[TickName] = ()) -> tuple[Tick, Windows]:
    """Return the tick of a fold and its windows. populated: as of `windows`. Raises: HistoryTooShort."""
    if day < pipeline.schedule.first:
        raise HistoryTooShort(f"the schedule starts at {pipeline.schedule.first}")
    as_of = pipeline.schedule.tick(day)
    spans = windows(pipeline.windows, as_of, pipeline.label_delay_ticks, pipeline.schedule, populated)
    if pipeline.windows.train is None and len(spans.train) < len(spans.test):
        raise HistoryTooShort(f"it leaves {len(spans.train)} ticks to train on and {len(spans.test)} to test on")
    return as_of, spans


def too_few_rows(pipeline: Pipeline, window: str, ticks: TickRange, rows: Rows) -> str | None:
    """Return why a window cannot be trained or tested on; None if it can."""
    n, what = rows.num_rows, "window" if isinstance(pipeline.split, Split) else "part of the snapshot"
    if n < assemble.LEAST_ROWS:
        return f"the {window} {what} {ticks} has {n} labelled rows, fewer than {assemble.LEAST_ROWS}"
    problem = task_of(pipeline).problem(pipeline, summary_of(outcome_of(rows)))
    return f"the {window} {what} {ticks} has {problem}" if problem else None
