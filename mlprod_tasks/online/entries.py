"""Write and read the entries of the online store.

Results equal a sweep over all events, bit for bit. An entry of windows holds the times of its key's events, ascending, and
running sums over them: two bisections give any window that ends at any time. Sums are of integers (see features/trailing.py),
so the difference of two sums is exact.
"""

from __future__ import annotations

import math
import sys
from array import array
from bisect import bisect_left
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeAlias

import msgspec

from mlprod_tasks.declaration import AsOf, Count, Lookup, Pipeline, Table, Trailing
from mlprod_tasks.declaration.aggregate import Ordered, without_rows
from mlprod_tasks.declaration.aggregate_groups import groups_of, is_sum, series_of, value_of
from mlprod_tasks.online.plan import MICROSECOND

if TYPE_CHECKING:
    from mlprod_tasks.online.window_values import Computed, Prepared

# Times of events, ascending, and the running sums of each of their parts (one more than times, the first is 0), as int64.
Running = tuple[bytes, list[bytes]]
_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder().decode


class EntryReader(Protocol):
    """Reads the entries of one group and gives its features, in declared order."""

    def decode(self, written: bytes) -> Any:
        """Decode an entry to the form that `values` takes."""
        ...

    def values(self, entry: Any, moment: int) -> Sequence[Any]:
        """The features as of `moment` (microseconds); entry is None if the key is not in the store."""
        ...


class LookupReader:
    """Reads the columns of a look-up."""

    def __init__(self, feature: Lookup) -> None:
        self._nothing = [None] * len(feature.columns)

    def decode(self, written: bytes) -> Any:
        return _unpack(written)

    def values(self, entry: Any, moment: int) -> Sequence[Any]:
        return self._nothing if entry is None else entry


def write_row(values: Sequence[Any]) -> bytes:
    """Write an entry of a look-up. values: in the order of the feature's columns."""
    return _pack(values)


class ObservationReader:
    """Reads the columns of the last row known before a time, unless it is older than max_age then."""

    def __init__(self, feature: AsOf, table: Table) -> None:
        self._max_age = feature.max_age // MICROSECOND
        self._nothing = [None] * len(feature.columns)
        self._late = any(table.column(column).known_at for column in feature.columns.values())

    def decode(self, written: bytes) -> Any:
        at, columns, late, *known = _unpack(written)
        seen = _integers(at)
        return seen, _integers(known[0]) if known else seen, list(zip(*columns, strict=True)), list(zip(*late, strict=True))

    def values(self, entry: Any, moment: int) -> Sequence[Any]:
        if entry is None:
            return self._nothing
        at, known, rows, late = entry
        i = bisect_left(at, moment) - 1
        if i < 0 or known[i] < moment - self._max_age:
            return self._nothing
        row: Sequence[Any] = rows[i]
        if not self._late:
            return row
        return [value if now else None for value, now in zip(row, _known(late[i], moment), strict=True)]


def write_observations(
    at: bytes, columns: Sequence[Sequence[Any]], late: Sequence[Sequence[int | None]], known: bytes | None = None
) -> bytes:
    """Write an entry of observations.

    at: times, int64 little-endian, ascending; of equal ones the last counts. known: the times from which their age counts, if
    these are others, because rows arrived late. columns: the values of each column, in that order.
    late: for each column the time from which each value is known; for a column that is never late, a time before all others.
    """
    return _pack([at, columns, late] if known is None else [at, columns, late, known])


def _known(late: Sequence[int | None], moment: int) -> list[bool]:
    return [at is not None and at < moment for at in late]


