"""What another policy would have earned, from rows whose arms were chosen by chance with known probabilities.

A policy gives each row an arm (what to do with it) with a probability. The rows were logged under one policy; the value of
another one is its mean reward, had it chosen. Inverse propensity scoring weights each row by how much more often the other
policy gives its arm (Horvitz and Thompson, JASA 47, 1952). Its self-normalised form divides by the sum of the weights
(Swaminathan and Joachims, NIPS 2015). The doubly robust form weights only what a model of the rewards leaves (Dudik, Langford
and Li, ICML 2011, equation 1): it is right if the propensities are, and close if the model is good.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

FEWEST_EFFECTIVE = 30.0  # below so many rows an interval by the normal distribution means nothing
FARTHEST = 4.0  # standard errors that the mean weight may be from 1


class NoOverlap(ValueError):
    """The logged rows do not tell what the policy would earn; the message says why."""


@dataclass(frozen=True)
class Logged:
    """Rows whose arm was chosen by chance.

    arm: (rows,) positions; reward: (rows,); propensity: (rows,) with which probability the row was given its arm, in (0, 1];
    unit: (rows,) whose row it is, if rows of a unit may depend on each other; None if each stands for itself.
    """

    arm: Ints
    reward: Floats
    propensity: Floats
    unit: Ints | None = None

    def __post_init__(self) -> None:
        """Raises: ValueError if a value is none that a log can hold."""
        if not len(self.arm):
            raise ValueError("no row was logged")
        if not np.isfinite(self.reward).all():
            raise ValueError(f"{np.count_nonzero(~np.isfinite(self.reward)):,} rewards are infinite or no number")
        wrong = ~((self.propensity > 0) & (self.propensity <= 1))
        if wrong.any():
            first = float(self.propensity[wrong][0])
            raise ValueError(f"{np.count_nonzero(wrong):,} propensities, such as {first}, are not above 0 and at most 1")


@dataclass(frozen=True)
class Value:
    """A policy's mean reward of a row. error: its standard error; freedom: of its t-distribution."""

    value: float
    error: float
    freedom: float

    def interval(self, alpha: float) -> tuple[float, float]:
        """Return the interval that holds the true value with probability 1 - alpha, for many rows."""
        from scipy import stats

        half = float(stats.t.isf(alpha / 2, self.freedom)) * self.error
        return self.value - half, self.value + half


@dataclass(frozen=True)
class OffPolicy:
    """What a policy would have earned.

    logged: the mean reward of the policy that chose; ips, snips, doubly_robust: estimates of the other one's;
    effective: how many rows chosen by the other policy would tell as much (Kish, Survey Sampling, 1965).
    """

    rows: int
    effective: float
    logged: Value
    ips: Value
    snips: Value
    doubly_robust: Value


def evaluate(logged: Logged, target: Floats, expected: Floats | None = None) -> OffPolicy:
    """Return what a policy would have earned on the logged rows.

    target: (arms,) or (rows, arms) probabilities with which the policy gives each arm. expected: (arms,) or (rows, arms) the
    reward that a model expects of each arm, fitted on other rows; by default the arm's mean over the other half of the rows (or
    units).

    Raises: NoOverlap; ValueError if probabilities do not add up to 1.
    """
    rows = len(logged.arm)
    shares = np.broadcast_to(target, (rows, target.shape[-1]))
    weights = _weights(logged, shares)
    guesses = _arm_means(logged, shares.shape[1]) if expected is None else np.broadcast_to(expected, shares.shape)
    own = guesses[np.arange(rows), logged.arm]
    snips = float(weights @ logged.reward / weights.sum())
    return OffPolicy(
        rows,
        effective_rows(weights),
        mean_value(logged.reward, logged.unit),
        mean_value(weights * logged.reward, logged.unit),
        # The ratio of two means: its error is that of the linear part (the delta method).
        mean_value(snips + weights * (logged.reward - snips) / weights.mean(), logged.unit),
        mean_value((shares * guesses).sum(axis=1) + weights * (logged.reward - own), logged.unit),
    )


def effective_rows(weights: Floats) -> float:
    """Return how many rows of equal weight tell as much, (rows,) weights."""
    return float(weights.sum() ** 2 / (weights**2).sum())


def _weights(logged: Logged, shares: Floats) -> Floats:
    """How much more often the policy gives each row its arm, (rows,). Raises: NoOverlap, ValueError."""
    if not np.isfinite(shares).all() or shares.min() < 0 or not np.allclose(shares.sum(axis=1), 1, atol=1e-6):
        raise ValueError("the probabilities of the policy must be at least 0 and add up to 1 for each row")
    asked = shares.mean(axis=0)
    given = np.bincount(logged.arm, minlength=shares.shape[1])
    never = np.flatnonzero((asked > 0) & (given == 0))
    if len(never):
        raise NoOverlap(f"arm {never[0]} would get {asked[never[0]]:.1%} of the rows, and no logged row was given it")
    weights = shares[np.arange(len(logged.arm)), logged.arm] / logged.propensity
    effective = effective_rows(weights) if weights.any() else 0.0
    if effective < FEWEST_EFFECTIVE:
        raise NoOverlap(
            f"{len(weights):,} logged rows tell as much of this policy as {effective:.1f} rows that it chose itself; at least "
            f"{FEWEST_EFFECTIVE:.0f} are needed: log more rows, or ask for a policy closer to the logged one"
        )
    mean = mean_value(weights, logged.unit)
    if abs(mean.value - 1) > max(FARTHEST * mean.error, 1e-6):
        raise NoOverlap(
            f"the weights of the logged rows have mean {mean.value:.3f} ± {mean.error:.3f} where 1 is due: arms were chosen "
            "with other probabilities than were logged, or rows that the policy would choose are missing"
        )
    return weights


def _arm_means(logged: Logged, arms: int) -> Floats:
    """The mean reward of each arm among the rows of the other half, (rows, arms): no row's model has seen it."""
    half = (np.arange(len(logged.arm)) if logged.unit is None else logged.unit) % 2
    means = np.empty((2, arms))
    for one in (0, 1):
        others = half != one
        n = np.bincount(logged.arm[others], minlength=arms)
        total = np.bincount(logged.arm[others], logged.reward[others], minlength=arms)
        middle = total.sum() / max(1, n.sum())
        means[one] = (total + middle) / (n + 1)  # an arm without rows is expected to be as all are
    return means[half]


def mean_value(values: Floats, unit: Ints | None) -> Value:
    """Return the mean of rows, (rows,); its error is that of sums over units. Raises: ValueError if there is only one."""
    mean = float(values.mean())
    left = values - mean if unit is None else np.bincount(np.unique(unit, return_inverse=True)[1], values - mean)
    n = len(left)
    if n < 2:
        raise ValueError("all rows are of one unit: at least two are needed")
    return Value(mean, sqrt(float((left**2).sum()) * n / (n - 1)) / len(values), n - 1)
