"""DuckDB's operations on single values in Python, equal bit for bit.

Each is named after the SQL operation. None is null. Times are microseconds and dates days since 1970; an interval is (months,
days, microseconds).
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Sequence
from datetime import date
from typing import Any

DAY = 86_400_000_000
EPOCH_ORDINAL = date(1970, 1, 1).toordinal()
FIRST_DAY, LAST_DAY = -EPOCH_ORDINAL + 1, date.max.toordinal() - EPOCH_ORDINAL
RANGES = {
    "TINYINT": (-(2**7), 2**7 - 1),
    "SMALLINT": (-(2**15), 2**15 - 1),
    "INTEGER": (-(2**31), 2**31 - 1),
    "BIGINT": (-(2**63), 2**63 - 1),
    "HUGEINT": (-(2**127), 2**127 - 1),
}
One = Callable[[Any], Any]
Two = Callable[[Any, Any], Any]


class ValueFailed(ValueError):
    """An operation that fails in DuckDB too: a number out of range, a division by zero."""


class Unsure(Exception):
    """A value for which the result may differ from DuckDB's: DuckDB must compute it."""


def within(kind: str) -> One:
    """Make a function that returns its argument if the integer type can hold it, else raises ValueFailed."""
    low, high = RANGES[kind]

    def check(x: int) -> int:
        if low <= x <= high:
            return x
        raise ValueFailed(f"{x} is out of the range of {kind}")

    return check


def checked(operation: Two, kind: str) -> Two:
    """Make the operation on integers raise ValueFailed if its result is out of the type's range."""
    low, high = RANGES[kind]

    def run(x: int, y: int) -> int:
        result: int = operation(x, y)
        if low <= result <= high:
            return result
        raise ValueFailed(f"overflow: {result} is out of the range of {kind}")

    return run


def divided(x: float, y: float) -> float:
    if y:
        return x / y
    if x == 0 or x != x or y != y:
        return math.nan
    return math.copysign(math.inf, x) * math.copysign(1.0, y)


def whole_divided(x: int, y: int) -> int:
    if not y:
        raise ValueFailed(f"division of {x} by zero")
    quotient = abs(x) // abs(y)
    return quotient if (x < 0) == (y < 0) else -quotient


def remainder(kind: str) -> Two:
    """Make the remainder of integer division in that type.

    It has the sign of the dividend.
    """
    divide = checked(whole_divided, kind)
    return lambda x, y: x - y * divide(x, y)


# In DuckDB, NaN equals itself and is greater than every other number.
def same(x: float, y: float) -> bool:
    return x == y or (x != x and y != y)


def different(x: float, y: float) -> bool:
    return not same(x, y)


def above(x: float, y: float) -> bool:
    return x > y or (x != x and y == y)


def above_or_same(x: float, y: float) -> bool:
    return x >= y or x != x


def below(x: float, y: float) -> bool:
    return above(y, x)


def below_or_same(x: float, y: float) -> bool:
    return above_or_same(y, x)


def rounded(x: float) -> float:
    """Round half away from zero."""
    if not math.isfinite(x):
        return x
    whole = float(math.trunc(x))
    if abs(x - whole) >= 0.5:
        whole += math.copysign(1.0, x)
    return math.copysign(whole, x)


def floored(x: float) -> float:
    return math.copysign(float(math.floor(x)), x) if math.isfinite(x) else x


def ceiled(x: float) -> float:
    return math.copysign(float(math.ceil(x)), x) if math.isfinite(x) else x


def root(x: float) -> float:
    return math.nan if x < 0 else math.sqrt(x)


def to_integer(kind: str) -> One:
    """Make a function that rounds a float half to even.

    It raises ValueFailed outside of the type's range.
    """
    low, high = RANGES[kind]

    def run(x: float) -> int:
        if not math.isfinite(x):
            raise ValueFailed(f"{x} cannot be converted to {kind}")
        integer = round(x)
        if low <= integer <= high:
            return integer
        raise ValueFailed(f"{x} is out of the range of {kind}")

    return run


def day_of(moment: int) -> int:
    return moment // DAY


def _calendar(day: int) -> date:
    if FIRST_DAY <= day <= LAST_DAY:
        return date.fromordinal(day + EPOCH_ORDINAL)
    raise Unsure(day)


# Parts of a time in microseconds; pass a date as its first microsecond.
PARTS: dict[str, Callable[[int], int]] = {
    "hour": lambda us: us % DAY // 3_600_000_000,
    "minute": lambda us: us % 3_600_000_000 // 60_000_000,
    "second": lambda us: us % 60_000_000 // 1_000_000,
    "isodow": lambda us: (us // DAY + 3) % 7 + 1,
    "dow": lambda us: (us // DAY + 4) % 7,
    "day": lambda us: _calendar(us // DAY).day,
    "month": lambda us: _calendar(us // DAY).month,
    "year": lambda us: _calendar(us // DAY).year,
    "quarter": lambda us: (_calendar(us // DAY).month + 2) // 3,
    "doy": lambda us: _calendar(us // DAY).timetuple().tm_yday,
    "week": lambda us: _calendar(us // DAY).isocalendar()[1],
}


def epoch_of_local(us: int) -> float:
    return float(us) / 1e6


def epoch_of(us: int) -> float:
    """Seconds since 1970 of a time with a time zone: DuckDB divides milliseconds and the rest separately."""
    milliseconds, rest = divmod(us, 1000)
    return float(milliseconds) / 1e3 + rest / 1e6


def epoch_of_interval(interval: tuple[int, int, int]) -> float:
    months, days, us = interval
    if months:
        raise Unsure(interval)
    return float(days * 86_400) + us / 1e6


def between_moments(x: int, y: int) -> tuple[int, int, int]:
    """The interval x - y: whole days and the rest, both with the sign of the difference."""
    if (x < 0 and x % 1000) or (y < 0 and y % 1000):
        raise Unsure(x, y)  # before 1970, DuckDB treats fractions of milliseconds differently
    apart = x - y
    if apart < 0:
        days, rest = divmod(-apart, DAY)
        return 0, -days, -rest
    days, rest = divmod(apart, DAY)
    return 0, days, rest


def moved(moment: int, interval: tuple[int, int, int]) -> int:
    months, days, us = interval
    if months:
        raise Unsure(interval)
    return moment + days * DAY + us


def local(changes: Sequence[int], offsets: Sequence[int]) -> One:
    """Make the conversion to local time.

    changes: times of offset changes; offsets: the offset from each on; microseconds.
    """
    first, last = changes[0], changes[-1]

    def run(us: int) -> int:
        if first <= us < last:
            return us + offsets[bisect_right(changes, us) - 1]
        raise Unsure(us)

    return run
