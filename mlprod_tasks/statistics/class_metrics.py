"""Metrics of probabilities of several classes; each with a bootstrap interval.

As in `metrics`, a resample is a vector of weights, how often each row was drawn.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from mlprod_tasks.statistics import metrics
from mlprod_tasks.statistics.class_scores import UNKNOWN, ClassScores, Names, codes_of, in_order
from mlprod_tasks.statistics.metrics import RESAMPLES, CannotBeMeasured, RankCounts, Ranking, Sampled
from mlprod_tasks.statistics.resamples import Ticks, drawn_weights

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

NAMES = (
    "log_loss", "accuracy", "macro_f1", "weighted_f1", "macro_auc", "top_k_accuracy", "brier", "calibration_error",
    "value_per_1000",
)  # fmt: skip
TOP_K = 2
# An AUC of each class on each resample: with more rows times classes, fewer resamples have one.
CELLS_OF_AUC = 150_000_000
FEWEST_WITH_AUC = 50


def row_losses(outcome: Names, score: ClassScores) -> Floats:
    """Return the negative log likelihood of each row, (n,), clipped as `metrics.log_losses`, also of an unknown class."""
    tiny = np.finfo(np.float64).eps
    return np.asarray(-np.log(np.clip(score.of(outcome), tiny, 1.0)))


def log_loss(outcome: Names, score: ClassScores) -> float:
    """Return the mean negative log likelihood (natural logarithm)."""
    _check(outcome, score)
    return float(row_losses(outcome, score).mean())


def brier(outcome: Names, score: ClassScores) -> Floats:
    """Return the squared distance of each row's probabilities from the outcome, summed over classes (Brier, 1950), (n,)."""
    squared = (score.shares**2).sum(axis=1)
    return np.asarray(squared - 2 * score.of(outcome) + 1)


def f1_by_class(outcome: Names, predicted: Names) -> dict[str, float]:
    """Return the F1 of each class that occurs among outcomes or predictions; 0 without a hit."""
    classes = in_order([*outcome, *predicted])
    real, said = codes_of(outcome, classes), codes_of(predicted, classes)
    hits = np.bincount(real[real == said], minlength=len(classes))
    both = np.bincount(real, minlength=len(classes)) + np.bincount(said, minlength=len(classes))
    return {name: float(2 * hits[i] / both[i]) for i, name in enumerate(classes)}


def auc_by_class(outcome: Names, score: ClassScores) -> dict[str, float]:
    """Return the ROC AUC of each outcome's class against all others; 0.5 for one that the model does not know."""
    classes = in_order(list(outcome))
    if len(classes) < 2:
        return {}
    shares = score.aligned(classes)
    return {name: metrics.roc_auc(outcome == name, shares[:, i]) for i, name in enumerate(classes)}


def macro_auc(outcome: Names, score: ClassScores) -> float:
    """Return the mean of `auc_by_class`. Raises: CannotBeMeasured for outcomes of one class."""
    _check(outcome, score)
    by_class = auc_by_class(outcome, score)
    if not by_class:
        raise CannotBeMeasured(f"all {len(outcome)} outcomes are {outcome[0]!r}")
    return float(np.mean(list(by_class.values())))


def confusion(outcome: Names, predicted: Names, classes: tuple[str, ...]) -> NDArray[np.int64]:
    """Return how many rows have each outcome (row) and prediction (column), (classes, classes)."""
    real, said = codes_of(outcome, classes), codes_of(predicted, classes)
    known = (real != UNKNOWN) & (said != UNKNOWN)
    counts = np.bincount(real[known] * len(classes) + said[known], minlength=len(classes) ** 2)
    return np.asarray(counts.reshape(len(classes), len(classes)), np.int64)


def among_top(outcome: Names, score: ClassScores, k: int = TOP_K) -> Bools:
    """Return whether each row's outcome is among the k classes with the largest probabilities, (n,).

    Of equal probabilities, later classes rank first, as in scikit-learn.
    """
    codes = score.codes(outcome)
    if k >= len(score.classes):
        return np.asarray(codes != UNKNOWN)
    best = np.argsort(score.shares, axis=1, kind="stable")[:, ::-1][:, :k]
    return np.asarray((best == codes[:, None]).any(axis=1))


