"""Find the rows of a database that belong to no tick, because their time is missing or cannot be read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from mlprod_tasks.declaration import Pipeline, Table
from mlprod_tasks.documents.formatting import format_count, format_exact
from mlprod_tasks.ingest.convert import as_text, convert
from mlprod_tasks.ingest.convert_rows import convert_rows
from mlprod_tasks.platform import Platform, names, sources
from mlprod_tasks.platform.settings import Settings
from mlprod_tasks.platform.sources import TimesUnreadable

MOST_KEPT = 100_000  # rows that are shown of a table that is refused


@dataclass(frozen=True)
class TimelessRows:
    """The rows that no tick has, over the whole table: the same for one tick and for a range. note: '' if there are none."""

    rows: int
    note: str = ""


def refuse_timeless_rows(pipeline: Pipeline, table: Table, platform: Platform) -> TimelessRows:
    """Put the rows that no tick has into quarantine, with the reason: a table of its own, as they have no tick.

    As many are allowed as `max_refused_share` of the table's rows.

    Raises: TimesUnreadable if there are more, after at most MOST_KEPT of them are in quarantine; SourceUnreachable.
    """
    times = sources.unusual_times(table, platform.settings)
    if times is None:
        return TimelessRows(0)
    unreadable = sum(_unreadable(times.unusual, table))
    refused = times.missing + unreadable
    found = (
        f"table {table.name!r}: {format_count(times.missing, 'row')} without {table.time} and "
        f"{format_count(unreadable, 'row')} whose {table.time} cannot be read belong to no tick"
    )
    allowed = table.max_refused_share * sources.size(table, platform.settings) if refused and table.max_refused_share else 0
    most = None if refused <= allowed else MOST_KEPT
    kept = list(_timeless(table, platform.settings, most)) if refused else []
    _keep(pipeline, table, kept, platform)
    if refused > allowed:
        raise TimesUnreadable(
            f"{found}; at most {format_exact(table.max_refused_share)} of the table's rows may be refused. They are in the "
            f"lake: {names.quarantine_without_tick(pipeline, table.name)}. Correct them at the source (text must be a date or "
            "moment of ISO 8601 with zeros, such as 2024-03-01 09:30:00; give numbers, such as seconds since 1970, as such "
            "text in a view). If rows have no time until later, declare a view without them as the source"
        )
    return TimelessRows(sum(part.num_rows for part in kept), found if refused else "")


def _unreadable(values: list[Any], table: Table) -> list[bool]:
    """Whether each time is one that no query by time finds, or that cannot be read."""
    if not values:
        return []
    array = sources.as_arrow(values)
    failed = convert(array, "timestamp", table.source.zone).failed
    # A query by time compares text, and finds only what begins with the date in ten characters.
    sorts = pc.match_substring_regex(as_text(array), r"^\d{4}-\d{2}-\d{2}")
    bad: list[bool] = pc.or_(failed, pc.invert(sorts)).to_pylist()
    return [one or not isinstance(value, str) for one, value in zip(bad, values, strict=True)]


def _timeless(table: Table, settings: Settings, most: int | None) -> Iterator[pa.Table]:
    """Yield the rows without a time that can be read as text, with the reason; at most `most` of them."""
    left = most
    for rows in sources.rows_with_unusual_times(table, settings):
        bad = rows.filter(_belongs_to_no_tick(rows, table))
        mine = bad if left is None else bad.slice(0, left)
        left = None if left is None else left - mine.num_rows
        converted = convert_rows(mine, table, settings)
        columns = {column.name: as_text(converted[column.name].combine_chunks()) for column in table.lake_columns}
        missing = pc.is_null(mine[table.time])
        columns["reason"] = pc.if_else(missing, f"{table.time} must not be missing", f"{table.time} cannot be read")
        yield pa.table(columns)
        if left == 0:
            return


def _belongs_to_no_tick(rows: pa.RecordBatch, table: Table) -> pa.BooleanArray:
    times = rows[table.time]
    if pa.types.is_temporal(times.type):
        return pc.or_(convert(times, "timestamp", table.source.zone).failed, times.is_null())
    values = [value if text else None for value, text in zip(times.to_pylist(), rows[sources.IS_TEXT].to_pylist(), strict=True)]
    unreadable = iter(_unreadable([value for value in values if value is not None], table))
    return pa.array([value is None or next(unreadable) for value in values], pa.bool_())


def _keep(pipeline: Pipeline, table: Table, kept: list[pa.Table], platform: Platform) -> None:
    name = names.quarantine_without_tick(pipeline, table.name)
    if not kept and not platform.lake.exists(name):
        return
    fields = [*((column.name, pa.string()) for column in table.lake_columns), ("reason", pa.string())]
    rows = pa.concat_tables([pa.schema(fields).empty_table(), *kept])
    if not platform.lake.holds(name, rows):
        platform.lake.replace(name, rows, note=f"extract {table.name}")
