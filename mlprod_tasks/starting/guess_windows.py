"""Guess the schedule and the windows of a training from the span of time and the density of rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta
from functools import partial
from math import ceil
from typing import Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mlprod_tasks.starting.guess_tables import TableGuess
from mlprod_tasks.starting.samples import CannotStart
from mlprod_tasks.training.assemble import LEAST_ROWS

Every = Literal["hour", "day", "week"]
HOURS: dict[Every, int] = {"hour": 1, "day": 24, "week": 168}
LONGEST: dict[Every, int] = {"hour": 14 * 24, "day": 28, "week": 28}  # ticks of a window
ENOUGH = 2 * LEAST_ROWS  # rows of a window
FEW_ROWS, MANY_DAYS = 10, 300  # a day, and in all, from which on ticks are weekly
MANY_ROWS, FEW_DAYS = 10, 21  # an hour, and in all, up to which ticks are hourly
REPLAYED = 28  # ticks at the end that a trial scores
EPOCH, ONE_DAY = date(1970, 1, 1), timedelta(days=1)


@dataclass(frozen=True)
class WindowGuess:
    """starts, ends: the schedule's. window, gap, known_after: in hours. has_empty_ticks: whether ticks may have no rows.

    rows_in_window: at least, in the last windows.
    """

    every: Every
    starts: date
    ends: date | None
    window: int
    gap: int
    known_after: int
    has_empty_ticks: bool
    rows_in_window: int

    @property
    def hours(self) -> int:
        """The hours from a tick to the next one."""
        return HOURS[self.every]


@dataclass(frozen=True)
class Spread:
    """How rows lie in time. hours: those that have rows, since 1970, ascending; counts: the rows of each, (n,) both.

    whole: whether there are no rows but these.
    """

    shown: str
    hours: NDArray[np.int64]
    counts: NDArray[np.int64]
    rows: int
    whole: bool

    @property
    def first(self) -> date:
        return EPOCH + timedelta(days=int(self.hours[0]) // 24)

    @property
    def last(self) -> date:
        return EPOCH + timedelta(days=int(self.hours[-1]) // 24)

    @property
    def days(self) -> int:
        return (self.last - self.first).days + 1

    def between(self, first: float, last: float) -> int:
        """The rows in the hours from `first` to before `last`."""
        start, end = np.searchsorted(self.hours, (first, last))
        return int(self.counts[start:end].sum())


def spread_of(table: TableGuess) -> Spread:
    """How the rows of a table lie in time, by its time."""
    times = table.column(table.time).type.values.drop_null().cast(pa.timestamp("us", "UTC")).cast(pa.int64())
    hours, counts = np.unique(times.to_numpy() // 3_600_000_000, return_counts=True)
    return Spread(table.sample.shown, hours, counts, table.rows, table.sample.whole)


def rows_of_table(spread: Spread, known_after: int) -> WindowGuess:
    """Windows for rows of a table, each scored once. known_after: hours until outcomes are known. Raises: CannotStart."""
    rows_a_day = spread.rows / spread.days
    by_hour = len(np.unique(spread.hours % 24)) > FEW_DAYS // 7 and rows_a_day >= 24 * MANY_ROWS
    every: Every = "day"
    if spread.days <= FEW_DAYS and by_hour:
        every = "hour"
    elif rows_a_day < FEW_ROWS and spread.days >= MANY_DAYS:
        every = "week"
    return _windows(spread, every, partial(_fewest, spread, HOURS[every]), known_after, "Give a longer history")


def rows_of_keys(spread: Spread, keys: int, known_after: int) -> WindowGuess:
    """Windows for keys that are all scored at every tick, weekly if the history has room for it. Raises: CannotStart."""
    longer = "Give a longer history, or a shorter --within"
    try:
        return _windows(spread, "week", lambda window, gap: window * keys, known_after, longer)
    except CannotStart:
        return _windows(spread, "day", lambda window, gap: window * keys, known_after, longer)


def _fewest(spread: Spread, length: int, window: int, gap: int) -> int:
    """The rows of the emptiest of the last windows: test and validation of a training as of the end, and some ticks before.

    length: the hours of a tick. window, gap: in ticks.
    """
    ends = (int(spread.hours[-1]) + 1 - (gap + ticks) * length for ticks in (0, REPLAYED))
    lasts = [last for end in ends for last in (end, end - (window + gap) * length)]
    return min(spread.between(last - window * length, last) for last in lasts)


def _windows(spread: Spread, every: Every, fewest: Callable[[int, int], int], known_after: int, remedy: str) -> WindowGuess:
    """Fit the windows into the history, each with enough rows. fewest: rows of a window, by its ticks and a gap's."""
    length = HOURS[every]
    known_after = known_after if every == "hour" else ceil(known_after / 24) * 24
    gap = ceil(known_after / length)
    ticks = spread.days * 24 // length
    # Two windows, the gaps before them, what is not known yet; at least as much again to train on; a tick to score.
    longest = (ticks - 3 * gap - 2) // 3
    window = min(LONGEST[every], ticks // 6, longest)
    while 0 < window < longest and fewest(window, gap) < ENOUGH:
        window = min(longest, window + max(1, window // 4))  # rows may have become rarer towards the end
    rows = fewest(window, gap) if window > 0 else 0
    if rows < LEAST_ROWS:
        raise CannotStart(
            f"{spread.shown} has {spread.rows:,} rows over {spread.days:,} days, and outcomes are known after "
            f"{_in_words(known_after)}: too few to train on the first, test on the last, and have {LEAST_ROWS} rows in each "
            f"window. {remedy}"
        )
    ends = _after(spread.last, every) if spread.whole else None
    seen = len(np.unique((spread.hours - spread.hours[0]) // length))
    starts = spread.first if every == "hour" else _after(spread.first, every)
    empty = seen < ticks or ends is None
    return WindowGuess(every, starts, ends, window * length, gap * length, known_after, empty, rows)


def _in_words(hours: int) -> str:
    return f"{hours} hours" if hours % 24 else f"{hours // 24} days" if hours > 24 else "a day"


def _after(day: date, every: Every) -> date:
    """The first tick after a day: the next day, or the next Monday."""
    return day + timedelta(days=7 - day.weekday()) if every == "week" else day + ONE_DAY
