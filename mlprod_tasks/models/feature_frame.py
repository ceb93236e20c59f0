"""Read feature frames (Arrow, pandas, plain values) into one matrix, with checks."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mlprod_tasks.platform.value_text import EXACT_INTEGERS
from mlprod_tasks.statistics.resamples import Ticks, enough_ticks

Floats = NDArray[np.float64]

NUMBERS = (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean, pa.types.is_decimal)
TEXTS = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)


class ModelInputError(ValueError):
    """The model cannot read a feature frame.

    The message says which feature, and what is wrong with it.
    """


@dataclass(frozen=True)
class Input:
    """One feature that a model reads.

    Integers, floats and booleans are numbers; any feature may be null.
    """

    name: str
    kind: Literal["number", "text"]


@dataclass(frozen=True)
class Predictions:
    """The output of a model.

    score: (n,) calibrated probability, or predicted number, or the ClassScores of several classes. decision: (n,) whether to
    act; always false for numbers; the predicted class of several.
    interval: the low and the high end of each predicted number, (n,) each; None if the model gives none.
    """

    score: Any  # Floats | ClassScores
    decision: Any  # Bools | Names
    interval: tuple[Floats, Floats] | None = None

    def take(self, rows: Any) -> Predictions:
        """Return some of the rows, by positions or a slice."""
        interval = None if self.interval is None else (self.interval[0][rows], self.interval[1][rows])
        return Predictions(self.score[rows], self.decision[rows], interval)


def inputs_of(schema: pa.Schema, names: Sequence[str]) -> tuple[Input, ...]:
    """Return the kinds of the features `names` in a table of that schema.

    Raises: ModelInputError.
    """
    inputs = []
    for name in names:
        if name not in schema.names:
            raise ModelInputError(f"feature {name!r} is missing; the frame has {', '.join(schema.names)}")
        kind = schema.field(name).type
        if not (_is_number(kind) or _is_text(kind)):
            raise ModelInputError(f"feature {name!r} is {kind}: a model reads numbers and text; derive a number from it")
        inputs.append(Input(name, "text" if _is_text(kind) else "number"))
    return tuple(inputs)


def read(frame: Any, inputs: Sequence[Input], exact: Collection[str] = ()) -> list[pa.Array]:
    """Return a frame's columns in the order of `inputs`, float64 or string, with nulls.

    frame: a pyarrow Table, a pandas DataFrame, or a mapping of names to values or lists of values. Other columns are ignored.
    exact: numbers that stand for categories: their integers stay int64, since floats beyond 2^53 do not tell them apart.
    Raises: ModelInputError.
    """
    return [_as_input(_column(frame, wanted.name), wanted, wanted.name in exact) for wanted in inputs]


def row_count(frame: Any) -> int:
    """Return the number of rows of what `read` takes, of which no column need be known."""
    if isinstance(frame, Mapping):
        return max((len(_column(frame, name)) for name in frame), default=0)
    return int(frame.num_rows) if hasattr(frame, "num_rows") else len(frame)


def as_categories(values: Sequence[Any]) -> tuple[Any, ...]:
    """Return the distinct values of a column of `read` as they are stored in a model.

    Integers are floats, as models have always stored them, unless floats do not tell all of them apart.
    """
    numbers = [value for value in values if isinstance(value, int)]
    if any(abs(number) >= EXACT_INTEGERS for number in numbers):
        return tuple(values)
    return tuple(float(value) if isinstance(value, int) else value for value in values)


def exact_names(categories: Mapping[str, Sequence[Any]]) -> frozenset[str]:
    """Return the features with a category that only an integer tells apart from all others; `read` needs their names."""
    return frozenset(name for name, values in categories.items() if any(isinstance(value, int) for value in values))


def decisions(score: Floats, threshold: float | None) -> NDArray[np.bool_]:
    """Return whether to act on each row, (n,). threshold: None for predicted numbers, on which nothing is decided."""
    return np.zeros(len(score), bool) if threshold is None else score >= threshold


def outcome_of(rows: pa.Table) -> Any:
    """Return the labels of labelled rows, (n,): bool, float64 if they are numbers, or names of classes."""
    label, kind = rows["label"].to_numpy(zero_copy_only=False), rows.schema.field("label").type
    return np.asarray(label, object if _is_text(kind) else np.float64 if pa.types.is_floating(kind) else bool)


def ticks_of(rows: pa.Table) -> Ticks | None:
    """Return the place of each row's tick in order of time, (n,); None without ticks, as of a table without a time."""
    if "tick" not in rows.column_names:
        return None
    ticks = pa.concat_arrays(rows["tick"].chunks or [pa.array([], rows.schema.field("tick").type)]).dictionary_encode()
    order = np.argsort(ticks.dictionary.to_numpy(zero_copy_only=False), kind="stable")
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    return np.asarray(place[ticks.indices.to_numpy(zero_copy_only=False)])


