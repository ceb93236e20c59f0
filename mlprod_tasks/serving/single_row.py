"""Score one row in microseconds, bit for bit as in a batch, without a data frame."""

from __future__ import annotations

import ctypes
import math
import struct
import sys
from collections.abc import Callable, Mapping, Sequence
from math import isfinite
from typing import TYPE_CHECKING, Any

import numpy as np

from mlprod_tasks.models.fallback import FallbackModel
from mlprod_tasks.models.feature_frame import ModelInputError
from mlprod_tasks.models.learners import FittedLearner
from mlprod_tasks.models.learners.lightgbm import BoostedTrees
from mlprod_tasks.models.model import Model
from mlprod_tasks.models.segmented import SegmentedModel
from mlprod_tasks.serving.row_score import RowScore, deciding_of, of_class, scoring_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

NORMAL, FLOAT64 = 0, 1  # LightGBM's C_API_PREDICT_NORMAL and C_API_DTYPE_FLOAT64

NAN, INFINITY = math.nan, math.inf

Raw = Callable[["NDArray[np.float64]"], Any]  # a float, or a list of floats, one per class


class SingleRow:
    """A model that scores one row at a time. Not thread-safe: it fills one buffer."""

    def __init__(self, model: Model | SegmentedModel) -> None:
        self.feature_names = model.feature_names
        self._by = model.feature_names.index(model.by) if isinstance(model, SegmentedModel) else None
        overall = model.overall if isinstance(model, SegmentedModel) else model
        self._overall = RowModel(overall)
        parts = model.parts if isinstance(model, SegmentedModel) else {}
        self._parts: Mapping[Any, RowModel] = {name: RowModel(part, i) for i, (name, part) in enumerate(parts.items(), 1)}

    def __call__(self, values: Sequence[Any]) -> RowScore:
        """Score one row: its features in the order of `feature_names`, None where missing. Raises: ModelInputError."""
        return self.load(values).predict()

    def load(self, values: Sequence[Any]) -> RowModel:
        """Return the model for a row, with the row in its buffer.

        Raises: ModelInputError.
        """
        model = self.answering(values)
        model.load(values)
        return model

    def answering(self, values: Sequence[Any]) -> RowModel:
        """Return the model for a row, whatever is in its buffer."""
        return self._overall if self._by is None else self._parts.get(values[self._by], self._overall)


class RowModel:
    """A model with a buffer for the row to score."""

    def __init__(self, model: Model, place: int = 0) -> None:
        self._place = place
        self._names = tuple(wanted.name for wanted in model.inputs)
        self._categories = tuple(
            (i, {value: float(code) for code, value in enumerate(model.codes[name])})
            for i, name in enumerate(self._names)
            if model.codes.get(name) is not None
        )
        coded = {i for i, _ in self._categories}
        for i, wanted in enumerate(model.inputs):
            if wanted.kind == "text" and i not in coded:
                raise ModelInputError(
                    f"feature {wanted.name!r} is text without codes: this model was not fitted by this project"
                )
        self._buffer = np.empty((1, len(model.inputs)), np.float64)
        self._bytes, self._write = self._buffer.data.cast("B"), struct.Struct(f"{len(model.inputs)}d").pack_into
        self._score, self._raw = scoring_of(model), _raw_of(model.fitted, self._buffer)
        self.decided = deciding_of(model)  # what it makes of a score that is not its own

    @property
    def cache_key(self) -> tuple[int, bytes]:
        """The loaded row as the model reads it.

        Rows with the same key have the same score.
        """
        return self._place, self._buffer.tobytes()

    def load(self, values: Sequence[Any]) -> None:
        """Load a row; None means missing. Raises: ModelInputError."""
        numbers = list(values)
        for i, codes in self._categories:
            numbers[i] = codes.get(values[i], NAN)  # missing or unknown category
        try:
            self._write(self._bytes, 0, *numbers)
            finite = isfinite(sum(numbers))  # checks all numbers at once
        except (struct.error, OverflowError, TypeError):
            self._load_with_missing(numbers)
            finite = False
        if not finite and (INFINITY in numbers or -INFINITY in numbers):  # otherwise a number is missing, which is allowed
            raise self._input_error(numbers)

    def predict(self) -> RowScore:
        """Score the loaded row."""
        return self._score(self._raw(self._buffer))

    def _load_with_missing(self, numbers: list[Any]) -> None:
        """Load a row with missing values: None becomes NaN. Raises: ModelInputError."""
        numbers[:] = [NAN if value is None else value for value in numbers]
        try:
            self._write(self._bytes, 0, *numbers)
        except (struct.error, OverflowError):
            raise self._input_error(numbers) from None

    def _input_error(self, numbers: Sequence[Any]) -> ModelInputError:
        if len(numbers) != len(self._names):
            return ModelInputError(f"got {len(numbers)} values for {len(self._names)} features")
        for name, value in zip(self._names, numbers, strict=True):
            if not isinstance(value, int | float) or abs(value) > sys.float_info.max:
                return ModelInputError(f"feature {name!r} is {value!r}: numbers must be finite or null")
        return ModelInputError("a feature is not a number")


