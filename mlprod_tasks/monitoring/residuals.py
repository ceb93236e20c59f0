"""Where scores no longer fit outcomes: mean of outcome minus score in each region of the important features."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Any

from mlprod_tasks.models.reference_profile import ProfileColumn, ReferenceProfile, Region, Residuals
from mlprod_tasks.monitoring.measurement import Reading
from mlprod_tasks.platform.sql import literal, quoted
from mlprod_tasks.statistics import bins, intervals
from mlprod_tasks.statistics.auc_interval import NORMAL
from mlprod_tasks.statistics.bins import Bins

MOST_FEATURES = 5
FEWEST_IN_A_REGION = 30
CHANCE = 0.01  # that any region of a tick at which nothing has changed is named, all features together


def explained(columns: Sequence[ProfileColumn]) -> tuple[Bins, ...]:
    """The bins of the features whose regions are looked at: the most important ones, MOST_FEATURES at most."""
    ranked = sorted((column for column in columns if column.important), key=lambda column: (-column.importance, column.name))
    return tuple(column.bins for column in ranked[:MOST_FEATURES])


def residuals(con: Any, source: str, looked_at: Sequence[Bins]) -> tuple[Residuals, ...]:
    """Sum up the rows of each region within the engine.

    source: what stands after FROM, with columns score, label (no nulls) and the features.
    """
    kinds = {name: kind for name, kind, *_ in con.execute(f"DESCRIBE SELECT * FROM {source}").fetchall()}
    return tuple(_of_feature(con, source, one, kinds[one.column]) for one in looked_at)


def residual_drift(profile: ReferenceProfile, found: Sequence[Residuals]) -> Iterator[Reading]:
    """For each feature the greatest change of a region's mean residual; 0 where chance explains every region's.

    A region's change is its mean residual minus the reference's own there, which is 0 where the reference has fewer than
    FEWEST_IN_A_REGION rows. It counts if its interval leaves 0 out, made so wide that of all regions of all features together
    one leaves it out in CHANCE of the ticks at which nothing has changed.
    """
    before = {one.feature: one.regions for one in profile.residuals}
    known = {column.name: column.bins for column in profile.features}
    tested = sum(region.n >= FEWEST_IN_A_REGION for one in found for region in one.regions)
    z = NORMAL.inv_cdf(1 - CHANCE / (2 * max(1, tested)))
    for one in found:
        n = sum(region.n for region in one.regions)
        changes = [
            _change(region, reference, words(known[one.feature], at), z)
            for at, (region, reference) in enumerate(zip(one.regions, _of_reference(before.get(one.feature), one), strict=True))
            if region.n >= FEWEST_IN_A_REGION
        ]
        if not changes:
            why = f"no region of it has {FEWEST_IN_A_REGION} rows with an outcome"
            yield Reading("residual_drift", None, n, one.feature, why=why, important=True)
            continue
        moved = [change for change in changes if change.low > 0]
        if not moved:
            detail = f"in none of {len(changes)} regions more than chance explains"
            yield Reading("residual_drift", 0.0, n, one.feature, detail=detail, important=True)
            continue
        most = max(moved, key=lambda change: change.size)
        yield Reading(
            "residual_drift",
            most.size,
            most.region.n,
            one.feature,
            reference=most.expected,
            detail=most.sentence,
            interval=(most.low, most.high),
            important=True,
        )


def words(one: Bins, at: int) -> str:
    """A region of a feature in words, such as 'dep_hour above 17'."""
    name = one.column
    if at == bins.NULL:
        return f"{name} missing"
    if not one.of_numbers:
        known = _categories(one)
        if at != bins.OTHER:
            return f"{name} {known[at - 2]!r}"
        return f"{name} {'none of the most frequent' if len(known) < len(one.categories) else 'that the reference never had'}"
    if at == bins.OTHER:
        return f"{name} not finite"
    place, edges = at - 2, [f"{edge:.6g}" for edge in one.coarse_edges]
    if place == 0:
        return f"{name} up to {edges[0]}"
    if place == len(edges):
        return f"{name} above {edges[-1]}"
    return f"{name} above {edges[place - 1]} up to {edges[place]}"


@dataclass(frozen=True)
class _Change:
    """How far a region's mean residual lies from what is expected there."""

    region: Region
    words: str
    expected: float
    size: float
    low: float
    high: float

    @property
    def sentence(self) -> str:
        came, scored = self.region.outcomes / self.region.n, self.region.scores / self.region.n
        usual = f", usually {self.expected:+.1%} apart" if self.expected else ""
        return f"{self.words}: {came:.1%} came true, {scored:.1%} were expected{usual}; {self.region.n:,} rows"


def _change(region: Region, reference: Region, named: str, z: float) -> _Change:
    known = reference.n >= FEWEST_IN_A_REGION
    expected = reference.residual if known else 0.0
    error = sqrt(region.variance + (reference.variance if known else 0.0))
    size = abs(region.residual - expected)
    return _Change(region, named, expected, size, *intervals.normal(size, error, z=z))


def _of_reference(known: Sequence[Region] | None, one: Residuals) -> Sequence[Region]:
    """The reference's regions; empty ones where it was kept without them."""
    return known if known is not None and len(known) == len(one.regions) else [Region()] * len(one.regions)


def _of_feature(con: Any, source: str, one: Bins, kind: str) -> Residuals:
    value = bins.number(one.column, kind) if one.of_numbers else f"{quoted(one.column)}::VARCHAR"
    found = con.execute(
        f"SELECT {_place(one)} AS place, count(*), sum(y), sum(s), sum((y - s) * (y - s)), sum(s * (1 - s)) "
        f"FROM (SELECT {value} AS x, label::INT::DOUBLE AS y, score::DOUBLE AS s FROM {source}) GROUP BY place"
    ).fetchall()
    by_place = {place: Region(int(n), *map(_rounded, sums)) for place, n, *sums in found}
    last = 2 + (len(one.coarse_edges) if one.of_numbers else len(_categories(one)) - 1)
    return Residuals(one.column, tuple(by_place.get(at, Region()) for at in range(last + 1)))


def _rounded(total: float) -> float:
    """Sums in parallel differ in their last digits from run to run; a profile must not."""
    return float(f"{total:.9g}")


def _place(one: Bins) -> str:
    """The index of the region that x lies in."""
    null = f"WHEN x IS NULL THEN {bins.NULL}"
    if one.of_numbers:
        other = f"WHEN NOT isfinite(x::DOUBLE) THEN {bins.OTHER}"
        cases = [f"WHEN x <= {edge!r} THEN {at}" for at, edge in enumerate(one.coarse_edges, 2)]
        return f"CASE {null} {other} {' '.join(cases)} ELSE {len(one.coarse_edges) + 2} END"
    cases = [f"WHEN x = {literal(category)} THEN {at}" for at, category in enumerate(_categories(one), 2)]
    return f"CASE {null} {' '.join(cases)} ELSE {bins.OTHER} END"


def _categories(one: Bins) -> tuple[str, ...]:
    return one.categories[: bins.MOST_CATEGORIES]
