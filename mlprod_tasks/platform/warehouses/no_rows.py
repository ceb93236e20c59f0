"""Ask a warehouse for the columns of a table or query alone."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Select, false, literal_column, select


def no_rows(source: Any) -> Select[Any]:
    """The query for all columns of a selectable without any row."""
    everything: Any = select(literal_column("*"))
    found: Select[Any] = everything.select_from(source).where(false()).limit(literal_column("0"))
    return found
