"""How many units a comparison of two groups needs, and how small a difference a number of units shows."""

from __future__ import annotations

from math import sqrt

FEWEST = 2  # units of a group that have a variance
MOST = 1e12


def units_for_means(difference: float, sd: float, *, alpha: float, power: float, ratio: float = 1.0) -> float:
    """Return how many units the first group needs so that a two-sided t-test finds the difference with that power.

    difference: between the groups' means; sd: of a unit, in the same unit; ratio: how many units the second group has for each
    of the first. Not rounded; FEWEST if fewer would do. R's power.t.test gives the same for ratio 1.

    Raises: ValueError if the difference is 0, if the sd is not positive, or if more than MOST units were needed.
    """
    from scipy.optimize import brentq

    if difference == 0 or not sd > 0:
        raise ValueError(f"a difference of {difference} among units with a standard deviation of {sd} cannot be planned for")

    def lacking(n: float) -> float:
        return power_for_means(difference, sd, n, ratio * n, alpha=alpha) - power

    if lacking(FEWEST) >= 0 and ratio * FEWEST >= FEWEST:
        return float(FEWEST)
    if lacking(MOST) < 0:
        raise ValueError(f"a difference of {difference} is too small beside a standard deviation of {sd} to be ever seen")
    return float(brentq(lacking, max(FEWEST, FEWEST / ratio), MOST, xtol=1e-6))


def power_for_means(difference: float, sd: float, n: float, other: float, *, alpha: float) -> float:
    """Return the power of a two-sided t-test for a difference of means, with n and `other` units of that standard deviation.

    Only the right direction counts, as in R's power.t.test.
    """
    from scipy import stats

    freedom = n + other - 2
    critical = stats.t.isf(alpha / 2, freedom)
    shifted = abs(difference) / (sd * sqrt(1 / n + 1 / other))
    power = stats.nct.sf(critical, freedom, shifted)
    # Far from the bound the noncentral t underflows to nan: then the normal distribution is exact enough.
    return float(power if power == power else stats.norm.sf(critical - shifted))


def smallest_difference(sd: float, n: float, other: float, *, alpha: float, power: float) -> float:
    """Return the smallest difference of means that a two-sided t-test finds with that power. Raises: ValueError.

    n, other: the units of the two groups, each at least FEWEST.
    """
    from scipy.optimize import brentq

    if min(n, other) < FEWEST or not sd > 0:
        raise ValueError(f"{n:g} and {other:g} units with a standard deviation of {sd} show no difference")
    scale = sd * sqrt(1 / n + 1 / other)
    return scale * float(brentq(lambda shifted: power_for_means(shifted * scale, sd, n, other, alpha=alpha) - power, 1e-9, 1e3))


def units_for_proportions(base: float, other: float, *, alpha: float, power: float, pooled: bool = True) -> float:
    """Return how many units each of two equal groups needs so that a two-sided test finds that their shares differ.

    base, other: the shares, between 0 and 1. pooled: whether both have the mean share if there is no difference, as in R's
    power.prop.test, or the base share. Not rounded.

    Raises: ValueError if the shares are equal, or not between 0 and 1.
    """
    from scipy import stats

    if base == other or not 0 < base < 1 or not 0 < other < 1:
        raise ValueError(f"shares {base} and {other} cannot be planned for: give two different ones between 0 and 1")
    same = (base + other) / 2 if pooled else base
    without = stats.norm.isf(alpha / 2) * sqrt(2 * same * (1 - same))
    with_it = stats.norm.isf(1 - power) * sqrt(base * (1 - base) + other * (1 - other))
    return float(((without + with_it) / (other - base)) ** 2)
