"""Turn raw probabilities of several classes into calibrated ones: each class by itself, then scaled to sum to 1."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlprod_tasks.models import calibration
from mlprod_tasks.models.calibration import Calibration, Way
from mlprod_tasks.models.learners.rows import to_sum_one

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
# With fewer rows of a class, or of the others, steps of an isotonic function rest on a few rows each: two numbers are fitted.
FEWEST_FOR_ISOTONIC = 100
FEWEST = 10  # with fewer, the class's probability is left as it is
TINY = 1e-12


@dataclass(frozen=True)
class ClassCalibration:
    """A monotone function for each class, in the order of the classes (Zadrozny and Elkan, 2002)."""

    parts: tuple[Calibration, ...]

    def __call__(self, raw: Floats) -> Floats:
        """Return the calibrated probabilities of raw ones, (n, classes)."""
        if all(one.way == "none" for one in self.parts):
            return raw
        shares = np.empty(raw.shape)
        for i, one in enumerate(self.parts):
            shares[:, i] = np.maximum(one(raw[:, i]), TINY)
        return to_sum_one(shares)

    def single(self) -> Callable[[Sequence[float]], list[float]]:
        """Return the same function, bit for bit, for the raw probabilities of one row, without allocating arrays."""
        if all(one.way == "none" for one in self.parts):
            return list
        parts = tuple(one.single() for one in self.parts)

        def calibrated(raw: Sequence[float]) -> list[float]:
            shares, total = [max(one(share), TINY) for one, share in zip(parts, raw, strict=True)], 0.0
            for share in shares:  # not sum(), which corrects its rounding
                total += share
            return [share / total for share in shares]

        return calibrated

    def as_json(self) -> dict[str, Any]:
        return {"way": "by_class", "parts": [one.as_json() for one in self.parts]}


def from_json(written: dict[str, Any]) -> Calibration | ClassCalibration:
    """Return the calibration that `as_json` wrote, of one score or of several classes."""
    if written["way"] == "by_class":
        return ClassCalibration(tuple(calibration.from_json(one) for one in written["parts"]))
    return calibration.from_json(written)


def fit_class_calibration(way: Way, raw: Floats, codes: Ints) -> ClassCalibration:
    """Fit each class's raw probabilities of the validation window to whether it came.

    raw: (n, classes); codes: (n,) of the outcomes, negative for a class that the model does not know. A rare class gets a
    sigmoid instead of an isotonic function, a very rare one is not changed.
    """
    return ClassCalibration(tuple(_fit(way, raw[:, i], codes == i) for i in range(raw.shape[1])))


def _fit(way: Way, raw: Floats, came: NDArray[np.bool_]) -> Calibration:
    fewest = int(min(came.sum(), len(came) - came.sum()))
    if fewest < FEWEST:
        return Calibration("none")
    return calibration.fit_calibration("sigmoid" if way == "isotonic" and fewest < FEWEST_FOR_ISOTONIC else way, raw, came)
