"""Count everything that monitoring needs from the predictions of a tick."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mlprod_tasks.declaration.rhythm import TickName
from mlprod_tasks.experiments.own_rows import OwnRows, own_rows
from mlprod_tasks.models.reference_profile import JoinedTable, ReferenceProfile, SampledRows
from mlprod_tasks.monitoring.count import LARGEST, Counted, count_by_tick, count_piece, merged, types
from mlprod_tasks.monitoring.few_rows import are_few, count_few
from mlprod_tasks.monitoring.levels import Sums, levels_by_tick, mean_levels, sums
from mlprod_tasks.monitoring.sample import RowKinds, merged_sample, sample_by_tick, sampled_kinds
from mlprod_tasks.platform.sql import quoted
from mlprod_tasks.statistics.bins import Bins, CountedColumn, family, number

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection


@dataclass(frozen=True)
class Observed:
    """The counts of one tick's predictions.

    treated_rows: of other variants of an experiment. All but the first three cover only rows that the model itself answered.
    columns: the features and the scores, by name, without those that the predictions lack. types: the `family` of each.
    decisions: rows above the threshold. unmatched: by table, the rows without a match in it. sampled: some of the rows in bins;
    None if not requested. levels: the mean of each feature that is watched as a series.
    """

    rows: int
    fallback_rows: int
    treated_rows: int
    columns: Mapping[str, CountedColumn]
    types: Mapping[str, str]
    decisions: int | None = None
    unmatched: Mapping[str, int] = field(default_factory=dict)
    sampled: SampledRows | None = None
    levels: Mapping[str, float | None] = field(default_factory=dict)

    @property
    def answered(self) -> int:
        """The rows that the model itself answered."""
        return self.rows - self.fallback_rows - self.treated_rows


def observe(con: DuckDBPyConnection, source: str, profile: ReferenceProfile, *, sampled: bool = True) -> Observed:
    """Count one tick's predictions in the bins of the reference.

    source: what follows FROM: logged predictions with the columns score, decision, fallback and the features.
    """
    kinds = types(con, source)
    own = own_rows(con, source, set(kinds))
    observing = Observing(profile, kinds, own, sampled)
    return observing.merge([observing.read(con, own.of(source))])


@dataclass(frozen=True)
class _Part:
    """What is read of some of the rows that the model itself answered."""

    counted: Counted
    sampled: RowKinds | None
    sums: Sums


class Observing:
    """Counts one tick's predictions in the bins of the reference: an aggregate of the rows that the model itself answered.

    kinds: the columns of the predictions, each with its DuckDB type. own: how many rows there are. sampled: whether to sample
    rows.
    """

    def __init__(self, profile: ReferenceProfile, kinds: Mapping[str, str], own: OwnRows, sampled: bool = True) -> None:
        self._bins = tuple(column.bins for column in profile.columns if column.name in kinds)
        self._joins = tuple(join for join in profile.joins if all(name in kinds for group in join.columns for name in group))
        self._series = tuple(column.name for column in profile.features if column.levels and column.name in kinds)
        self._kinds, self._own, self._sampled = dict(kinds), own, sampled and profile.sampled is not None

    def read(self, con: DuckDBPyConnection, source: str) -> _Part:
        rows, further = self._own.answered, _aggregates_sql(self._joins)
        few = count_few(con, source, self._bins, self._kinds, further) if are_few(rows, self._bins, self._kinds) else None
        codes = None if few is None else few.codes
        return _Part(
            count_piece(con, source, self._bins, self._kinds, further) if few is None else few.counted,
            sampled_kinds(con, source, self._bins, self._kinds, rows, codes) if self._sampled else None,
            sums(con, source, self._series, self._kinds),
        )

    def merge(self, parts: Sequence[_Part]) -> Observed:
        samples = [part.sampled for part in parts if part.sampled is not None]
        return _build_observed(
            merged([part.counted for part in parts]),
            self._bins,
            self._joins,
            self._kinds,
            merged_sample(self._bins, samples) if samples else None,
            mean_levels([part.sums for part in parts]),
            self._own,
        )


def observe_by_tick(
    con: DuckDBPyConnection, source: str, bins: Sequence[Bins], joins: Sequence[JoinedTable] = ()
) -> dict[TickName, Observed]:
    """Count each tick of a reference.

    Its rows are out of range if they are outside the range of all other ticks. source: rows with the columns tick, score,
    decision and the features; the fallback answered none of them.
    """
    kinds = types(con, source)
    by_tick = count_by_tick(con, source, bins, _aggregates_sql(joins))
    samples = sample_by_tick(con, source, bins, {tick: counted.rows for tick, counted in by_tick.items()})
    outside = _outside_other_ticks(con, source, [one for one in bins if one.of_numbers], kinds)
    series = levels_by_tick(con, source, bins, kinds, list(by_tick))
    ticks = {}
    for at, (tick, counted) in enumerate(by_tick.items()):
        columns = {name: CountedColumn(column.counts, outside.get((tick, name), 0)) for name, column in counted.columns.items()}
        own = Counted(counted.rows, columns, counted.further)
        means = {name: of_ticks[at] for name, of_ticks in series.items()}
        ticks[tick] = _build_observed(own, bins, joins, kinds, samples[tick], means)
    return ticks


def _aggregates_sql(joins: Sequence[JoinedTable]) -> list[str]:
    return ["coalesce(count_if(decision), 0)", *(f"coalesce(count_if({_unmatched_sql(join)}), 0)" for join in joins)]


def _unmatched_sql(join: JoinedTable) -> str:
    groups = (" AND ".join(f"{quoted(name)} IS NULL" for name in group) for group in join.columns)
    return " OR ".join(f"({group})" for group in groups)


def _build_observed(
    counted: Counted,
    bins: Sequence[Bins],
    joins: Sequence[JoinedTable],
    kinds: Mapping[str, str],
    sampled: SampledRows | None,
    means: Mapping[str, float | None],
    of: OwnRows | None = None,
) -> Observed:
    decisions, *unmatched = counted.further
    return Observed(
        rows=counted.rows if of is None else of.rows,
        fallback_rows=0 if of is None else of.fallback,
        treated_rows=0 if of is None else of.treated,
        columns=counted.columns,
        types={one.column: family(kinds[one.column]) for one in bins},
        decisions=decisions,
        unmatched={join.table: n for join, n in zip(joins, unmatched, strict=True)},
        sampled=sampled,
        levels=means,
    )


def _outside_other_ticks(
    con: DuckDBPyConnection, source: str, bins: Sequence[Bins], kinds: Mapping[str, str]
) -> dict[tuple[TickName, str], int]:
    """By tick and column, the rows outside the range of all other ticks.

    Only a tick with an extreme value has any.
    """
    if not bins:
        return {}
    values = [f"{number(one.column, kinds[one.column])}::DOUBLE" for one in bins]
    ends = ", ".join(
        f"{end}({value}) FILTER ({value} BETWEEN -{LARGEST} AND {LARGEST})" for value in values for end in ("min", "max")
    )
    ranges = {tick: reached for tick, *reached in con.execute(f"SELECT tick, {ends} FROM {source} GROUP BY tick").fetchall()}
    conditions: list[tuple[TickName, str, str]] = []
    for k, one in enumerate(bins):
        for tick in ranges:
            lows = [reached[2 * k] for other, reached in ranges.items() if other != tick and reached[2 * k] is not None]
            highs = [
                reached[2 * k + 1] for other, reached in ranges.items() if other != tick and reached[2 * k + 1] is not None
            ]
            low, high = ranges[tick][2 * k], ranges[tick][2 * k + 1]
            if lows and low is not None and (low < min(lows) or high > max(highs)):
                within = f"{values[k]} BETWEEN {min(lows)!r} AND {max(highs)!r}"
                condition = f"tick = '{tick}' AND {values[k]} BETWEEN -{LARGEST} AND {LARGEST} AND NOT {within}"
                conditions.append((tick, one.column, f"count_if({condition})"))
    if not conditions:
        return {}
    (counts,) = con.execute(f"SELECT {', '.join(sql for *_, sql in conditions)} FROM {source}").fetchall()
    return {(tick, name): int(n or 0) for (tick, name, _), n in zip(conditions, counts, strict=True)}
