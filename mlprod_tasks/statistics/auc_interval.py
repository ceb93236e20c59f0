"""Interval of a ROC AUC, and of the difference of two on the same rows.

DeLong, DeLong and Clarke-Pearson, Biometrics 44 (1988), 837-845, with the fast algorithm of Sun and Xu, IEEE Signal Processing
Letters 21 (2014), 1389-1393. Both allow equal scores. If rows of a tick are alike, their placements are summed by tick first
(Obuchowski, Biometrics 53 (1997), 567-578), and neighbouring ticks go together as in `resamples`.
"""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from mlprod_tasks.statistics.metrics import CannotBeMeasured, Difference, Estimate
from mlprod_tasks.statistics.resamples import COVERAGE, Ticks, error_of_sum

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

# The standard library's normal distribution: the same quantiles as scipy, whose import takes a quarter of a second.
NORMAL = NormalDist()
Z = NORMAL.inv_cdf((1 + COVERAGE) / 2)


def area(outcome: Bools, score: Floats, ticks: Ticks | None = None) -> Estimate:
    """Return the ROC AUC with its normal interval, cut to [0, 1].

    NaN bounds if a class has fewer than two rows. ticks: the place of each row's tick, (n,), if these are the sample.
    Raises: CannotBeMeasured if a class is empty.
    """
    if ticks is not None:
        (value,), (parts,) = _areas_and_parts(outcome, score[None, :])
        half = Z * error_of_sum(parts, ticks)
        return Estimate(float(value), *np.clip((value - half, value + half), 0.0, 1.0).tolist())
    areas, covariance = areas_and_covariance(outcome, score[None, :])
    half = Z * float(np.sqrt(covariance[0, 0]))
    return Estimate(float(areas[0]), *np.clip((areas[0] - half, areas[0] + half), 0.0, 1.0).tolist())


def difference(outcome: Bools, ours: Floats, theirs: Floats, ticks: Ticks | None = None) -> Difference:
    """Return the difference of two ROC AUCs on the same rows, `ours` minus `theirs`.

    With interval and two-sided p-value. ticks: as of `area`.
    p is 1 if both rank every pair in the same way. Raises: CannotBeMeasured if a class is empty.
    """
    if ticks is None:
        areas, covariance = areas_and_covariance(outcome, np.stack((ours, theirs)))
        variance = float(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    else:
        areas, parts = _areas_and_parts(outcome, np.stack((ours, theirs)))
        variance = error_of_sum(parts[0] - parts[1], ticks) ** 2
    value = float(areas[0] - areas[1])
    if np.isnan(variance):
        return Difference(value, np.nan, np.nan, np.nan)
    # Rounding turns a variance of 0 into about 1e-19.
    error = float(np.sqrt(variance)) if variance > 1e-15 else 0.0
    if error == 0:
        return Difference(value, value, value, 1.0 if abs(value) < 1e-12 else 0.0)
    return Difference(value, value - Z * error, value + Z * error, 2 * NORMAL.cdf(-abs(value) / error))


def areas_and_covariance(outcome: Bools, scores: Floats) -> tuple[Floats, Floats]:
    """Return the areas of k scores, (k,), and their covariance, (k, k).

    scores: (k, n).
    A positive's placement is the share of negatives below it. The area is the mean placement; its variance comes from the
    variances of the placements of positives and of negatives (DeLong et al., 1988, equations 4 to 6).
    """
    of_positives, of_negatives = _placements(outcome, scores)
    positives, negatives = of_positives.shape[1], of_negatives.shape[1]
    return of_positives.mean(axis=1), _covariance(of_positives) / positives + _covariance(of_negatives) / negatives


def _areas_and_parts(outcome: Bools, scores: Floats) -> tuple[Floats, Floats]:
    """Return the areas, (k,), and what each row adds to how far they are off, (k, n), which sums to 0."""
    of_positives, of_negatives = _placements(outcome, scores)
    areas, parts = of_positives.mean(axis=1), np.empty(scores.shape)
    parts[:, outcome] = (of_positives - areas[:, None]) / of_positives.shape[1]
    parts[:, ~outcome] = (of_negatives - areas[:, None]) / of_negatives.shape[1]
    return areas, parts


def _placements(outcome: Bools, scores: Floats) -> tuple[Floats, Floats]:
    """Return the placements of positives, (k, positives), and of negatives, (k, negatives). Raises: CannotBeMeasured."""
    from scipy.stats import rankdata

    outcome = np.asarray(outcome, bool)
    positives, negatives = int(outcome.sum()), int((~outcome).sum())
    if not positives or not negatives:
        raise CannotBeMeasured(f"{positives} positive and {negatives} negative outcomes have no ROC curve")
    all_ranks = rankdata(scores, axis=1)
    ranks_in_class = rankdata(scores[:, outcome], axis=1), rankdata(scores[:, ~outcome], axis=1)
    of_positives = (all_ranks[:, outcome] - ranks_in_class[0]) / negatives
    of_negatives = 1 - (all_ranks[:, ~outcome] - ranks_in_class[1]) / positives
    return of_positives, of_negatives


def _covariance(placements: Floats) -> Floats:
    """Return the covariance of the rows, (k, k); NaN if there is only one column."""
    n = placements.shape[1]
    if n < 2:
        return np.full((len(placements), len(placements)), np.nan)
    return np.atleast_2d(np.cov(placements))
