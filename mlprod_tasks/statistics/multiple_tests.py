"""Several tests at once, and whether groups have the sizes that they were to have."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def holm(p: Sequence[float]) -> Floats:
    """Return p-values adjusted so that the chance of any false alarm is kept, (tests,). Holm, Scand. J. Stat. 6 (1979)."""
    values = np.asarray(p, float)
    order = np.argsort(values, kind="stable")
    grown = np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1))
    adjusted = np.empty(len(values))
    adjusted[order] = np.minimum(grown, 1.0)
    return adjusted


def benjamini_hochberg(p: Sequence[float]) -> Floats:
    """Return p-values adjusted so that the share of false ones among those found is kept, (tests,). JRSS B 57 (1995)."""
    values = np.asarray(p, float)
    order = np.argsort(-values, kind="stable")
    shrunk = np.minimum.accumulate(values[order] * len(values) / np.arange(len(values), 0, -1))
    adjusted = np.empty(len(values))
    adjusted[order] = np.minimum(shrunk, 1.0)
    return adjusted


def sample_ratio_p(counts: Sequence[int], shares: Sequence[float]) -> float:
    """Return the p-value of groups of those sizes if units were assigned by those shares (Pearson's chi-squared test)."""
    from scipy import stats

    total = sum(counts)
    if total == 0:
        return 1.0
    return float(stats.chisquare(counts, [total * share / sum(shares) for share in shares]).pvalue)


def same_share_p(yes: Sequence[int], of: Sequence[int]) -> float:
    """Return the p-value of groups having the same share of yes; 1 if none or all have it."""
    from scipy import stats

    if min(of, default=0) == 0 or sum(yes) in (0, sum(of)):
        return 1.0
    return float(
        stats.chi2_contingency([list(yes), [n - one for n, one in zip(of, yes, strict=True)]], correction=False).pvalue
    )
