"""Name faults that a feature's values show: another unit, a shifted clock, swapped columns, a value that floods.

Each is undone on the tick's values. If what is left of the shift is no more than quiet ticks show, that fault explains it.
It is named only where the shift, and a flood, is more than two ticks of so many rows differ by chance.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mlprod_tasks.declaration.aggregate import has_a_unit
from mlprod_tasks.declaration.feature import Feature, Trailing
from mlprod_tasks.documents.formatting import format_number
from mlprod_tasks.models.reference_profile import ProfileColumn, ReferenceProfile
from mlprod_tasks.monitoring.inputs import FEWEST_ROWS, quiet_bound
from mlprod_tasks.monitoring.measurement import Reading
from mlprod_tasks.monitoring.observe import Observed
from mlprod_tasks.platform.sql import quoted
from mlprod_tasks.statistics import distances
from mlprod_tasks.statistics.bins import NULL, OTHER, Counts, number

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

    from mlprod_tasks.monitoring.tick_rows import TickRows

Floats = NDArray[np.float64]

KNOWN_FAULT = "known_fault"
NAMED_IN = ("feature_psi", "feature_js", "feature_wasserstein", "out_of_range", "new_categories", "lost_categories")
LEAST_SHIFT = 0.05  # corrected PSI of a shift that is looked into
LEFT = 0.25  # of the shift, at most, once a fault is undone
QUIET = 0.1  # corrected PSI that is left at most, or what quiet ticks show
LEVELS = (np.arange(1000) + 0.5) / 1000  # quantiles that stand for a tick's numbers
MOST_CATEGORIES = 5000
# How many times as large values of one unit are as those of another.
_UNITS = (
    (1.609344, "kilometres", "miles"), (1.852, "kilometres", "nautical miles"), (2.20462, "pounds", "kilograms"),
    (3.28084, "feet", "metres"), (2.54, "centimetres", "inches"), (60.0, "seconds", "minutes"), (3600.0, "seconds", "hours"),
    (24.0, "hours", "days"), (10.0, "millimetres", "centimetres"), (100.0, "cents", "euros"), (1000.0, "grams", "kilograms"),
)  # fmt: skip
UNITS = (*_UNITS, *((1 / times, old, new) for times, new, old in _UNITS))
SAME_UNIT = 0.02  # relative
APART = 0.1  # of ratios of quantiles, between their quartiles, relative
DAYS = {24.0: 1.0, 1440.0: 60.0, 86400.0: 3600.0}  # what a day has of a unit, and an hour
LEAST_FLOOD = 0.05  # of the rows
BY_CHANCE = 1e-4  # the probability of as much between two ticks, from which on it is no chance
MOST_USUAL = 0.2  # of the reference's rows in the bin of a value that floods
NO_FAULT: tuple[float | None, str] = (None, "")  # the share of the shift that it explains, and the sentence


@dataclass(frozen=True)
class _Values:
    """The values of one column at a tick, (k,), numbers or text, and the rows of each."""

    values: NDArray
    rows: Floats

    def moved(self, values: NDArray) -> _Values:
        return replace(self, values=values)


@dataclass(frozen=True)
class _Shifted:
    """A feature whose distribution moved. before: its corrected PSI."""

    column: ProfileColumn
    nulls: float
    at: _Values
    before: float

    def explained_by(self, undone: _Values) -> float | None:
        """The share of the shift that is gone if these were the values; None if too much of it is left."""
        left = _psi(self.column, undone, self.nulls)
        return 1 - left / self.before if left <= min(LEFT * self.before, _quiet(self.column)) else None


def with_known_faults(
    rows: TickRows,
    profile: ReferenceProfile,
    observed: Observed,
    readings: Sequence[Reading],
    features: Sequence[Feature] = (),
) -> list[Reading]:
    """The readings of a tick's inputs, those of a feature with a known fault with its name, and a reading of each such fault.

    rows: those that the model itself answered. features: as declared, which says what cannot be a time of the day or have a
    unit.
    """
    found = {one.slice: one for one in known_faults(rows, profile, observed, features)}
    named = [
        replace(one, detail="; ".join(filter(None, (found[one.slice].detail, one.detail))))
        if one.what in NAMED_IN and one.slice in found
        else one
        for one in readings
    ]
    return [*named, *found.values()]


def known_faults(
    rows: TickRows, profile: ReferenceProfile, observed: Observed, features: Sequence[Feature] = ()
) -> Iterator[Reading]:
    """A reading for each feature whose shift is explained by a known fault."""
    if observed.answered < FEWEST_ROWS:
        return
    moved = [(column, before) for column in profile.features if (before := _moved(column, observed)) is not None]
    if not moved:
        return
    columns = {column.name: _has_numbers(column) for column, _ in moved}
    values = rows.aggregate(_ValuesOf(columns, rows.kinds), "values of features that moved")
    shifted = [
        _Shifted(column, float(observed.columns[column.name].counts[NULL]), values[column.name], before)
        for column, before in moved
        if len(values[column.name].rows)
    ]
    swapped = dict(_swapped(shifted))
    of_events, unitless = _of_events(features)
    for one in shifted:
        unit = NO_FAULT if one.column.name in unitless else _other_unit(one)
        clock = NO_FAULT if one.column.name in of_events else _other_clock(one)
        for explained, sentence in (swapped.get(one.column.name, NO_FAULT), unit, clock, _flood(one)):
            if explained is not None:
                n, name = observed.answered, one.column.name
                yield Reading(KNOWN_FAULT, explained, n, name, detail=sentence, important=one.column.important)
                break


def _of_events(features: Sequence[Feature]) -> tuple[set[str], set[str]]:
    """The features that are made of many events, so none is a time of the day; those of them that no unit applies to.

    Where a season halves every airport's share of late flights, that is a unit's factor at some tick on the way.
    """
    made = {
        one.feature(what, window): what
        for one in features
        if isinstance(one, Trailing)
        for window in one.windows
        for what in one.aggregates
    }
    return set(made), {name for name, what in made.items() if not has_a_unit(what)}


def _moved(column: ProfileColumn, observed: Observed) -> float | None:
    """The corrected PSI of a feature whose distribution moved further than on quiet ticks; None if it did not, or has none."""
    counted = observed.columns.get(column.name)
    if (
        counted is None
        or column.levels
        or counted.counts.sum() == counted.counts[NULL]
        or sum(column.counts) == column.counts[NULL]
    ):
        return None
    coarse = column.bins.coarse
    reference, now = coarse(np.asarray(column.counts)), coarse(counted.counts)
    before = distances.corrected_psi(reference, now)
    if before < max(LEAST_SHIFT, quiet_bound(column.tick_psi) or 0.0) or not _certain(column, reference, now):
        return None
    return before


@dataclass(frozen=True)
class _ValuesOf:
    """The values of some columns: an aggregate. columns: by name, whether of numbers. kinds: DuckDB's types.

    Numbers of each piece stand at its quantiles: so no share of all rows is off by more than half of the distance of LEVELS.
    """

    columns: Mapping[str, bool]
    kinds: Mapping[str, str]

    def read(self, con: DuckDBPyConnection, source: str) -> dict[str, _Values]:
        return {
            name: _numbers(con, source, name, self.kinds) if of_numbers else _texts(con, source, name)
            for name, of_numbers in self.columns.items()
        }

    def merge(self, parts: Sequence[dict[str, _Values]]) -> dict[str, _Values]:
        return {name: _together([part[name] for part in parts], of_numbers) for name, of_numbers in self.columns.items()}


def _together(pieces: Sequence[_Values], of_numbers: bool) -> _Values:
    """The values of all rows; of texts the most frequent first."""
    values, place = np.unique(np.concatenate([one.values for one in pieces]), return_inverse=True)
    rows = np.bincount(place, np.concatenate([one.rows for one in pieces]), minlength=len(values)).astype(np.float64)
    if of_numbers:
        return _Values(values, rows)
    order = np.argsort(-rows, kind="stable")[:MOST_CATEGORIES]
    return _Values(values[order], rows[order])


def _certain(column: ProfileColumn, reference: Counts, now: Counts) -> bool:
    """Whether the shift is more than two ticks of so many rows differ by chance (`distances.psi_noise`)."""
    from scipy.special import chdtrc

    used = int(np.count_nonzero(reference + now))
    noise = 1 / (reference.sum() * column.of_one_tick) + 1 / now.sum()
    return used > 1 and float(chdtrc(used - 1, distances.psi(reference, now) / noise)) < BY_CHANCE


def _has_numbers(column: ProfileColumn) -> bool:
    return column.bins.of_numbers or column.bins.of_integers


def _numbers(con: DuckDBPyConnection, source: str, name: str, kinds: Mapping[str, str]) -> _Values:
    """The values at LEVELS, which stand for all."""
    value = f"{number(name, kinds[name])}::DOUBLE"
    finite = f"(SELECT {value} AS v FROM {source} WHERE isfinite({value}))"
    query = f"SELECT count(*), quantile_disc(v, {LEVELS.tolist()}) FROM {finite}"
    ((rows, quantiles),) = con.execute(query).fetchall()
    if not rows:
        return _Values(np.empty(0), np.empty(0))
    values, times = np.unique(np.asarray(quantiles, np.float64), return_counts=True)
    return _Values(values, times * rows / len(LEVELS))


def _texts(con: DuckDBPyConnection, source: str, name: str) -> _Values:
    text = f"{quoted(name)}::VARCHAR"
    found = con.execute(
        f"SELECT {text}, count(*) FROM {source} WHERE {text} IS NOT NULL GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT {MOST_CATEGORIES}"
    ).fetchall()
    return _Values(np.array([one for one, _ in found], object), np.array([n for _, n in found], np.float64))


def _psi(column: ProfileColumn, at: _Values, nulls: float) -> float:
    now = np.round(_counts(column, at, nulls)).astype(np.int64)
    return distances.corrected_psi(column.bins.coarse(np.asarray(column.counts)), column.bins.coarse(now))


def _counts(column: ProfileColumn, at: _Values, nulls: float) -> Floats:
    """The rows in each bin of the column, (len(bins),)."""
    counts = np.bincount(_places(column, at.values), at.rows, minlength=len(column.bins)).astype(np.float64)
    counts[NULL] += nulls
    return counts


def _places(column: ProfileColumn, values: NDArray) -> NDArray[np.int64]:
    """The bin of each value, (k,)."""
    if column.bins.of_numbers:
        return np.asarray(2 + np.searchsorted(np.asarray(column.bins.edges), values.astype(np.float64), side="left"), np.int64)
    if column.bins.of_integers:
        values = np.array([str(round(float(value))) for value in values], object)
    known = {name: 2 + at for at, name in enumerate(column.bins.categories)}
    return np.array([known.get(value, OTHER) for value in values], np.int64)


def _quiet(column: ProfileColumn) -> float:
    return max(QUIET, quiet_bound(column.tick_psi) or 0.0)


def _swapped(shifted: Sequence[_Shifted]) -> Iterator[tuple[str, tuple[float | None, str]]]:
    """Features whose values are like another's were, and the other's like theirs."""
    for one, other in combinations(shifted, 2):
        if _has_numbers(one.column) != _has_numbers(other.column):
            continue
        both = one.explained_by(other.at), other.explained_by(one.at)
        if None in both:
            continue
        for mine, theirs, explained in ((one, other, both[0]), (other, one, both[1])):
            name = theirs.column.name
            sentence = f"its values are like those of {name} were, and those of {name} like its own: have the two been swapped?"
            yield mine.column.name, (explained, sentence)


def _other_unit(one: _Shifted) -> tuple[float | None, str]:
    """Values that are so many times what they were as those of another unit are, at nearly every quantile."""
    if not _has_numbers(one.column):
        return NO_FAULT
    was, share = _reference_quantiles(one.column)
    now = _quantiles(one.at, share)
    usable = (was != 0) & (now != 0)
    if usable.sum() < 3:
        return NO_FAULT
    ratios = now[usable] / was[usable]
    low, ratio, high = np.quantile(ratios, (0.25, 0.5, 0.75))
    if ratio <= 0 or high - low > APART * ratio:
        return NO_FAULT
    for times, new, old in UNITS:
        if abs(ratio / times - 1) <= SAME_UNIT:
            explained = one.explained_by(one.at.moved(one.at.values / times))
            factor = f"{times:.4g} times" if times > 1 else f"1/{1 / times:.4g} of"
            return explained, f"its values are {factor} what they were, as {new} are of {old}: has its unit changed?"
    return NO_FAULT


def _other_clock(one: _Shifted) -> tuple[float | None, str]:
    """Times of the day that are some whole hours later or earlier, around midnight too."""
    if not _has_numbers(one.column):
        return NO_FAULT
    low, high = one.column.bins.low, one.column.bins.high
    best = NO_FAULT
    for day, hour in DAYS.items():
        if low < 0 or not day / 2 < high < day or one.at.values.min() < 0 or one.at.values.max() >= day:
            continue
        for hours in (*range(1, 13), *range(-11, 0)):
            explained = one.explained_by(one.at.moved((one.at.values - hours * hour) % day))
            if explained is not None and (best[0] is None or explained > best[0]):
                side = "later" if hours > 0 else "earlier"
                said = f"{abs(hours)} hour{'s' if abs(hours) > 1 else ''} {side}"
                best = explained, f"its times of day are {said} than they were: has its clock or time zone changed?"
    return best


def _flood(one: _Shifted) -> tuple[float | None, str]:
    """One value that was rare, in far more rows than before, the others as they were."""
    total, at = float(one.at.rows.sum()), int(np.argmax(one.at.rows))
    place = int(_places(one.column, one.at.values[at : at + 1])[0])
    counts = _counts(one.column, one.at, 0.0)
    before = np.asarray(one.column.counts, np.float64)
    usual = before[place] / (before.sum() - before[NULL])
    if usual > MOST_USUAL:
        return NO_FAULT
    excess = (counts[place] - usual * total) / (1 - usual)
    left = total - excess
    if excess < LEAST_FLOOD * total or excess > one.at.rows[at] or left < FEWEST_ROWS:
        return NO_FAULT
    if _by_chance(counts[place], total, usual, one.column.of_one_tick * (before.sum() - before[NULL])) >= BY_CHANCE:
        return NO_FAULT
    rows = one.at.rows.copy()
    rows[at] -= excess
    explained = one.explained_by(replace(one.at, rows=rows))
    value = one.at.values[at]
    shown = format_number(float(value)) if _has_numbers(one.column) else repr(value)
    share = f"{one.at.rows[at] / total:.0%} of its values are {shown}, and the others are as before"
    return explained, f"{share}: does a default value stand in for missing ones?"


def _by_chance(rows: float, total: float, usual: float, of_one_tick: float) -> float:
    """The probability of so many rows of one value among `total`, if as many as usual had it (Fisher's exact test)."""
    from scipy.stats import hypergeom  # takes long to import, and few ticks need it

    other = round(of_one_tick)
    both = round(rows) + round(usual * other)
    return float(hypergeom.sf(round(rows) - 1, round(total) + other, both, round(total)))


def _reference_quantiles(column: ProfileColumn) -> tuple[Floats, Floats]:
    """Values of the reference, ascending, and the share of its rows up to each."""
    counts = np.asarray(column.counts, np.float64)[2:]
    if column.bins.of_numbers:
        return np.asarray(column.bins.edges), np.cumsum(counts)[:-1] / max(1.0, counts.sum())
    values = np.array([float(name) for name in column.bins.categories])
    order = np.argsort(values)
    share: Counts = np.cumsum(counts[order]) / max(1.0, counts.sum())
    return values[order], np.asarray(share - counts[order] / 2 / max(1.0, counts.sum()))


def _quantiles(at: _Values, share: Floats) -> Floats:
    """The values up to which so many of the rows are, (k,)."""
    order = np.argsort(at.values)
    up_to = np.cumsum(at.rows[order]) / at.rows.sum()
    found = np.minimum(np.searchsorted(up_to, share - 1e-9), len(order) - 1)
    return np.asarray(at.values[order][found], np.float64)
