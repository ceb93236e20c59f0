"""The rows of the prediction table, and those of them that a business database gets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa

from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.declaration.bandit import ACTION
from mlprod_tasks.declaration.task import HIGH, LOW
from mlprod_tasks.scoring.answers import Answers


def prediction_rows(pipeline: Pipeline, answers: Answers) -> pa.Table:
    """Make the rows of the prediction table: keys, moments, scores, versions and features.

    A predicted number is the `score`, too, and its `decision` is null: nothing is decided. Of a class it is the probability.
    """
    from mlprod_tasks.models.predicted_columns import logged_columns

    table = answers.features
    n = table.num_rows
    front = [*pipeline.entity_table.key, pipeline.entity_table.time, "tick", "predict_at"]
    columns: dict[Any, Any] = {name: table[name] for name in front}
    columns |= logged_columns(answers.predictions, decides=pipeline.of_task.decides)
    versions = np.full(n, answers.model_version, np.int32) if answers.versions is None else answers.versions
    columns |= {
        "fallback": pa.array(answers.by_fallback),
        "model_version": pa.array(versions),
        "features_digest": pa.array([pipeline.digest] * n, pa.string()),
    }
    if pipeline.model.coverage is not None and answers.predictions.interval is None:
        columns |= {name: pa.nulls(n, pa.float64()) for name in (LOW, HIGH)}
    if answers.own_scores is not None:
        columns |= answers.own_scores.columns()
    if answers.assigned is not None:
        columns |= answers.assigned.columns()
    # A column of the entity may also be a feature of the same name: then it is there already.
    columns |= {name: table[name] for name in pipeline.feature_names if name in table.column_names}
    return pa.table(columns)


def published(pipeline: Pipeline, present: list[str]) -> tuple[list[str], Callable[[pa.Table], pa.Table]]:
    """Which columns of the prediction table are published, and how they become the published ones. present: the table's."""
    answer = dict(pipeline.of_task.published)
    answer |= {LOW: LOW, HIGH: HIGH} if pipeline.model.coverage is not None else {}
    columns = [*pipeline.entity_table.key, "tick", "predict_at", *answer, "fallback", "model_version"]
    read = [*columns, *([ACTION] if pipeline.acts and ACTION in present else [])]

    def change(rows: pa.Table) -> pa.Table:
        shown = rows.select(columns).rename_columns(answer)
        if not pipeline.acts:
            return shown
        # Also at ticks without a bandit, so that the table has the column from the first tick on.
        actions = rows[ACTION] if ACTION in rows.column_names else pa.nulls(rows.num_rows, pa.string())
        return shown.append_column(ACTION, actions)

    return read, change
