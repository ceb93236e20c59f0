"""Rows of a Parquet file, read by column or in batches, instead of held in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mlprod_tasks.models.feature_frame import Floats, Input, Predictions, matrix, read
from mlprod_tasks.statistics.class_scores import ClassScores, joined

BATCH_ROWS = 100_000
# A window with fewer values is read as a table (at most 0.4 GB as a matrix); a larger one is left in its file.
CELLS_IN_MEMORY = 50_000_000

Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class StoredRows:
    """Some rows of a Parquet file, in its order, used like a pyarrow Table; only what is asked for is read.

    groups: numbers of row groups; kept: for each of them which of its rows belong to these rows.
    """

    file: Path
    groups: tuple[int, ...]
    kept: tuple[Bools, ...]

    @cached_property
    def schema(self) -> pa.Schema:
        import pyarrow.parquet as pq

        return pq.read_schema(self.file)

    @cached_property
    def starts(self) -> NDArray[np.int64]:
        """The position of the first row of each row group, and the number of rows last, (groups + 1,)."""
        return np.concatenate(([0], np.cumsum([np.count_nonzero(kept) for kept in self.kept]))).astype(np.int64)

    @property
    def num_rows(self) -> int:
        return int(self.starts[-1])

    @property
    def column_names(self) -> list[str]:
        return list(self.schema.names)

    def __getitem__(self, name: str) -> pa.ChunkedArray:
        """Return one column in memory."""
        return self.select([name])[name]

    def select(self, names: Sequence[str]) -> pa.Table:
        """Return some columns in memory."""
        names = list(names)
        kind = pa.schema([self.schema.field(name) for name in names])
        return pa.concat_tables([kind.empty_table(), *self.batches(names)])

    def batches(self, names: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """Yield the rows in order, at most BATCH_ROWS at once. names: of the columns; None for all."""
        for _, batch in self._batches_of(range(len(self.groups)), names):
            yield batch

    def take(self, at: Any) -> pa.Table:
        """Return the rows at these positions, in any order, in memory."""
        wanted = np.asarray(at, np.int64)
        order = np.argsort(wanted, kind="stable")
        ascending, parts = wanted[order], [self.schema.empty_table()]
        groups = np.unique(np.searchsorted(self.starts, ascending, side="right") - 1).tolist()
        for start, batch in self._batches_of(groups, None):
            low, high = np.searchsorted(ascending, (start, start + batch.num_rows))
            if low < high:
                parts.append(batch.take(pa.array(ascending[low:high] - start)))
        back = np.empty(len(order), np.int64)
        back[order] = np.arange(len(order))
        return pa.concat_tables(parts).take(pa.array(back))

    def filter(self, mask: Any) -> Rows:
        """Return the rows where the mask is true, not null; in memory if they are few."""
        chosen = np.asarray(mask.fill_null(False).to_numpy(zero_copy_only=False), bool)
        kept = []
        for group, before in enumerate(self.kept):
            after = np.zeros(len(before), bool)
            after[np.flatnonzero(before)[chosen[self.starts[group] : self.starts[group + 1]]]] = True
            kept.append(after)
        return in_memory_if_few(StoredRows(self.file, self.groups, tuple(kept)))

    def _batches_of(self, groups: Iterable[int], names: Sequence[str] | None) -> Iterator[tuple[int, pa.Table]]:
        """Yield the batches of some row groups, each with the position of its first row."""
        import pyarrow.parquet as pq

        columns = self.column_names if names is None else list(names)
        with pq.ParquetFile(self.file) as opened:
            for group in groups:
                kept, at, position = self.kept[group], 0, int(self.starts[group])
                if not kept.any():
                    continue
                for read_ in opened.iter_batches(BATCH_ROWS, row_groups=[self.groups[group]], columns=columns):
                    wanted = kept[at : at + read_.num_rows]
                    at += read_.num_rows
                    batch = pa.Table.from_batches([read_]).select(columns)
                    if not wanted.all():
                        batch = batch.filter(pa.array(wanted))
                    if batch.num_rows:
                        yield position, batch
                    position += batch.num_rows


Rows: TypeAlias = pa.Table | StoredRows


def window_rows(file: Path, split: str, *, labelled: bool = True) -> Rows:
    """Return the rows of one window of a training set: a table, or left in the file if they are many.

    labelled: only those with a label.
    """
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    groups, kept = [], []
    with pq.ParquetFile(file) as opened:
        if opened.metadata.num_rows * opened.metadata.num_columns < CELLS_IN_MEMORY:
            chosen = pc.field("split") == split
            return pq.read_table(file, filters=chosen & pc.field("label").is_valid() if labelled else chosen)
        for group in range(opened.num_row_groups):
            read_ = opened.read_row_group(group, columns=["split", "label"])
            wanted = np.asarray(read_["split"].to_numpy() == split, bool)
            if labelled:
                wanted &= np.asarray(read_["label"].is_valid().to_numpy(), bool)
            if wanted.any():
                groups.append(group)
                kept.append(wanted)
    return in_memory_if_few(StoredRows(file, tuple(groups), tuple(kept)))


def in_memory_if_few(rows: StoredRows) -> Rows:
    """Return the rows as a table if they have less than CELLS_IN_MEMORY values."""
    if rows.num_rows * len(rows.schema) >= CELLS_IN_MEMORY:
        return rows
    return table_of(rows)


def table_of(rows: Rows) -> pa.Table:
    """Return the rows in memory, which the caller knows to be few."""
    return rows.select(rows.column_names) if isinstance(rows, StoredRows) else rows


def in_batches(predict: Callable[[pa.Table], Predictions], rows: StoredRows, names: Sequence[str]) -> Predictions:
    """Predict stored rows batch by batch; a row's prediction does not depend on its batch."""
    parts = [predict(batch) for batch in rows.batches(names)]
    low, high = ([part.interval[end] for part in parts if part.interval is not None] for end in (0, 1))
    if not parts:
        return predict(rows.schema.empty_table())
    return Predictions(
        _one_after_other([part.score for part in parts]),
        np.concatenate([part.decision for part in parts]),
        (np.concatenate(low), np.concatenate(high)) if low else None,
    )


