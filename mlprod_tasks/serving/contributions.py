"""Explain scores on request: what each feature adds, greatest first."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa

from mlprod_tasks.online import Features
from mlprod_tasks.scoring.log_row import logged, logged_types
from mlprod_tasks.serving.answer import Scorer, joined
from mlprod_tasks.serving.model_loader import Version

log = logging.getLogger(__name__)


class Contribution(msgspec.Struct):
    """What one feature adds, in log-odds before calibration; null where the learner has no exact ones."""

    feature: str
    value: Any
    adds: float | None


class Explanation(msgspec.Struct, omit_defaults=True):
    """One row, explained. With `base`, what the features add sums to the model's own score, in log-odds.

    score: null where no model answers this row; `reason` then says why.
    """

    key: dict[str, Any]
    score: float | None
    version: int | None
    route: str = ""
    base: float | None = None
    features: list[Contribution] = []
    reason: str = ""


async def explained(scorer: Scorer, rows: Sequence[dict[str, Any]], moment: datetime) -> list[Explanation]:
    """Explain each row, as `OnlineFeatures.fields` read them, by the version that answers it."""
    made = await scorer.features(rows, moment)
    standing = scorer.standing
    told: list[Explanation] = []
    for row, features in zip(rows, made, strict=True):
        key = scorer.key_of(row)
        _, route, version = scorer.version_for(joined(key), standing)
        reason = "; ".join(features.reasons) if features.answer != "model" else standing.switched
        if version is None or reason:
            told.append(Explanation(key, None, None, reason=reason or "no model is loaded"))
            continue
        if told:
            await asyncio.sleep(0)  # it takes milliseconds a row: others have their turn
        try:
            told.append(_explained(scorer, version, route, key, features))
        except Exception as error:
            log.error("%s: version %d cannot explain: %s", scorer.pipeline.name, version.number, type(error).__name__)
            told.append(Explanation(key, None, version.number, reason=f"the model failed ({type(error).__name__})"))
    return told


def _explained(scorer: Scorer, version: Version, route: str, key: dict[str, Any], features: Features) -> Explanation:
    types = logged_types(scorer.pipeline)
    values = dict(zip(scorer.pipeline.feature_names, features.values, strict=True))
    table = pa.table({name: logged([value], types[name]) for name, value in values.items()})
    score = float(version.model.predict(table).score[0])
    added = version.model.contributions(table)
    names, of_row = version.model.feature_names, None if added is None else added[0]
    order = range(len(names)) if of_row is None else np.argsort(-np.abs(of_row[:-1]), kind="stable")
    parts = [Contribution(names[i], values[names[i]], None if of_row is None else float(of_row[i])) for i in order]
    return Explanation(key, score, version.number, route, None if of_row is None else float(of_row[-1]), parts)
