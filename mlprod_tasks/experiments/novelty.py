"""Whether an effect is that of something new: how the difference changes with the time since a unit's first row.

People look at what is new, and some wait until they trust it. An effect that fades, or grows, says little about later months.
Units are the sample here too: each has one slope, so that its rows may depend on each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from mlprod_tasks.declaration import Pipeline, TickRange, UnitMetric
from mlprod_tasks.experiments.assignment import unit_columns
from mlprod_tasks.experiments.plan import Plan, ticks_a_period
from mlprod_tasks.experiments.units import AGES, moments_of
from mlprod_tasks.platform.tick_columns import tick_array
from mlprod_tasks.statistics.treatment_effect import Effect, Moments, NoEffect, of_means

if TYPE_CHECKING:
    import duckdb

AGED = "aged_units"
CHANGED = "changes_of_units"  # of each unit: its slope, and what it did after its first period
CERTAIN = 0.01  # of a trend that is worth a sentence
MOST_POINTS = 60


@dataclass(frozen=True)
class Around:
    """A difference with its 95 % interval."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, effect: Effect) -> Around:
        return cls(effect.difference, *effect.interval(0.05))


@dataclass(frozen=True)
class Novelty:
    """How the difference of a treated variant in the metric that decides changes with exposure.

    slope: by how much it grows a tick since a unit's first row in the experiment; p: of a slope of 0. later: the difference
    without each unit's first period (a week or month); None if nothing is left. ages, by_age: the difference by ticks since the
    first row.
    """

    variant: str
    slope: Around
    p: float
    later: Around | None
    ages: tuple[int, ...]
    by_age: tuple[Around, ...]

    @property
    def sentence(self) -> str | None:
        """What is worth saying; None if the effect does not change beyond doubt."""
        if self.p >= CERTAIN:
            return None
        how = "grows" if self.slope.value > 0 else "falls"
        return f"the difference of {self.variant} {how} with the time since a unit's first row: it may not last"

    @classmethod
    def from_json(cls, plain: dict[str, Any]) -> Novelty:
        """Read what `dataclasses.asdict` wrote."""
        later = None if plain["later"] is None else Around(**plain["later"])
        by_age = tuple(Around(**one) for one in plain["by_age"])
        return cls(plain["variant"], Around(**plain["slope"]), plain["p"], later, tuple(plain["ages"]), by_age)


def novelty(
    con: duckdb.DuckDBPyConnection, pipeline: Pipeline, planned: Plan, metric: UnitMetric, ticks: TickRange
) -> tuple[Novelty, ...]:
    """Return how the difference changes with exposure, of each treated variant for which that can be told.

    metric: the one that decides; the table AGES must have its numerators by unit and tick.
    """
    _age(con, pipeline, ticks)
    units = ", ".join(f"u{i}" for i, _ in enumerate(unit_columns(pipeline)))
    skipped, total = ticks_a_period(pipeline.schedule), "max" if metric.of == "proportion" else "sum"
    con.execute(
        f"CREATE OR REPLACE TABLE {CHANGED} AS SELECT variant, CASE WHEN max(age) > 0 THEN regr_slope(a, age) END AS slope, "
        f"{total}(a) FILTER (WHERE age >= {skipped}) AS later FROM {AGED} GROUP BY variant, {units} ORDER BY {units}, variant"
    )
    slopes, later = (
        moments_of(con, ("a",), f"(SELECT variant, {one} AS a FROM {CHANGED} WHERE {one} IS NOT NULL)")
        for one in ("slope", "later")
    )
    found = (_of_variant(con, planned.control.name, one.name, slopes, later) for one in planned.treated)
    return tuple(one for one in found if one is not None)


def _age(con: duckdb.DuckDBPyConnection, pipeline: Pipeline, ticks: TickRange) -> None:
    """Create the table of the metric by unit and ticks since the unit's first row, from AGES, which goes."""
    names: Sequence[Any] = ticks.names
    con.register("tick_numbers", pa.table({"tick": tick_array(names, pipeline.schedule), "number": range(len(names))}))
    units = ", ".join(f"u{i}" for i, _ in enumerate(unit_columns(pipeline)))
    con.execute(
        f"CREATE OR REPLACE TABLE {AGED} AS SELECT {units}, variant, a, "
        f"(number - min(number) OVER (PARTITION BY {units}))::INTEGER AS age FROM {AGES} JOIN tick_numbers USING (tick)"
    )
    con.execute(f"DROP TABLE {AGES}")


def _of_variant(
    con: duckdb.DuckDBPyConnection,
    control: str,
    variant: str,
    slopes: dict[str, Moments],
    later: dict[str, Moments],
) -> Novelty | None:
    if control not in slopes or variant not in slopes:
        return None
    try:
        trend = of_means(slopes[control], slopes[variant])
    except NoEffect:
        return None
    ages, by_age = _by_age(con, control, variant)
    return Novelty(variant, Around.of(trend), trend.p, _around(later, control, variant), ages, by_age)


def _around(moments: dict[str, Moments], control: str, variant: str) -> Around | None:
    if control not in moments or variant not in moments:
        return None
    try:
        return Around.of(of_means(moments[control], moments[variant]))
    except NoEffect:
        return None


def _by_age(con: duckdb.DuckDBPyConnection, control: str, variant: str) -> tuple[tuple[int, ...], tuple[Around, ...]]:
    """The difference by ticks since the first row; ages without one are left out."""
    rows = con.execute(
        f"SELECT age, variant, count(*), avg(a), coalesce(var_samp(a), 0) FROM {AGED} WHERE variant IN (?, ?) AND age < ? "
        "GROUP BY age, variant ORDER BY age, variant",
        [control, variant, MOST_POINTS],
    ).fetchall()
    groups: dict[int, dict[str, Moments]] = {}
    for age, of, n, mean, variance in rows:
        groups.setdefault(int(age), {})[of] = Moments.of_one(n, mean, variance)
    found = {age: one for age, of_age in groups.items() if (one := _around(of_age, control, variant)) is not None}
    return tuple(found), tuple(found.values())
