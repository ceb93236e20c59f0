"""How often each design of an experiment is wrong, and how often it finds what it was planned for, on real data.

Eight weeks of flights are split by chance, again and again, and nothing is different between the halves; then minutes are added
to one of them. Decisions are those of an experiment that is read every day, by the code that reads experiments.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from math import sqrt

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmarks.size import sized
from demo.business_database import business_tables
from demo.grocery_database import grocery_tables
from mlprod_tasks.experiments.plan import inflation
from mlprod_tasks.statistics import sequential
from mlprod_tasks.statistics.multiple_tests import sample_ratio_p
from mlprod_tasks.statistics.sample_size import smallest_difference
from mlprod_tasks.statistics.treatment_effect import Effect, Moments, adjusted, of_means

Floats = NDArray[np.float64]
ALPHA, POWER, WEEKS = 0.05, 0.8, 8
FIRST = pd.Timestamp("2013-06-03", tz="America/New_York")  # a Monday
DESIGNS = ("fixed", "obrien_fleming", "pocock", "always_valid")
PEEKING = "fixed, but ended when p < 0.05"
FEWEST = 50  # units of a half before it is looked at
LOST = 0.05  # of the treated units, in a planted fault


@dataclass(frozen=True)
class Days:
    """The minutes of delay of the flights of each day. values: a list of (flights of the day,)."""

    values: tuple[Floats, ...]

    @property
    def all(self) -> Floats:
        return np.concatenate(self.values)


@dataclass(frozen=True)
class Split:
    """Flights that were split by chance. control, treated: the moments of each half up to each day."""

    control: tuple[Moments, ...]
    treated: tuple[Moments, ...]

    def effects(self) -> list[Effect | None]:
        """The effect up to each day; None while there are too few."""
        return [
            of_means(one, other) if min(one.n, other.n) >= FEWEST else None
            for one, other in zip(self.control, self.treated, strict=True)
        ]


def flights() -> Days:
    """Eight weeks of delays; a flight that did not arrive counts as 0."""
    tables = business_tables()
    scheduled = tables["flights"].select(["flight_id", "sched_dep_at"]).to_pandas()
    late = tables["arrivals"].select(["flight_id", "arr_delay"]).to_pandas()
    both = scheduled.merge(late, on="flight_id", how="left")
    day = (both["sched_dep_at"].dt.tz_convert(FIRST.tz) - FIRST).dt.days
    minutes = both["arr_delay"].fillna(0.0)
    return Days(tuple(minutes[day == one].to_numpy(float) for one in range(7 * WEEKS)))


def split(days: Days, random: np.random.Generator) -> Split:
    """Split the flights of each day by chance."""
    control, treated = [], []
    sums = np.zeros((2, 3))
    for values in days.values:
        chosen = random.random(len(values)) < 0.5
        for half, mine in enumerate((values[~chosen], values[chosen])):
            sums[half] += len(mine), mine.sum(), (mine**2).sum()
        control.append(_moments(*sums[0]))
        treated.append(_moments(*sums[1]))
    return Split(tuple(control), tuple(treated))


def _moments(n: float, total: float, squares: float) -> Moments:
    mean = total / n
    return Moments(int(n), np.array([mean]), np.array([[(squares - n * mean**2) / (n - 1)]]))


def found(design: str, effects: list[Effect | None], units: list[int]) -> bool:
    """Whether a design finds a difference, read as often as it may be."""
    planned = units[-1]
    if design == "fixed":
        return effects[-1] is not None and effects[-1].p < ALPHA
    if design == PEEKING:
        return any(one is not None and abs(one.difference) > 1.96 * one.error for one in effects)
    if design == "always_valid":
        return any(
            abs(one.difference) > sequential.always_valid_half(one.error, n, planned, ALPHA)
            for one, n in zip(effects[6:], units[6:], strict=True)
            if one is not None
        )
    looks = range(6, len(effects), 7)
    # Shares to three digits, so that bounds are computed once for many tests.
    shares = tuple(round(units[look] / planned, 3) for look in looks)
    limits = sequential.bounds(shares, ALPHA, design, tuple((week + 1) / WEEKS for week in range(WEEKS)))
    return any(
        abs(one.difference) >= limit * one.error
        for one, limit in zip((effects[look] for look in looks), limits, strict=True)
        if one is not None
    )


def designs(days: Days, tests: int) -> None:
    """Print how often each design is wrong, and how often it finds what it was planned for."""
    everything = days.all
    n, sd = len(everything) / 2, float(everything.std(ddof=1))
    kinds = (*DESIGNS, PEEKING)
    factors = {one: inflation("fixed" if one == PEEKING else one, WEEKS, ALPHA, POWER) for one in kinds}
    added = {one: smallest_difference(sd, n / by, n / by, alpha=ALPHA, power=POWER) for one, by in factors.items()}
    alarms, hits, held = (dict.fromkeys(kinds, 0) for _ in range(3))
    random = np.random.default_rng(1)
    for _ in range(tests):
        halves = split(days, random)
        effects, units = halves.effects(), [one.n for one in halves.treated]
        for kind in kinds:
            alarms[kind] += found(kind, effects, units)
            more = [one and _with_added(one, added[kind]) for one in effects]
            hits[kind] += found(kind, more, units)
            held[kind] += _holds(kind, more, units[-1], added[kind])
    print(
        f"{len(everything):,} flights in {WEEKS} weeks, {tests:,} splits; a flight's standard deviation is {sd:.1f} minutes\n"
    )
    print("| design | false alarms | difference that it was planned for | found | interval at the end holds it |")
    print("| --- | --- | --- | --- | --- |")
    for kind in kinds:
        shares = (f"{count[kind] / tests:.1%}" for count in (alarms, hits, held))
        first, *rest = shares
        print(f"| {kind} | {first} | {added[kind]:.2f} minutes | {' | '.join(rest)} |")


def _with_added(effect: Effect, minutes: float) -> Effect:
    """The effect if so many minutes are added to each treated flight."""
    return replace(effect, treated=effect.treated + minutes, difference=effect.difference + minutes)


def _holds(design: str, effects: list[Effect | None], n: int, added: float) -> bool:
    last = effects[-1]
    assert last is not None
    if design == "always_valid":
        half = sequential.always_valid_half(last.error, n, n, ALPHA)
        return abs(last.difference - added) <= half
    low, high = last.interval(ALPHA)
    return low <= added <= high


def sizes(days: Days, tests: int) -> None:
    """Print how often a planted loss of units is found, and how often one is reported that is none."""
    random = np.random.default_rng(2)
    n = len(days.all)
    alike, lost = 0, 0
    for _ in range(tests):
        treated = int(random.binomial(n, 0.5))
        alike += sample_ratio_p((n - treated, treated), (0.5, 0.5)) < 0.001
        lost += sample_ratio_p((n - treated, int(random.binomial(treated, 1 - LOST))), (0.5, 0.5)) < 0.001
    told = f"a loss of {LOST:.0%} of one is found in {lost / tests:.1%}, one that is none in {alike / tests:.2%}"
    print(f"\nsizes of variants: {told}")


def covariates(tests: int) -> None:
    """Print how much narrower the interval of what households spend is, given what they spent before."""
    purchases = grocery_tables()["baskets"].to_pandas()
    first = purchases["bought_at"].min().normalize()
    week = (purchases["bought_at"] - first).dt.days // 7
    four = purchases.assign(period=week // 4).groupby(["household_id", "period"])["amount"].sum().unstack(fill_value=0.0)
    values = four[[7, 6]].to_numpy(float)
    values = values[values.any(axis=1)]
    rho = float(np.corrcoef(values, rowvar=False)[0, 1])
    random = np.random.default_rng(3)
    explained, alarms = [], 0
    for _ in range(tests):
        chosen = random.random(len(values)) < 0.5
        effect, share = adjusted(Moments.of(values[~chosen]), Moments.of(values[chosen]))
        explained.append(share)
        alarms += effect.p < ALPHA
    print(
        f"\n{len(values):,} households, spend of four weeks given the four before: variance less by {np.mean(explained):.1%}, "
        f"rho squared {rho**2:.1%}; the interval is {sqrt(1 - float(np.mean(explained))):.2f} times as wide; false alarms "
        f"{alarms / tests:.1%}"
    )


def main() -> None:
    """Print what designs, sizes of variants and covariates do."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tests", type=int, default=sized(2000, 40), help="splits of each kind")
    parser.add_argument("--small", action="store_true", help="a few splits: only to see that it runs")
    given = parser.parse_args()
    days = flights()
    designs(days, given.tests)
    sizes(days, given.tests)
    covariates(given.tests)


if __name__ == "__main__":
    main()
