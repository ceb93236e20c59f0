"""Turn raw scores into probabilities.

Fitted on the validation window, stored as a few numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Way = Literal["isotonic", "sigmoid", "none"]
TINY = 1e-15


@dataclass(frozen=True)
class Calibration:
    """A monotone function from [0, 1] to itself.

    isotonic: piecewise linear through (x, y). sigmoid: 1 / (1 + exp(-(x[0] * logit + y[0]))). none: unchanged.
    """

    way: Way
    x: tuple[float, ...] = ()
    y: tuple[float, ...] = ()

    def __call__(self, raw: Floats) -> Floats:
        """Return the calibrated probabilities of raw ones, (n,)."""
        if self.way == "isotonic":
            return np.interp(raw, self.x, self.y)
        if self.way == "sigmoid":
            return np.asarray(1 / (1 + np.exp(-(self.x[0] * _logit(raw) + self.y[0]))))
        return raw

    def single(self) -> Callable[[float], float]:
        """Return the same function, bit for bit, for one score, without allocating arrays."""
        if self.way == "isotonic":
            x, y = np.array(self.x), np.array(self.y)
            return lambda raw: float(np.interp(raw, x, y))
        if self.way == "sigmoid":
            slope, shift = self.x[0], self.y[0]

            def sigmoid(raw: float) -> float:
                clipped = np.float64(min(max(raw, TINY), 1 - TINY))
                return float(1 / (1 + np.exp(-(slope * np.log(clipped / (1 - clipped)) + shift))))

            return sigmoid
        return float

    def as_json(self) -> dict[str, Any]:
        return {"way": self.way, "x": list(self.x), "y": list(self.y)}


def from_json(written: dict[str, Any]) -> Calibration:
    """Return the calibration that `as_json` wrote."""
    return Calibration(written["way"], tuple(written["x"]), tuple(written["y"]))


def fit_calibration(way: Way, raw: Floats, outcome: Bools) -> Calibration:
    """Fit raw scores of the validation window to its outcomes.

    isotonic: pool adjacent violators (Zadrozny and Elkan, 2002), kept away from 0 and 1 by the rule of succession, since no
    number of rows proves that something never happens. sigmoid: logistic regression on the logit (Platt, 1999); if all scores
    or all outcomes are equal, the slope is 1 and the mean is shifted to the rate.

    Without rows, scores are not changed.
    """
    if len(raw) == 0:
        return Calibration("none")
    if way == "isotonic":
        from sklearn.isotonic import IsotonicRegression

        edge = 1 / (len(raw) + 2)
        fitted = IsotonicRegression(y_min=edge, y_max=1 - edge, out_of_bounds="clip").fit(raw, outcome.astype(np.float64))
        return Calibration(way, tuple(fitted.X_thresholds_.tolist()), tuple(fitted.y_thresholds_.tolist()))
    if way == "sigmoid":
        from sklearn.linear_model import LogisticRegression

        if raw.min() == raw.max() or outcome.all() or not outcome.any():
            rate = (float(outcome.sum()) + 1) / (len(outcome) + 2) if outcome.all() or not outcome.any() else outcome.mean()
            return Calibration(way, (1.0,), (float(_logit(np.array(rate)) - _logit(raw).mean()),))
        line = LogisticRegression(C=np.inf, solver="newton-cholesky").fit(_logit(raw)[:, None], outcome)
        return Calibration(way, (float(line.coef_[0, 0]),), (float(line.intercept_[0]),))
    return Calibration("none")


def _logit(raw: Floats) -> Floats:
    inside = np.clip(raw, TINY, 1 - TINY)
    return np.asarray(np.log(inside / (1 - inside)))
