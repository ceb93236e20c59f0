"""The rows of a tick's predictions: read as a whole in this process, or in pieces that executors read apart.

Whatever is measured of rows is an aggregate: something that is read of any of them, and merged from what was read of pieces.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import pyarrow as pa

from mlprod_tasks.monitoring.count import types
from mlprod_tasks.platform.compute import compute_of
from mlprod_tasks.platform.engine import engine
from mlprod_tasks.platform.lake import listed

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

    from mlprod_tasks.declaration import TickRange
    from mlprod_tasks.platform import Platform

PIECE_ROWS = 4_000_000  # counted in seconds, which is long against what a task costs an executor

Part = TypeVar("Part")
Result = TypeVar("Result", covariant=True)


class Aggregate(Protocol[Part, Result]):
    """Something that is measured of rows. It can be sent to executors."""

    def read(self, con: DuckDBPyConnection, source: str) -> Part:
        """What is read of some of the rows, or of none. source: what follows FROM."""

    def merge(self, parts: Sequence[Part]) -> Result:
        """The result for all rows from what was read of each piece, in the order of pieces; at least one."""


@dataclass(frozen=True)
class TickRows:
    """Rows of predictions.

    source: what follows FROM for all of them. pieces: the same for pieces that are read apart; none to read them as a whole.
    con: reads them, unless executors do. platform: whose executors read pieces; None to read them here. condition: SQL that the
    rows fulfil; '' for all.
    """

    con: DuckDBPyConnection
    source: str
    pieces: tuple[str, ...] = ()
    platform: Platform | None = None
    condition: str = ""

    @cached_property
    def kinds(self) -> Mapping[str, str]:
        """The columns, each with its DuckDB type."""
        return types(self.con, self.source)

    def only(self, condition: str) -> TickRows:
        """Those of all rows that fulfil a condition in SQL; all for ''."""
        return replace(self, condition=condition)

    def aggregate(self, one: Aggregate[Any, Result], what: str) -> Result:
        """The aggregate of the rows. what: is told while it takes long."""
        (result,) = self.aggregates([one], what)
        return result  # type: ignore[no-any-return]

    def aggregates(self, several: Sequence[Aggregate[Any, Any]], what: str) -> list[Any]:
        """Several aggregates, of which each piece is read at once."""
        work = partial(_read, several, self.condition)
        if self.platform is None:
            parts = [list(work(self.con, piece)) for piece in self.pieces or (self.source,)]
        else:
            parts = list(compute_of(self.platform.settings).map(partial(_read_pieces, self.platform, work), self.pieces, what))
        return [one.merge([part[k] for part in parts]) for k, one in enumerate(several)]


def rows_of_tick(con: DuckDBPyConnection, name: str, ticks: TickRange, platform: Platform) -> TickRows | None:
    """The rows of a tick in a table of the lake; None without any.

    Few are read here. More than the setting `measure_rows` are read on executors, if there are any.
    """
    files, settings = platform.lake.files_if_any(name, ticks), platform.settings
    if not files:
        return None
    if settings.engine != "local":
        sizes = _sizes(files, name, platform)
        if sum(sizes.values()) > settings.measure_rows:
            return TickRows(con, source_of(files), tuple(pieces_of(sizes, PIECE_ROWS)), platform)
    return TickRows(con, source_of(files))


def _sizes(files: Sequence[str], name: str, platform: Platform) -> dict[str, int]:
    """The rows of each file by the Delta log, which opens no file; nothing if the tick has been replaced meanwhile."""
    added = pa.table(platform.lake.table(name).get_add_actions(flatten=True)).select(["path", "num_records"]).to_pylist()
    rows = {Path(one["path"]).name: one["num_records"] for one in added}  # folders are written in another way there
    return {file: rows.get(Path(file).name) or 0 for file in files}


def source_of(files: Sequence[str]) -> str:
    """What follows FROM for all rows of files."""
    return f"read_parquet({listed(files)}, file_row_number = true)"


def pieces_of(sizes: Mapping[str, int], most: int) -> Iterator[str]:
    """What follows FROM for pieces of files of about equal size, at most `most` rows each. sizes: the rows of each file.

    Each row is in one piece. Its position in its file stays as it is, so that the same rows are chosen by it.
    """
    for file, rows in sizes.items():
        number = -(-rows // most)
        for piece in range(number):
            first, last = piece * rows // number, (piece + 1) * rows // number - 1
            whole = source_of([file])
            yield whole if number == 1 else f"(SELECT * FROM {whole} WHERE file_row_number BETWEEN {first} AND {last})"


def _read(several: Sequence[Aggregate[Any, Any]], condition: str, con: DuckDBPyConnection, piece: str) -> Iterator[Any]:
    source = f"(SELECT * FROM {piece} WHERE {condition})" if condition else piece
    for one in several:
        yield one.read(con, source)


def _read_pieces(platform: Platform, work: Any, pieces: Iterator[str]) -> Iterator[list[Any]]:
    with engine(lake=platform.lake) as con:
        for piece in pieces:
            yield list(work(con, piece))
