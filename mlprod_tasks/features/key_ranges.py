"""Cut the rows of a tick that are too many to compute at once into ranges of their key."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise

from mlprod_tasks.declaration import Pipeline, TickRange
from mlprod_tasks.declaration.rhythm import TickName
from mlprod_tasks.features.known import TYPES
from mlprod_tasks.features.snapshot import Snapshot
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.engine import engine
from mlprod_tasks.platform.sql import identifier, literal

PIECE_ROWS = 500_000  # what an executor of 2 GB holds with its features
# Of this many rows for each range the bounds are taken, so that hardly any range is a fifth larger than it should be.
SAMPLED = 500


@dataclass(frozen=True)
class KeyRange:
    """The rows whose key is in [first, following), in the order of the key's columns.

    columns: name and SQL type of each column of the key; first, following: their values as text, None for no bound.
    """

    columns: tuple[tuple[str, str], ...]
    first: tuple[str, ...] | None
    following: tuple[str, ...] | None

    def of(self, query: Callable[[str], str]) -> Callable[[str], str]:
        """The query over these rows only."""
        return lambda relation: query(f"(SELECT * FROM {relation} WHERE {self._condition()})")

    def _condition(self) -> str:
        name, kind = self.columns[0]
        conditions = []
        # The bounds of the first column alone follow from the others; by them whole parts of a file are not read.
        if self.first is not None:
            conditions += [f"{identifier(name)} >= {_value(self.first[0], kind)}", f"NOT ({self._before(self.first)})"]
        if self.following is not None:
            conditions += [f"{identifier(name)} <= {_value(self.following[0], kind)}", self._before(self.following)]
        return " AND ".join(f"({one})" for one in conditions) or "true"

    def _before(self, bound: tuple[str, ...]) -> str:
        """SQL of whether a row's key is before the bound."""
        condition = "false"
        for (name, kind), text in reversed(list(zip(self.columns, bound, strict=True))):
            mine, its = identifier(name), _value(text, kind)
            condition = f"{mine} < {its} OR ({mine} = {its} AND ({condition}))"
        return condition


def all_keys(pipeline: Pipeline) -> KeyRange:
    """The range that has every key."""
    table = pipeline.entity_table
    return KeyRange(tuple((name, TYPES[table.column(name).kind]) for name in table.key), None, None)


@dataclass(frozen=True)
class RowPiece:
    """Rows that are computed at once: those of some ticks; keys: of a tick that is cut, only those of a range."""

    ticks: TickRange
    keys: KeyRange | None = None


def pieces_for(rows: int) -> int:
    """Into how many pieces so many rows are cut."""
    return -(-rows // PIECE_ROWS)


def row_pieces(
    pipeline: Pipeline,
    ranges: Iterable[TickRange],
    counts: Mapping[TickName, int],
    platform: Platform,
    versions: Mapping[str, int],
    *,
    examples: bool = False,
) -> Iterator[RowPiece]:
    """The rows of each range of ticks, in order.

    A tick of more than MLPROD_SCORE_ROWS rows is cut by its key, as for its scores.
    counts: the rows of each tick. examples: see `Snapshot`. Raises: TableMissing.
    """
    most = platform.settings.score_rows
    for ticks in ranges:
        names = enumerate(ticks.names)
        for _, found in groupby(names, key=lambda one: one[0] if counts.get(one[1], 0) > most else -1):
            some = [tick for _, tick in found]
            part = TickRange(ticks.schedule, some[0], some[-1])
            if (rows := counts.get(some[0], 0)) <= most:
                yield RowPiece(part)
                continue
            _, cut = key_ranges(pipeline, part, platform, versions, pieces_for(rows), examples=examples)
            yield from (RowPiece(part, keys) for keys in cut)


class RowsLost(RuntimeError):
    """The pieces of a tick have other rows than the tick. Nothing was written."""


def check_rows(pipeline: Pipeline, pieces: Sequence[RowPiece], rows: Sequence[int], counts: Mapping[TickName, int]) -> None:
    """Raises: RowsLost if pieces of a tick that was cut do not have its rows. rows: of each piece; counts: of each tick."""
    found: Counter[TickName] = Counter()
    for piece, its in zip(pieces, rows, strict=True):
        if piece.keys is not None:
            found[piece.ticks.first] += its
    for tick, its in found.items():
        if its != counts[tick]:
            raise RowsLost(
                f"{pipeline.name}: {tick}: by ranges of its key {its:,} rows were computed of {counts[tick]:,}; nothing was "
                "written. Is the key null in some?"
            )


def rows_to_score(pipeline: Pipeline, ticks: TickRange, platform: Platform, more_than: int) -> int | None:
    """The number of rows to score, if it is more than that; else None. Raises: TableMissing."""
    snapshot = Snapshot(pipeline, platform)
    if snapshot.most_rows_to_score(ticks) <= more_than:
        return None
    rows = sum(snapshot.rows_to_score(ticks).values())
    return rows if rows > more_than else None


def key_ranges(
    pipeline: Pipeline,
    ticks: TickRange,
    platform: Platform,
    versions: Mapping[str, int],
    pieces: int,
    *,
    examples: bool = False,
) -> tuple[int, list[KeyRange]]:
    """Cut the rows to score into `pieces` ranges of the key, or fewer, of about as many rows each, in the order of the key.

    Each row is in exactly one. examples: see `Snapshot`. Returns the number of rows, too. Raises: TableMissing.
    """
    snapshot = Snapshot(pipeline, platform, versions, examples=examples)
    key, columns = pipeline.entity_table.key, all_keys(pipeline).columns
    count = sum(snapshot.rows_to_score(ticks).values())
    every = max(1, count // (pieces * SAMPLED))
    listed = ", ".join(map(identifier, key))
    texts = ", ".join(f"CAST({identifier(name)} AS VARCHAR)" for name in key)
    with engine(lake=platform.lake) as connection:
        sample = snapshot.read(
            connection,
            lambda rows: (
                f"SELECT {texts} FROM (SELECT {listed} FROM {rows} WHERE hash({listed}) % {every} = 0) ORDER BY {listed}"
            ),
            pipeline.entity_name,
            ticks,
            scored=True,
        )
    keys = list(zip(*(column.to_pylist() for column in sample.columns), strict=True))
    return count, _between(columns, [keys[len(keys) * number // pieces] for number in range(1, pieces)] if keys else [])


def _between(columns: tuple[tuple[str, str], ...], bounds: Sequence[tuple[str, ...]]) -> list[KeyRange]:
    ends = [None, *dict.fromkeys(bounds), None]
    return [KeyRange(columns, first, following) for first, following in pairwise(ends)]


def _value(text: str, kind: str) -> str:
    return literal(text) if kind == "VARCHAR" else f"CAST({literal(text)} AS {kind})"
