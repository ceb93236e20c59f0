"""Parquet files that are rows of a lake table as they are: how Delta is told of them, without reading or writing a row anew."""

from __future__ import annotations

import json
import time
import uuid
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from deltalake import Schema
from deltalake.transaction import AddAction

from mlprod_tasks.declaration import TickRange
from mlprod_tasks.platform.lake_columns import TICK, RowsRefused
from mlprod_tasks.platform.row_files import RowFiles


@dataclass(frozen=True)
class Finished:
    """Names of files with rows, and what Delta is to know of each: the path is where it will lie below the table.

    schema: all columns of the files, with Delta's types.
    """

    files: tuple[tuple[str, AddAction], ...]
    schema: Schema


def finished(name: str, rows: RowFiles, ticks: TickRange) -> Finished:
    """Look at new files of a table, each of one tick in `ticks`. Their names keep their order. Raises: RowsRefused."""
    with rows.folder.reading(*rows.names, columns=[TICK]) as files:
        schemas = [pq.read_schema(file).remove_metadata() for file in files]
        if unfit := [f"{field.name!r} ({field.type})" for one in schemas for field in one if not _is_deltas(field.type)]:
            raise _refused(name, f"Delta has no column of the type of {', '.join(dict.fromkeys(unfit))}")
        try:
            schema = pa.unify_schemas(schemas)
        except pa.ArrowTypeError as error:
            raise _refused(name, f"files have columns of different types: {error}") from error
        write, now = uuid.uuid4().hex, int(time.time() * 1000)
        found = []
        for number, (of, file) in enumerate(zip(rows.names, files, strict=True)):
            if count := pq.read_metadata(file).num_rows:
                tick = _tick_of(name, file, ticks)
                path = f"{TICK}={tick}/part-{number:05d}-{write}.parquet"
                # Bounds and counts of nulls of each column are optional, and nothing here asks for those of such tables.
                about = json.dumps({"numRecords": count})
                found.append((of, AddAction(path, file.stat().st_size, {TICK: tick}, now, data_change=True, stats=about)))
    return Finished(tuple(found), Schema.from_arrow(schema))


def _tick_of(name: str, file: Path, ticks: TickRange) -> str:
    column = pq.read_table(file, columns=[TICK])[TICK]
    span = pc.min_max(column).as_py()
    if column.null_count or not ticks.first <= span["min"] <= span["max"] <= ticks.last:
        raise _refused(name, f"cannot write rows of tick {span['min']} to {span['max']} as {ticks}")
    if span["min"] != span["max"]:
        raise _refused(name, f"one file has rows of tick {span['min']} to {span['max']}; each must have those of one")
    return str(span["min"])


def _refused(name: str, why: str) -> RowsRefused:
    return RowsRefused(f"lake table {name!r}: {why}; nothing was written")


def _is_deltas(kind: pa.DataType) -> bool:
    """Whether what Parquet has of the type is what Delta wants of it."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if pa.types.is_timestamp(kind):
        return bool(kind.unit == "us")
    fits = (
        pa.types.is_signed_integer, pa.types.is_floating, pa.types.is_boolean, pa.types.is_date32, pa.types.is_decimal,
        pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view, pa.types.is_binary, pa.types.is_large_binary,
    )  # fmt: skip
    return any(check(kind) for check in fits) and kind != pa.float16()
