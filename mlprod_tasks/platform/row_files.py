"""Rows in files, read a bounded number at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

BATCH_ROWS = 64 * 1024


@dataclass(frozen=True)
class RowFiles:
    """The rows of Parquet files that have the same columns, in the order of the files; at least one file.

    num_rows: of all files.
    """

    files: tuple[Path, ...]
    num_rows: int

    @cached_property
    def schema(self) -> pa.Schema:
        return pq.read_schema(self.files[0])

    def parts(self, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """Yield the rows in order, at most BATCH_ROWS at once. columns: which ones; None for all."""
        for file in self.files:
            with pq.ParquetFile(file) as opened:
                for batch in opened.iter_batches(BATCH_ROWS, columns=None if columns is None else list(columns)):
                    yield pa.Table.from_batches([batch])


# Gives all rows, a bounded number at a time and each time that it is called; at least one part, which may be empty.
Parts = Callable[[], Iterator[pa.Table]]


def parts_of(rows: pa.Table | RowFiles, change: Callable[[pa.Table], pa.Table], columns: Sequence[str]) -> Parts:
    """The rows, changed part by part. columns: which ones `change` reads."""

    def parts() -> Iterator[pa.Table]:
        if isinstance(rows, pa.Table):
            yield change(rows.select(list(columns)))
            return
        yield change(rows.schema.empty_table().select(list(columns)))
        yield from map(change, rows.parts(columns))

    return parts
