"""What each arm is expected to earn by a row's features: a ridge regression for each arm, from sums alone."""

from __future__ import annotations

from dataclasses import dataclass

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
        return np.asarray(self._standard(features) @ self.coefficients.T)

    def spread(self, features: Floats) -> Floats:
        """The standard error of that, over the noise, (rows, arms)."""
        x = self._standard(features)
        squares = np.stack([((x @ of_arm) * x).sum(axis=1) for of_arm in self.inverse], axis=1)
        return np.asarray(np.sqrt(squares))

    def _standard(self, features: Floats) -> Floats:
        return np.asarray(np.hstack([np.ones((len(features), 1)), features]) @ self.to_standard.T)


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
