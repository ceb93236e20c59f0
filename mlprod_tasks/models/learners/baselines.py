"""Baselines of numbers: the value of one feature, and the mean outcome of a season."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mlprod_tasks.declaration import LastValue, SeasonalMean
from mlprod_tasks.models.learners import fitted
from mlprod_tasks.models.learners.links import IDENTITY
from mlprod_tasks.models.learners.rows import Columns, Floats, LearnerRows

LAST_VALUE, SEASONAL_MEAN = "last_value", "seasonal_mean"


@dataclass(frozen=True)
class Baseline:
    """The common part of both. features: their number. otherwise: the prediction where nothing is known."""

    features: int
    otherwise: float
    size = 1
    trees = 0
    link = IDENTITY

    def contributions(self, x: Floats) -> None:
        """Return None: there is nothing to add up."""
        return

    def _shares(self, positions: tuple[int, ...]) -> Floats:
        shares = np.zeros(self.features)
        shares[list(positions)] = 1 / len(positions)
        return shares


@dataclass(frozen=True)
class LastValueModel(Baseline):
    """The value of the feature at `position`."""

    position: int
    kind = LAST_VALUE

    def predict(self, x: Floats) -> Floats:
        values = x[:, self.position]
        return np.where(np.isfinite(values), values, self.otherwise)

    @property
    def importance(self) -> Floats:
        return self._shares((self.position,))

    def save(self, folder: Path) -> None:
        fitted.write(folder, LAST_VALUE, features=self.features, otherwise=self.otherwise, position=self.position)


@dataclass(frozen=True)
class SeasonalMeanModel(Baseline):
    """The mean outcome, or its quantile, by the features at `positions`; of missing values that of their group."""

    positions: tuple[int, ...]
    means: dict[tuple[float | None, ...], float] = field(repr=False)
    kind = SEASONAL_MEAN

    def predict(self, x: Floats) -> Floats:
        return np.array([self.means.get(key, self.otherwise) for key in _keys(x, self.positions)], np.float64)

    @property
    def importance(self) -> Floats:
        return self._shares(self.positions)

    def save(self, folder: Path) -> None:
        means = [[list(key), mean] for key, mean in self.means.items()]
        positions = list(self.positions)
        fitted.write(folder, SEASONAL_MEAN, features=self.features, otherwise=self.otherwise, positions=positions, means=means)


def load(folder: Path, threads: int | None) -> LastValueModel | SeasonalMeanModel:
    """Load the model that `save` wrote."""
    written: dict[str, Any] = fitted.read(folder)
    if written["kind"] == LAST_VALUE:
        return LastValueModel(written["features"], written["otherwise"], written["position"])
    means = {tuple(key): mean for key, mean in written["means"]}
    return SeasonalMeanModel(written["features"], written["otherwise"], tuple(written["positions"]), means)


def fit_last_value(learner: LastValue, columns: Columns, train: LearnerRows, quantile: float | None = None) -> LastValueModel:
    """Find the feature; where it is missing, the mean of the training rows is predicted, or their quantile."""
    return LastValueModel(len(columns.names), _middle(train.y, train.weight, quantile), columns.names.index(learner.feature))


def fit_seasonal_mean(
    learner: SeasonalMean, columns: Columns, train: LearnerRows, quantile: float | None = None
) -> SeasonalMeanModel:
    """Fit the mean of each group: (rows * mean of the group + smoothing * overall mean) / (rows + smoothing), with weights.

    quantile: the one that is predicted instead of the mean, of groups and overall.
    """
    positions = tuple(columns.names.index(name) for name in learner.by)
    groups: dict[tuple[float | None, ...], list[int]] = {}
    for place, key in enumerate(_keys(train.x, positions)):
        groups.setdefault(key, []).append(place)
    overall, smoothing = _middle(train.y, train.weight, quantile), learner.smoothing
    means = {}
    for key in sorted(groups, key=repr):  # so that the order of rows does not change the file
        at = np.array(groups[key])
        weight = None if train.weight is None else train.weight[at]
        size = float(at.size if weight is None else weight.sum())
        own = _middle(train.y[at], weight, quantile) if size else overall
        means[key] = (size * own + smoothing * overall) / (size + smoothing) if size + smoothing else overall
    return SeasonalMeanModel(len(columns.names), overall, positions, means)


def _middle(y: Floats, weight: Floats | None, quantile: float | None) -> float:
    """The mean outcome, or the quantile; of weighted rows the smallest outcome that has at least that share of the weight."""
    if quantile is None or not len(y):
        return float(np.average(y, weights=weight))
    if weight is None:
        return float(np.quantile(y, quantile))
    return float(np.quantile(y, quantile, weights=weight, method="inverted_cdf"))


def _keys(x: Floats, positions: tuple[int, ...]) -> list[tuple[float | None, ...]]:
    """Return the group of each row; None stands for a missing value."""
    columns = ([None if np.isnan(value) else value for value in x[:, at].tolist()] for at in positions)
    return list(zip(*columns, strict=True))
