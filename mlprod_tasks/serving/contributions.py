"""Explain scores on request: what each feature adds, largest first."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from mlprod_tasks.models.segmented import SegmentedModel
from mlprod_tasks.online import Features
from mlprod_tasks.scoring.log_row import logged, logged_types
from mlprod_tasks.serving.messages import ValidRequest
from mlprod_tasks.serving.model_loader import LoadedVersion
from mlprod_tasks.serving.row_decision import RouteChoice
from mlprod_tasks.serving.row_score import RowScore
from mlprod_tasks.serving.scorer import Scorer, adapted, joined
from mlprod_tasks.serving.task_answers import Explanation

log = logging.getLogger(__name__)


async def explain_rows(scorer: Scorer, request: ValidRequest) -> list[Explanation]:
    """Explain each row of a request with the version that scores it."""
    computed = await scorer.features(request.rows, request.moment)
    loaded = scorer.loaded
    explained: list[Explanation] = []
    for row, features in zip(request.rows, computed, strict=True):
        key = scorer.key_of(row)
        assigned = scorer.assignment(row, request.tick, loaded, features.values)
        choice = scorer.choose_route(joined(key), loaded, assigned)
        reason = "; ".join(features.reasons) if features.answer != "model" else loaded.switched
        if not reason and assigned.variant is not None and assigned.variant.held_out:
            reason = assigned.held_out
        if choice.version is None or reason:
            explained.append(scorer.answers.not_explained(key, None, reason or "no model is loaded"))
            continue
        if explained:
            await asyncio.sleep(0)  # a row takes milliseconds: other requests get a turn
        try:
            explained.append(_explain(scorer, choice, choice.version, key, features))
        except Exception as error:
            number, name = choice.version.number, type(error).__name__
            log.error("%s: version %d cannot explain: %s", scorer.pipeline.name, number, name)
            explained.append(scorer.answers.not_explained(key, number, f"the model failed ({name})"))
    return explained


def _explain(
    scorer: Scorer, choice: RouteChoice, version: LoadedVersion, key: dict[str, object], features: Features
) -> Explanation:
    types = logged_types(scorer.pipeline)
    values = dict(zip(scorer.pipeline.feature_names, features.values, strict=True))
    table = pa.table({name: logged([value], types[name]) for name, value in values.items()})
    picked = version.picked(features.values)
    own = version.row(picked)
    row_score = adapted(version, picked, own, scorer.loaded)
    model = version.model
    if isinstance(model, SegmentedModel):  # segments may have different learners, which add on different scales
        model = model.answering(table)
    names, route, link = model.feature_names, choice.route, model.link
    if scorer.answers.by_effect:
        effects = _effects(scorer, version, picked, own)
        adds, base = _adds_to_class(model, table, row_score)
        ordered = sorted(names, key=lambda name: -abs(effects[name] or 0.0))
        both = [(name, values[name], effects[name], adds[name]) for name in ordered]
        return scorer.answers.explained(key, row_score, version.number, route, link, base, both)
    contributions = model.contributions(table)
    if contributions is None:  # the learner has no exact contributions
        return scorer.answers.explained(
            key, row_score, version.number, route, link, None, [(name, values[name], None) for name in names]
        )
    of_row = contributions[0]  # the last one is the base
    order = np.argsort(-np.abs(of_row[:-1]), kind="stable")
    parts = [(names[i], values[names[i]], float(of_row[i])) for i in order]
    return scorer.answers.explained(key, row_score, version.number, route, link, float(of_row[-1]), parts)


def _effects(scorer: Scorer, version: LoadedVersion, values: Sequence[Any], before: RowScore) -> dict[str, float | None]:
    """What a usual value in place of each feature changes. values: in the order of the model's features."""
    names, usual = version.row.feature_names, version.usual
    if usual is None:
        return dict.fromkeys(names)
    effects: dict[str, float | None] = {}
    for i, name in enumerate(names):
        after = version.row([*values[:i], usual[name], *values[i + 1 :]])
        effects[name] = before.score - scorer.answers.compared(after, before)
    return effects


def _adds_to_class(model: Any, row: pa.Table, score: RowScore) -> tuple[dict[str, float | None], float | None]:
    """The exact contribution of each feature to the predicted class, and the base; None without such contributions."""
    of_classes = model.class_contributions(row)
    if of_classes is None:
        return dict.fromkeys(model.feature_names), None
    added = of_classes[0][model.rule.classes.index(score.prediction)].tolist()
    return dict(zip(model.feature_names, added[:-1], strict=True)), added[-1]
