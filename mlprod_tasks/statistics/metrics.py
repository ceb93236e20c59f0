"""Metrics of scores: ranking, calibration, value; each with a bootstrap interval.

Every metric is computed from one ranking of the rows and from weights: a resample is a vector of weights (how often each row
was drawn), so nothing is sorted twice. Rows with equal scores are treated alike.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil, isclose, nan
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import BeforeValidator

from mlprod_tasks.declaration.gate import SHARES
from mlprod_tasks.statistics.resamples import COVERAGE, Ticks, drawn_weights, number_of, widening

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

# JSON has no NaN: null means that the number could not be computed.
Number = Annotated[float, BeforeValidator(lambda given: nan if given is None else given)]

AT_CAPACITY = "precision_at_capacity"
NAMES = ("roc_auc", "pr_auc", "log_loss", "brier", "calibration_error", "precision_at_k", "value_per_1000")
BINS = 10
RESAMPLES = 500
SAME_NUMBER = 1e-12  # relative; larger than the rounding error of a declared share times a number of rows


class CannotBeMeasured(ValueError):
    """A metric is undefined for these rows, such as for outcomes of one class only."""


@dataclass(frozen=True)
class Estimate:
    """A metric's value and its interval with COVERAGE.

    NaN if it could not be computed.
    """

    value: Number
    low: Number
    high: Number


@dataclass(frozen=True)
class Difference:
    """A metric of one model minus another's on the same rows; p is two-sided."""

    value: Number
    low: Number
    high: Number
    p: Number


@dataclass(frozen=True)
class Sampled:
    """Every metric of a task on the rows, and on each resample, (resamples,) each.

    NaN if it could not be computed. The same number of rows, resamples and seed give the same draws, as do the same ticks.
    ticks: how many ticks were drawn; None if rows were.
    """

    points: Mapping[str, float]
    draws: Mapping[str, Floats]
    ticks: int | None = None

    @classmethod
    def of(
        cls, names: Sequence[str], points: Mapping[str, Floats], drawn: Sequence[Mapping[str, Floats]], ticks: Ticks | None
    ) -> Sampled:
        """Put together the metrics of all rows, (1,) each, and of some resamples at once.

        Those of ticks are spread around the point as `widening` says, within what the metric can be.
        """
        n = None if ticks is None else number_of(ticks)
        factor = 1.0 if n is None else widening(n)
        draws = {name: np.concatenate([some[name] for some in drawn]) if drawn else np.empty(0) for name in names}
        if factor > 1:
            draws = {
                name: np.clip(points[name][0] + factor * (of - points[name][0]), *_possible(name)) for name, of in draws.items()
            }
        return cls({name: float(points[name][0]) for name in names}, draws, n)

    def estimates(self) -> dict[str, Estimate]:
        """Return each metric with its percentile interval with COVERAGE."""
        return {name: Estimate(point, *interval(self.draws[name], point)) for name, point in self.points.items()}


class Ranking:
    """Rows sorted by score, descending, with the starts of groups of equal scores.

    outcome: (n,) bool; score: (n,) probabilities in [0, 1]. Raises: CannotBeMeasured.
    """

    def __init__(self, outcome: Bools, score: Floats) -> None:
        _check(outcome, score)
        self._sort(outcome, score)

    @classmethod
    def unchecked(cls, outcome: Bools, score: Floats) -> Ranking:
        """Return the ranking of rows that may all be of one class."""
        ranking = cls.__new__(cls)
        ranking._sort(outcome, score)
        return ranking

    def _sort(self, outcome: Bools, score: Floats) -> None:
        self.order = np.argsort(-score, kind="stable")
        self.outcome = outcome[self.order].astype(np.float64)
        self.score = np.asarray(score, np.float64)[self.order]
        self.starts = np.flatnonzero(np.concatenate(([True], self.score[1:] != self.score[:-1])))

    @property
    def rows(self) -> int:
        return len(self.score)

    def groups(self, weights: Floats) -> tuple[Floats, Floats]:
        """Return the weights of positives and negatives by group, both (resamples, groups)."""
        positive = weights * self.outcome
        if len(self.starts) < self.rows:
            positive, weights = (np.add.reduceat(each, self.starts, axis=1) for each in (positive, weights))
        return positive, weights - positive


class RankCounts:
    """Weights of positives and negatives by group of equal scores, also cumulative.

    weights: (resamples, n) in the order of the ranking.
    """

    def __init__(self, ranking: Ranking, weights: Floats) -> None:
        self.ranking, self.weights = ranking, weights
        self.positive, self.negative = ranking.groups(weights)
        self.hits, self.misses = np.cumsum(self.positive, axis=1), np.cumsum(self.negative, axis=1)


def roc_auc(outcome: Bools, score: Floats) -> float:
    """Return how often a positive scores above a negative, ties counting half."""
    return float(roc_auc_of(_rank_counts(outcome, score))[0])


