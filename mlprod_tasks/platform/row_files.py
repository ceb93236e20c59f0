"""Rows in files, read a bounded number at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from mlprod_tasks.platform.compute.exchange import Exchange, FolderExchange

BATCH_ROWS = 64 * 1024


@dataclass(frozen=True)
class RowFiles:
    """The rows of Parquet files that have the same columns, in the order of the files; at least one file.

    folder: where they are; names: there. num_rows: of all files.
    """

    folder: Exchange
    names: tuple[str, ...]
    num_rows: int

    @classmethod
    def here(cls, files: Sequence[Path], num_rows: int) -> RowFiles:
        """Files of this machine."""
        return cls(FolderExchange(Path()), tuple(map(str, files)), num_rows)

    @cached_property
    def schema(self) -> pa.Schema:
        return schema_of(self.folder, self.names[0])

    def parts(self, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """Yield the rows in order, at most BATCH_ROWS at once. columns: which ones; None for all."""
        wanted = None if columns is None else list(columns)
        for name in self.names:
            with self.folder.reading(name, columns=wanted) as (file,), pq.ParquetFile(file) as opened:
                for batch in opened.iter_batches(BATCH_ROWS, columns=wanted):
                    yield pa.Table.from_batches([batch])


def schema_of(folder: Exchange, name: str) -> pa.Schema:
    """The columns of a Parquet file."""
    with folder.reading(name, columns=()) as (file,):
        return pq.read_schema(file)


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
