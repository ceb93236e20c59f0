"""Measure how predicted numbers turned out, once the labels of a tick are complete."""

from __future__ import annotations

from collections.abc import Iterator
from math import sqrt
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.declaration.task import HIGH, LOW
from mlprod_tasks.documents.formatting import format_count, format_number
from mlprod_tasks.models.decision_value import ValueUndefined
from mlprod_tasks.models.kpi import with_value
from mlprod_tasks.models.reference_profile import ProfileColumn, ReferenceNumbers, ReferenceProfile
from mlprod_tasks.monitoring.count import count
from mlprod_tasks.monitoring.inputs import quiet_bound
from mlprod_tasks.monitoring.measurement import Reading
from mlprod_tasks.statistics import distances, intervals

FEWEST_ROWS = 50  # with fewer outcomes, their distribution is not meaningful
PER = 1000  # a value is given per this many rows

Floats = NDArray[np.float64]


def columns(profile: ReferenceProfile) -> tuple[str, ...]:
    """Columns of predictions that are read besides those of every kind."""
    return (LOW, HIGH) if profile.numbers is not None and profile.numbers.held is not None else ()


def explained_rows(own: pa.Table) -> pa.Table:
    """Rows with `label` and `score`, whose differences are explained by features."""
    return own


def of_labels(con: Any, profile: ReferenceProfile, judged: pa.Table) -> Iterator[Reading]:
    """The readings of the outcomes themselves, over all rows that have one."""
    numbers = profile.numbers
    assert numbers is not None
    outcome = _numbers(judged, "label")
    mean, n = float(outcome.mean()), len(outcome)
    low, high = intervals.of_mean(outcome)
    detail = (
        f"the mean is {format_number(mean)}, 95 % interval {format_number(low)} to {format_number(high)}; the reference has "
        f"{format_number(numbers.mean)}, with a standard deviation of {format_number(numbers.sd)}"
    )
    interval = ((low - numbers.mean) / numbers.sd, (high - numbers.mean) / numbers.sd)
    yield Reading("label_mean", (mean - numbers.mean) / numbers.sd, n, reference=numbers.mean, detail=detail, interval=interval)
    yield label_psi(con, numbers.label, judged)


def label_psi(con: Any, one: ProfileColumn, judged: pa.Table) -> Reading:
    """How far the distribution of outcomes is from the reference's. one: of its outcomes."""
    n = judged.num_rows
    if n < FEWEST_ROWS:
        why = f"{format_count(n, 'outcome')} are too few to compare distributions; at least {FEWEST_ROWS} are needed"
        return Reading("label_psi", None, n, why=why)
    con.register("judged_labels", judged.select(["label"]))
    now = count(con, "judged_labels", [one.bins]).columns[one.name].counts
    con.unregister("judged_labels")
    psi = distances.corrected_psi(one.bins.coarse(np.asarray(one.counts)), one.bins.coarse(now))
    typical = float(np.median(one.tick_psi)) if one.tick_psi else 0.0
    detail = f"a typical tick of the reference has {format_number(typical)}" if one.tick_psi else ""
    return Reading("label_psi", psi, n, reference=typical, quiet=quiet_bound(one.tick_psi), detail=detail)


def of_predictions(con: Any, pipeline: Pipeline, profile: ReferenceProfile, own: pa.Table, promised: None) -> Iterator[Reading]:
    """The readings of the model's own predictions: errors, bias and value."""
    numbers = profile.numbers
    assert numbers is not None
    error = _numbers(own, "label") - _numbers(own, "score")
    squared = float(np.mean(error**2))
    low, high = intervals.of_mean(error**2)
    yield relative("mae", float(np.mean(np.abs(error))), intervals.of_mean(np.abs(error)), numbers.mae, len(error))
    yield relative("rmse", sqrt(squared), (sqrt(max(0.0, low)), sqrt(high)), numbers.rmse, len(error))
    yield _bias(numbers, error)
    if numbers.held is not None:
        yield _coverage(pipeline, numbers.held, own)
    yield _value(pipeline, profile, own)


def unmeasured_labels(why: str, n: int) -> Iterator[Reading]:
    """Readings without value of what `of_labels` measures."""
    for what in ("label_mean", "label_psi"):
        yield Reading(what, None, n, why=why)


def unmeasured_predictions(profile: ReferenceProfile, why: str, n: int) -> Iterator[Reading]:
    """Readings without value of what `of_predictions` measures."""
    numbers = profile.numbers
    assert numbers is not None
    references = {"mae": numbers.mae, "rmse": numbers.rmse, "bias": numbers.bias / numbers.sd, "value": profile.value}
    for what, reference in references.items():
        yield Reading(what, None, n, reference=reference, why=why)
    if numbers.held is not None:
        yield Reading("interval_coverage", None, n, why=why)


def held(rows: pa.Table) -> NDArray[np.bool_]:
    """Whether each outcome is within its prediction's interval, (n,)."""
    low, high, outcome = (_numbers(rows, name) for name in (LOW, HIGH, "label"))
    return np.asarray((low <= outcome) & (outcome <= high))


def relative(what: str, value: float, interval: tuple[float, float], reference: float, n: int) -> Reading:
    """An error as a multiple of the reference's."""
    if reference <= 0:
        return Reading(what, None, n, reference=reference, why=f"it is {format_number(value)}, but the reference's is 0")
    low, high = interval
    detail = (
        f"{format_number(value)}, 95 % interval {format_number(low)} to {format_number(high)}; the reference has "
        f"{format_number(reference)}"
    )
    ends = (low / reference, high / reference)
    return Reading(what, value / reference, n, reference=reference, detail=detail, interval=ends)


def _bias(numbers: ReferenceNumbers, error: Floats) -> Reading:
    mean, n = float(error.mean()), len(error)
    low, high = intervals.of_mean(error)
    side = "too low" if mean > 0 else "too high"
    detail = (
        f"predictions were {side} by {format_number(abs(mean))} on average; the standard deviation of the reference's outcomes "
        f"is {format_number(numbers.sd)}"
    )
    interval = (low / numbers.sd, high / numbers.sd)
    return Reading("bias", mean / numbers.sd, n, reference=numbers.bias / numbers.sd, detail=detail, interval=interval)


def _coverage(pipeline: Pipeline, usual: float, own: pa.Table) -> Reading:
    """The share of outcomes within their interval, minus the declared one."""
    promised, n = pipeline.model.coverage, own.num_rows
    if promised is None or LOW not in own.column_names or own[LOW].null_count == n:
        return Reading("interval_coverage", None, n, why="these predictions have no interval")
    inside = int(held(own).sum())
    low, high = intervals.wilson(inside, n)
    detail = f"{inside / n:.1%} of outcomes were within their interval, {promised:.1%} are to be; in the reference {usual:.1%}"
    interval = (low - promised, high - promised)
    return Reading("interval_coverage", inside / n - promised, n, reference=usual - promised, detail=detail, interval=interval)


def _value(pipeline: Pipeline, profile: ReferenceProfile, own: pa.Table) -> Reading:
    n = own.num_rows
    try:
        value = PER * with_value(pipeline, own)["value"].to_numpy()
    except ValueUndefined as error:
        return Reading("value", None, n, reference=profile.value, why=str(error), missing=True)
    detail = "" if profile.value is None else f"the reference has {format_number(profile.value)}"
    interval = intervals.of_mean(value)
    return Reading("value", float(value.mean()), n, reference=profile.value, detail=detail, interval=interval)


def _numbers(rows: pa.Table, name: str) -> Floats:
    return np.asarray(rows[name].to_numpy(), np.float64)