def _one_after_other(scores: Sequence[Any]) -> Any:
    return joined(scores) if isinstance(scores[0], ClassScores) else np.concatenate(scores)


@dataclass(frozen=True)
class StoredMatrix:
    """The matrix of stored rows as learners read it (see `feature_frame.matrix`), made in batches.

    exact: as for `feature_frame.read`.
    """

    rows: StoredRows
    inputs: tuple[Input, ...]
    codes: Mapping[str, tuple[Any, ...]]
    exact: tuple[str, ...]

    @property
    def shape(self) -> tuple[int, int]:
        return self.rows.num_rows, len(self.inputs)

    def __len__(self) -> int:
        return self.rows.num_rows

    def __getitem__(self, at: Any) -> Floats:
        """Return the rows of a mask, a slice or positions, in memory."""
        return self._matrix(self.rows.take(np.arange(len(self))[at]))

    def batches(self) -> Iterator[Floats]:
        """Yield the rows in order."""
        for batch in self.rows.batches([wanted.name for wanted in self.inputs]):
            yield self._matrix(batch)

    def in_memory(self) -> Floats:
        """Return the whole matrix."""
        values, at = np.empty(self.shape, order="F"), 0
        for batch in self.batches():
            values[at : at + len(batch)] = batch
            at += len(batch)
        return values

    def _matrix(self, batch: pa.Table) -> Floats:
        return matrix(read(batch, self.inputs, self.exact), self.inputs, self.codes)


class ForwardReader:
    """Reads rows of a StoredMatrix in ascending order, each batch once; an earlier row starts over."""

    def __init__(self, matrix: StoredMatrix) -> None:
        self.matrix = matrix
        self._batches: Iterator[Floats] = iter(())
        self._batch: Floats = np.empty((0, 0))
        self._first = 0
        self._restart()

    def rows(self, first: int, last: int) -> Floats:
        """Return rows first to last - 1, (last - first, features), C order."""
        if first < self._first:
            self._restart()
        parts = []
        while first < last:
            while self._first + len(self._batch) <= first:
                self._first += len(self._batch)
                self._batch = np.ascontiguousarray(next(self._batches))
            end = min(last, self._first + len(self._batch))
            parts.append(self._batch[first - self._first : end - self._first])
            first = end
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _restart(self) -> None:
        self._batches, self._batch, self._first = self.matrix.batches(), np.empty((0, len(self.matrix.inputs))), 0
