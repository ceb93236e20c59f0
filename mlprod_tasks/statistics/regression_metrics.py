"""Metrics of predicted numbers: errors, explained variance, bias, value; each with a bootstrap interval.

As in `metrics`, a resample is a vector of weights, how often each row was drawn.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mlprod_tasks.statistics.metrics import RESAMPLES, CannotBeMeasured, Sampled
from mlprod_tasks.statistics.resamples import Ticks, drawn_weights

Floats = NDArray[np.float64]

Interval = tuple[Floats, Floats]  # the low and the high ends, (n,) each

NAMES = ("mae", "rmse", "median_error", "r2", "mape", "absolute_bias", "value_per_1000")
OF_INTERVALS = ("interval_coverage", "interval_width")
PINBALL = "pinball"


def mae(outcome: Floats, predicted: Floats) -> float:
    """Return the mean absolute error."""
    _check(outcome, predicted)
    return float(np.mean(np.abs(outcome - predicted)))


def rmse(outcome: Floats, predicted: Floats) -> float:
    """Return the square root of the mean squared error."""
    _check(outcome, predicted)
    return float(np.sqrt(np.mean((outcome - predicted) ** 2)))


def r2(outcome: Floats, predicted: Floats) -> float:
    """Return the share of the outcomes' variance that predictions explain; below 0 if their mean would predict better.

    Raises: CannotBeMeasured, also if all outcomes are equal.
    """
    _check(outcome, predicted)
    if outcome.min() == outcome.max():
        raise CannotBeMeasured(f"all {len(outcome)} outcomes are {outcome[0]:.6g}")
    return float(1 - np.sum((outcome - predicted) ** 2) / np.sum((outcome - outcome.mean()) ** 2))


def rank_correlation(outcome: Floats, predicted: Floats) -> float:
    """Return Spearman's rank correlation; 0 if all outcomes or all predictions are equal, which tell nothing."""
    from scipy.stats import spearmanr

    _check(outcome, predicted)
    if np.ptp(outcome) == 0 or np.ptp(predicted) == 0:
        return 0.0
    return float(spearmanr(outcome, predicted).statistic)


def pinball_losses(outcome: Floats, predicted: Floats, quantile: float) -> Floats:
    """Return the loss of each predicted quantile, (n,); its mean is smallest for the true one (Koenker and Bassett, 1978)."""
    error = outcome - predicted
    return np.asarray(np.where(error >= 0, quantile * error, (quantile - 1) * error))


def sample(
    outcome: Floats,
    predicted: Floats,
    values: Floats,
    resamples: int = RESAMPLES,
    seed: int = 0,
    interval: Interval | None = None,
    quantile: float | None = None,
    ticks: Ticks | None = None,
) -> Sampled:
    """Compute every metric of NAMES on the rows and on resamples with replacement, the same draws as `metrics.sample`.

    interval: of each prediction; with it, the metrics OF_INTERVALS too. quantile: the one that is predicted; with it, PINBALL
    too. mape is NaN if an outcome is 0, r2 if all are equal.
    values: (n,) the value of each prediction; ticks: as of `metrics.sample`. Raises: CannotBeMeasured.
    """
    _check(outcome, predicted)
    rows = _Errors(outcome, predicted, np.asarray(values, np.float64), interval, quantile)
    names = (*NAMES, *(OF_INTERVALS if interval is not None else ()), *((PINBALL,) if quantile is not None else ()))
    points = _all_metrics(rows, np.ones((1, len(outcome))))
    drawn = [_all_metrics(rows, weights) for weights in drawn_weights(len(outcome), resamples, seed, ticks)]
    return Sampled.of(names, points, drawn, ticks)


@dataclass(frozen=True)
class _Errors:
    """Rows with what was predicted for them, (n,) each."""

    outcome: Floats
    predicted: Floats
    values: Floats
    interval: Interval | None = None
    quantile: float | None = None

    @property
    def error(self) -> Floats:
        return self.outcome - self.predicted


def _all_metrics(rows: _Errors, weights: Floats) -> dict[str, Floats]:
    """Return each metric of each resample, (resamples,). weights: (resamples, n)."""
    error, total = rows.error, weights.sum(axis=1)
    centred = rows.outcome - rows.outcome.mean()  # so that the difference below loses no digits
    sums = weights @ np.stack((np.abs(error), error**2, error, rows.values, centred, centred**2), axis=1)
    absolute, squared, signed, value, first, second = sums.T
    spread = second - first**2 / total
    with np.errstate(invalid="ignore", divide="ignore"):
        explained = np.where(spread > 0, 1 - squared / spread, np.nan)
    return {
        "mae": absolute / total,
        "rmse": np.sqrt(squared / total),
        "median_error": _weighted_median(np.abs(error), weights),
        "r2": explained,
        "mape": _mape(rows, weights, total),
        "absolute_bias": np.abs(signed) / total,
        "value_per_1000": 1000 * value / total,
        **_of_intervals(rows, weights, total),
        **_of_quantile(rows, weights, total),
    }


def _of_intervals(rows: _Errors, weights: Floats, total: Floats) -> dict[str, Floats]:
    if rows.interval is None:
        return {}
    low, high = rows.interval
    held = ((low <= rows.outcome) & (rows.outcome <= high)).astype(np.float64)
    return {"interval_coverage": weights @ held / total, "interval_width": weights @ (high - low) / total}


def _of_quantile(rows: _Errors, weights: Floats, total: Floats) -> dict[str, Floats]:
    if rows.quantile is None:
        return {}
    return {PINBALL: weights @ pinball_losses(rows.outcome, rows.predicted, rows.quantile) / total}


def _mape(rows: _Errors, weights: Floats, total: Floats) -> Floats:
    if (rows.outcome == 0).any():
        return np.full(len(total), np.nan)
    return np.asarray(weights @ np.abs(rows.error / rows.outcome) / total)


def _weighted_median(values: Floats, weights: Floats) -> Floats:
    """Return the median of values that occur as often as their weights say, (resamples,); of two middle ones the mean."""
    order = np.argsort(values, kind="stable")
    up_to = np.cumsum(weights[:, order], axis=1)
    last = up_to[:, -1].astype(np.int64) - 1
    at = [(up_to <= (position[:, None])).sum(axis=1) for position in (last // 2, (last + 1) // 2)]
    return np.asarray((values[order[at[0]]] + values[order[at[1]]]) / 2)


def _check(outcome: Floats, predicted: Floats) -> None:
    if len(outcome) != len(predicted):
        raise CannotBeMeasured(f"{len(outcome)} outcomes do not match {len(predicted)} predictions")
    if len(outcome) == 0:
        raise CannotBeMeasured("there are no rows")
    for what, values in (("predictions", predicted), ("outcomes", outcome)):
        if not np.isfinite(values).all():
            raise CannotBeMeasured(f"{int((~np.isfinite(values)).sum())} of {len(values)} {what} are not finite")
