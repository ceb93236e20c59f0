"""Answer rows: with a model, and with its fallback those that no model takes, or all."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mlprod_tasks import features
from mlprod_tasks.declaration import Pipeline, Tick
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.ledger import Fallback, FallbackCause
from mlprod_tasks.platform.row_files import RowFiles

if TYPE_CHECKING:
    from mlprod_tasks.adaptation.apply import Adaptation, OwnScores
    from mlprod_tasks.models.feature_frame import Predictions
    from mlprod_tasks.scoring.variants import Assigned

log = logging.getLogger(__name__)
MOST_NAMED = 5  # rows that a reason names


class NoModel(LookupError):
    """There is neither a champion nor a fallback to score with."""


@dataclass(frozen=True)
class Answers:
    """The answers to rows of a tick.

    model_version: of the rows without a version of their own. versions: (rows,), if an experiment assigned some. own_scores:
    the champion's, if the use case adapts them.
    """

    features: pa.Table
    predictions: Predictions
    model_version: int
    by_fallback: NDArray[np.bool_]  # (rows,)
    fallback_reason: str | None
    fallback_cause: FallbackCause | None = None
    versions: NDArray[np.int32] | None = None
    assigned: Assigned | None = None
    own_scores: OwnScores | None = None

    @property
    def held_out(self) -> NDArray[np.bool_]:
        """Which rows an experiment gave to the fallback: it did not have to step in for them, (rows,)."""
        return np.zeros(len(self.by_fallback), bool) if self.assigned is None else self.assigned.held_out()


@dataclass(frozen=True)
class Answering:
    """A version that answers rows. adaptation: how its scores are adapted, if they may be."""

    model: Any
    version: int
    adaptation: Adaptation | None = None

    def predict(self, rows: pa.Table, answered: NDArray[np.bool_]) -> tuple[Predictions, OwnScores | None]:
        """Predict rows, and return the model's own scores where they may be adapted. answered: which of all rows they are."""
        own = self.model.predict(rows)
        return (own, None) if self.adaptation is None else self.adaptation.apply(self.model, rows, own, answered)

    def refused(self, built: features.FeatureSet) -> dict[int, str]:
        """Which rows it does not take: their positions, each with the feature that is infinite or cannot be computed."""
        from mlprod_tasks.models.feature_frame import not_finite

        model, table = self.model, built.table
        read = [one.name for one in model.inputs if one.name not in model.codes and one.name in table.column_names]
        return not_finite(table, read) | dict(built.failed)


def by_model(pipeline: Pipeline, tick: Tick, answering: Answering, built: features.FeatureSet, platform: Platform) -> Answers:
    """Answer with the model, and rows that it cannot take with its fallback. Raises: ModelInputError, OtherTask."""
    from mlprod_tasks.models.check_task import check_task

    check_task(pipeline, answering.model, answering.version)
    refused = answering.refused(built)
    reason, kept = None, None
    if refused:
        reason = reason_of(told_rows(pipeline, built, refused), len(refused))
        kept = fallback_for_rows(pipeline, tick, answering.version, reason, platform)
        total = built.table.num_rows
        log.error("%s: %s: the fallback answers %d of %d rows: %s", pipeline.name, tick, len(refused), total, reason)
    return answered(answering, built, refused, kept, reason)


def fallback_for_rows(pipeline: Pipeline, tick: Tick, version: int, reason: str, platform: Platform) -> dict[str, Any]:
    """The fallback of a version as JSON, for rows that it does not take. Raises: ModelInputError if there is none."""
    from mlprod_tasks.models.feature_frame import ModelInputError

    kept = platform.ledger.get(Fallback, pipeline.name, version)
    if kept is None:
        raise ModelInputError(f"{pipeline.name}: {tick}: {reason}; and no fallback is stored for version {version}")
    return kept.model


def answered(
    answering: Answering,
    built: features.FeatureSet,
    refused: Mapping[int, str],
    fallback: dict[str, Any] | None,
    reason: str | None,
) -> Answers:
    """Answer with the model, and refused rows with the fallback. fallback: as JSON; needed if there are such rows."""
    from mlprod_tasks.models.fallback import FallbackModel
    from mlprod_tasks.models.predicted_columns import merged_predictions

    table = built.table
    by_fallback = np.zeros(table.num_rows, bool)
    by_fallback[list(refused)] = True
    if not refused or fallback is None:
        predictions, own = answering.predict(table, ~by_fallback)
        return Answers(table, predictions, answering.version, by_fallback, None, own_scores=own)
    of_fallback = FallbackModel.from_json(fallback).predict(table.filter(pa.array(by_fallback)))
    of_model, own = answering.predict(table.filter(pa.array(~by_fallback)), ~by_fallback)
    merged = merged_predictions(of_fallback, of_model, by_fallback)
    return Answers(table, merged, answering.version, by_fallback, reason, FallbackCause.ROWS, own_scores=own)


def by_fallback(
    pipeline: Pipeline, table: pa.Table, model: dict[str, Any], version: int, reason: str | None, cause: FallbackCause | None
) -> Answers:
    """Answer all rows with a fallback, given as JSON. Raises: OtherTask."""
    from mlprod_tasks.models.check_task import check_task
    from mlprod_tasks.models.fallback import FallbackModel

    loaded = FallbackModel.from_json(model)
    check_task(pipeline, loaded, version)
    return Answers(table, loaded.predict(table), version, np.ones(table.num_rows, bool), reason, cause)


def read_by_fallback(pipeline: Pipeline) -> tuple[str, ...]:
    """The features of rows that a fallback answers: those it reads, and those from which the value of decisions follows."""
    return (*pipeline.fallback.by, *pipeline.value_features)


def told_rows(pipeline: Pipeline, built: features.FeatureSet, refused: Mapping[int, str]) -> list[str]:
    """What is wrong with the first refused rows, with their keys unless they are personal."""
    key = pipeline.entity_table.key
    personal = any(pipeline.entity_table.column(name).personal for name in key)
    told = []
    for row in sorted(refused)[:MOST_NAMED]:
        what = "cannot be computed" if row in built.failed else "is infinite"
        which = "" if personal else f" for {', '.join(f'{name} {built.table[name][row].as_py()}' for name in key)}"
        told.append(f"feature {refused[row]!r} {what}{which}")
    return told


def reason_of(told: Sequence[str], refused: int) -> str:
    """Why rows cannot be scored. told: of the first ones, in their order; refused: how many there are."""
    named = told[:MOST_NAMED]
    more = f"; and {refused - len(named):,} more rows" if refused > len(named) else ""
    return "; ".join(dict.fromkeys(named)) + more


@dataclass(frozen=True)
class TickRows:
    """The rows of a tick's predictions, as they are stored, and what is recorded of them.

    fallback_rows: those for which the fallback stepped in.
    """

    rows: pa.Table | RowFiles
    model_version: int
    fallback_rows: int
    fallback_reason: str | None
    fallback_cause: FallbackCause | None
