"""Guess the schedule and the windows of a training from the span of time."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from math import ceil
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc

from mlprod_tasks.starting.guess_label import LabelGuess
from mlprod_tasks.starting.samples import CannotStart
from mlprod_tasks.training.assemble import LEAST_ROWS

Every = Literal["day", "week"]
LONGEST = 28  # ticks of a window
ENOUGH = 2 * LEAST_ROWS  # rows of a window
FEW_ROWS, MANY_DAYS = 10, 300  # a day, and in all, from which on ticks are weekly
ONE_DAY = timedelta(days=1)


@dataclass(frozen=True)
class WindowGuess:
    """starts, ends: the schedule's. window, gap: in days. has_empty_ticks: whether the rows of a tick are missing."""

    every: Every
    starts: date
    ends: date | None
    window: int
    gap: int
    has_empty_ticks: bool
    rows_a_day: float


def guess_windows(label: LabelGuess) -> WindowGuess:
    """Fit the windows into the history, each with enough rows. Raises: CannotStart."""
    table = label.table
    days = _days(label)
    first, last = (date(1970, 1, 1) + timedelta(days=day) for day in (min(days), max(days)))
    span = (last - first).days + 1
    rows_a_day = table.rows / span
    every: Every = "week" if rows_a_day < FEW_ROWS and span >= MANY_DAYS else "day"
    length = 7 if every == "week" else 1
    gap = ceil(label.delay / length) * length
    ticks = max(min(LONGEST, span // length // 6), ceil(ENOUGH / rows_a_day / length))
    # Two windows, the gaps before them, what is not known yet; at least as much again to train on; a tick to score.
    longest = (span - 3 * gap - 2 * length) // 3 // length
    window = min(ticks, longest) * length
    if window < 1 or window * rows_a_day < LEAST_ROWS:
        raise CannotStart(
            f"{table.sample.shown} has {table.rows:,} rows over {span:,} days, and outcomes are known after {label.delay}: too "
            f"few to train on the first, test on the last, and have {LEAST_ROWS} rows in each window. Give a longer history"
        )
    starts, ends = _after(first, every), _after(last, every) if table.sample.whole else None
    seen = {(day - min(days)) // length for day in days}
    return WindowGuess(every, starts, ends, window, gap, len(seen) < span // length or ends is None, rows_a_day)


def _days(label: LabelGuess) -> list[int]:
    """The days of all rows, each once, since 1970."""
    times = label.table.column(label.table.time).type.values.cast(pa.timestamp("us", "UTC")).cast(pa.int64())
    return [int(day) for day in pc.unique(pc.floor(pc.divide(times.cast(pa.float64()), 86_400e6))).to_pylist()]


def _after(day: date, every: Every) -> date:
    """The first tick after a day: the next day, or the next Monday."""
    return day + ONE_DAY if every == "day" else day + timedelta(days=7 - day.weekday())
