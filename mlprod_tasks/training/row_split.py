"""Split the rows of a table without a time: by a column, or by a hash of the key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from mlprod_tasks.declaration import Pipeline, SplitByColumn, SplitByHash, Tick, TickRange
from mlprod_tasks.documents.formatting import format_count
from mlprod_tasks.features.key_ranges import KeyRange
from mlprod_tasks.features.snapshot import Snapshot
from mlprod_tasks.models.stored_rows import CELLS_IN_MEMORY, table_of
from mlprod_tasks.platform import Platform, memory
from mlprod_tasks.platform.engine import engine
from mlprod_tasks.platform.sql import identifier, literal
from mlprod_tasks.training.split import TEST, TRAIN, VALIDATION, Windows
from mlprod_tasks.training.workspace import TrainingFolder, read_window

if TYPE_CHECKING:
    from mlprod_tasks.declaration.split import Measured, RowSplit

PART, VALUE = "_part", "_part_value"
MOST_NAMED = 5
HASHED_BITS = 32
BYTES_A_VALUE = 80  # the rows, and those of a fold with their matrix and LightGBM's bins


@dataclass(frozen=True)
class FoldOfRows:
    """Another split of the same rows than the declared one, which is number 0.

    measured: 'test' of a backtest: no row is tested on in two folds. 'validation' of a search: the test part stays, and no row
    is in the validation part of two folds.
    """

    number: int = 0
    measured: Measured = "test"


DECLARED = FoldOfRows()


class NoSnapshot(LookupError):
    """No snapshot of the scored table was ingested by the training's tick."""


class PartsUnknown(ValueError):
    """Rows with an outcome have a value in the split's column that belongs to no part."""


def newest_snapshot(pipeline: Pipeline, as_of: Tick, versions: Mapping[str, int] | None, platform: Platform) -> Windows:
    """The tick with the newest snapshot that `as_of` has, for all three parts. Raises: NoSnapshot; TableMissing."""
    there = [tick for tick in Snapshot(pipeline, platform, versions).ticks(pipeline.entity_name) if tick <= as_of.name]
    if not there:
        raise NoSnapshot(
            f"{pipeline.name}: table {pipeline.entity_name!r} has no rows up to {as_of}: ingest a tick up to it first"
        )
    ticks = pipeline.schedule.range(max(there))
    return Windows(ticks, ticks, ticks)


def parts_of_rows(
    pipeline: Pipeline,
    ticks: TickRange,
    versions: Mapping[str, int],
    platform: Platform,
    of: FoldOfRows = DECLARED,
    keys: KeyRange | None = None,
) -> pa.Table:
    """The part of every row of a snapshot, or of those of `keys`.

    Columns: the key, `tick`, `_part` (null if the value is of none), `_part_value` as text.
    """
    split = pipeline.split
    assert isinstance(split, SplitByColumn | SplitByHash)
    entity = pipeline.entity_table
    key = ", ".join(identifier(name) for name in entity.key)
    part, value = _part_sql(split, entity.key, of)

    def query(rows: str) -> str:
        return f"SELECT {key}, tick, {part} AS {PART}, {value} AS {VALUE} FROM {rows}"

    snapshot = Snapshot(pipeline, platform, versions, examples=True)
    with engine(lake=platform.lake) as connection:
        return snapshot.read(connection, keys.of(query) if keys else query, entity.name, ticks, scored=True)


def all_rows(pipeline: Pipeline, folder: TrainingFolder, windows: Sequence[str]) -> pa.Table:
    """The rows with an outcome of some parts of a training's snapshot, sorted by key. Raises: NotEnoughMemory."""
    parts = [read_window(folder, name) for name in windows]
    values = sum(part.num_rows * len(part.schema) for part in parts)
    if values >= CELLS_IN_MEMORY:
        memory.require(
            values * BYTES_A_VALUE,
            f"{pipeline.name}: folds of {folder.training_id}",
            "declare no backtest, and no folds of a search",
        )
    rows = pa.concat_tables([table_of(part) for part in parts])
    return rows.sort_by([(name, "ascending") for name in ("tick", *pipeline.entity_table.key)])


