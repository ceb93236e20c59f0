"""How often each design of an experiment is wrong, and how often it finds what it was planned for, on real data.

Eight weeks of flights are split by chance, again and again, and nothing is different between the halves; then minutes are added
to one of them. Decisions are those of an experiment that is read every day, by the code that reads experiments.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from functools import cache
from math import sqrt

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmarks.size import sized
from demo.business_database import business_tables
from demo.grocery_database import grocery_tables
from mlprod_tasks.experiments.assignment import Variant
from mlprod_tasks.experiments.looks import bound
from mlprod_tasks.experiments.plan import Plan, Usual, Wanted, inflation
from mlprod_tasks.statistics import sequential
from mlprod_tasks.statistics.multiple_tests import sample_ratio_p
from mlprod_tasks.statistics.sample_size import smallest_difference, units_for_means
from mlprod_tasks.statistics.treatment_effect import Effect, Moments, adjusted, explained, of_means

Floats = NDArray[np.float64]
ALPHA, POWER, WEEKS = 0.05, 0.8, sized(8, 2)
DAYS, AT_ONCE = 7 * WEEKS, 50
FIRST = pd.Timestamp("2013-06-03", tz="America/New_York")  # a Monday
DESIGNS = ("fixed", "obrien_fleming", "pocock", "always_valid")
PEEKING = "fixed, but ended when p < 0.05"
FEWEST = 50  # units of a half before it is looked at
LOST = 0.05  # of the treated units, in a planted fault


@dataclass(frozen=True)
class Rows:
    """What units do day by day, of which any split can be summed up.

    sums: for each day the columns that are added up over the units of a half, (units, 3): 1, the value and its square; a unit
    is summed once with its day if it comes once, and with every day since its first row if it comes again. again: whether it
    does. added: how much of a difference at the end is there by each day, (days,).
    """

    name: str
    unit: str
    sums: tuple[Floats, ...]
    again: bool
    added: Floats

    def split(self, random: np.random.Generator, tests: int) -> tuple[Floats, Floats]:
        """Split the units by chance, and again for each test: sums of control and treated up to each day, (tests, days, 3)."""
        found = np.zeros((tests, len(self.sums), 3))
        chosen = random.random((tests, len(self.sums[0]))) < 0.5
        for day, of_day in enumerate(self.sums):
            if not self.again:
                chosen = random.random((tests, len(of_day))) < 0.5
            found[:, day] = chosen @ of_day
        totals = np.array([of_day.sum(axis=0) for of_day in self.sums])
        if not self.again:
            found, totals = found.cumsum(axis=1), totals.cumsum(axis=0)
        return totals - found, found

    @property
    def everything(self) -> Moments:
        """The moments of all units at the end."""
        return _moments(self.sums[-1].sum(axis=0) if self.again else np.sum([one.sum(axis=0) for one in self.sums], axis=0))


def flights() -> Rows:
    """Eight weeks of delays; a flight that did not arrive counts as 0."""
    tables = business_tables()
    scheduled = tables["flights"].select(["flight_id", "sched_dep_at"]).to_pandas()
    late = tables["arrivals"].select(["flight_id", "arr_delay"]).to_pandas()
    both = scheduled.merge(late, on="flight_id", how="left")
    day = (both["sched_dep_at"].dt.tz_convert(FIRST.tz) - FIRST).dt.days
    minutes = both["arr_delay"].fillna(0.0)
    values = [minutes[day == one].to_numpy(float) for one in range(DAYS)]
    sums = tuple(np.column_stack([np.ones(len(of_day)), of_day, of_day**2]) for of_day in values)
    return Rows("flights", "minutes", sums, False, np.ones(DAYS))


def households() -> Rows:
    """What households have spent by each day of their last eight weeks, from their first purchase on."""
    purchases = grocery_tables()["baskets"].to_pandas()
    last = purchases["bought_at"].max().normalize()
    day = DAYS - 1 - (last - purchases["bought_at"].dt.normalize()).dt.days
    of_day = purchases.assign(day=day)[day >= 0].groupby(["household_id", "day"])["amount"].sum().unstack(fill_value=np.nan)
    of_day = of_day.reindex(columns=range(DAYS))
    seen = of_day.notna().to_numpy().cumsum(axis=1) > 0
    spent = of_day.fillna(0.0).to_numpy(float).cumsum(axis=1)
    sums = tuple(np.column_stack([seen[:, one], spent[:, one], spent[:, one] ** 2]).astype(float) for one in range(DAYS))
    return Rows("households", "USD", sums, True, np.arange(1, DAYS + 1) / DAYS)


def _moments(sums: Floats) -> Moments:
    n, total, squares = (float(one) for one in sums)
    mean = total / max(n, 1.0)
    return Moments(int(n), np.array([mean]), np.array([[(squares - n * mean**2) / max(n - 1, 1.0)]]))


def _effects(control: Floats, treated: Floats) -> list[Effect | None]:
    """The effect up to each day, from sums (days, 3); None while there are too few."""
    pairs = ((_moments(one), _moments(other)) for one, other in zip(control, treated, strict=True))
    return [of_means(one, other) if min(one.n, other.n) >= FEWEST else None for one, other in pairs]


def found(design: str, effects: list[Effect | None], units: list[int], planned: int) -> bool:
    """Whether a design finds a difference, read as often as it may be. planned: the units that it was planned for."""
    if design == "fixed":
        return effects[-1] is not None and effects[-1].p < ALPHA
    if design == PEEKING:
        return any(one is not None and one.p < ALPHA for one in effects)
    if design == "always_valid":
        return any(
            abs(one.difference) > sequential.always_valid_half(one.error, n, planned, ALPHA)
            for one, n in zip(effects[6:], units[6:], strict=True)
            if one is not None
        )
    looks = [day for day in range(6, DAYS, 7) if effects[day] is not None]
    # Shares to two digits, so that bounds are computed once for many tests.
    shares = tuple(((day + 1) / DAYS, round(units[day] / planned, 2)) for day in looks)
    for i, day in enumerate(looks):
        limit, one = _bound(design, shares[: i + 1]), effects[day]
        if limit is not None and one is not None and abs(one.z) >= limit:
            return True
    return False


@cache
def _bound(design: str, seen: tuple[tuple[float, float], ...]) -> float | None:
    """The bound of |z| at the last look, as experiments have it."""
    wanted = Wanted("", 1.0, alpha=ALPHA, power=POWER, design=design)  # type: ignore[arg-type]
    variants = (Variant("control", 1, 0.5), Variant("treated", 2, 0.5))
    return bound(Plan(wanted, variants, WEEKS, 1, 1, 1.0, Usual(FIRST.date(), FIRST.date(), 2, 0.0, 1.0)), seen)


_inflation = cache(lambda design: inflation(design, WEEKS, ALPHA, POWER))


def designs(rows: Rows, tests: int) -> None:
    """Print how often each design is wrong, and how often it finds what it was planned for."""
    everything = rows.everything
    sd, half = sqrt(float(everything.covariance[0, 0])), everything.n / 2
    kinds = (*DESIGNS, PEEKING)
    factors = {one: _inflation("fixed" if one == PEEKING else one) for one in kinds}
    added = {one: smallest_difference(sd, half / by, half / by, alpha=ALPHA, power=POWER) for one, by in factors.items()}
    alarms, hits, held = (dict.fromkeys(kinds, 0) for _ in range(3))
    random = np.random.default_rng(1)
    for begun in range(0, tests, AT_ONCE):
        for control, treated in zip(*rows.split(random, min(AT_ONCE, tests - begun)), strict=True):
            effects, units = _effects(control, treated), [int(one) for one in treated[:, 0]]
            for kind in kinds:
                alarms[kind] += found(kind, effects, units, int(half))
                more = [one and _with_added(one, added[kind] * by) for one, by in zip(effects, rows.added, strict=True)]
                hits[kind] += found(kind, more, units, int(half))
                held[kind] += _holds(kind, more, units[-1], added[kind])
    print(f"\n{everything.n:,} {rows.name} in {WEEKS} weeks, {tests:,} splits; standard deviation {sd:.1f} {rows.unit}\n")
    print("| design | false alarms | difference that it was planned for | found | interval at the end holds it |")
    print("| --- | --- | --- | --- | --- |")
    for kind in kinds:
        shares = (f"{count[kind] / tests:.1%}" for count in (alarms, hits, held))
        first, *rest = shares
        print(f"| {kind} | {first} | {added[kind]:.2f} {rows.unit} | {' | '.join(rest)} |", flush=True)


def _with_added(effect: Effect, amount: float) -> Effect:
    """The effect if so much is added to each treated unit."""
    return replace(effect, treated=effect.treated + amount, difference=effect.difference + amount)


def _holds(design: str, effects: list[Effect | None], n: int, added: float) -> bool:
    last = effects[-1]
    assert last is not None
    if design == "always_valid":
        half = sequential.always_valid_half(last.error, n, n, ALPHA)
        return abs(last.difference - added) <= half
    low, high = last.interval(ALPHA)
    return low <= added <= high


def sizes(n: int, tests: int) -> None:
    """Print how often a planted loss of units is found, and how often one is reported that is none."""
    random = np.random.default_rng(2)
    alike, lost = 0, 0
    for _ in range(tests):
        treated = int(random.binomial(n, 0.5))
        alike += sample_ratio_p((n - treated, treated), (0.5, 0.5)) < 0.001
        lost += sample_ratio_p((n - treated, int(random.binomial(treated, 1 - LOST))), (0.5, 0.5)) < 0.001
    told = f"a loss of {LOST:.0%} of one is found in {lost / tests:.1%}, one that is none in {alike / tests:.2%}"
    print(f"\nsizes of variants: {told}")


def covariates(name: str, values: Floats, tests: int) -> None:
    """Print what covariates save, and whether the power is as planned with them. values: (units, 1 + covariates)."""
    everything = Moments.of(values)
    share, sd = explained(everything), sqrt(float(everything.covariance[0, 0]))
    half = len(values) / 2
    added = smallest_difference(sd * sqrt(1 - share), half, half, alpha=ALPHA, power=POWER)
    raw, given = (units_for_means(added, sd * by, alpha=ALPHA, power=POWER) for by in (1.0, sqrt(1 - share)))
    random = np.random.default_rng(3)
    taken, alarms, hits, without, held = [], 0, 0, 0, 0
    for _ in range(tests):
        chosen = random.random(len(values)) < 0.5
        control, treated = Moments.of(values[~chosen]), Moments.of(values[chosen])
        effect, of_test = adjusted(control, treated)
        taken.append(of_test)
        alarms += effect.p < ALPHA
        more = _with_added(effect, added)
        low, high = more.interval(ALPHA)
        held += low <= added <= high
        hits += more.p < ALPHA
        without += _with_added(of_means(control, treated), added).p < ALPHA
    print(
        f"| {name} | {len(values):,} | {share:.1%} | {np.mean(taken):.1%} | {raw:,.0f} | {given:,.0f} | {alarms / tests:.1%} | "
        f"{hits / tests:.1%} | {without / tests:.1%} | {held / tests:.1%} |",
        flush=True,
    )


def spend_given_before() -> Floats:
    """What households spend in four weeks, and in the four before, (households, 2)."""
    purchases = grocery_tables()["baskets"].to_pandas()
    week = (purchases["bought_at"] - purchases["bought_at"].min().normalize()).dt.days // 7
    four = purchases.assign(period=week // 4).groupby(["household_id", "period"])["amount"].sum().unstack(fill_value=0.0)
    values = four[[7, 6]].to_numpy(float)
    return values[values.any(axis=1)]


def delays_given_schedule() -> Floats:
    """Minutes of delay of the flights of a week, given hour, distance and the mean of carrier and hour before, (flights, 4)."""
    tables = business_tables()
    both = (
        tables["flights"].to_pandas().merge(tables["arrivals"].select(["flight_id", "arr_delay"]).to_pandas(), on="flight_id")
    )
    local = both["sched_dep_at"].dt.tz_convert(FIRST.tz)
    both = both.assign(hour=local.dt.hour, day=(local - FIRST).dt.days)
    before, week = both[both["day"] < 0], both[both["day"].between(0, 6)]
    usual = before.groupby(["carrier", "hour"])["arr_delay"].mean().rename("usual")
    week = week.merge(usual, how="left", left_on=["carrier", "hour"], right_index=True)
    read = week[["arr_delay", "hour", "distance", "usual"]].astype(float)
    return read.fillna(read.mean()).to_numpy()


def main() -> None:
    """Print what designs, sizes of variants and covariates do."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tests", type=int, default=sized(2000, 20), help="splits of each kind")
    parser.add_argument("--small", action="store_true", help="a few splits: only to see that it runs")
    given = parser.parse_args()
    for rows in (flights(), households()):
        designs(rows, given.tests)
        sizes(rows.everything.n, given.tests)
    print("\n| units | number | explained | taken off | needed without | with | false alarms | found | without | holds |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    covariates("households, four weeks given the four before", spend_given_before(), given.tests)
    covariates("flights of a week given their schedule", delays_given_schedule(), given.tests)


if __name__ == "__main__":
    main()
