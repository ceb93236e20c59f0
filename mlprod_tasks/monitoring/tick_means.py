"""The mean of a value over ticks, with an interval. Without NumPy: commands that only read the ledger need it, too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import NormalDist

from mlprod_tasks.declaration.monitoring import FEWEST_OF_A_MEAN

ONE_SIDE = 0.95  # a mean is outside of a bound if it is with this confidence


@dataclass(frozen=True)
class TickMean:
    """A mean, and the ends that it leaves with 5 % each."""

    value: float
    low: float
    high: float


def tick_mean(values: Sequence[float], rows: Sequence[int]) -> TickMean | None:
    """The mean over ticks, weighed by their rows, with Student's interval from the ticks' own spread.

    A ratio of sums (Cochran, Sampling Techniques, 1977, section 6.3): rows of a tick are alike, so ticks are the sample. None
    for fewer ticks than tell a spread.
    """
    n, total = len(values), sum(rows)
    if n < FEWEST_OF_A_MEAN or not total:
        return None
    mean = sum(w * x for w, x in zip(rows, values, strict=True)) / total
    squares = sum((w * (x - mean)) ** 2 for w, x in zip(rows, values, strict=True))
    reach = student_quantile(n - 1) * sqrt(squares * n / (n - 1)) / total
    return TickMean(mean, mean - reach, mean + reach)


def student_quantile(degrees: int) -> float:
    """The quantile of Student's t at ONE_SIDE, to three digits from two degrees of freedom on.

    Exact for two degrees; otherwise Fisher's expansion around the normal quantile (Abramowitz and Stegun, 26.7.5).
    """
    if degrees == 2:
        return (2 * ONE_SIDE - 1) * sqrt(2 / (4 * ONE_SIDE * (1 - ONE_SIDE)))
    z = NormalDist().inv_cdf(ONE_SIDE)
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return z + sum(term / float(degrees**power) for power, term in enumerate(terms, 1))