def pr_auc(outcome: Bools, score: Floats) -> float:
    """Return the average precision, not interpolated.

    The sum of precision at each distinct score, weighted by the recall it adds.
    """
    return float(_pr_auc(_rank_counts(outcome, score))[0])


def log_loss(outcome: Bools, score: Floats) -> float:
    """Return the mean negative log likelihood (natural logarithm).

    Scores are clipped to [eps, 1 - eps] of float64.
    """
    return float(log_losses(np.asarray(outcome, np.float64), _as_scores(outcome, score)).mean())


def brier(outcome: Bools, score: Floats) -> float:
    """Return the mean squared difference of score and outcome (Brier, 1950)."""
    return float(np.mean((_as_scores(outcome, score) - outcome) ** 2))


def calibration_error(outcome: Bools, score: Floats, bins: int = BINS) -> float:
    """Return the expected calibration error.

    |mean outcome - mean score| of bins, weighted by their rows. Bins have equal numbers of rows in order of score (Nixon et
    al., 2019), but rows of equal score stay together.
    """
    ranking = Ranking(outcome, score)
    return float(calibration_error_of(ranking, np.ones((1, ranking.rows)), bins)[0])


def precision_at_k(outcome: Bools, score: Floats, top_share: float) -> float:
    """Return the share of positives among the highest scores.

    Ties at the edge count as the average of a random pick.
    top_share: of the rows, in (0, 1]; k is `rows_of_share` of it.
    """
    return float(_precision_at_k(_rank_counts(outcome, score), top_share)[0])


def rows_of_share(share: float, rows: int) -> int:
    """Return a share of rows as a number of rows, rounded up, at least one.

    0.07 of 100 rows is 7, though 0.07 * 100 is 7.000000000000001 in floating point. share: in (0, 1].
    """
    product = share * rows
    nearest = round(product)
    return nearest if isclose(product, nearest, rel_tol=SAME_NUMBER) else ceil(product)


def measure(
    outcome: Bools, score: Floats, values: Floats, top_share: float, resamples: int = RESAMPLES, seed: int = 0
) -> Mapping[str, Estimate]:
    """Return every metric of NAMES with its percentile bootstrap interval.

    values: (n,) the value of each row's decision. Raises: CannotBeMeasured.
    """
    return sample(outcome, score, values, top_share, resamples, seed).estimates()


def sample(
    outcome: Bools,
    score: Floats,
    values: Floats,
    top_share: float,
    resamples: int = RESAMPLES,
    seed: int = 0,
    acted: Bools | None = None,
    ticks: Ticks | None = None,
) -> Sampled:
    """Compute every metric of NAMES on the rows and on resamples with replacement.

    acted: whether there is room to act on each row, (n,); with it AT_CAPACITY too, NaN if there is none.
    Resamples depend only on the seed and the number of rows, so two models on the same rows are compared on the same draws.
    ticks: the place of each row's tick, (n,), if ticks are to be drawn instead of rows. Raises: CannotBeMeasured.
    """
    ranking = Ranking(outcome, score)
    worth = np.asarray(values, np.float64)[ranking.order]

    def measured(weights: Floats) -> dict[str, Floats]:
        found = _all_metrics(ranking, weights[:, ranking.order], worth, top_share)
        return found if acted is None else {**found, AT_CAPACITY: _share_of(weights, acted, outcome)}

    names = NAMES if acted is None else (*NAMES, AT_CAPACITY)
    points = measured(np.ones((1, ranking.rows)))
    drawn = [measured(weights) for weights in drawn_weights(ranking.rows, resamples, seed, ticks)]
    return Sampled.of(names, points, drawn, ticks)


def _possible(name: str) -> tuple[float, float]:
    """Return the lowest and highest value that a metric can have."""
    return -np.inf if name in ("value_per_1000", "r2") else 0.0, 1.0 if name in SHARES or name == "r2" else np.inf


def _share_of(weights: Floats, acted: Bools, outcome: Bools) -> Floats:
    """Return the share of positives among the rows acted on, of each resample; NaN without such rows."""
    rows, hits = weights @ acted, weights @ (acted & outcome)
    return np.asarray(np.divide(hits, rows, out=np.full(len(weights), np.nan), where=rows > 0))


def interval(draws: Floats, point: float) -> tuple[float, float]:
    """Return the percentile interval with COVERAGE; the point itself without draws.

    A resample of one class only has no AUC and is left out.
    """
    finite = draws[np.isfinite(draws)]
    if not len(draws):
        return point, point
    if not len(finite):
        return np.nan, np.nan
    low, high = np.quantile(finite, [(1 - COVERAGE) / 2, (1 + COVERAGE) / 2])
    return float(low), float(high)