def drawn_ticks_of(rows: pa.Table) -> Ticks | None:
    """Return the place of each row's tick, (n,), if there are enough ticks to draw them instead of rows; else None."""
    places = ticks_of(rows)
    return None if places is None else enough_ticks(places)


def matrix(columns: Sequence[pa.Array], inputs: Sequence[Input], codes: Mapping[str, Sequence[Any]]) -> Floats:
    """Return the columns of `read` as a matrix, (rows, inputs), float64, NaN if missing.

    Categories become their index in `codes`. A category that is not in `codes` counts as missing. Raises: ModelInputError for
    an infinite number.
    """
    rows = len(columns[0]) if columns else 0
    values = np.empty((rows, len(inputs)), dtype=np.float64, order="F")
    for i, (column, wanted) in enumerate(zip(columns, inputs, strict=True)):
        if wanted.name in codes:
            # Floats are cast too: the training rows may have had larger integers than this frame, or the other way round.
            column = _cast_exactly(column, pa.array(codes[wanted.name]).type if codes[wanted.name] else column.type)
            known = pa.array(codes[wanted.name], column.type)
            column = pc.index_in(column, value_set=known).cast(pa.float64())
        values[:, i] = column.to_numpy(zero_copy_only=False)
        if np.isinf(values[:, i]).any():
            row = int(np.flatnonzero(np.isinf(values[:, i]))[0])
            raise ModelInputError(f"feature {wanted.name!r} is {values[row, i]} in row {row}: numbers must be finite or null")
    return values


def not_finite(rows: pa.Table, names: Sequence[str]) -> dict[int, str]:
    """Return the rows in which a feature is infinite: their positions, each with the first such feature."""
    found: dict[int, str] = {}
    for name in names:
        if pa.types.is_floating(rows.schema.field(name).type):
            infinite = np.flatnonzero(np.isinf(rows[name].to_numpy()))
            found |= {row: name for row in infinite.tolist() if row not in found}
    return found


def _column(frame: Any, name: str) -> pa.Array:
    if isinstance(frame, pa.Table):
        if frame.column_names.count(name) != 1:
            raise _not_one_column(name, frame.column_names)
        return frame.column(name).combine_chunks()
    if isinstance(frame, Mapping):
        if name not in frame:
            raise _not_one_column(name, list(frame))
        given = frame[name]
        values: Any = given if isinstance(given, list | tuple | np.ndarray) else [given]
    else:
        if list(frame.columns).count(name) != 1:
            raise _not_one_column(name, [str(column) for column in frame.columns])
        values = frame[name]
    try:
        # from_pandas: both NaN and None are missing.
        array = pa.array(values, from_pandas=True)
    except (pa.ArrowInvalid, pa.ArrowTypeError, TypeError) as error:
        raise ModelInputError(f"feature {name!r} mixes types: {error}") from error
    return array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array


def _cast_exactly(column: pa.Array, kind: pa.DataType) -> pa.Array:
    """Return numbers as float64 or int64. A float that is no integer of 64 bits is null as int64."""
    if pa.types.is_floating(column.type) and pa.types.is_integer(kind):
        fits = pc.and_(pc.equal(pc.floor(column), column), pc.less(pc.abs(column), 2.0**63))
        column = pc.if_else(fits, column, pa.scalar(None, column.type))
        return pc.cast(column, pa.int64(), safe=False)
    return column.cast(kind, safe=False)


def _as_input(array: pa.Array, wanted: Input, exact: bool) -> pa.Array:
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    target = pa.string() if wanted.kind == "text" else pa.float64()
    fits = _is_text(array.type) if wanted.kind == "text" else _is_number(array.type)
    if not (fits or pa.types.is_null(array.type)):
        example = next((value.as_py() for value in array if value.is_valid), None)
        raise ModelInputError(f"feature {wanted.name!r} should be {wanted.kind}, but is {array.type} (for example {example!r})")
    if pa.types.is_boolean(array.type):
        array = array.cast(pa.int8())
    if exact and pa.types.is_integer(array.type) and not pa.types.is_uint64(array.type):
        return array.cast(pa.int64())
    values = array.cast(target, safe=False)
    # NaN means missing in pandas, so also in Arrow; otherwise the same frame would get other scores.
    return pc.if_else(pc.is_nan(values), pa.scalar(None, target), values) if wanted.kind == "number" else values


def _is_number(kind: pa.DataType) -> bool:
    return any(is_one(kind) for is_one in NUMBERS)


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        return _is_text(kind.value_type)
    return any(is_one(kind) for is_one in TEXTS)


def _not_one_column(name: str, present: Sequence[str]) -> ModelInputError:
    times = list(present).count(name)
    what = f"occurs {times} times" if times else "is missing"
    return ModelInputError(f"feature {name!r} {what}; the frame has {', '.join(map(str, present))}")