class WindowReader:
    """Reads counts, means and sums over the windows that end at a time."""

    def __init__(self, feature: Trailing, table: Table) -> None:
        names = [feature.feature(aggregate, window) for window in feature.windows for aggregate in feature.aggregates]
        self._nothing: list[Any] = [without_rows(aggregate) for _ in feature.windows for aggregate in feature.aggregates]
        self._skip = feature.skip // MICROSECOND
        self._program = []
        for group in groups_of(table, feature):
            aggregates, measures = group.aggregates, group.measures
            windows = []
            for window in feature.windows:
                counts = [names.index(feature.feature(a, window)) for a in aggregates if not value_of(a)]
                positions = [
                    (names.index(feature.feature(a, window)), m, int if isinstance(a, Count) else float if is_sum(a) else None)
                    for m, a in enumerate(measures)
                ]
                windows.append((window // MICROSECOND, counts, positions))
            self._program.append(windows)
        series = list(series_of(table, feature).values())
        self._series, self._prepared = _programs(feature, series, names) if series else ([], [])

    def decode(self, written: bytes) -> Any:
        sections, series = _unpack(written)
        read: list[tuple[Any, ...]] = []
        for (times, code, written_values, *seen), prepare in zip(series, self._prepared, strict=True):
            at, values = _integers(times), _values(code, written_values)
            if seen:
                read.append((at, values, _integers(seen[0])))
            else:
                read.append((at, [one(at, values) for one in prepare], None))
        return self._sections(sections), read

    def _sections(self, sections: Any) -> Any:
        """The windows of all sections in one list, each with what is read in it, so that a request looks nothing up."""
        entry = []
        for (at, sums, layout, *late), windows in zip(sections, self._program, strict=True):
            if late:
                of_windows = [_event_sums(entering, leaving, layout) for entering, leaving in late[0]]
            else:
                of_windows = [_event_sums((at, sums), None, layout)] * len(windows)
            entry += [(*of, *window) for of, window in zip(of_windows, windows, strict=True)]
        return entry

    def values(self, entry: Any, moment: int) -> Sequence[Any]:
        if entry is None:
            return self._nothing
        values = self._nothing.copy()
        windows, series = entry
        before = moment - self._skip
        if series:
            self._read_series(series, before, moment, values)
        searched, end = None, 0
        for entering, leaving, measures, length, counts, measured in windows:
            if entering is not searched:  # unless events arrived late, all windows of a section have the same
                searched, end = entering, bisect_left(entering, before)
            start = bisect_left(leaving, before - length, 0, end)
            if start == end:
                continue
            n = end - start
            for position in counts:
                values[position] = n
            for position, m, of_sum in measured:
                whole, whole_left, fine, fine_left, counted, counted_left, wide, unit, finer = measures[m]
                count = n if counted is None else counted[end] - counted_left[start]
                if count:
                    total = whole[end] - whole_left[start]
                    total = total * unit if wide is None else wide.total(total, start, end, unit)
                    if fine is not None:
                        total += (fine[end] - fine_left[start]) * finer
                    values[position] = total / count if of_sum is None else of_sum(total)
        return values

    def _read_series(self, series: Any, before: int, moment: int, values: list[Any]) -> None:
        """Set the values of aggregates that are computed from the events themselves."""
        for (at, found, seen), program, prepare in zip(series, self._series, self._prepared, strict=True):
            end = bisect_left(at, before)
            for length, position, i, value in program:
                start = bisect_left(at, before - length, 0, end)
                if seen is not None:
                    there = [n for n in range(start, end) if seen[n] < before]
                    if there:
                        values[position] = _of_some(value, prepare[i], at, found, there, moment)
                elif start < end:
                    values[position] = value(at, found[i], start, end, moment)


def _of_some(
    value: Computed, prepare: Prepared, at: Sequence[int], found: Sequence[Any], there: Sequence[int], moment: int
) -> Any:
    """An aggregate over some of the events: those of a window that have not arrived later."""
    times = [at[n] for n in there]
    return value(times, prepare(times, [found[n] for n in there] if found else found), 0, len(there), moment)


# Running sums over events as they enter a window, and as they leave it: the same, unless events arrived late.
_Pair: TypeAlias = "tuple[array[int], array[int]]"


class _EventSums(NamedTuple):
    """The events of a key: times at which they enter and leave a window, and for each mean its running sums, both ways.

    Events in a window are those that entered it and have not left it. measures: tuples, which a request unpacks fastest.
    """

    entering: array[int]
    leaving: array[int]
    measures: list[tuple[Any, ...]]


def _event_sums(entering: Running, leaving: Running | None, layout: Sequence[Sequence[Any]]) -> _EventSums:
    times, entered = _integers(entering[0]), [_integers(one) for one in entering[1]]
    left = entered if leaving is None else [_integers(one) for one in leaving[1]]
    pairs: list[_Pair] = list(zip(entered, left, strict=True))
    nothing = (None, None)
    measures = [
        (
            *pairs[whole],
            *(pairs[fine] if fine >= 0 else nothing),
            *(pairs[n] if n >= 0 else nothing),
            _WideSum(pairs, *wide) if max(wide, default=-1) >= 0 else None,
            unit,
            finer,
        )
        for whole, fine, n, unit, finer, *wide in layout
    ]
    return _EventSums(times, times if leaving is None else _integers(leaving[0]), measures)


class _WideSum:
    """A sum that may leave 64 bits, or with values that no sum can hold; computed like `sweep.window_aggregates`."""

    def __init__(self, running: Sequence[_Pair], high: int, refused: int) -> None:
        self._high = running[high] if high >= 0 else None
        self._refused = running[refused] if refused >= 0 else None

    def total(self, total: int, start: int, end: int, unit: float) -> float:
        """The sum between two positions; infinite with a value that no sum can hold. total: of running sums that may wrap."""
        if self._refused is not None and self._refused[0][end] > self._refused[1][start]:
            return math.inf
        if self._high is None:
            return total * unit
        high = self._high[0][end] - self._high[1][start]
        low = (total - (high << 32)) % 2**64
        high += low >> 32
        if -(2**31) <= high < 2**31:
            return ((high << 32) + (low & 0xFFFFFFFF)) * unit
        return high * (unit * 4294967296.0) + (low & 0xFFFFFFFF) * unit


def write_windows(sections: Sequence[tuple[Any, ...]], series: Sequence[tuple[Any, ...]]) -> bytes:
    """Write an entry of windows.

    sections: one for all aggregates whose values become known at the same time, in the order of declaration: the times; the
    running sums of each part (one more than times, the first is 0); and for each mean or sum the parts with its sum, its finer
    digits and its count (-1 for none), the units of the two sums, and if there are any the parts with its high halves and the
    count of values that no sum can hold (see trailing.EventValues). All integers are int64, little-endian. If events arrived
    late, times and sums are empty, and a fourth part has for each window the `Running` of the events that enter it and of those
    that leave it: late ones do so in another order.

    series: one for each series of events (see series_of): the times; the type of the values, 'i' or 'f' for bytes of
    int64 or float64, '' for a list; the values; and if events arrived late, the times strictly after which each is seen.
    """
    return _pack((sections, series))


def entry_reader(pipeline: Pipeline, feature: Lookup | AsOf | Trailing) -> EntryReader:
    """The reader of a feature's entries."""
    match feature:
        case Lookup():
            return LookupReader(feature)
        case AsOf():
            return ObservationReader(feature, pipeline.table(feature.table))
        case Trailing():
            return WindowReader(feature, pipeline.table(feature.table))


def _values(code: str, written: Any) -> Any:
    """The values of a series."""
    if not code:
        return written
    values: array[Any] = array("q" if code == "i" else "d", written)
    if sys.byteorder == "big":
        values.byteswap()
    return values


def _integers(written: bytes) -> array[int]:
    integers = array("q", written)
    if sys.byteorder == "big":
        integers.byteswap()
    return integers


def _programs(feature: Trailing, series: Sequence[Sequence[Ordered]], names: Sequence[str]) -> tuple[list[Any], list[Any]]:
    """For each series the windows with what computes their values, and what prepares a key's events for that."""
    from mlprod_tasks.online.window_values import computed, prepared  # imported here: it needs numpy

    windows = [
        [
            (window // MICROSECOND, names.index(feature.feature(a, window)), i, computed(a))
            for window in feature.windows
            for i, a in enumerate(of)
        ]
        for of in series
    ]
    return windows, [[prepared(a) for a in of] for of in series]
