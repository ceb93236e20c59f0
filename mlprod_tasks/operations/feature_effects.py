"""The effect of each feature on one prediction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mlprod_tasks.declaration import Pipeline, Tick
from mlprod_tasks.models.feature_frame import Predictions
from mlprod_tasks.models.learners.class_pool import shares_of
from mlprod_tasks.models.learners.links import predicted
from mlprod_tasks.models.usual_values import usual_value
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform import names as places
from mlprod_tasks.platform.engine import engine
from mlprod_tasks.platform.lake import listed
from mlprod_tasks.platform.model_files import ModelRef
from mlprod_tasks.platform.registry import TRAINING_TAG
from mlprod_tasks.platform.sql import identifier
from mlprod_tasks.reporting.task_words import SCALES
from mlprod_tasks.statistics.class_scores import ClassScores
from mlprod_tasks.training.split import TRAIN
from mlprod_tasks.training.workspace import TrainingFolder

EXACT = "log-odds: what each feature adds before calibration; score: about how much the score would fall without the feature"
EXACT_NUMBER = "added: what each feature adds, in {scale}; number: about how much the prediction would fall without the feature"
EXACT_CLASS = (
    "added: what each feature adds before calibration, as {scale}; probability: about how much that of this class would fall "
    "without the feature"
)
USUAL = "{what}: how much it falls with {usual} in place of the feature, one feature at a time; the effects need not add up"


@dataclass(frozen=True)
class FeatureEffects:
    """The effect of each feature on log-odds and score; `way`: how they were computed.

    base, total: base and sum of the log-odds. scale: what is added up, which is something else than log-odds for numbers. The
    three are None without exact contributions.
    """

    log_odds: dict[str, float]
    probability: dict[str, float]
    way: str
    base: float | None = None
    total: float | None = None
    scale: str | None = None


def measure(
    pipeline: Pipeline, model: Any, row: pa.Table, tick: Tick, ref: ModelRef | None, platform: Platform
) -> FeatureEffects:
    """Return exact contributions if the model has them, else the change with a usual value in place of each feature."""
    added = model.contributions(row) if hasattr(model, "contributions") else None
    if added is not None:
        total = float(added[0].sum())
        log_odds = {name: float(one) for name, one in zip(model.feature_names, added[0, :-1], strict=True)}
        without = np.array([total, *(total - one for one in log_odds.values())])
        binary = model.link == "logit"
        score = model.calibration(1 / (1 + np.exp(-without))) if binary else predicted(model.link, without)
        return FeatureEffects(
            log_odds,
            {name: float(score[0] - one) for name, one in zip(log_odds, score[1:], strict=True)},
            EXACT if binary else EXACT_NUMBER.format(scale=SCALES[model.link]),
            float(added[0, -1]),
            total,
            SCALES[model.link],
        )
    if (of_class := _class_effects(model, row)) is not None:
        return of_class
    usual, whose = _usual_values(pipeline, model.feature_names, tick, ref, platform)
    before = model.predict(row)
    score = _of_class(before, before)
    changed = {}
    for name, value in usual.items():
        i = row.column_names.index(name)
        other = row.set_column(i, name, pa.array([value], row.schema.field(name).type))
        changed[name] = score - _of_class(model.predict(other), before)
    what = {"binary": "score", "regression": "number", "multiclass": "probability of this class"}[model.task]
    return FeatureEffects({}, changed, USUAL.format(what=what, usual=whose))


def _class_effects(model: Any, row: pa.Table) -> FeatureEffects | None:
    """The exact contributions to the predicted class; None if the model has none."""
    of_all = model.class_contributions(row) if hasattr(model, "class_contributions") else None
    if of_all is None:
        return None
    added, chosen = of_all[0], model.rule.classes.index(model.predict(row).decision[0])
    total = added.sum(axis=1)
    without = np.stack([total, *(total - added[:, i] for i in range(added.shape[1] - 1))])
    share = model.calibration(shares_of(without))[:, chosen]
    names, scale = model.feature_names, SCALES["softmax"]
    return FeatureEffects(
        {name: float(one) for name, one in zip(names, added[chosen, :-1], strict=True)},
        {name: float(share[0] - one) for name, one in zip(names, share[1:], strict=True)},
        EXACT_CLASS.format(scale=scale),
        float(added[chosen, -1]),
        float(total[chosen]),
        scale,
    )


def _of_class(predictions: Predictions, before: Predictions) -> float:
    """The score of a row, or its probability of the class that was predicted before a change."""
    score = predictions.score
    return float(score.of(before.decision)[0] if isinstance(score, ClassScores) else score[0])


def _usual_values(
    pipeline: Pipeline, names: Sequence[str], tick: Tick, ref: ModelRef | None, platform: Platform
) -> tuple[dict[str, Any], str]:
    """The median or most frequent value of each feature in the training rows, or else in the tick's rows, and which."""
    training = None if ref is None else platform.registry.run_tags(ref.run_id).get(TRAINING_TAG)
    folder = None if training is None else TrainingFolder(platform, training)
    if folder is not None and folder.training_set.is_file():
        rows = pq.read_table(folder.training_set, columns=list(names), filters=pc.field("split") == TRAIN)
        whose = "the training rows' median or most frequent value"
    else:
        with engine(lake=platform.lake) as connection:
            source = (
                f"read_parquet({listed(platform.lake.files(places.predictions(pipeline), pipeline.schedule.range(tick.name)))})"
            )
            rows = connection.sql(f"SELECT {', '.join(map(identifier, names))} FROM {source}").to_arrow_table()
        whose = "the median or most frequent value of the tick's rows (the training set is gone)"
    return {name: usual_value(rows[name].combine_chunks()) for name in names}, whose
