"""Find where rows that the audit refused stand in their files, so that people need not search for them."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from mlprod_tasks.declaration import Files, Table
from mlprod_tasks.declaration.rhythm import TickName
from mlprod_tasks.ingest.convert import as_text
from mlprod_tasks.ingest.convert_rows import convert_rows
from mlprod_tasks.platform import sources
from mlprod_tasks.platform.settings import Settings
from mlprod_tasks.platform.text_files import LINE

log = logging.getLogger(__name__)
Row = Mapping[str, str | None]


def rows_in_files(table: Table, rows: Sequence[Row], tick: TickName, settings: Settings) -> list[str]:
    """Where each of the rows stands, such as 'orders.csv, line 7': '' for one that is not found, and for rows of a database.

    rows: values as text, as they are staged. The files are read again, up to the last of the rows; equal rows are told
    apart by their order.
    """
    found = [""] * len(rows)
    if not rows or not isinstance(table.source, Files):
        return found
    at_source = table.at_source
    names = [column.name for column in at_source.lake_columns]
    waiting: defaultdict[tuple[str | None, ...], list[int]] = defaultdict(list)
    for i, row in enumerate(rows):
        waiting[tuple(row[name] for name in names)].append(i)
    word = "row" if table.source.format == "parquet" else "line"
    try:
        for file, chunk in sources.read_with_lines(at_source, settings, tick if table.is_by_tick else None):
            converted = convert_rows(chunk.select(chunk.schema.names[:-1]), at_source, settings)
            texts = [as_text(converted[name].combine_chunks()) for name in names]
            places = _perhaps(texts, list(waiting))
            lines = chunk[LINE].take(places).to_pylist()
            for line, values in zip(lines, zip(*(text.take(places).to_pylist() for text in texts), strict=True), strict=True):
                if places_left := waiting.get(values):
                    found[places_left.pop(0)] = f"{file}, {word} {line}"
            if all(found):
                break
    except (sources.SourceMissing, sources.SourceUnreachable) as error:
        log.warning("where refused rows of %s stand is not told: %s", table.name, error)
    return found


def _perhaps(texts: Sequence[pa.Array], wanted: Sequence[tuple[str | None, ...]]) -> pa.Array:
    """The positions of the rows of which each value is that of a wanted row."""
    among = [pc.is_in(text, pa.array({row[i] for row in wanted}, pa.string())) for i, text in enumerate(texts)]
    mask = among[0]
    for one in among[1:]:
        mask = pc.and_(mask, one)
    return pc.indices_nonzero(mask)
