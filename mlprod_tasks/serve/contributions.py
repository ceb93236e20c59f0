"""Explain scores on request: what each feature adds, greatest first."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa

from mlprod_tasks.online.plan import micros
from mlprod_tasks.serve.answer import Scorer
from mlprod_tasks.serve.prediction_log import logged, logged_types


def explained(scorer: Scorer, rows: Sequence[dict[str, Any]], moment: datetime) -> list[dict[str, Any]]:
    """For each row, as `OnlineFeatures.fields` read them: the champion's score, its features, and what each adds.

    `adds` is in log-odds before calibration; with `base` they sum to the model's own; null where the learner has no exact ones.
    A row that the champion would not answer has no explanation, and `reason` says why.
    """
    made = scorer.online.of(rows, [micros(moment)] * len(rows))
    names, types = scorer.pipeline.feature_names, logged_types(scorer.pipeline)
    version = scorer.standing.champion
    table = pa.table({name: logged([one.values[i] for one in made], types[name]) for i, name in enumerate(names)})
    predicted = None if version is None else version.model.predict(table)
    added = None if version is None else version.model.contributions(table)
    told: list[dict[str, Any]] = []
    for i, (row, one) in enumerate(zip(rows, made, strict=True)):
        key = {name: row[name] for name in scorer.pipeline.entity_table.key}
        if version is None or predicted is None or one.answer != "model":
            reason = "; ".join(one.reasons) or "no model is loaded"
            told.append({"key": key, "score": None, "version": None, "reason": reason})
            continue
        of_row = None if added is None else added[i]
        told.append(
            {
                "key": key,
                "score": float(predicted.score[i]),
                "version": version.number,
                "base": None if of_row is None else float(of_row[-1]),
                "features": _features(version.model.feature_names, dict(zip(names, one.values, strict=True)), of_row),
            }
        )
    return told


def _features(names: Sequence[str], values: dict[str, Any], added: Any) -> list[dict[str, Any]]:
    order = range(len(names)) if added is None else np.argsort(-np.abs(added[:-1]), kind="stable")
    return [{"feature": names[i], "value": values[names[i]], "adds": None if added is None else float(added[i])} for i in order]
