"""Tests that may be looked at before their end: group sequential designs and always-valid intervals.

A test of 5 % that is looked at five times, and stopped when it is significant, is wrong 14 % of the time. These are not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from math import e, exp, inf, log, pi, sqrt

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Spending = Callable[[float, float], float]

GRID = 801  # points of the distribution of what goes on, within its bounds
WIDEST = 8.5  # a bound beyond which nothing lies


def obrien_fleming(share: float, alpha: float) -> float:
    """Return how much of alpha (one-sided) is spent at that share of the information: little at first.

    Lan and DeMets, Biometrika 70 (1983).
    """
    from scipy import stats

    return float(2 * stats.norm.sf(stats.norm.isf(alpha / 2) / sqrt(share)))


def pocock(share: float, alpha: float) -> float:
    """Return how much of alpha (one-sided) is spent at that share of the information: about alike at each look.

    Lan and DeMets, Biometrika 70 (1983).
    """
    return float(alpha * log(1 + (e - 1) * share))


SPENDING: dict[str, Spending] = {"obrien_fleming": obrien_fleming, "pocock": pocock}


@lru_cache(maxsize=64)
def bounds(shares: tuple[float, ...], alpha: float, spending: str, times: tuple[float, ...] | None = None) -> tuple[float, ...]:
    """Return the bound of |z| at each look of a two-sided test, so that alpha is spent in all.

    shares: of the planned information at each look, ascending. times: of the planned time at each look, ascending, the last one
    1 at the planned end: alpha is spent by time, so that it is spent at the end whatever came (Lan and DeMets, Biometrics 45,
    1989); by default by information. spending: a name in SPENDING.

    Raises: ValueError for shares or times that do not ascend within (0, 1]; shares may be greater if there are times.
    """
    from scipy.optimize import brentq

    _check_ascending(shares, 1.0 if times is None else inf)
    spend_at = shares if times is None else times
    _check_ascending(spend_at, 1.0)
    spend, found, spent, going = SPENDING[spending], [], 0.0, _BEGUN
    for share, time in zip(shares, spend_at, strict=True):
        wanted, spent = 2 * (spend(time, alpha / 2) - spent), spend(time, alpha / 2)
        # So little may be spent that no bound of a float can tell it from nothing: then nothing is decided at this look.
        beyond = going.beyond(share, WIDEST) >= wanted
        limit = WIDEST if beyond else float(brentq(_excess, 0.0, WIDEST, args=(going, share, wanted), xtol=1e-10))
        found.append(limit)
        going = going.after(share, limit)
    return tuple(found)


def _check_ascending(shares: tuple[float, ...], most: float) -> None:
    if not shares or shares[0] <= 0 or shares[-1] > most or any(b <= a for a, b in pairwise(shares)):
        beyond = "" if most == inf else f" and at most {most:g}"
        raise ValueError(f"looks at shares {shares} of what is planned: give ascending ones, above 0{beyond}")


def crossed(shares: Sequence[float], limits: Sequence[float], drift: float = 0.0) -> Floats:
    """Return the probability of first crossing the bounds at each look, (looks,).

    shares: of the information at each look; limits: of |z|; drift: the expected z at share 1.
    """
    probabilities, going = [], _BEGUN
    for share, limit in zip(shares, limits, strict=True):
        probabilities.append(going.beyond(share, limit, drift))
        going = going.after(share, limit, drift)
    return np.array(probabilities)


@dataclass(frozen=True)
class _GoingOn:
    """Where a test stands that has not crossed a bound so far: Armitage, McPherson and Rowe, JRSS A 132 (1969).

    share: of the information; points: values of z * sqrt(share), (points,); weights: their probabilities, (points,).
    """

    share: float
    points: Floats
    weights: Floats

    def beyond(self, share: float, limit: float, drift: float = 0.0) -> float:
        """Return the probability of crossing the bound at the next look, at that share."""
        from scipy.special import ndtr

        step, edge = share - self.share, limit * sqrt(share)
        at, scale = self.points + drift * step, sqrt(step)
        return float(self.weights @ (ndtr((at - edge) / scale) + ndtr((-edge - at) / scale)))

    def after(self, share: float, limit: float, drift: float = 0.0) -> _GoingOn:
        """Return what goes on after that look."""
        step, edge = share - self.share, limit * sqrt(share)
        at, scale = self.points + drift * step, sqrt(step)
        points = np.linspace(-edge, edge, GRID)
        simpson = np.full(GRID, 2.0)
        simpson[1::2], simpson[[0, -1]] = 4.0, 1.0
        simpson *= (points[1] - points[0]) / 3
        density = np.exp(-0.5 * ((points[:, None] - at[None, :]) / scale) ** 2) @ self.weights / (scale * sqrt(2 * pi))
        return _GoingOn(share, points, simpson * density)


_BEGUN = _GoingOn(0.0, np.zeros(1), np.ones(1))


def _excess(limit: float, going: _GoingOn, share: float, wanted: float) -> float:
    return going.beyond(share, limit) - wanted


def power(shares: Sequence[float], limits: Sequence[float], drift: float) -> float:
    """Return the probability of crossing a bound at any look, at that drift: the expected z at the planned end."""
    return float(crossed(shares, limits, drift).sum())


def drift_for(shares: tuple[float, ...], limits: tuple[float, ...], wanted: float) -> float:
    """Return the expected z at the planned end from which the bounds are crossed with that probability."""
    from scipy.optimize import brentq

    return float(brentq(lambda drift: power(shares, limits, drift) - wanted, 0.0, 20.0, xtol=1e-6))


def always_valid_half(error: float, n: float, tuned_to: float, alpha: float) -> float:
    """Return the half width of an interval that holds the true value at all times together, with probability 1 - alpha.

    error: the standard error of the estimate; n: the units that it rests on, at least 1; tuned_to: the number of units at which
    the interval is to be narrowest. An asymptotic confidence sequence: Waudby-Smith et al., Annals of Statistics 52 (2024).
    """
    spread = n * _rho_squared(tuned_to, alpha)
    return error * sqrt((spread + 1) / spread * 2 * log(sqrt(spread + 1) / alpha))


def always_valid_p(difference: float, error: float, n: float, tuned_to: float, alpha: float) -> float:
    """Return the smallest level at which the always-valid interval leaves out 0, at most 1.

    alpha: the level for which the interval is narrowest at `tuned_to`.
    """
    spread = n * _rho_squared(tuned_to, alpha)
    return min(1.0, sqrt(spread + 1) * exp(-0.5 * (difference / error) ** 2 * spread / (spread + 1)))


def _rho_squared(tuned_to: float, alpha: float) -> float:
    return (-2 * log(alpha) + log(-2 * log(alpha) + 1)) / tuned_to
