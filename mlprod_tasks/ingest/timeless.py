"""Find the rows of a database that belong to no tick, because their time is missing or cannot be read."""

from __future__ import annotations

import pyarrow.compute as pc

from mlprod_tasks.declaration import Table
from mlprod_tasks.documents.formatting import format_count, format_exact
from mlprod_tasks.ingest.convert import convert
from mlprod_tasks.platform import sources
from mlprod_tasks.platform.settings import Settings
from mlprod_tasks.platform.sources import TimesUnreadable


def note_timeless_rows(table: Table, settings: Settings) -> tuple[str, ...]:
    """Count the rows that no tick has, over the whole table: the count is the same for one tick and for a range.

    As many are allowed as `max_refused_share` of the table's rows.

    Returns: a note with the counts if there are such rows.
    Raises: TimesUnreadable if there are more; SourceUnreachable.
    """
    times = sources.unusual_times(table, settings)
    if times is None or table.time is None:
        return ()
    values = sources.as_arrow(times.unusual)
    converted = convert(values, "timestamp")
    # A query by time compares text, and finds only what begins with the date in ten characters.
    sorts = pc.match_substring_regex(values.cast("string"), r"^\d{4}-\d{2}-\d{2}") if len(values) else converted.failed
    unreadable = int(pc.sum(pc.or_(converted.failed, pc.invert(sorts))).as_py() or 0) if len(values) else 0
    if not times.missing and not unreadable:
        return ()
    refused = times.missing + unreadable
    found = (
        f"table {table.name!r}: {format_count(times.missing, 'row')} without {table.time} and "
        f"{format_count(unreadable, 'row')} whose {table.time} cannot be read belong to no tick"
    )
    if not table.max_refused_share or refused > table.max_refused_share * sources.size(table, settings):
        raise TimesUnreadable(
            f"{found}; at most {format_exact(table.max_refused_share)} of the table's rows may be refused. Correct them at the "
            "source (text must be a date or moment of ISO 8601 with zeros, such as 2024-03-01 09:30:00). If rows have no time "
            "until later, declare a view without them as the source"
        )
    return (found,)