def sample(
    outcome: Names,
    score: ClassScores,
    predicted: Names,
    values: Floats,
    resamples: int = RESAMPLES,
    seed: int = 0,
    top_k: int = TOP_K,
    ticks: Ticks | None = None,
) -> Sampled:
    """Compute every metric of NAMES on the rows and on resamples with replacement, the same draws as `metrics.sample`.

    Macro metrics are means over the classes that occur, weighted ones by their outcomes; an outcome that the model does not
    know counts as wrong, with a probability of 0. macro_auc is NaN if all outcomes are of one class. predicted: (n,) the class
    that is predicted; values: (n,) what that is worth; ticks: as of `metrics.sample`. Raises: CannotBeMeasured.
    """
    _check(outcome, score)
    rows = _Rows(outcome, score, predicted, np.asarray(values, np.float64), top_k)
    points = _all_metrics(rows, np.ones((1, len(outcome))), with_auc=True)
    drawn, done = [], 0
    most = max(FEWEST_WITH_AUC, CELLS_OF_AUC // (len(outcome) * len(rows.classes)))
    for weights in drawn_weights(len(outcome), resamples, seed, ticks):
        drawn.append(_all_metrics(rows, weights, with_auc=done < most))
        done += len(weights)
    return Sampled.of(NAMES, points, drawn, ticks)


@dataclass(frozen=True)
class _Rows:
    """Rows with their outcome, scores, predicted class and value, (n,) each."""

    outcome: Names
    score: ClassScores
    predicted: Names
    values: Floats
    top_k: int = TOP_K

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """All that occur among outcomes or predictions."""
        return in_order([*self.outcome, *self.predicted])

    @cached_property
    def real(self) -> NDArray[np.int64]:
        return codes_of(self.outcome, self.classes)

    @cached_property
    def said(self) -> NDArray[np.int64]:
        return codes_of(self.predicted, self.classes)

    @cached_property
    def means(self) -> Floats:
        """What is averaged over rows: loss, hit, hit among the top k, squared distance, value, (n, 5)."""
        columns = (
            row_losses(self.outcome, self.score),
            self.real == self.said,
            among_top(self.outcome, self.score, self.top_k),
            brier(self.outcome, self.score),
            self.values,
        )
        return np.stack([np.asarray(one, np.float64) for one in columns], axis=1)

    @cached_property
    def confidence(self) -> Ranking:
        """The rows by the probability of their predicted class; a positive is a right prediction."""
        return Ranking.unchecked(self.outcome == self.predicted, np.clip(self.score.of(self.predicted), 0.0, 1.0))

    @cached_property
    def rankings(self) -> list[Ranking]:
        """The rows by their probability of each class that is an outcome."""
        shares = self.score.aligned(self.classes)
        return [Ranking.unchecked(self.real == i, shares[:, i]) for i in range(len(self.classes)) if (self.real == i).any()]


def _all_metrics(rows: _Rows, weights: Floats, with_auc: bool) -> dict[str, Floats]:
    """Return each metric of each resample, (resamples,). weights: (resamples, n)."""
    total = weights.sum(axis=1)
    loss, hits, among, distance, value = (weights @ rows.means / total[:, None]).T
    real, said, both = (_counts(weights, codes, len(rows.classes)) for codes in _codes(rows))
    with np.errstate(invalid="ignore", divide="ignore"):
        f1 = np.where(real + said > 0, 2 * both / (real + said), np.nan)
    return {
        "log_loss": loss,
        "accuracy": hits,
        "macro_f1": np.nanmean(f1, axis=1),
        "weighted_f1": np.nansum(np.where(real > 0, f1, 0.0) * real, axis=1) / total,
        "macro_auc": _macro_auc(rows, weights) if with_auc else np.full(len(total), np.nan),
        "top_k_accuracy": among,
        "brier": distance,
        "calibration_error": metrics.calibration_error_of(rows.confidence, weights[:, rows.confidence.order]),
        "value_per_1000": 1000 * value,
    }


def _codes(rows: _Rows) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return the class of each row's outcome, of its prediction, and of both if they are the same, else UNKNOWN."""
    return rows.real, rows.said, np.where(rows.real == rows.said, rows.real, UNKNOWN)


def _counts(weights: Floats, codes: NDArray[np.int64], classes: int) -> Floats:
    """Return the weight of each class in each resample, (resamples, classes); rows with UNKNOWN do not count."""
    counts = np.zeros((len(weights), classes))
    known = codes != UNKNOWN
    for one, row in zip(counts, weights, strict=True):
        one[:] = np.bincount(codes[known], row[known], minlength=classes)
    return counts


def _macro_auc(rows: _Rows, weights: Floats) -> Floats:
    """Return the mean AUC over the classes of each resample's outcomes, (resamples,)."""
    areas = [metrics.roc_auc_of(RankCounts(one, weights[:, one.order])) for one in rows.rankings]
    known = np.stack(areas, axis=1)
    found = np.isfinite(known).sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(found > 0, np.nansum(known, axis=1) / found, np.nan))


def _check(outcome: Names, score: ClassScores) -> None:
    if len(outcome) != len(score):
        raise CannotBeMeasured(f"{len(outcome)} outcomes do not match {len(score)} predictions")
    if len(outcome) == 0:
        raise CannotBeMeasured("there are no rows")
    if not np.isfinite(score.shares).all():
        raise CannotBeMeasured(f"{int((~np.isfinite(score.shares)).any(axis=1).sum())} of {len(score)} scores are not finite")
