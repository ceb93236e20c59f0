"""What a metric came to on the rows of a tick, or why it has no value."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.documents.formatting import format_number
from mlprod_tasks.models.decision_value import ValueUndefined
from mlprod_tasks.models.kpi import with_value
from mlprod_tasks.monitoring.measurement import Reading
from mlprod_tasks.statistics import intervals
from mlprod_tasks.statistics.metrics import Estimate

PER = 1000  # a value is given per this many rows


@dataclass(frozen=True)
class NotRealised:
    """Why a metric has no value; missing: whether it should have one."""

    why: str
    missing: bool = False


def realised_value(pipeline: Pipeline, own: pa.Table) -> Estimate | NotRealised:
    """The value of decisions, or of predictions, per 1,000 rows."""
    try:
        value = PER * with_value(pipeline, own)["value"].to_numpy()
    except ValueUndefined as error:
        return NotRealised(str(error), missing=True)
    return Estimate(float(value.mean()), *intervals.of_mean(value))


def realised(metric: str, result: Estimate | NotRealised, reference: float | None, n: int) -> Reading:
    """The reading of a metric. reference: its value on the reference, if known."""
    if isinstance(result, NotRealised):
        return Reading(metric, None, n, reference=reference, why=result.why, missing=result.missing)
    detail = "" if reference is None else f"the reference has {format_number(reference)}"
    return Reading(metric, result.value, n, reference=reference, detail=detail, interval=(result.low, result.high))
