"""Measure how far answered scores are from the champion's own: the part of a tick's scores that is no model's.

The champion's own calibration is that of the answers plus this.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from mlprod_tasks.adaptation.state import recorded
from mlprod_tasks.declaration import Pipeline, Tick
from mlprod_tasks.declaration.task import PROBABILITIES
from mlprod_tasks.documents.formatting import format_number
from mlprod_tasks.models.predicted_columns import RAW_PROBABILITIES, RAW_SCORE, SCORE, read_scores
from mlprod_tasks.models.reference_profile import ReferenceProfile
from mlprod_tasks.monitoring.measurement import Reading
from mlprod_tasks.platform import Platform

WHAT = "adaptation"


def adaptation(
    con: Any,
    pipeline: Pipeline,
    profile: ReferenceProfile,
    own: str,
    columns: set[str],
    version: int,
    tick: Tick,
    platform: Platform,
) -> Iterator[Reading]:
    """The reading of one tick, if the use case adapts scores.

    own: what follows FROM, for the rows that the version itself answered; columns: that it has.
    """
    if pipeline.adapt is None:
        return
    classes = pipeline.task == "multiclass"
    answered, raw = (PROBABILITIES, RAW_PROBABILITIES) if classes else (SCORE, RAW_SCORE)
    if raw not in columns:
        yield Reading(WHAT, None, 0, why="the tick was scored before adapt was declared")
        return
    rows = con.sql(f"SELECT {answered}, {raw} FROM {own} WHERE {raw} IS NOT NULL ORDER BY ALL").to_arrow_table()
    n = rows.num_rows
    if not n:
        yield Reading(WHAT, None, 0, why="the champion answered no row")
        return
    state = recorded(pipeline, tick.name, version, platform)
    why = "what is known of outcomes could not be read" if state is None else state.why
    if classes:
        said, alone = (read_scores(rows[name].to_pylist()) for name in (answered, raw))
        moved = (said.aligned(alone.classes) - alone.shares).mean(axis=0)
        furthest = int(np.abs(moved).argmax())
        value, detail = float(moved[furthest]), f"most for class {alone.classes[furthest]!r}"
    else:
        mean, own_mean = (float(np.mean(rows[name].to_numpy())) for name in (answered, raw))
        scale = 1.0 if profile.numbers is None else profile.numbers.sd
        value = (mean - own_mean) / scale
        detail = f"{format_number(mean)} was answered on average, {format_number(own_mean)} by the champion alone"
    if value:
        detail += ". If this lasts, a training is due"
    yield Reading(WHAT, value, n, reference=0.0, detail=f"{detail} ({why})")
