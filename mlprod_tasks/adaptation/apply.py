"""Adapt a model's scores, and keep its own beside them."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mlprod_tasks.adaptation.layers import Layer
from mlprod_tasks.adaptation.row_by_row import RowByRowLayer, numbers_of
from mlprod_tasks.adaptation.state import AdaptationState, recorded, state_for
from mlprod_tasks.declaration import Pipeline, Tick
from mlprod_tasks.declaration.rhythm import tick_named
from mlprod_tasks.models.feature_frame import Predictions
from mlprod_tasks.models.predicted_columns import ADAPTATION, RAW_PROBABILITIES, RAW_SCORE, shares_text
from mlprod_tasks.platform import Platform
from mlprod_tasks.statistics.class_scores import ClassScores

Bools = NDArray[np.bool_]
log = logging.getLogger(__name__)


class AdaptationLost(LookupError):
    """Stored predictions were adapted by a state that the lake no longer has."""


@dataclass(frozen=True)
class AdaptedModel:
    """A model whose scores a layer adapts, if there is one; decisions, classes and intervals follow from that."""

    model: Any
    layer: Layer | RowByRowLayer | None

    def predict(self, rows: Any) -> Predictions:
        """Score each row of a frame. Raises: ModelInputError."""
        return self.decided(rows, self.model.predict(rows))

    def decided(self, rows: Any, own: Predictions) -> Predictions:
        """Return what becomes of the model's own predictions of rows."""
        if self.layer is None or not len(own.score):
            return own
        if isinstance(self.layer, RowByRowLayer):
            score = self.layer(own.score, numbers_of(rows, self.layer.features))
        else:
            score = self.layer(own.score)
        adapted: Predictions = self.model.decided(rows, score)
        return adapted


@dataclass(frozen=True)
class OwnScores:
    """The champion's own scores of the rows that it answered.

    answered: (rows,) which ones; scores: of these alone; state: the name of what adapted them, None if they stand.
    """

    answered: Bools
    scores: Any
    state: str | None

    def without(self, rows: Bools) -> OwnScores:
        """The same after others answered some rows, (rows,)."""
        return OwnScores(self.answered & ~rows, self.scores[~rows[self.answered]], self.state)

    def columns(self) -> dict[str, pa.Array]:
        """The columns that record them; null for rows that the champion did not answer."""
        by = pa.array([self.state if answered else None for answered in self.answered], pa.string())
        at = pa.array(np.cumsum(self.answered) - 1, mask=~self.answered)
        if isinstance(self.scores, ClassScores):
            texts = [shares_text(self.scores.classes, shares) for shares in self.scores.shares.tolist()]
            return {RAW_PROBABILITIES: pa.array(texts, pa.string()).take(at), ADAPTATION: by}
        return {RAW_SCORE: pa.array(self.scores, pa.float64()).take(at), ADAPTATION: by}


@dataclass(frozen=True)
class Adaptation:
    """How the champion's scores of a tick are adapted. state: None if its own stand."""

    pipeline: Pipeline
    state: AdaptationState | None

    def apply(self, model: Any, rows: Any, own: Predictions, answered: Bools) -> tuple[Predictions, OwnScores]:
        """Adapt the model's own predictions of some rows. rows, own: of those that it answered; answered: (all rows,)."""
        layer = None if self.state is None else self.state.layer(self.pipeline)
        by = None if layer is None or self.state is None else self.state.name
        return AdaptedModel(model, layer).decided(rows, own), OwnScores(answered, own.score, by)


def adaptation_of(pipeline: Pipeline, tick: Tick, version: int, model: Any, platform: Platform) -> Adaptation:
    """Return how a version's scores of a tick are adapted.

    If outcomes cannot be read, its own scores stand: nothing goes unscored.
    """
    try:
        return Adaptation(pipeline, state_for(pipeline, tick.name, version, model, platform))
    except Exception:
        log.exception("%s: %s: scores are not adapted: what is known of outcomes cannot be read", pipeline.name, tick)
        return Adaptation(pipeline, None)


def adapted_by(pipeline: Pipeline, version: int, state: str | None, model: Any, platform: Platform) -> Any:
    """Return a version as it answered rows that a state adapted, or the version itself. Raises: AdaptationLost."""
    if state is None:
        return model
    found = recorded(pipeline, tick_named(state), version, platform)
    if found is None:
        raise AdaptationLost(f"version {version} was adapted by the state of {state}, which the lake no longer has")
    return AdaptedModel(model, found.layer(pipeline))
