"""Sample some rows of a tick, in bins, for the domain classifier."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from mlprod_tasks.declaration.rhythm import TickName
from mlprod_tasks.models.reference_profile import Codes, SampledRows, packed
from mlprod_tasks.monitoring.count import LARGEST, types
from mlprod_tasks.platform.sql import literal, quoted
from mlprod_tasks.statistics.bins import MOST_CATEGORIES, NULL, OTHER, Bins, number

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

MOST_ROWS = 1000  # per tick
MOST_OF_REFERENCE = 2000
HASHED = 4  # columns that the hash covers
MANY, BLOCKS = 200_000, 16
ROW = "file_row_number"


def sample(con: DuckDBPyConnection, source: str, bins: Sequence[Bins], rows: int, codes: Codes | None = None) -> SampledRows:
    """About MOST_ROWS of the rows, chosen by a hash of their values.

    They are the same each time, in any order of the rows. From a file with more than MANY rows (with the column file_row_number
    of DuckDB's read_parquet) only BLOCKS evenly spaced blocks are read. codes: (rows, len(bins)), the bins of all rows, if they
    are known: then no more is read if no row is left out.
    """
    return merged_sample(bins, [sampled_kinds(con, source, bins, types(con, source), rows, codes)])


# How many sampled rows there are of each kind, by the bins of all their columns.
RowKinds = Mapping[bytes, int]


def merged_sample(bins: Sequence[Bins], pieces: Sequence[RowKinds]) -> SampledRows:
    """The sample of all rows from those of pieces; at least one."""
    together: Counter[bytes] = Counter()
    for piece in pieces:
        together.update(piece)
    return _sampled_rows(bins, together)


def sampled_kinds(
    con: DuckDBPyConnection,
    source: str,
    bins: Sequence[Bins],
    kinds: Mapping[str, str],
    rows: int,
    codes: Codes | None = None,
) -> RowKinds:
    """What `merged_sample` needs to know of some of the rows. rows: how many there are in all. Else as `sample`."""
    if codes is not None and rows <= MOST_ROWS:
        return Counter(map(bytes, codes))
    some = ""
    if rows > MANY and ROW in kinds:
        starts = [block * rows // BLOCKS for block in range(BLOCKS)]
        some = " OR ".join(f"{ROW} BETWEEN {at} AND {at + MOST_ROWS // BLOCKS - 1}" for at in starts)
    elif rows > MOST_ROWS:
        some = _one_in_sql(bins, str(_sampling_step(rows)))
    return {bytes(code): n for _, code, n in con.execute(_sampling_sql(source, bins, kinds, "NULL", some)).fetchall()}


def sample_by_tick(
    con: DuckDBPyConnection, source: str, bins: Sequence[Bins], rows: Mapping[TickName, int]
) -> dict[TickName, SampledRows]:
    """The same for each tick of a source with a column `tick`."""
    some = ""
    if max(rows.values(), default=0) > MOST_ROWS:
        cases = " ".join(f"WHEN '{tick}' THEN {_sampling_step(n)}" for tick, n in rows.items())
        some = _one_in_sql(bins, f"CASE tick {cases} END")
    by_tick: dict[TickName, dict[bytes, int]] = {tick: {} for tick in rows}
    for tick, code, n in con.execute(_sampling_sql(source, bins, types(con, source), "tick", some)).fetchall():
        by_tick[tick][bytes(code)] = n
    return {tick: _sampled_rows(bins, rows_of_tick) for tick, rows_of_tick in by_tick.items()}


def of_reference(ticks: Mapping[TickName, SampledRows]) -> SampledRows:
    """A few rows of each tick, at most MOST_OF_REFERENCE in total.

    If there are more ticks, it is one row per tick.
    """
    each = max(1, MOST_OF_REFERENCE // len(ticks))
    codes = [_evenly_spread(one.codes, each) for one in ticks.values()]
    columns = next(iter(ticks.values())).columns
    return SampledRows(columns, tuple(len(part) for part in codes), packed(np.concatenate(codes)), tuple(map(str, ticks)))


def _sampling_step(rows: int) -> int:
    """Every how many rows to take one."""
    return -(-rows // MOST_ROWS)


def _one_in_sql(bins: Sequence[Bins], step: str) -> str:
    # A few columns are enough to tell rows apart; hashing all of them would cost more than counting them.
    hashed = ", ".join(quoted(one.column) for one in (*bins[-1:], *bins[: HASHED - 1]))
    return f"hash({hashed}) % {step} = 0"


def _sampling_sql(source: str, bins: Sequence[Bins], kinds: Mapping[str, str], tick: str, some: str) -> str:
    codes = ", ".join(_code_sql(one, kinds[one.column]) for one in bins)
    where = f" WHERE {some}" if some else ""
    return f"SELECT {tick} AS at, [{codes}]::UTINYINT[] AS code, count(*) FROM {source}{where} GROUP BY ALL"


def _sampled_rows(bins: Sequence[Bins], kinds: RowKinds) -> SampledRows:
    ordered = sorted(kinds)
    kept = np.frombuffer(b"".join(ordered), np.uint8).reshape(len(ordered), len(bins))
    kept = np.repeat(kept, [kinds[kind] for kind in ordered], axis=0)
    if len(kept) > 2 * MOST_ROWS:  # equal rows share their hash
        kept = _evenly_spread(kept, MOST_ROWS)
    return SampledRows(tuple(one.column for one in bins), (len(kept),), packed(kept))


def _code_sql(bins: Bins, kind: str) -> str:
    """SQL for the bin of a row's value, as `Bins.coarse` counts it."""
    missing = f"WHEN {quoted(bins.column)} IS NULL THEN {NULL}"
    if not bins.of_numbers:
        text = f"{quoted(bins.column)}::VARCHAR"
        known = bins.categories[:MOST_CATEGORIES]
        return (
            f"CASE {missing} "
            + "".join(f"WHEN {text} = {literal(c)} THEN {i + 2} " for i, c in enumerate(known))
            + f"ELSE {OTHER} END"
        )
    value, edges = f"{number(bins.column, kind)}::DOUBLE", bins.coarse_edges
    steps = "".join(f"WHEN {value} <= {edge!r}::DOUBLE THEN {i + 2} " for i, edge in enumerate(edges))
    last = f"WHEN {value} <= {LARGEST} THEN {len(edges) + 2}"
    return f"CASE {missing} WHEN {value} < -{LARGEST} THEN {OTHER} {steps}{last} ELSE {OTHER} END"


def _evenly_spread(codes: Codes, most: int) -> Codes:
    """At most `most` rows, evenly spread.

    The rows are sorted, so every kind of row keeps its share.
    """
    kept: Codes = codes[np.linspace(0, len(codes), min(most, len(codes)), endpoint=False).astype(int)]
    return kept
