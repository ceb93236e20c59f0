"""Dates as people write them, such as 31.12.2024, as the text of ISO 8601 that is read everywhere else."""

from __future__ import annotations

from collections.abc import Collection

import pyarrow as pa
import pyarrow.compute as pc

DAY, MONTH, YEAR, REST = r"0?(?P<d>[1-9]|[12]\d|3[01])", r"0?(?P<m>[1-9]|1[0-2])", r"(?P<y>\d{4})", r"(?P<rest>(?:[ T].*)?)"
# By the way in which a declaration writes the last day of 2024.
PATTERNS = {
    "31.12.2024": rf"^{DAY}\.{MONTH}\.{YEAR}{REST}$",
    "31/12/2024": rf"^{DAY}/{MONTH}/{YEAR}{REST}$",
    "12/31/2024": rf"^{MONTH}/{DAY}/{YEAR}{REST}$",
    "31-12-2024": rf"^{DAY}-{MONTH}-{YEAR}{REST}$",
}


def with_iso_dates(rows: pa.RecordBatch, columns: Collection[str], way: str) -> pa.RecordBatch:
    """Return the rows with the dates in text columns rewritten; what is not written in that way stays as it is.

    columns: of dates and timestamps; way: a key of PATTERNS. A value of another way is judged as it came: the audit refuses it,
    unless it is ISO 8601, which cannot be taken for another day.
    """
    for place, name in enumerate(rows.schema.names):
        values = rows.column(place)
        if name in columns and (pa.types.is_string(values.type) or pa.types.is_large_string(values.type)):
            rows = rows.set_column(place, name, iso_dates(values, way))
    return rows


def iso_dates(values: pa.Array, way: str) -> pa.Array:
    """Return texts whose dates are written in that way as those of ISO 8601, and the others as they are."""
    # Looked for in the valid texts of UTF-8 only: a column with others comes as bytes.
    found = pc.extract_regex(values, PATTERNS[way])
    day, month = (pc.utf8_lpad(pc.struct_field(found, part), 2, "0") for part in ("d", "m"))
    written = pc.binary_join_element_wise(pc.struct_field(found, "y"), month, day, "-")
    whole = pc.binary_join_element_wise(written, pc.struct_field(found, "rest"), "")
    whole = pc.replace_substring_regex(whole, r"^(.{10}[ T])(\d:)", r"\10\2")  # 8:05 is 08:05
    return pc.if_else(pc.is_valid(found), whole, values).cast(values.type)
