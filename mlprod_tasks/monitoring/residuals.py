"""Residual drift: mean outcome minus score in regions of important features."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Any

from mlprod_tasks.declaration.monitoring import Watched
from mlprod_tasks.documents.formatting import format_count, format_number
from mlprod_tasks.models.reference_profile import ProfileColumn, ReferenceProfile, Region, Residuals
from mlprod_tasks.monitoring.measurement import Reading
from mlprod_tasks.platform.sql import literal, quoted
from mlprod_tasks.statistics import bins, intervals
from mlprod_tasks.statistics.auc_interval import NORMAL
from mlprod_tasks.statistics.bins import Bins

MOST_FEATURES = 5
FEWEST_IN_A_REGION = 30
CHANCE = 0.01  # probability per unchanged tick that any region of any feature is reported


def explained(columns: Sequence[ProfileColumn]) -> tuple[Bins, ...]:
    """The bins of the MOST_FEATURES most important features."""
    ranked = sorted((column for column in columns if column.important), key=lambda column: (-column.importance, column.name))
    return tuple(column.bins for column in ranked[:MOST_FEATURES])


def residuals(con: Any, source: str, features: Sequence[Bins]) -> tuple[Residuals, ...]:
    """Sum up the rows of each region of some features by SQL.

    source: what follows FROM, with columns score, label (yes or no, or a number; no nulls) and the features.
    """
    kinds = {name: kind for name, kind, *_ in con.execute(f"DESCRIBE SELECT * FROM {source}").fetchall()}
    return tuple(_feature_residuals(con, source, one, kinds[one.column], kinds["label"]) for one in features)


def residual_kind(profile: ReferenceProfile) -> Watched:
    """The name of what `residual_drift` measures."""
    return "residual_drift" if profile.numbers is None else "residual_shift"


def residual_drift(profile: ReferenceProfile, measured: Sequence[Residuals]) -> Iterator[Reading]:
    """For each feature, the largest significant change of a region's mean residual; of numbers, as `residual_shift`.

    0 if none is significant. A region's change is its mean residual minus the reference's there, taken as 0 if the reference
    has fewer than FEWEST_IN_A_REGION rows in it. It is significant if its interval excludes 0. Intervals are so wide
    (Bonferroni) that any region of any feature excludes 0 in a share CHANCE of the ticks at which nothing has changed.
    """
    what, sd = residual_kind(profile), 1.0 if profile.numbers is None else profile.numbers.sd
    before = {one.feature: one.regions for one in profile.residuals}
    known = {column.name: column.bins for column in profile.features}
    tested = sum(region.n >= FEWEST_IN_A_REGION for one in measured for region in one.regions)
    z = NORMAL.inv_cdf(1 - CHANCE / (2 * max(1, tested)))
    for one in measured:
        n = sum(region.n for region in one.regions)
        changes = [
            _region_change(region, reference, words(known[one.feature], at), z)
            for at, (region, reference) in enumerate(
                zip(one.regions, _reference_regions(before.get(one.feature), one), strict=True)
            )
            if region.n >= FEWEST_IN_A_REGION
        ]
        if not changes:
            why = f"no region has {FEWEST_IN_A_REGION} rows with an outcome"
            yield Reading(what, None, n, one.feature, why=why, important=True)
            continue
        moved = [change for change in changes if change.low > 0]
        if not moved:
            detail = f"no significant change in any of {format_count(len(changes), 'region')}"
            yield Reading(what, 0.0, n, one.feature, detail=detail, important=True)
            continue
        most = max(moved, key=lambda change: change.size)
        yield Reading(
            what,
            most.size / sd,
            most.region.n,
            one.feature,
            reference=most.expected / sd,
            detail=most.sentence if profile.numbers is None else most.sentence_of_numbers,
            interval=(most.low / sd, most.high / sd),
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
        return f"{name} {'not among the most frequent' if len(known) < len(one.categories) else 'new to the reference'}"
    if at == bins.OTHER:
        return f"{name} not finite"
    place, edges = at - 2, [_format_edge(edge) for edge in one.coarse_edges]
    if place == 0:
        return f"{name} up to {edges[0]}"
    if place == len(edges):
        return f"{name} above {edges[-1]}"
    return f"{name} above {edges[place - 1]} up to {edges[place]}"


def _format_edge(edge: float) -> str:
    """An edge with six significant digits and no power of ten.

    Six digits are enough to tell neighbouring edges apart.
    """
    return f"{edge:.6g}" if 0.001 <= abs(edge) < 100_000 else format_number(edge)


@dataclass(frozen=True)
class _Change:
    """The difference of a region's mean residual from the expected one."""

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
        return f"{self.words}: {came:.1%} were positive, {scored:.1%} were expected{usual}; {self.region.n:,} rows"

    @property
    def sentence_of_numbers(self) -> str:
        came, predicted = self.region.outcomes / self.region.n, self.region.scores / self.region.n
        usual = f", usually {format_number(self.expected)} apart" if self.expected else ""
        means = f"{format_number(came)} came on average, {format_number(predicted)} was predicted"
        return f"{self.words}: {means}{usual}; {self.region.n:,} rows"


