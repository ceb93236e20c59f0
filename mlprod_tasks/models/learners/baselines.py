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
    """The common part of both. features: their number. otherwise: the prediction where nothing is known, the mean outcome."""

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
    """The mean outcome by the values of the features at `positions`; of values that are missing their group's."""

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


def fit_last_value(learner: LastValue, columns: Columns, train: LearnerRows) -> LastValueModel:
    """Find the feature; where it is missing, the mean of the training rows is predicted."""
    return LastValueModel(len(columns.names), train.rate, columns.names.index(learner.feature))


def fit_seasonal_mean(learner: SeasonalMean, columns: Columns, train: LearnerRows) -> SeasonalMeanModel:
    """Fit the mean of each group: (sum + smoothing * overall mean) / (rows + smoothing), with the weights of rows."""
    positions = tuple(columns.names.index(name) for name in learner.by)
    weight = np.ones(len(train)) if train.weight is None else train.weight
    sums: dict[tuple[float | None, ...], list[float]] = {}
    for key, y, w in zip(_keys(train.x, positions), train.y.tolist(), weight.tolist(), strict=True):
        known = sums.setdefault(key, [0.0, 0.0])
        known[0] += w * y
        known[1] += w
    overall, smoothing = train.rate, learner.smoothing
    ordered = sorted(sums, key=repr)  # so that the order of rows does not change the file
    means = {key: (sums[key][0] + smoothing * overall) / (sums[key][1] + smoothing) for key in ordered}
    return SeasonalMeanModel(len(columns.names), overall, positions, means)


def _keys(x: Floats, positions: tuple[int, ...]) -> list[tuple[float | None, ...]]:
    """Return the group of each row; None stands for a missing value."""
    columns = ([None if np.isnan(value) else value for value in x[:, at].tolist()] for at in positions)
    return list(zip(*columns, strict=True))
