"""The effect of a treatment on a metric of units, from the moments of two groups: means, ratios, adjusted by a covariate.

Moments are all that is read, so that a database can compute them over any number of units.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite, sqrt

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Interval = tuple[float, float]

FEWEST_UNITS = 2


class NoEffect(ValueError):
    """The groups show no effect: too few units, no variance or values that are not finite."""


@dataclass(frozen=True)
class Moments:
    """The moments of the units of one group.

    n: the number of units; mean: of each column, (columns,); covariance: of the columns, (columns, columns), over n - 1.
    """

    n: int
    mean: Floats
    covariance: Floats

    @classmethod
    def of(cls, values: Floats) -> Moments:
        """Return the moments of values, (units, columns)."""
        return cls(len(values), values.mean(axis=0), np.atleast_2d(np.cov(values, rowvar=False, ddof=1)))

    @classmethod
    def of_one(cls, n: int, mean: float, variance: float) -> Moments:
        """Return the moments of n values of one column."""
        return cls(n, np.array([mean]), np.array([[variance]]))


@dataclass(frozen=True)
class Effect:
    """How much more the treated group has than the control group, per unit.

    control, treated: the groups' values; difference: treated - control; error: its standard error; freedom: the degrees of
    freedom of its t-distribution.
    """

    control: float
    treated: float
    difference: float
    error: float
    freedom: float

    @property
    def p(self) -> float:
        """The two-sided p-value of no difference."""
        from scipy import stats

        return float(2 * stats.t.sf(abs(self.difference) / self.error, self.freedom))

    @property
    def z(self) -> float:
        """The difference in standard errors, as a quantile of the normal distribution with the same p-value."""
        from scipy import stats

        return float(np.copysign(stats.norm.isf(self.p / 2), self.difference))

    def interval(self, alpha: float) -> Interval:
        """Return the interval that holds the true difference with probability 1 - alpha."""
        from scipy import stats

        half = float(stats.t.isf(alpha / 2, self.freedom)) * self.error
        return self.difference - half, self.difference + half

    @property
    def lift(self) -> float | None:
        """The difference as a share of the control's value; None if that is 0."""
        return self.difference / abs(self.control) if self.control else None


def of_means(control: Moments, treated: Moments) -> Effect:
    """Return the difference of the means of column 0, with Welch's degrees of freedom (Biometrika 34, 1947).

    Raises: NoEffect.
    """
    values = [(one.n, float(one.mean[0]), float(one.covariance[0, 0])) for one in _checked(control, treated)]
    return _welch(values)


def of_ratios(control: Moments, treated: Moments) -> Effect:
    """Return the difference of ratios of sums, column 0 over column 1, by the delta method (Deng et al., KDD 2018).

    Units are the sample: rows of a unit may depend on each other. Raises: NoEffect, also if a denominator's mean is 0.
    """
    values = []
    for one in _checked(control, treated):
        above, below = (float(mean) for mean in one.mean[:2])
        if below == 0:
            raise NoEffect("the denominator of a group is 0")
        ratio = above / below
        weights = np.array([1.0, -ratio]) / below
        values.append((one.n, ratio, float(weights @ one.covariance[:2, :2] @ weights)))
    return _welch(values)


def adjusted(control: Moments, treated: Moments) -> tuple[Effect, float]:
    """Return the difference of the means of column 0 without what the others explain, and how much variance that took away.

    They are covariates known before the treatment (CUPED: Deng et al., WSDM 2013; of several with one slope each). The second
    number is 1 - the ratio of the variances of the difference, so R^2 for groups that correlate alike.

    Raises: NoEffect, also if no covariate varies.
    """
    groups = _checked(control, treated)
    total = sum(one.n - 1 for one in groups)
    pooled = np.sum([(one.n - 1) * one.covariance for one in groups], axis=0) / total
    weights = _unexplained(pooled)
    if weights is None:
        raise NoEffect("no covariate varies")
    middle = np.average([one.mean for one in groups], axis=0, weights=[one.n for one in groups])
    values = [
        (one.n, float(middle[0] + weights @ (one.mean - middle)), float(weights @ one.covariance @ weights)) for one in groups
    ]
    raw, better = of_means(control, treated), _welch(values)
    return better, 1 - (better.error / raw.error) ** 2


def explained(units: Moments) -> float:
    """Return the share of the variance of column 0 that the others explain, in [0, 1]: R^2 of a least-squares fit.

    So much less is the variance of a difference that `adjusted` returns, and so many fewer units show it.
    """
    weights, variance = _unexplained(units.covariance), float(units.covariance[0, 0])
    if weights is None or not variance > 0:
        return 0.0
    return min(1.0, max(0.0, 1 - float(weights @ units.covariance @ weights) / variance))


def _unexplained(covariance: Floats) -> Floats | None:
    """The weights of what is left of column 0 without what the others explain, (columns,); None if no other varies."""
    varies = np.flatnonzero(np.diag(covariance)[1:] > 0) + 1
    if not len(varies):
        return None
    # In units of their spread, so that a column in thousands does not hide another. Columns that say the same share a slope.
    spread = np.sqrt(np.diag(covariance)[varies])
    alike = covariance[np.ix_(varies, varies)] / np.outer(spread, spread)
    slopes = np.linalg.lstsq(alike, covariance[varies, 0] / spread, rcond=1e-10)[0] / spread
    weights = np.zeros(len(covariance))
    weights[0], weights[varies] = 1.0, -slopes
    return weights


def _checked(control: Moments, treated: Moments) -> tuple[Moments, Moments]:
    for one in (control, treated):
        if one.n < FEWEST_UNITS:
            raise NoEffect(f"a group has {one.n} units with a value; at least {FEWEST_UNITS} are needed")
        if not np.isfinite(one.mean).all() or not np.isfinite(one.covariance).all():
            raise NoEffect("a value is not finite")
    return control, treated


def _welch(groups: list[tuple[int, float, float]]) -> Effect:
    """Return the effect of groups, each with units, value and the variance of a unit."""
    (_, control, _), (_, treated, _) = groups
    squares = [variance / n for n, _, variance in groups]
    error = sqrt(sum(squares))
    if not error > 0 or not isfinite(error):
        raise NoEffect("all units have the same value")
    freedom = error**4 / sum(square**2 / (n - 1) for square, (n, _, _) in zip(squares, groups, strict=True))
    return Effect(control, treated, treated - control, error, freedom)
