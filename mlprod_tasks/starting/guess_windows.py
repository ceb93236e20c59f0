"""Guess the schedule and the windows of a training from the span of time."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta

import pyarrow as pa
import pyarrow.compute as pc

from mlprod_tasks.starting.guess_label import LabelGuess
from mlprod_tasks.starting.samples import CannotStart
from mlprod_tasks.training.assemble import LEAST_ROWS

LONGEST = 28  # days of a window
ENOUGH = 2 * LEAST_ROWS  # rows of a window
ONE_DAY = timedelta(days=1)


@dataclass(frozen=True)
class WindowGuess:
    """starts, ends: the schedule's. window, gap: in days. has_empty_days: whether a day has no rows."""

    starts: date
    ends: date | None
    window: int
    gap: int
    has_empty_days: bool
    rows_a_day: float


def guess_windows(label: LabelGuess) -> WindowGuess:
    """Fit the windows into the history, each with enough rows. Raises: CannotStart."""
    table = label.table
    times = table.column(table.time).type.values.cast(pa.timestamp("us", "UTC"))
    days = pc.floor_temporal(times, unit="day").cast(pa.timestamp("us", "UTC")).cast(pa.int64()).to_numpy() // 86_400_000_000
    first, last = (date(1970, 1, 1) + timedelta(days=int(day)) for day in (days.min(), days.max()))
    span = (last - first).days + 1
    rows_a_day = table.rows / span
    window = max(min(LONGEST, span // 6), round(ENOUGH / rows_a_day + 0.5))
    # Two windows, the gaps before them, what is not known yet; at least as much again to train on; a day to score.
    longest = (span - 3 * label.delay - 2) // 3
    window = min(window, longest)
    if window < 1 or window * rows_a_day < LEAST_ROWS:
        raise CannotStart(
            f"{table.sample.shown} has {table.rows:,} rows over {span:,} days, and outcomes are known after {label.delay}: too "
            f"few to train on the first, test on the last, and have {LEAST_ROWS} rows in each window. Give a longer history"
        )
    ends = last + ONE_DAY if table.sample.whole else None
    return WindowGuess(first + ONE_DAY, ends, window, label.delay, len(set(days.tolist())) < span, rows_a_day)
