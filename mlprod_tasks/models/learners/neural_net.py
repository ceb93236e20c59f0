"""A small neural net, stored as plain numbers, from its best epoch on validation."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mlprod_tasks.declaration import Model, NeuralNet
from mlprod_tasks.models.learners import design, fitted, links
from mlprod_tasks.models.learners.design import Design
from mlprod_tasks.models.learners.links import IDENTITY, LOGIT, Link
from mlprod_tasks.models.learners.rows import Columns, Floats, LearnerRows, Report, expit, loss

log = logging.getLogger(__name__)

KIND = "neural_net"
# BLAS rounds a single row differently than a batch; blocks of the same shape are always rounded the same.
BLOCK = 64
ROWS_AT_ONCE = 64 * BLOCK  # limits memory

Layers = tuple[tuple[Floats, Floats], ...]


@dataclass(frozen=True)
class NeuralNetModel:
    """A fitted net.

    layers: (coefficients, intercepts) from design columns to log-odds, or to numbers in standard deviations `scale` from
    `centre`, with ReLU between them.
    """

    design: Design = field(repr=False)
    layers: Layers = field(repr=False)
    link: Link = LOGIT
    centre: float = 0.0
    scale: float = 1.0
    kind = KIND

    def predict(self, x: Floats) -> Floats:
        parts = [self._output(x[start : start + ROWS_AT_ONCE]) for start in range(0, len(x), ROWS_AT_ONCE)]
        if not parts:
            return np.empty(0)
        output = np.concatenate(parts)
        return expit(output) if self.link == LOGIT else self.centre + self.scale * output

    def contributions(self, x: Floats) -> None:
        """Return None: a neural net has no exact contributions."""
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
        scale = {} if self.link == LOGIT else {"centre": self.centre, "scale": self.scale}
        fitted.write(folder, KIND, design=self.design.as_json(), layers=layers, **links.written(self.link), **scale)

    def _output(self, x: Floats) -> Floats:
        blocks = -(-len(x) // BLOCK)
        padded = np.zeros((blocks * BLOCK, self.design.width))
        padded[: len(x)] = self.design.dense(x)
        active: Any = padded.reshape(blocks, BLOCK, self.design.width)
        for i, (coef, intercept) in enumerate(self.layers):
            active = np.matmul(active, coef) + intercept
            if i < len(self.layers) - 1:
                active = np.maximum(active, 0)
        return np.asarray(active.reshape(-1)[: len(x)])


def load(folder: Path, threads: int | None = None) -> NeuralNetModel:
    """Load the model that `save` wrote."""
    written = fitted.read(folder)
    layers = tuple((np.array(coef, np.float64), np.array(intercept, np.float64)) for coef, intercept in written["layers"])
    scale = written.get("centre", 0.0), written.get("scale", 1.0)
    return NeuralNetModel(design.from_json(written["design"]), layers, links.read(written), *scale)


def fit_neural_net(
    learner: NeuralNet,
    columns: Columns,
    train: LearnerRows,
    validation: LearnerRows,
    declared: Model,
    report: Report | None = None,
) -> NeuralNetModel:
    """Fit until the validation loss has not fallen for `early_stopping_rounds` epochs.

    report: called after each epoch with the validation log loss, or squared error; the fit stops if it returns True.
    """
    fitted_design = design.fit_design(columns, train.x, learner.least_category_rows)
    if fitted_design.width == 0:
        return _constant(fitted_design, train)
    best, lowest, epochs_since = None, np.inf, 0
    for epoch, model in enumerate(_epochs(learner, fitted_design, train, declared.seed), 1):
        if len(validation) == 0:
            best = model
            continue
        lost = loss(validation.y, model.predict(validation.x), validation.weight)
        log.debug("%s: epoch %d, validation loss %.5f", learner.name, epoch, lost)
        epochs_since += 1
        if lost < lowest or best is None:
            best, lowest, epochs_since = model, lost, 0
        if report is not None and report(epoch, lost):
            break
        if learner.early_stopping_rounds is not None and epochs_since >= learner.early_stopping_rounds:
            break
    assert best is not None
    return best


def _constant(fitted_design: Design, train: LearnerRows) -> NeuralNetModel:
    """Return a net without inputs, which gives the mean outcome."""
    output = 0.0 if train.of_numbers else np.log(train.rate / (1 - train.rate))
    layers = ((np.empty((0, 1)), np.array([output])),)
    return (
        NeuralNetModel(fitted_design, layers, IDENTITY, train.rate)
        if train.of_numbers
        else NeuralNetModel(fitted_design, layers)
    )


def _epochs(learner: NeuralNet, fitted_design: Design, train: LearnerRows, seed: int) -> Iterator[NeuralNetModel]:
    """Yield the model after each of up to `max_epochs` epochs."""
    from sklearn.neural_network import MLPClassifier, MLPRegressor

    x, numbers = fitted_design.sparse(train.x), train.of_numbers
    # Numbers are learned in standard deviations from their mean, so that the learning rate suits every unit.
    centre, scale = (train.rate, float(train.y.std()) or 1.0) if numbers else (0.0, 1.0)
    y = (train.y - centre) / scale if numbers else train.y
    model = (MLPRegressor if numbers else MLPClassifier)(
        hidden_layer_sizes=learner.hidden,
        alpha=learner.lambda_l2,
        batch_size=min(learner.batch_rows, len(train)),
        learning_rate_init=learner.learning_rate,
        # A random state, not a number: with a number, every epoch would use the rows in the same order.
        random_state=np.random.RandomState(seed),
    )
    for _ in range(learner.max_epochs):
        classes = {} if numbers else {"classes": np.array([False, True])}
        model.partial_fit(x, y, sample_weight=train.weight, **classes)
        layers = tuple((coef.copy(), intercept.copy()) for coef, intercept in zip(model.coefs_, model.intercepts_, strict=True))
        yield NeuralNetModel(fitted_design, layers, IDENTITY if numbers else LOGIT, centre, scale)
