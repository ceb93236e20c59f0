"""Measure how far answered scores are from the champion's own: the part of a tick's scores that is no model's.

The champion's own calibration is that of the answers plus this.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mlprod_tasks.adaptation.state import recorded
from mlprod_tasks.declaration import Pipeline, Tick
from mlprod_tasks.declaration.task import PROBABILITIES
from mlprod_tasks.documents.formatting import format_number
from mlprod_tasks.models.predicted_columns import RAW_PROBABILITIES, RAW_SCORE, SCORE, read_scores
from mlprod_tasks.models.reference_profile import ReferenceProfile
from mlprod_tasks.monitoring.count import sum_of
from mlprod_tasks.monitoring.measurement import Reading
from mlprod_tasks.monitoring.tick_rows import TickRows
from mlprod_tasks.platform import Platform

WHAT = "adaptation"


def adaptation(
    own: TickRows,
    pipeline: Pipeline,
    profile: ReferenceProfile,
    version: int,
    tick: Tick,
    platform: Platform,
) -> Iterator[Reading]:
    """The reading of one tick, if the use case adapts scores.

    own: the rows that the version itself answered.
    """
    if pipeline.adapt is None:
        return
    classes = pipeline.task == "multiclass"
    answered, raw = (PROBABILITIES, RAW_PROBABILITIES) if classes else (SCORE, RAW_SCORE)
    if raw not in own.kinds:
        yield Reading(WHAT, None, 0, why="the tick was scored before adapt was declared")
        return
    n, sums = own.aggregate(_Sums(answered, raw, classes), "how far scores were adapted")
    if not n:
        yield Reading(WHAT, None, 0, why="the champion answered no row")
        return
    state = recorded(pipeline, tick.name, version, platform)
    why = "what is known of outcomes could not be read" if state is None else state.why
    if classes:
        moved = {name: (said - alone) / n for name, (said, alone) in sums.items()}
        furthest = max(sorted(moved), key=lambda name: abs(moved[name]))
        value, detail = moved[furthest], f"most for class {furthest!r}"
    else:
        mean, own_mean = (of_one / n for of_one in sums[SCORE])
        scale = 1.0 if profile.numbers is None else profile.numbers.sd
        value = (mean - own_mean) / scale
        detail = f"{format_number(mean)} was answered on average, {format_number(own_mean)} by the champion alone"
    if value:
        detail += ". If this lasts, a training is due"
    yield Reading(WHAT, value, n, reference=0.0, detail=f"{detail} ({why})")


# How many rows there are, and by class (of other tasks by SCORE) the sums of what was answered and of what the champion said.
_Part = tuple[int, Mapping[str, tuple[float, float]]]


@dataclass(frozen=True)
class _Sums:
    """Sums of answered and raw scores: an aggregate of the version's own rows. classes: they are of several classes."""

    answered: str
    raw: str
    classes: bool

    def read(self, con: Any, source: str) -> _Part:
        rows = con.sql(f"SELECT {self.answered}, {self.raw} FROM {source} WHERE {self.raw} IS NOT NULL").to_arrow_table()
        if not rows.num_rows:
            return 0, {}
        if not self.classes:
            said, alone = (float(np.sum(rows[name].to_numpy())) for name in (self.answered, self.raw))
            return rows.num_rows, {SCORE: (said, alone)}
        scores = [read_scores(rows[name].to_pylist()) for name in (self.answered, self.raw)]
        said, alone = (one.aligned(scores[1].classes).sum(axis=0).tolist() for one in scores)
        return rows.num_rows, dict(zip(scores[1].classes, zip(said, alone, strict=True), strict=True))

    def merge(self, parts: Sequence[_Part]) -> _Part:
        names = dict.fromkeys(name for _, sums in parts for name in sums)
        found = {name: [sums[name] for _, sums in parts if name in sums] for name in names}
        return sum(n for n, _ in parts), {
            name: (sum_of(said for said, _ in of_name), sum_of(alone for _, alone in of_name))
            for name, of_name in found.items()
        }