def rows_of_fold(
    pipeline: Pipeline, rows: pa.Table, ticks: TickRange, versions: Mapping[str, int], platform: Platform, of: FoldOfRows
) -> dict[str, pa.Table]:
    """Split rows of a snapshot as a fold has them: the rows of each part, in their order."""
    key = ["tick", *pipeline.entity_table.key]
    joined_by = ", ".join(map(identifier, key))
    with engine(lake=platform.lake) as db:
        db.register("keys", rows.select(key).append_column("_place", pa.array(range(rows.num_rows), pa.int64())))
        db.register("parts", parts_of_rows(pipeline, ticks, versions, platform, of))
        placed = db.sql(f"SELECT {PART} FROM keys LEFT JOIN parts USING ({joined_by}) ORDER BY _place").to_arrow_table()
    assert placed.num_rows == rows.num_rows, "a row has more than one part"
    return {name: rows.filter(pc.equal(placed[PART], name)) for name in (TRAIN, VALIDATION, TEST)}


def _part_sql(split: RowSplit, key: tuple[str, ...], of: FoldOfRows) -> tuple[str, str]:
    """SQL of a row's part, and of the value that tells it."""
    if isinstance(split, SplitByColumn):
        column = identifier(split.column)
        cases = " ".join(
            f"WHEN {column} IN ({', '.join(literal(one) if isinstance(one, str) else str(one) for one in values)}) "
            f"THEN {literal(name)}"
            for name, values in split.fold(of.number, of.measured).parts.items()
        )
        return f"CASE {cases} END", f"CAST({column} AS VARCHAR)"
    # The first 32 bits of an MD5, over 2 ** 32: uniform in [0, 1), and the same on every machine and in every release.
    text = ", ".join(f"CAST({identifier(name)} AS VARCHAR)" for name in split.by or key)
    hashed = f"md5(concat_ws('|', '{split.seed}', {text}))"
    place = f"CAST(concat('0x', substr({hashed}, 1, {HASHED_BITS // 4})) AS BIGINT) / {float(2**HASHED_BITS)!r}"
    test, validation = split.fold(of.number, of.measured)
    tested, fitted = (f"({place} >= {first!r} AND {place} < {last!r})" for first, last in (test, validation))
    around = f" OR {place} < {validation[1] - 1!r}" if validation[1] > 1 else ""  # beyond 1 it goes on from 0
    return f"CASE WHEN {tested} THEN 'test' WHEN {fitted}{around} THEN 'validation' ELSE 'train' END", "NULL"


def check_parts(pipeline: Pipeline, labelled: pa.Table) -> None:
    """Raises: PartsUnknown if rows with an outcome are of no part. labelled: these rows, as of `parts_of_rows`."""
    split = pipeline.split
    if not isinstance(split, SplitByColumn) or not labelled[PART].null_count:
        return
    counted = labelled.filter(labelled[PART].is_null()).group_by(VALUE).aggregate([([], "count_all")])
    counts = sorted(counted.to_pylist(), key=lambda row: (-row["count_all"], str(row[VALUE])))
    shown = [f"{_shown(row[VALUE])} in {format_count(row['count_all'], 'row')}" for row in counts[:MOST_NAMED]]
    more = f" and {len(counts) - MOST_NAMED} more" if len(counts) > MOST_NAMED else ""
    known = "; ".join(f"{name} {', '.join(map(repr, values))}" for name, values in split.parts.items())
    raise PartsUnknown(
        f"{pipeline.name}: rows with an outcome have in the column {split.column!r} {', '.join(shown)}{more}, which is of no "
        f"part ({known}). Add the values to a part of SplitByColumn, or correct the rows"
    )


def _shown(value: str | None) -> str:
    return "no value" if value is None else repr(value)
