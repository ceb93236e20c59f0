"""Values of trailing features that were computed before the rows of a tick, part by part, and are read piece by piece.

They depend on a row's key of events and on its predict_at alone, so rows of a piece that have both in common share them: what
is computed is one of the piece's `asks`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mlprod_tasks.declaration import Table, TickRange, Trailing
from mlprod_tasks.features import partial_sums, trailing
from mlprod_tasks.features.rows import ScoredRows
from mlprod_tasks.platform.compute.exchange import Exchange
from mlprod_tasks.platform.sql import identifier

PIECE, ASK, BUCKET = "_piece", "_ask", "_bucket"


class ValuesMissing(RuntimeError):
    """Rows of a piece have no values among those that were computed before: a defect."""


@dataclass(frozen=True)
class EventGroup:
    """Trailing features of one table and one key.

    start, end: their windows lie within (microseconds); ticks: where such events are. hides_late: whether events may count from
    a later moment. asked: the moments of the first and the last row.
    buckets: how many the key is hashed to. folder: of the files.
    """

    number: int
    table: Table
    features: tuple[Trailing, ...]
    start: int
    end: int
    ticks: TickRange
    hides_late: bool
    asked: tuple[int, int]
    buckets: int
    folder: Exchange

    @property
    def by(self) -> list[str]:
        """The columns of the scored rows that are their key."""
        return sorted(self.features[0].by)

    def columns_for(self, features: Sequence[Trailing]) -> dict[str, str]:
        """The columns of the group's events that some of its features read, each with the name that they have for these."""
        moments, values = trailing.moments_of(self.table, self.features), trailing.values_of(self.features)
        at = {f"at_{moments.index(one)}": f"at_{i}" for i, one in enumerate(trailing.moments_of(self.table, features))}
        return at | {f"value_{values.index(one)}": f"value_{i}" for i, one in enumerate(trailing.values_of(features))}

    def asks_file(self, piece: int) -> str:
        """What the rows of a piece ask for: `_piece`, `_ask`, `_bucket`, the key, `tick` and `predict_at`, each once."""
        return f"asks-{self.number}-{piece:05d}.parquet"

    def events_file(self, chunk: int) -> str:
        """Some of the events, by `_bucket`: see `trailing.query`."""
        return f"events-{self.number}-{chunk:05d}.parquet"

    def sums_file(self, part: int) -> str:
        """`_piece`, `_ask`, and the sums of a part's events: see `partial_sums`."""
        return f"sums-{self.number}-{part:05d}.parquet"

    def others_file(self, part: int) -> str:
        """`_piece`, `_ask`, and the columns of aggregates that are no sums."""
        return f"others-{self.number}-{part:05d}.parquet"


@dataclass(frozen=True)
class PartDone:
    """What a part took. events: how many there were; seconds: of processors."""

    events: int
    seconds: float


@dataclass(frozen=True)
class StagedGroup:
    """A group whose values are computed. types: of its events. sums, others: the parts with such a file; done: all parts."""

    group: EventGroup
    types: pa.Schema
    sums: tuple[int, ...]
    others: tuple[int, ...]
    done: tuple[PartDone, ...] = ()

    def columns(self, piece: int, rows: ScoredRows, connection: duckdb.DuckDBPyConnection) -> Iterator[tuple[str, pa.Array]]:
        """The name and the column of each feature, of the rows of a piece. Raises: ValuesMissing."""
        group = self.group
        with group.folder.reading(group.asks_file(piece)) as (file,):
            asks = pq.read_table(file)
        ask = _asks_of(rows, asks, group.by, connection)
        if features := partial_sums.only(group.features, sums=True):
            sums = _of_piece(group.folder, [group.sums_file(part) for part in self.sums], piece)
            of = sums[ASK].to_numpy()
            read = group.columns_for(features)
            types = self.types.empty_table().select(list(read)).rename_columns(read)
            for name, column in partial_sums.merged(group.table, features, types, sums, of, asks.num_rows):
                yield name, column.take(ask)
        if features := partial_sums.only(group.features, sums=False):
            others = _of_piece(group.folder, [group.others_file(part) for part in self.others], piece).sort_by(ASK)
            if not np.array_equal(others[ASK].to_numpy(), np.arange(asks.num_rows)):
                raise ValuesMissing(f"{group.table.name}: piece {piece} has {others.num_rows} values of {asks.num_rows}")
            for name in others.column_names[2:]:
                yield name, others[name].combine_chunks().take(ask)


@dataclass(frozen=True)
class StagedPiece:
    """What was computed for one piece."""

    groups: tuple[StagedGroup, ...]
    piece: int

    @property
    def features(self) -> tuple[Trailing, ...]:
        """The features whose columns need not be computed."""
        return tuple(feature for one in self.groups for feature in one.group.features)

    def columns(self, rows: ScoredRows, connection: duckdb.DuckDBPyConnection) -> dict[str, pa.Array]:
        """The column of each feature, of the rows of the piece. Raises: ValuesMissing."""
        return {name: column for one in self.groups for name, column in one.columns(self.piece, rows, connection)}


def _asks_of(rows: ScoredRows, asks: pa.Table, by: list[str], connection: duckdb.DuckDBPyConnection) -> pa.Array:
    """Which of the asks each row has."""
    connection.register("asking_rows", rows.table.append_column("_row", pa.array(np.arange(rows.count))))
    connection.register("asks", asks)
    on = " AND ".join(f"rows.{one} IS NOT DISTINCT FROM asks.{one}" for one in map(identifier, by))
    found = connection.sql(
        f"SELECT {ASK} FROM asking_rows AS rows JOIN asks ON rows.tick = asks.tick AND rows.predict_at = asks.predict_at "
        f"AND {on} ORDER BY _row"
    ).to_arrow_table()
    for name in ("asking_rows", "asks"):
        connection.unregister(name)
    if found.num_rows != rows.count:
        raise ValuesMissing(f"{found.num_rows} of {rows.count} rows of a piece asked for values before")
    return found[ASK].combine_chunks()


def _of_piece(folder: Exchange, names: list[str], piece: int) -> pa.Table:
    """The rows of a piece; files are in the order of pieces, so of most nothing else is read."""
    where = pc.field(PIECE) == piece
    with folder.reading(*names, where=where) as files:
        return pq.read_table(files, filters=where)
