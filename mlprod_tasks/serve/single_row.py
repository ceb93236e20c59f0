"""One row through a model in microseconds: the same answer as in a batch, bit for bit, without a frame."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mlprod_tasks.inputs import Input, ModelInputError
from mlprod_tasks.learners.lightgbm import BoostedTrees
from mlprod_tasks.model import Model
from mlprod_tasks.segmented import SegmentedModel

if TYPE_CHECKING:
    from numpy.typing import NDArray

NORMAL, FLOAT64 = 0, 1  # LightGBM's C_API_PREDICT_NORMAL and C_API_DTYPE_FLOAT64

Raw = Callable[["NDArray[np.float64]"], float]
Code = Callable[[Any], float]


@dataclass(frozen=True)
class RowAnswer:
    """A calibrated probability, and whether to act."""

    score: float
    decision: bool


class SingleRow:
    """A model that scores one row at a time. Not for several threads at once: it fills one buffer."""

    def __init__(self, model: Model | SegmentedModel) -> None:
        self.feature_names = model.feature_names
        self._by = model.feature_names.index(model.by) if isinstance(model, SegmentedModel) else None
        overall = model.overall if isinstance(model, SegmentedModel) else model
        self._overall = _One(overall)
        self._parts: Mapping[Any, _One] = (
            {name: _One(part) for name, part in model.parts.items()} if isinstance(model, SegmentedModel) else {}
        )

    def __call__(self, values: Sequence[Any]) -> RowAnswer:
        """Score one row: its features in the order of `feature_names`, None where missing. Raises: ModelInputError."""
        if self._by is not None and (part := self._parts.get(values[self._by])) is not None:
            return part(values)
        return self._overall(values)


class _One:
    def __init__(self, model: Model) -> None:
        self._codes = tuple(_code(wanted, model.codes.get(wanted.name)) for wanted in model.inputs)
        self._buffer = np.empty((1, len(model.inputs)), np.float64)
        self._calibration, self._threshold = model.calibration, model.threshold
        fitted = model.fitted
        self._raw: Raw = (
            _FastTrees(fitted, self._buffer) if isinstance(fitted, BoostedTrees) else lambda x: float(fitted.predict(x)[0])
        )

    def __call__(self, values: Sequence[Any]) -> RowAnswer:
        buffer = self._buffer
        buffer[0] = [code(value) for code, value in zip(self._codes, values, strict=True)]
        score = float(self._calibration(np.array([self._raw(buffer)]))[0])
        return RowAnswer(score, score >= self._threshold)


def _code(wanted: Input, known: Sequence[Any] | None) -> Code:
    """How one value becomes a number: its category's code, or itself; NaN where it is missing or a category nobody knows."""
    name = wanted.name
    if known is not None:
        codes = {value: float(code) for code, value in enumerate(known)}
        return lambda value: codes.get(value, math.nan)
    if wanted.kind == "text":
        raise ModelInputError(f"feature {name!r} is text without codes: this model was not fitted here")

    def number(value: Any) -> float:
        if value is None:
            return math.nan
        if not isinstance(value, int | float) or math.isinf(value):
            raise ModelInputError(f"feature {name!r} is {value!r}: numbers must be finite or null")
        return float(value)

    return number


class _FastTrees:
    """LightGBM's own way for single rows: no checks and no thread pool between the row and the trees.

    It reads the row from the one buffer that it was told of.
    """

    def __init__(self, trees: BoostedTrees, buffer: NDArray[np.float64]) -> None:
        from lightgbm.basic import _LIB  # type: ignore[attr-defined]

        self._library, self._booster, self._buffer, self._config = _LIB, trees._trees, buffer, ctypes.c_void_p()
        columns, settings = ctypes.c_int32(buffer.shape[1]), b"num_threads=1"
        handle = self._booster._handle
        begin = _LIB.LGBM_BoosterPredictForMatSingleRowFastInit
        self._told(begin(handle, NORMAL, 0, -1, FLOAT64, columns, settings, ctypes.byref(self._config)))
        self._length, self._result = ctypes.c_int64(), ctypes.c_double()
        self._call = _LIB.LGBM_BoosterPredictForMatSingleRowFast
        data = buffer.ctypes.data_as(ctypes.c_void_p)
        self._arguments = (self._config, data, ctypes.byref(self._length), ctypes.byref(self._result))

    def __call__(self, x: NDArray[np.float64]) -> float:
        assert x is self._buffer
        if failed := self._call(*self._arguments):
            self._told(failed)
        return self._result.value

    def _told(self, failed: int) -> None:
        if failed:
            raise RuntimeError(f"LightGBM: {self._library.LGBM_GetLastError().decode()}")

    def __del__(self) -> None:
        if self._config:
            self._library.LGBM_FastConfigFree(self._config)