def calibration_bins(outcome: Bools, score: Floats, bins: int = BINS) -> tuple[Floats, Floats, Floats]:
    """Return mean score, mean outcome and rows of each bin, highest scores first."""
    ranking = Ranking(outcome, score)
    starts = _bin_starts(ranking, bins)
    rows = np.diff(np.append(starts, ranking.rows)).astype(np.float64)
    return np.add.reduceat(ranking.score, starts) / rows, np.add.reduceat(ranking.outcome, starts) / rows, rows


def _all_metrics(ranking: Ranking, weights: Floats, worth: Floats, top_share: float) -> dict[str, Floats]:
    total = weights.sum(axis=1)
    losses = np.stack((log_losses(ranking.outcome, ranking.score), (ranking.score - ranking.outcome) ** 2, worth), axis=1)
    log_loss_means, briers, value = (weights @ losses / total[:, None]).T
    counted = RankCounts(ranking, weights)
    return {
        "roc_auc": roc_auc_of(counted),
        "pr_auc": _pr_auc(counted),
        "log_loss": log_loss_means,
        "brier": briers,
        "calibration_error": calibration_error_of(ranking, weights, BINS),
        "precision_at_k": _precision_at_k(counted, top_share),
        "value_per_1000": 1000 * value,
    }


def roc_auc_of(counted: RankCounts) -> Floats:
    """Return the ROC AUC of each resample, (resamples,); NaN for one class only."""
    above = counted.misses - counted.negative / 2
    with np.errstate(invalid="ignore", divide="ignore"):
        pairs = counted.hits[:, -1] * counted.misses[:, -1]
        return np.asarray(1 - np.einsum("ij,ij->i", counted.positive, above) / pairs)


def _pr_auc(counted: RankCounts) -> Floats:
    hits = counted.hits
    with np.errstate(invalid="ignore", divide="ignore"):
        precision = hits / np.maximum(hits + counted.misses, 1.0)  # 0 before the first drawn row
        return np.asarray(np.einsum("ij,ij->i", counted.positive, precision) / hits[:, -1])


def calibration_error_of(ranking: Ranking, weights: Floats, bins: int = BINS) -> Floats:
    """Return the calibration error of each resample, (resamples,). weights: (resamples, n) in the order of the ranking."""
    off = np.add.reduceat(weights * (ranking.outcome - ranking.score), _bin_starts(ranking, bins), axis=1)
    return np.asarray(np.abs(off).sum(axis=1) / weights.sum(axis=1))


def _bin_starts(ranking: Ranking, bins: int) -> NDArray[np.int64]:
    """Return the first row of each bin: equal parts, each moved to the next group of equal scores."""
    even = np.linspace(0, ranking.rows, bins, endpoint=False)
    at = np.searchsorted(ranking.starts, even)
    return np.unique(ranking.starts[at[at < len(ranking.starts)]])


def _precision_at_k(counted: RankCounts, top_share: float) -> Floats:
    flagged = counted.hits + counted.misses
    k = np.array([rows_of_share(top_share, round(rows)) for rows in flagged[:, -1]])  # a resample of ticks has its own number
    # The group with the k-th row: earlier groups count in full, this one as the average of a random pick.
    edge = (flagged < k[:, None]).sum(axis=1)
    at = np.arange(len(flagged)), np.minimum(edge, flagged.shape[1] - 1)
    positive, size = counted.positive[at], counted.positive[at] + counted.negative[at]
    share_of_group = (k - (flagged[at] - size)) / size
    return np.asarray((counted.hits[at] - positive + positive * share_of_group) / k)


def log_losses(outcome: Floats, score: Floats) -> Floats:
    """Return the negative log likelihood of each row, (n,); `log_loss` is its mean."""
    tiny = np.finfo(np.float64).eps
    likely = np.clip(score, tiny, 1 - tiny)
    return np.asarray(-np.log(np.where(outcome > 0, likely, 1 - likely)))


def _rank_counts(outcome: Bools, score: Floats) -> RankCounts:
    ranking = Ranking(outcome, score)
    return RankCounts(ranking, np.ones((1, ranking.rows)))


def _as_scores(outcome: Bools, score: Floats) -> Floats:
    _check(outcome, score, both_classes=False)
    return np.asarray(score, np.float64)


def _check(outcome: Bools, score: Floats, both_classes: bool = True) -> None:
    if len(outcome) != len(score):
        raise CannotBeMeasured(f"{len(outcome)} outcomes do not match {len(score)} scores")
    if len(outcome) == 0:
        raise CannotBeMeasured("there are no rows")
    if not np.isfinite(score).all():
        raise CannotBeMeasured(f"{int((~np.isfinite(score)).sum())} of {len(score)} scores are not finite")
    if score.min() < 0 or score.max() > 1:
        raise CannotBeMeasured(f"scores from {score.min():.6g} to {score.max():.6g} are not probabilities")
    if both_classes and (outcome.all() or not outcome.any()):
        raise CannotBeMeasured(f"all {len(outcome)} outcomes are {'positive' if outcome[0] else 'negative'}")