def fallback_score(model: FallbackModel, values: Sequence[Any]) -> RowScore:
    """Score one row as `FallbackModel.predict` does, values in the order of its inputs."""
    group = tuple(
        value
        if wanted.kind == "text" or value is None or (isinstance(value, int) and wanted.name in model.exact)
        else _none_if_nan(float(value))
        for value, wanted in zip(values, model.inputs, strict=True)
    )
    rate = model.rates.get(group, model.overall)
    if model.rule is not None:
        assert isinstance(rate, tuple)
        return of_class(model.rule, rate)
    assert not isinstance(rate, tuple)
    return RowScore(rate, None if model.threshold is None else rate >= model.threshold)


def _none_if_nan(number: float) -> float | None:
    """NaN counts as missing, as in a data frame."""
    return None if math.isnan(number) else number


def _raw_of(fitted: FittedLearner, buffer: NDArray[np.float64]) -> Raw:
    """Return the learner's prediction of the row in the buffer, (1, features)."""
    if isinstance(fitted, BoostedTrees):
        return _FastTrees(fitted, buffer) if fitted.classes == 1 else _FastClassTrees(fitted, buffer)
    return lambda x: fitted.predict(x)[0].tolist()


class _FastTrees:
    """LightGBM's fast prediction of single rows, without checks and without a thread pool.

    It always reads the row from the buffer given at the start.
    """

    def __init__(self, trees: BoostedTrees, buffer: NDArray[np.float64]) -> None:
        from lightgbm.basic import _LIB  # type: ignore[attr-defined]

        self._library, self._booster, self._buffer, self._config = _LIB, trees._trees, buffer, ctypes.c_void_p()
        columns, settings = ctypes.c_int32(buffer.shape[1]), b"num_threads=1"
        handle = self._booster._handle
        begin = _LIB.LGBM_BoosterPredictForMatSingleRowFastInit
        self._check(begin(handle, NORMAL, 0, -1, FLOAT64, columns, settings, ctypes.byref(self._config)))
        self._length, self._result = ctypes.c_int64(), (ctypes.c_double * trees.classes)()
        # PyDLL keeps the interpreter lock: released for microseconds, it would come back only after another thread's turn.
        self._call = ctypes.PyDLL(_LIB._name).LGBM_BoosterPredictForMatSingleRowFast
        data = buffer.ctypes.data_as(ctypes.c_void_p)
        self._arguments = (self._config, data, ctypes.byref(self._length), self._result)

    def __call__(self, x: NDArray[np.float64]) -> float:
        assert x is self._buffer
        if failed := self._call(*self._arguments):
            self._check(failed)
        return self._result[0]

    def _check(self, failed: int) -> None:
        if failed:
            raise RuntimeError(f"LightGBM: {self._library.LGBM_GetLastError().decode()}")

    def __del__(self) -> None:
        if self._config:
            self._library.LGBM_FastConfigFree(self._config)


class _FastClassTrees(_FastTrees):
    """The same for trees of several classes: all their probabilities."""

    def __call__(self, x: NDArray[np.float64]) -> list[float]:  # type: ignore[override]
        super().__call__(x)
        return self._result[:]
