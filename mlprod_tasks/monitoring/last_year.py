"""What the history before the reference tells of a level that moves with the season, such as the number of rows.

The reference is of some weeks, and a level that rises with the season leaves its bounds without any fault. If the training set
is several times as long, each part of it tells how wrong the reference alone is so far ahead: bounds are at least as wide. If
it reaches further back than a year, the change that last year brought between the same weeks is added to what is expected,
provided that this predicts surely better on that history, and the bounds are then as wide as those predictions were wrong.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlprod_tasks.declaration import Holidays, Pipeline, Schedule
from mlprod_tasks.declaration.rhythm import TickName
from mlprod_tasks.models.reference_profile import ReferenceHistory, ReferenceProfile
from mlprod_tasks.monitoring.count import rounded
from mlprod_tasks.monitoring.holidays import falls_on
from mlprod_tasks.monitoring.learned import FEWEST_TICKS, Spread, to_scale
from mlprod_tasks.monitoring.levels import means_sql
from mlprod_tasks.monitoring.tick_means import tick_mean
from mlprod_tasks.platform.lake import listed

Floats = NDArray[np.float64]

LEVELS = frozenset(("volume", "label_rate", "label_mean", "feature_level"))  # values that a change of the level moves
WEEKS = 52  # after which the same weekday comes again
USUAL = 0.8  # share of predictions by which their error is told, so that rare days, such as undeclared holidays, widen no bound
RARE = 3.0  # times the usual spread: a tick of the reference that is further off may be such a day, and widens no bound
FEWEST_BLOCKS = 6  # parts of the history, as long as the reference, by which predictions are compared


@dataclass(frozen=True)
class Course:
    """One value on each tick of a long history, on the scale of its kind, (n,); NaN where there is none, or on a holiday.

    season: of each tick, (n,), from 0 on. year: the number of ticks after which the same weeks come again; week: of a week.
    """

    values: Floats
    season: NDArray[np.int64]
    year: int
    week: int


@dataclass(frozen=True)
class Ahead:
    """How far the level is expected to move, and how wrong that was so far.

    error: the standard deviation that the USUAL share of those errors would have in a normal distribution. degrees: of freedom.
    by_last_year: whether it is expected to move as last year did, and not to stay.
    """

    change: float
    error: float
    degrees: int
    by_last_year: bool = True


def ticks_a_year(schedule: Schedule) -> int:
    """The number of ticks after which the same part of a year comes again, on the same weekday; 0 if there is no such."""
    return WEEKS * schedule.ticks_a_week or (12 if schedule.every == "month" else 0)


def past_ticks(con: Any, pipeline: Pipeline, profile: ReferenceProfile, training_set: Path) -> ReferenceHistory | None:
    """The levels of every tick of a training set, in the units in which ticks are compared with the profile.

    None if it is too short to tell how wrong predictions from references like this one are.
    """
    source = f"read_parquet({listed([str(training_set)])})"
    ((ticks,),) = con.execute(f"SELECT count(DISTINCT tick) FROM {source}").fetchall()
    if ticks <= FEWEST_BLOCKS * len(profile.rows_by_tick):
        return None
    kinds = {name: kind for name, kind, *_ in con.execute(f"DESCRIBE SELECT * FROM {source}").fetchall()}
    levels = {one.name: one for one in profile.features if one.levels and one.bins.sd and one.name in kinds}
    label = "NULL" if profile.classes is not None else "favg(label::DOUBLE)"
    means = "".join(f", {mean}" for mean in [means_sql(list(levels), kinds)] if levels)
    found = con.execute(f"SELECT tick, count(*), {label}{means} FROM {source} GROUP BY tick ORDER BY tick").fetchall()
    values: dict[str, tuple[float | None, ...]] = {"volume": tuple(row[1] / profile.rows_per_tick for row in found)}
    outcomes = [row[2] for row in found]
    if profile.numbers is not None and profile.numbers.sd:
        values["label_mean"] = _scaled(outcomes, profile.numbers.mean, profile.numbers.sd)
    elif profile.label_rate:
        values["label_rate"] = _scaled(outcomes, 0.0, profile.label_rate)
    for at, (name, column) in enumerate(levels.items(), 3):
        known = [level for level in column.levels if level is not None]
        if known:
            values[f"feature_level/{name}"] = _scaled([row[at] for row in found], float(np.mean(known)), column.bins.sd or 1.0)
    return ReferenceHistory(tuple(str(row[0]) for row in found), values)


def _scaled(values: Sequence[float | None], zero: float, unit: float) -> tuple[float | None, ...]:
    means = (None if value is None or not math.isfinite(value) else rounded(value) for value in values)
    return tuple(None if mean is None else (mean - zero) / unit for mean in means)


def course_of(pipeline: Pipeline, years: ReferenceHistory, key: str) -> tuple[Course, Floats]:
    """A value on all ticks of a long history, that of holidays by itself, (n,). key: as in the history."""
    schedule, days = pipeline.schedule, years.days
    place, season, special = _calendar(schedule, pipeline.monitoring.holidays, days[0], days[-1])
    values, what = np.full(len(season), np.nan), key.partition("/")[0]
    for day, value in zip(days, years.values[key], strict=True):
        if value is not None:
            values[place[day]] = to_scale(what, value)
    course = Course(np.where(special, np.nan, values), season, ticks_a_year(schedule), schedule.ticks_a_week)
    return course, np.where(special, values, np.nan)


@lru_cache(maxsize=8)
def _calendar(
    schedule: Schedule, holidays: Holidays | None, first: TickName, last: TickName
) -> tuple[Mapping[TickName, int], NDArray[np.int64], NDArray[np.bool_]]:
    """The ticks from the first to the last: the place of each, and by place its season and whether it is a holiday, (n,)."""
    every = schedule.names(first, last)
    season = np.array([schedule.season(name) for name in every], np.int64)
    special = np.array([falls_on(holidays, schedule, name) for name in every])
    return {name: at for at, name in enumerate(every)}, season, special


def expected(course: Course, reference: range, ahead: int, by_season: bool) -> Ahead | None:
    """How far a level is expected to have moved `ahead` ticks after the reference, and how wrong that is; None if not known.

    Every part of the history that is as long as the reference is one, in turn, and foretells the tick as far ahead. The level
    stays, or it moves as between the same weeks of last year: from those of the reference to those around the tick, a week
    before and after it, seasons compared with themselves. Last year counts if its squared errors are surely smaller, compared
    by blocks of the reference's length, by Student's interval.

    reference: its places in the course. by_season: whether the reference's mean of the tick's season is what the change is
    added to, or the mean of all of its ticks.
    """
    length = len(reference)
    if ahead < 1:
        return None
    sums = _Sums(course)
    whole_weeks = -(-ahead // max(1, course.week)) * max(1, course.week)  # so that the verdict does not change every tick
    if course.year:
        without = sums.off(length, whole_weeks, by_season)[course.year :]
        if (by_last_year := _as_last_year(sums, reference, ahead, whole_weeks, without)) is not None:
            return by_last_year
    # As far ahead as there are parts enough: further ahead the level is no surer.
    near = min(whole_weeks, len(course.values) - (FEWEST_BLOCKS + 1) * length)
    without = sums.off(length, near, by_season) if near > 0 else np.empty(0)
    known = without[np.isfinite(without)]
    blocks = len(without) // length if 2 * len(known) > len(without) else 0
    return Ahead(0.0, _usual_sd(known), blocks, False) if blocks >= FEWEST_BLOCKS else None


def _as_last_year(sums: _Sums, reference: range, ahead: int, whole_weeks: int, without: Floats) -> Ahead | None:
    """The same with the change of last year; None unless it predicts surely better.

    without: the errors of the level that stays, of parts that end a year after the first one or later, (n,).
    """
    course, length, last = sums.course, len(reference), reference[-1]
    target = last + ahead - course.year
    if target - course.week < 0 or target + course.week > last or whole_weeks - course.year + course.week > 0:
        return None
    change = float(sums.change(np.array([last]), length, ahead)[0])
    if not math.isfinite(change) or not len(without):
        return None
    ends = np.arange(len(without)) + course.year + length - 1
    with_it = without - sums.change(ends, length, whole_weeks)
    known = np.isfinite(with_it)
    if not known.any():
        return None
    gained, block = (without**2 - with_it**2)[known], ((ends + whole_weeks) // length)[known]
    rows = np.bincount(block)
    means = [float(mean) for mean in np.bincount(block, gained)[rows > 0] / rows[rows > 0]]
    mean = tick_mean(means, [int(n) for n in rows[rows > 0]])
    if len(means) < FEWEST_BLOCKS or mean is None or mean.low <= 0:
        return None
    return Ahead(change, _usual_sd(with_it[known]), len(means) - 1)


def _usual_sd(errors: Floats) -> float:
    """The standard deviation of a normal distribution with as large a USUAL share of errors. errors: (n,), n > 0."""
    return float(np.quantile(np.abs(errors), USUAL)) / NormalDist().inv_cdf((1 + USUAL) / 2)


def moved(spread: Spread, ahead: Ahead) -> Spread:
    """The spread around what is expected, at least as wide as before and as predictions so far were wrong.

    Long histories tell how ticks differ, so that a rare day in the reference does not widen the bounds of what follows last
    year; without last year, the reference tells as before.
    """
    centres = tuple(centre + ahead.change for centre in spread.centres)
    wide, off, degrees = math.hypot(spread.sd, spread.uncertain), spread.off, min(spread.degrees, ahead.degrees)
    if not ahead.by_last_year:
        return Spread(centres, ahead.error, 0.0, spread.degrees, off) if ahead.error > wide else spread
    if off and spread.sd > 0:
        usual = min(spread.sd, _usual_sd(np.asarray(off)) * math.sqrt(len(off) / spread.degrees))
        wide *= usual / spread.sd
        off = tuple(max(-RARE * usual, min(RARE * usual, one)) for one in off)
    return Spread(centres, max(ahead.error, wide), 0.0, degrees, off)


def on_holidays(course: Course, holidays: Floats, season: int, spread: Spread) -> Spread | None:
    """The spread on a holiday: how other holidays differed from ordinary ticks of their season around them.

    holidays: their values, (n,), NaN on other ticks. spread: of an ordinary tick. None if too few are known.
    """
    sums = _Sums(course)
    at = np.flatnonzero(np.isfinite(holidays))
    reach = 2 * max(1, course.week)
    low, high = np.maximum(0, at - reach), np.minimum(len(course.values), at + reach + 1)
    usual = sums.means(low, high)[course.season[at], np.arange(len(at))] if len(at) else np.empty(0)
    off = (holidays[at] - usual)[np.isfinite(usual)]
    if len(off) < FEWEST_TICKS:
        return None
    effect, sd = float(off.mean()), float(off.std(ddof=1))
    centre = spread.centres[season if len(spread.centres) > 1 else 0] + effect
    wide = math.hypot(sd, sd / math.sqrt(len(off)))
    return Spread((centre,), math.hypot(wide, spread.sd), spread.uncertain, len(off) - 1, tuple(map(float, off - effect)))


class _Sums:
    """Sums of a course by season up to each tick, so that means of many windows take no longer than one."""

    def __init__(self, course: Course) -> None:
        self.course = course
        seasons = int(course.season.max()) + 1
        mine = (course.season[None, :] == np.arange(seasons)[:, None]) & np.isfinite(course.values)
        start = np.zeros((seasons, 1))
        self.total = np.hstack([start, np.cumsum(np.where(mine, np.nan_to_num(course.values), 0.0), axis=1)])
        self.number = np.hstack([start, np.cumsum(mine, axis=1)])

    def means(self, low: NDArray[np.int64], high: NDArray[np.int64]) -> Floats:
        """The mean of each season over ticks [low, high), (seasons, windows); NaN without one."""
        number = self.number[:, high] - self.number[:, low]
        total = self.total[:, high] - self.total[:, low]
        return _ratio(total, number)

    def centre(self, ends: NDArray[np.int64], length: int, season: NDArray[np.int64] | None) -> Floats:
        """The mean of the `length` ticks up to each end, of one season or of all ticks."""
        low, high = ends - length + 1, ends + 1
        if season is not None:
            return np.asarray(self.means(low, high)[season, np.arange(len(ends))], np.float64)
        number = (self.number[:, high] - self.number[:, low]).sum(axis=0)
        total = (self.total[:, high] - self.total[:, low]).sum(axis=0)
        return _ratio(total, number)

    def off(self, length: int, ahead: int, by_season: bool) -> Floats:
        """How far each tick is from the mean of the `length` ticks that end `ahead` ticks before it, (n,); NaN if not known."""
        ends = np.arange(length - 1, len(self.course.values) - ahead)
        targets = ends + ahead
        return self.course.values[targets] - self.centre(ends, length, self.course.season[targets] if by_season else None)

    def change(self, ends: NDArray[np.int64], length: int, ahead: int) -> Floats:
        """The change that last year brought from the weeks of each reference to those around the tick `ahead` of its end."""
        then, later = ends - self.course.year, ends + ahead - self.course.year
        before = self.means(then - length + 1, then + 1)
        after = self.means(np.maximum(0, later - self.course.week), later + self.course.week + 1)
        apart = after - before
        known = np.isfinite(apart)
        enough = 2 * known.sum(axis=0) > len(apart)
        mean = np.where(known, apart, 0.0).sum(axis=0) / np.maximum(1, known.sum(axis=0))
        return np.where(enough, mean, np.nan)


def _ratio(total: Floats, number: Floats) -> Floats:
    return np.asarray(np.divide(total, number, out=np.full(total.shape, np.nan), where=number > 0), np.float64)
