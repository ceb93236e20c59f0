"""A small neural net, stored as plain numbers; the epoch with the least validation loss is the model."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mlprod_tasks.declaration import Model, NeuralNet
from mlprod_tasks.models.learners import design, fitted
from mlprod_tasks.models.learners.design import Design
from mlprod_tasks.models.learners.rows import Columns, Floats, LearnerRows, Report, expit, log_loss

log = logging.getLogger(__name__)

KIND = "neural_net"
# BLAS rounds a row alone differently than in a batch; blocks of one shape are always rounded in the same way.
BLOCK = 64
ROWS_AT_ONCE = 64 * BLOCK  # bounds memory

Layers = tuple[tuple[Floats, Floats], ...]


@dataclass(frozen=True)
class NeuralNetModel:
    """layers: (coefficients, intercepts) from the design's columns to the log-odds; ReLU between them."""

    design: Design = field(repr=False)
    layers: Layers = field(repr=False)
    kind = KIND

    def predict(self, x: Floats) -> Floats:
        parts = [self._log_odds(x[start : start + ROWS_AT_ONCE]) for start in range(0, len(x), ROWS_AT_ONCE)]
        return expit(np.concatenate(parts)) if parts else np.empty(0)

    def contributions(self, x: Floats) -> None:
        """None: a neural net has no exact contributions."""
        return

    @property
    def importance(self) -> None:
        return None

    @property
    def size(self) -> int:
        return int(sum(coef.size + intercept.size for coef, intercept in self.layers))

    @property
    def trees(self) -> int:
        return 0

    def save(self, folder: Path) -> None:
        layers = [[coef.tolist(), intercept.tolist()] for coef, intercept in self.layers]
        fitted.write(folder, KIND, design=self.design.as_json(), layers=layers)

    def _log_odds(self, x: Floats) -> Floats:
        blocks = -(-len(x) // BLOCK)
        made = np.zeros((blocks * BLOCK, self.design.width))
        made[: len(x)] = self.design.dense(x)
        active: Any = made.reshape(blocks, BLOCK, self.design.width)
        for i, (coef, intercept) in enumerate(self.layers):
            active = np.matmul(active, coef) + intercept
            if i < len(self.layers) - 1:
                active = np.maximum(active, 0)
        return np.asarray(active.reshape(-1)[: len(x)])


def load(folder: Path, threads: int | None = None) -> NeuralNetModel:
    """What `save` wrote."""
    written = fitted.read(folder)
    layers = tuple((np.array(coef, np.float64), np.array(intercept, np.float64)) for coef, intercept in written["layers"])
    return NeuralNetModel(design.from_json(written["design"]), layers)


def fit_neural_net(
    learner: NeuralNet,
    columns: Columns,
    train: LearnerRows,
    validation: LearnerRows,
    declared: Model,
    report: Report | None = None,
) -> NeuralNetModel:
    """Fit epoch by epoch until the validation log loss has not fallen for `early_stopping_rounds` epochs.

    report: called after each epoch with the validation log loss; the fit stops where it returns True.
    """
    made = design.fit_design(columns, train.x, learner.least_category_rows)
    if made.width == 0:
        return NeuralNetModel(made, ((np.empty((0, 1)), np.array([np.log(train.rate / (1 - train.rate))])),))
    best, least, epochs_since = None, np.inf, 0
    for epoch, now in enumerate(_epochs(learner, made, train, declared.seed), 1):
        if len(validation) == 0:
            best = now
            continue
        loss = log_loss(validation.y, now.predict(validation.x), validation.weight)
        log.debug("%s: epoch %d, validation log loss %.5f", learner.name, epoch, loss)
        epochs_since += 1
        if loss < least or best is None:
            best, least, epochs_since = now, loss, 0
        if report is not None and report(epoch, loss):
            break
        if learner.early_stopping_rounds is not None and epochs_since >= learner.early_stopping_rounds:
            break
    assert best is not None
    return best


def _epochs(learner: NeuralNet, made: Design, train: LearnerRows, seed: int) -> Iterator[NeuralNetModel]:
    """The model after each epoch, up to `max_epochs` of them."""
    from sklearn.neural_network import MLPClassifier

    x = made.sparse(train.x)
    model = MLPClassifier(
        learner.hidden,
        alpha=learner.lambda_l2,
        batch_size=min(learner.batch_rows, len(train)),
        learning_rate_init=learner.learning_rate,
        # A state instead of a number: with a number every epoch would go through the rows in the same order.
        random_state=np.random.RandomState(seed),
    )
    for _ in range(learner.max_epochs):
        model.partial_fit(x, train.y, sample_weight=train.weight, classes=np.array([False, True]))
        layers = zip(model.coefs_, model.intercepts_, strict=True)
        yield NeuralNetModel(made, tuple((coef.copy(), intercept.copy()) for coef, intercept in layers))
