"""A linear learner that takes each row once, as its outcome becomes known: scikit-learn's stochastic gradient descent.

It starts as the champion, whose log odds, or number, is one of its inputs. Of a tick are kept evenly spread rows:
(rows, 3 + features), for how many rows each stands, the champion's score, the outcome, and features, NaN where one is missing.

Parameters are intercept, slope of the champion's score, a weight for each feature, and then what scales them: the mean and the
standard deviation of the champion's score (0 and 1 of log odds) and of each feature on the first tick that was learned.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mlprod_tasks.declaration import Adapt, Pipeline, RowByRow
from mlprod_tasks.models.calibration import TINY

Floats = NDArray[np.float64]
Parameters = tuple[float, ...]
NOTHING: Parameters = ()  # learned: the champion's own scores
MOST_ROWS = 500  # of a tick
FURTHEST = 5.0  # standard deviations: no row counts for further
OWN = 3  # columns before the features


@dataclass(frozen=True)
class RowLearner:
    """One declared learner. at: the places of its features among those that are kept. yes_no: whether it predicts that."""

    declared: RowByRow
    adapt: Adapt
    at: tuple[int, ...]
    yes_no: bool

    def learn(self, parameters: Parameters, rows: Floats) -> Parameters:
        """Return the parameters after the kept rows of one more tick, each taken once in their order."""
        from sklearn.linear_model import SGDClassifier, SGDRegressor

        if not len(rows):
            return parameters
        parameters = parameters or self._begun(rows)
        weights, scales = _parts(parameters)
        x = np.column_stack(_inputs(scales, self._own(rows[:, 1]), [rows[:, OWN + i] for i in self.at]))
        common: dict[str, Any] = {
            "penalty": None, "learning_rate": "constant", "eta0": self.declared.rate, "shuffle": False,
        }  # fmt: skip
        if self.yes_no:
            sgd: Any = SGDClassifier(loss="log_loss", **common)
            sgd.classes_, y = np.array([0.0, 1.0]), rows[:, 2]
            sgd.coef_ = weights[None, 1:].copy()
        else:
            sgd, y = SGDRegressor(loss="squared_error", **common), (rows[:, 2] - scales[0, 0]) / scales[0, 1]
            x, y = (np.clip(one, -2 * FURTHEST, 2 * FURTHEST) for one in (x, y))
            sgd.coef_ = weights[1:].copy()
        sgd.intercept_, sgd.t_, sgd.n_features_in_ = weights[:1].copy(), 1.0, x.shape[1]
        try:
            sgd.partial_fit(x, y)
        except ValueError:  # the rate is so large that it diverges on these rows: they teach nothing
            return parameters
        learned = np.concatenate([sgd.intercept_, sgd.coef_.ravel()])
        most, (low, high) = self.adapt.most, self.adapt.slopes
        bounded = np.clip(learned, -most, most)
        bounded[1] = np.clip(learned[1], low, high)
        return (*bounded.tolist(), *scales.ravel().tolist())

    def loss(self, rows: Floats, parameters: Parameters) -> float:
        """Return the log loss, or the squared errors, of a tick's kept rows, added up over the rows that they stand for."""
        said, came = self.layer(parameters, ())(rows[:, 1], [rows[:, OWN + i] for i in self.at]), rows[:, 2]
        if not self.yes_no:
            return float((rows[:, 0] * (came - said) ** 2).sum())
        said = np.clip(said, TINY, 1 - TINY)
        return float((rows[:, 0] * -(came * np.log(said) + (1 - came) * np.log(1 - said))).sum())

    def shift(self, rows: Floats, parameters: Parameters) -> float:
        """Return by how much the mean score of a tick's rows is moved."""
        moved = self.layer(parameters, ())(rows[:, 1], [rows[:, OWN + i] for i in self.at]) - rows[:, 1]
        return float((rows[:, 0] * moved).sum() / rows[:, 0].sum())

    def layer(self, parameters: Parameters, features: tuple[str, ...]) -> RowByRowLayer:
        """Return the layer with these parameters, which reads these features."""
        return RowByRowLayer(parameters, self.yes_no, features)

    def _own(self, score: Floats) -> Floats:
        return log_odds(score) if self.yes_no else score

    def _begun(self, rows: Floats) -> Parameters:
        scales = [(0.0, 1.0) if self.yes_no else _scale(rows[:, 1]), *(_scale(rows[:, OWN + i]) for i in self.at)]
        return (0.0, 1.0, *(0.0 for _ in self.at), *np.array(scales).ravel().tolist())


