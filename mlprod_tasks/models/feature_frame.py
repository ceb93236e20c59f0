"""Feature frames as models read them: Arrow, pandas or plain values, checked by name and type, in one matrix."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

Floats = NDArray[np.float64]

NUMBERS = (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean, pa.types.is_decimal)
TEXTS = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)


class ModelInputError(ValueError):
    """A feature frame that the model cannot read. Names the feature and what is wrong with it."""


@dataclass(frozen=True)
class Input:
    """One feature a model reads. Integers, floats and booleans are all numbers; nulls are allowed in every one."""

    name: str
    kind: Literal["number", "text"]


@dataclass(frozen=True)
class Predictions:
    """The output of a model. score: (n,) calibrated probability; decision: (n,) whether to act."""

    score: Floats
    decision: NDArray[np.bool_]


def inputs_of(schema: pa.Schema, names: Sequence[str]) -> tuple[Input, ...]:
    """The features `names` as a table of that schema holds them. Raises: ModelInputError."""
    made = []
    for name in names:
        if name not in schema.names:
            raise ModelInputError(f"feature {name!r} is missing; the frame has {', '.join(schema.names)}")
        kind = schema.field(name).type
        if not (_is_number(kind) or _is_text(kind)):
            raise ModelInputError(f"feature {name!r} is {kind}: a model reads numbers and text; derive a number from it")
        made.append(Input(name, "text" if _is_text(kind) else "number"))
    return tuple(made)


def read(frame: Any, inputs: Sequence[Input]) -> list[pa.Array]:
    """The columns of a frame in the order of `inputs`: float64 or string, null where a value is missing.

    frame: a pyarrow Table, a pandas DataFrame, or a mapping of names to values or lists of values. Columns that are no input
    are ignored. Raises: ModelInputError.
    """
    return [_checked(_column(frame, wanted.name), wanted) for wanted in inputs]


def outcome_of(rows: pa.Table) -> NDArray[np.bool_]:
    """The labels of labelled rows, (n,) bool."""
    return np.asarray(rows["label"].to_numpy(zero_copy_only=False), bool)


def matrix(columns: Sequence[pa.Array], inputs: Sequence[Input], codes: Mapping[str, Sequence[Any]]) -> Floats:
    """What `read` gave as (rows, inputs), float64, NaN where missing; categories as their index in `codes`.

    A category that is not in `codes` is missing. Raises: ModelInputError for an infinite number.
    """
    rows = len(columns[0]) if columns else 0
    made = np.empty((rows, len(inputs)), dtype=np.float64, order="F")
    for i, (column, wanted) in enumerate(zip(columns, inputs, strict=True)):
        if wanted.name in codes:
            known = pa.array(codes[wanted.name], column.type)
            column = pc.index_in(column, value_set=known).cast(pa.float64())
        made[:, i] = column.to_numpy(zero_copy_only=False)
        if np.isinf(made[:, i]).any():
            row = int(np.flatnonzero(np.isinf(made[:, i]))[0])
            raise ModelInputError(f"feature {wanted.name!r} is {made[row, i]} in row {row}: numbers must be finite or null")
    return made


def _column(frame: Any, name: str) -> pa.Array:
    if isinstance(frame, pa.Table):
        if frame.column_names.count(name) != 1:
            raise _not_once(name, frame.column_names)
        return frame.column(name).combine_chunks()
    if isinstance(frame, Mapping):
        if name not in frame:
            raise _not_once(name, list(frame))
        given = frame[name]
        values: Any = given if isinstance(given, list | tuple | np.ndarray) else [given]
    else:
        if list(frame.columns).count(name) != 1:
            raise _not_once(name, [str(column) for column in frame.columns])
        values = frame[name]
    try:
        # from_pandas: NaN and None are both 'missing'.
        array = pa.array(values, from_pandas=True)
    except (pa.ArrowInvalid, pa.ArrowTypeError, TypeError) as error:
        raise ModelInputError(f"feature {name!r} mixes types: {error}") from error
    return array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array


def _checked(array: pa.Array, wanted: Input) -> pa.Array:
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    target = pa.string() if wanted.kind == "text" else pa.float64()
    fits = _is_text(array.type) if wanted.kind == "text" else _is_number(array.type)
    if not (fits or pa.types.is_null(array.type)):
        example = next((value.as_py() for value in array if value.is_valid), None)
        raise ModelInputError(f"feature {wanted.name!r} should be {wanted.kind}, but is {array.type} (for example {example!r})")
    if pa.types.is_boolean(array.type):
        array = array.cast(pa.int8())
    made = array.cast(target, safe=False)
    # NaN means 'missing' in pandas, so it does in Arrow too; otherwise the same frame would score differently.
    return pc.if_else(pc.is_nan(made), pa.scalar(None, target), made) if wanted.kind == "number" else made


def _is_number(kind: pa.DataType) -> bool:
    return any(is_one(kind) for is_one in NUMBERS)


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        return _is_text(kind.value_type)
    return any(is_one(kind) for is_one in TEXTS)


def _not_once(name: str, present: Sequence[str]) -> ModelInputError:
    times = list(present).count(name)
    what = f"occurs {times} times" if times else "is missing"
    return ModelInputError(f"feature {name!r} {what}; the frame has {', '.join(map(str, present))}")
