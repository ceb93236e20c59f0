"""What each arm is expected to earn by a row's features: a ridge regression for each arm, from sums alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlprod_tasks.bandits.arm_rewards import ArmRewards

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Linear:
    """Rewards that are linear in features.

    to_standard: (1 + features, 1 + features) takes 1 and raw features to 1 and features of mean 0 and variance 1;
    coefficients: (arms, 1 + features); inverse: (arms, 1 + features, 1 + features) their covariance over the noise's variance;
    noise: the standard deviation of a reward around what is expected.
    """

    to_standard: Floats
    coefficients: Floats
    inverse: Floats
    noise: float

    def expected(self, features: Floats) -> Floats:
        """What each arm is expected to earn, (rows, arms), from (rows, features)."""
        return _summed(self._standard(features), self.coefficients.T)

    def spread(self, features: Floats) -> Floats:
        """The standard error of that, over the noise, (rows, arms)."""
        x = self._standard(features)
        squares = np.zeros((len(features), len(self.inverse)))
        for i, of_row in enumerate(x.T):
            squares += of_row[:, None] * _summed(x, self.inverse[:, i, :].T)
        return np.asarray(np.sqrt(np.maximum(squares, 0.0)))

    def of_row(self, features: Sequence[float]) -> tuple[list[float], list[float]]:
        """Return `expected` and `spread` of one row, (arms,) each: the same bits, in a tenth of the time."""
        shifts, scales, coefficients, inverse = self._plain
        x = [1.0, *[shift + scale * value for shift, scale, value in zip(shifts, scales, features, strict=True)]]
        # Loops in loops, since calls take longer than what they compute; added as `_summed` adds (`sum` rounds in another way).
        mean, spread = [], []
        for weights, of_arm in zip(coefficients, inverse, strict=True):
            expected = squares = 0.0
            for one, weight, line in zip(x, weights, of_arm, strict=True):
                expected += one * weight
                found = 0.0
                for other, of_pair in zip(x, line, strict=True):
                    found += other * of_pair
                squares += one * found
            mean.append(expected)
            spread.append(math.sqrt(squares) if squares > 0.0 else 0.0)
        return mean, spread

    @cached_property
    def _plain(self) -> tuple[Any, Any, Any, Any]:
        return (
            self.to_standard[1:, 0].tolist(), np.diag(self.to_standard)[1:].tolist(), self.coefficients.tolist(),
            self.inverse.tolist(),
        )  # fmt: skip

    def _standard(self, features: Floats) -> Floats:
        standard = self.to_standard[1:, 0] + np.diag(self.to_standard)[1:] * features
        return np.hstack([np.ones((len(features), 1)), standard])


def _summed(x: Floats, weights: Floats) -> Floats:
    """Return x @ weights, (rows, k) and (k, arms), added in one order: a row's sums are the same alone and among others."""
    found = np.zeros((len(x), weights.shape[1]))
    for i, line in enumerate(weights):
        found += x[:, i, None] * line
    return found


def fitted(counted: ArmRewards, ridge: float) -> Linear:
    """Return the regression of each arm's rewards on the features, with a ridge on all coefficients.

    Features are standardised by the rows of all arms, so the ridge means the same for each; the intercept starts from the
    mean of all rewards, so an arm of which little is known is expected to earn that.
    """
    to_standard = _to_standard(counted.products.sum(axis=0))
    wide = len(to_standard)
    middle = counted.total.sum() / max(1.0, counted.n.sum())
    x = to_standard @ counted.products @ to_standard.T
    y = counted.earned @ to_standard.T - middle * x[:, :, 0]
    inverse = np.asarray(np.linalg.inv(x + ridge * np.eye(wide)), np.float64)
    coefficients = np.einsum("aij,aj->ai", inverse, y)
    # The sum of squares around the mean of all, less what the coefficients explain.
    around = counted.squares - 2 * middle * counted.total + counted.n * middle**2
    left = around - 2 * (coefficients * y).sum(axis=1) + np.einsum("ai,aij,aj->a", coefficients, x, coefficients)
    freedom = max(1.0, float(counted.n.sum()) - wide * len(counted.n))
    coefficients[:, 0] += middle
    return Linear(to_standard, coefficients, inverse, float(np.sqrt(max(0.0, left.sum()) / freedom)))


def _to_standard(products: Floats) -> Floats:
    n = max(1.0, float(products[0, 0]))
    mean = products[0, 1:] / n
    variance = np.maximum(np.diag(products)[1:] / n - mean**2, 0.0)
    # A feature that does not vary (but by rounding) tells nothing, and stays 0.
    varies = variance > 1e-12 * np.maximum(mean**2, 1e-300)
    scale = np.where(varies, 1 / np.sqrt(np.where(varies, variance, 1.0)), 0.0)
    standard = np.diag(np.concatenate([[1.0], scale]))
    standard[1:, 0] = -mean * scale
    return standard