@dataclass(frozen=True)
class RowByRowLayer:
    """What a learner makes of the champion's scores and of features: of many rows at once, and the same bits of one."""

    parameters: Parameters
    yes_no: bool
    features: tuple[str, ...]

    def __call__(self, score: Floats, values: Sequence[Floats] = ()) -> Floats:
        """Return adapted scores, (n,). values: of each feature, (n,), NaN where they are missing."""
        return np.asarray(score if not self.parameters else self._of(score, values), np.float64)

    def single(self) -> Callable[[float, Sequence[Any]], float]:
        """Return the same function, bit for bit, of one score and the features of its row, None where they are missing."""

        def adapted(score: float, values: Sequence[Any]) -> float:
            given = [np.array([np.nan if one is None else float(one)]) for one in values]
            return float(self(np.array([score]), given)[0])

        return adapted

    def _of(self, score: Floats, values: Sequence[Floats]) -> Floats:
        weights, scales = _parts(self.parameters)
        moved = np.full(len(score), weights[0])
        own = log_odds(score) if self.yes_no else score
        for weight, x in zip(weights[1:], _inputs(scales, own, values), strict=True):  # one after the other: the same bits
            moved = moved + weight * x
        return np.asarray(1 / (1 + np.exp(-moved)) if self.yes_no else scales[0, 0] + scales[0, 1] * moved)


def learners_of(pipeline: Pipeline, known: Sequence[str]) -> dict[str, RowLearner]:
    """Return the declared learners by name, but for those that read what the champion does not. known: its features."""
    adapt = pipeline.adapt
    if adapt is None:
        return {}
    kept = adapt.features
    return {
        one.name: RowLearner(one, adapt, tuple(kept.index(name) for name in one.features), pipeline.task == "binary")
        for one in adapt.learners
        if set(one.features) <= set(known)
    }


def kept_rows(score: Floats, outcome: Any, values: Sequence[Floats]) -> Floats:
    """Return what is kept of the rows of a tick, in a fixed order. score, outcome, each of values: (n,)."""
    n = len(score)
    if not values or not n:
        return np.empty((0, 0))
    at = np.arange(n) if n <= MOST_ROWS else np.linspace(0, n - 1, MOST_ROWS).astype(np.int64)
    stands_for = np.full(len(at), n / len(at))
    return np.column_stack([stands_for, score[at], np.asarray(outcome, np.float64)[at], *(one[at] for one in values)])


def numbers_of(rows: Any, names: Sequence[str]) -> list[Floats]:
    """Return features of rows as numbers, NaN where one is missing. Raises: pyarrow.ArrowInvalid if one is no number."""
    found = []
    for name in names:
        if name not in rows.column_names:  # rows that were scored before it was a feature
            found.append(np.full(rows.num_rows, np.nan))
            continue
        column = pc.cast(rows[name], pa.float64())
        found.append(np.asarray(column.to_numpy(zero_copy_only=False), np.float64))
    return found


def log_odds(score: Floats) -> Floats:
    inside = np.clip(score, TINY, 1 - TINY)
    return np.asarray(np.log(inside / (1 - inside)))


def _parts(parameters: Parameters) -> tuple[Floats, Floats]:
    """The weights, (1 + inputs,), and the scales, (inputs, 2)."""
    inputs = (len(parameters) - 1) // 3
    return np.array(parameters[: 1 + inputs]), np.array(parameters[1 + inputs :]).reshape(inputs, 2)


def _inputs(scales: Floats, own: Floats, values: Sequence[Floats]) -> list[Floats]:
    """The inputs of rows, scaled: the champion's score as far as it goes, features within FURTHEST; 0 where one is missing."""
    given = [(own - scales[0, 0]) / scales[0, 1]]
    for (mean, sd), one in zip(scales[1:], values, strict=True):
        x = (one - mean) / sd if sd else np.zeros(len(one))
        given.append(np.where(np.isfinite(x), np.clip(x, -FURTHEST, FURTHEST), 0.0))
    return given


def _scale(values: Floats) -> tuple[float, float]:
    known = values[np.isfinite(values)]
    sd = float(known.std()) if len(known) else 0.0
    mean = float(known.mean()) if len(known) else 0.0
    return mean, sd if sd > 1e-12 * abs(mean) else 0.0