def _region_change(region: Region, reference: Region, named: str, z: float) -> _Change:
    known = reference.n >= FEWEST_IN_A_REGION
    expected = reference.residual if known else 0.0
    error = sqrt(region.variance + (reference.variance if known else 0.0))
    size = abs(region.residual - expected)
    return _Change(region, named, expected, size, *intervals.normal(size, error, z=z))


def _reference_regions(known: Sequence[Region] | None, one: Residuals) -> Sequence[Region]:
    """The reference's regions; empty ones if the profile was kept without them."""
    return known if known is not None and len(known) == len(one.regions) else [Region()] * len(one.regions)


def _feature_residuals(con: Any, source: str, one: Bins, kind: str, label: str) -> Residuals:
    value = bins.number(one.column, kind) if one.of_numbers else f"{quoted(one.column)}::VARCHAR"
    # The variance of a yes or no follows from its probability; that of a number does not follow from its prediction.
    y, implied = ("label::INT::DOUBLE", "s * (1 - s)") if label == "BOOLEAN" else ("label::DOUBLE", "0.0")
    totals = con.execute(
        f"SELECT {_region_sql(one)} AS place, count(*), sum(y), sum(s), sum((y - s) * (y - s)), sum({implied}) "
        f"FROM (SELECT {value} AS x, {y} AS y, score::DOUBLE AS s FROM {source}) GROUP BY place"
    ).fetchall()
    by_place = {place: Region(int(n), *map(_round_sum, sums)) for place, n, *sums in totals}
    last = 2 + (len(one.coarse_edges) if one.of_numbers else len(_categories(one)) - 1)
    return Residuals(one.column, tuple(by_place.get(at, Region()) for at in range(last + 1)))


def _round_sum(total: float) -> float:
    """Round a sum, so that a profile is the same in every run.

    Parallel sums differ in the last digits.
    """
    return float(f"{total:.9g}")


def _region_sql(one: Bins) -> str:
    """SQL for the index of the region that x is in."""
    null = f"WHEN x IS NULL THEN {bins.NULL}"
    if one.of_numbers:
        other = f"WHEN NOT isfinite(x::DOUBLE) THEN {bins.OTHER}"
        cases = [f"WHEN x <= {edge!r} THEN {at}" for at, edge in enumerate(one.coarse_edges, 2)]
        return f"CASE {null} {other} {' '.join(cases)} ELSE {len(one.coarse_edges) + 2} END"
    cases = [f"WHEN x = {literal(category)} THEN {at}" for at, category in enumerate(_categories(one), 2)]
    return f"CASE {null} {' '.join(cases)} ELSE {bins.OTHER} END"


def _categories(one: Bins) -> tuple[str, ...]:
    return one.categories[: bins.MOST_CATEGORIES]
