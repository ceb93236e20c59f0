"""A learner that predicts the outcome rate, the mean, or the shares of classes of the training rows for every row."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mlprod_tasks.models.learners import fitted, links
from mlprod_tasks.models.learners.links import IDENTITY, LOGIT, Link
from mlprod_tasks.models.learners.rows import Columns, Floats, LearnerRows, logit

KIND = "constant"
SHARES = "constant_shares"


@dataclass(frozen=True)
class ConstantModel:
    """One probability, or one number, for all rows. features: the number of columns of a matrix."""

    rate: float
    features: int
    link: Link = LOGIT
    kind = KIND

    def predict(self, x: Floats) -> Floats:
        return np.full(len(x), self.rate)

    def contributions(self, x: Floats) -> Floats:
        """Return 0 for every feature; the base is the rate."""
        added = np.zeros((len(x), self.features + 1))
        added[:, -1] = logit(np.array(self.rate)) if self.link == LOGIT else self.rate
        return added

    @property
    def importance(self) -> Floats:
        return np.zeros(self.features)

    @property
    def size(self) -> int:
        return 1

    @property
    def trees(self) -> int:
        return 0

    def save(self, folder: Path) -> None:
        fitted.write(folder, KIND, rate=self.rate, features=self.features, **links.written(self.link))


def load(folder: Path, threads: int | None = None) -> ConstantModel | ConstantShares:
    """Load the model that `save` wrote."""
    written = fitted.read(folder)
    if written["kind"] == SHARES:
        return ConstantShares(tuple(written["shares"]), written["features"])
    return ConstantModel(written["rate"], written["features"], links.read(written))


@dataclass(frozen=True)
class ConstantShares:
    """The same probabilities of all classes for all rows. features: the number of columns of a matrix."""

    shares: tuple[float, ...]
    features: int
    link = LOGIT
    kind = SHARES

    def predict(self, x: Floats) -> Floats:
        return np.tile(np.array(self.shares), (len(x), 1))

    def contributions(self, x: Floats) -> None:
        """Return None: of several classes there is no single sum."""
        return

    @property
    def importance(self) -> Floats:
        return np.zeros(self.features)

    @property
    def size(self) -> int:
        return len(self.shares)

    @property
    def trees(self) -> int:
        return 0

    def save(self, folder: Path) -> None:
        fitted.write(folder, SHARES, shares=list(self.shares), features=self.features)


def fit_shares(columns: Columns, train: LearnerRows) -> ConstantShares:
    """Fit the weighted share of each class."""
    rows = np.bincount(train.y, train.weight, minlength=train.class_count)
    return ConstantShares(tuple((rows / rows.sum()).tolist()), len(columns.names))


def fit_constant(columns: Columns, train: LearnerRows, quantile: float | None = None) -> ConstantModel | ConstantShares:
    """Fit the weighted rate, kept away from 0 and 1 by the rule of succession; of numbers, the weighted mean.

    quantile: of numbers, the one that is predicted, of all rows alike, instead of the mean.
    No number of rows proves that something never happens.
    """
    if train.of_classes:
        return fit_shares(columns, train)
    if train.of_numbers and quantile is not None and len(train):
        return ConstantModel(float(np.quantile(train.y, quantile)), len(columns.names), IDENTITY)
    if train.of_numbers:
        return ConstantModel(train.rate if len(train) else 0.0, len(columns.names), IDENTITY)
    edge = 1 / (len(train) + 2)
    rate = train.rate if len(train) else 0.5
    return ConstantModel(float(np.clip(rate, edge, 1 - edge)), len(columns.names))
