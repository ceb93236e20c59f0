"""Measure how a tick's predictions turned out, once their labels are complete."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from math import sqrt
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.documents.formatting import format_count, format_number
from mlprod_tasks.experiments.own_rows import is_own
from mlprod_tasks.models.decision_value import ValueUndefined
from mlprod_tasks.models.kpi import kpi_of, with_value
from mlprod_tasks.models.reference_profile import ReferenceProfile
from mlprod_tasks.monitoring import class_outcomes, estimate, number_outcomes, yes_no_outcomes
from mlprod_tasks.monitoring.inputs import LOST
from mlprod_tasks.monitoring.measurement import Reading
from mlprod_tasks.monitoring.residuals import explained, residual_drift, residual_kind, residuals
from mlprod_tasks.platform.engine import engine
from mlprod_tasks.statistics import intervals

FEWEST_OUTCOMES = 30
FEWEST_OF_A_CLASS = 10  # with so few, the standard error of an AUC is about 0.09
PARTS = 10  # parts of the rows, each left out once for the jackknife of the KPI
STUDENT = 2.262  # 97.5 % of Student's t with PARTS - 1 degrees of freedom

Bools = NDArray[np.bool_]


def columns(pipeline: Pipeline, profile: ReferenceProfile) -> tuple[str, ...]:
    """The columns of the predictions that `outcomes` reads.

    They are score, decision, fallback and some features.
    """
    regions = (one.column for one in explained(profile.features))
    own = kind_of(profile).columns(profile)
    return tuple(dict.fromkeys(("score", "decision", "fallback", *own, *pipeline.value_features, *regions)))


def kind_of(profile: ReferenceProfile) -> Any:
    """The module that measures outcomes of the profile's kind: each has the same functions."""
    return {"binary": yes_no_outcomes, "regression": number_outcomes, "multiclass": class_outcomes}[profile.task]


def outcomes(
    pipeline: Pipeline,
    profile: ReferenceProfile,
    judged: pa.Table,
    rows: int,
    promised: Any | None = None,
    *,
    kpi_interval: bool = True,
) -> Iterator[Reading]:
    """The readings of one complete tick.

    judged: `columns` and label of the rows with an outcome; rows: how many were scored; promised: the estimates from all rows
    that the model answered, None to estimate from those in `judged`; numbers are not estimated. kpi_interval: False leaves out
    that of the KPI, which takes PARTS queries. Model metrics cover the rows that the model answered itself; label rate and KPI
    cover all rows, since they describe what happened.
    """
    n = judged.num_rows
    detail = f"{n:,} of {rows:,} rows have an outcome"
    yield Reading("label_coverage", n / rows, rows, detail=detail, interval=intervals.wilson(n, rows))
    if n < FEWEST_OUTCOMES:
        yield from unmeasured(profile, _too_few(n, rows), n)
        return
    own = judged.filter(pa.array(is_own(judged)))
    with engine(threads=1) as con:
        yield from kind_of(profile).of_labels(con, profile, judged)
        yield from _of_model(con, pipeline, profile, own, promised)
        yield _kpi(con, pipeline, profile, judged, kpi_interval)


def unmeasured(profile: ReferenceProfile, why: str, n: int) -> Iterator[Reading]:
    """A reading without value for everything but the coverage.

    It makes a tick without outcomes visible.
    """
    yield from kind_of(profile).unmeasured_labels(why, n)
    yield Reading("kpi", None, n, why=why)
    yield from _unmeasured_model(profile, why, n)


def promised_of(profile: ReferenceProfile) -> Callable[[Any, str, Pipeline], Any] | None:
    """What estimates a tick's metrics before its labels arrive; None if nothing does."""
    of_yes_or_no = partial(estimate.promised_by, curves=profile.recalibration)
    return {"binary": of_yes_or_no, "regression": None, "multiclass": class_outcomes.promised_by}[profile.task]


def promises_of(pipeline: Pipeline, profile: ReferenceProfile, rows: int) -> estimate.Promises | None:
    """The same of a yes or no as an aggregate of so many rows that the model answered; None for other tasks."""
    return estimate.Promises(pipeline, rows, profile.recalibration) if profile.task == "binary" else None


def _of_model(
    con: Any, pipeline: Pipeline, profile: ReferenceProfile, own: pa.Table, promised: Any | None
) -> Iterator[Reading]:
    """The readings of the rows that the model itself answered."""
    n = own.num_rows
    if n < FEWEST_OUTCOMES:
        why = f"the model itself answered only {n} of the rows with an outcome; at least {FEWEST_OUTCOMES} are needed"
        yield from _unmeasured_model(profile, why, n)
        return
    kind = kind_of(profile)
    con.register("own", own)
    yield from kind.of_predictions(con, pipeline, profile, own, promised)
    con.register("explained", kind.explained_rows(own))
    regions = explained(profile.features)
    logged = [one for one in regions if one.column in own.column_names]
    yield from residual_drift(profile, residuals(con, "explained", logged))
    for one in regions:
        if one not in logged:
            yield Reading(residual_kind(profile), None, n, one.column, why=LOST, missing=True, important=True)


def _unmeasured_model(profile: ReferenceProfile, why: str, n: int) -> Iterator[Reading]:
    yield from kind_of(profile).unmeasured_predictions(profile, why, n)
    for one in explained(profile.features):
        yield Reading(residual_kind(profile), None, n, one.column, why=why, important=True)


def _kpi(con: Any, pipeline: Pipeline, profile: ReferenceProfile, judged: pa.Table, interval_too: bool) -> Reading:
    n, unit = judged.num_rows, f" {pipeline.kpi.unit}".rstrip()
    try:
        happened = with_value(pipeline, judged)
    except ValueUndefined as error:
        return Reading("kpi", None, n, reference=profile.kpi, why=str(error), missing=True)
    kpi = kpi_of(con, pipeline, happened)
    if kpi is None:
        return Reading("kpi", None, n, reference=profile.kpi, why="its SQL returns no number for these outcomes")
    if profile.kpi is None or profile.kpi <= 0:
        reference = "unknown" if profile.kpi is None else format_number(profile.kpi)
        why = f"it is {format_number(kpi)}{unit}, but the reference's is {reference}, so there is no ratio"
        return Reading("kpi", None, n, reference=profile.kpi, why=why)
    sd = _kpi_error(con, pipeline, happened) if interval_too else None
    detail = f"{format_number(kpi)}{unit}; the reference has {format_number(profile.kpi)}{unit}"
    ratio = kpi / profile.kpi
    interval = None if sd is None else intervals.normal(ratio, sd / profile.kpi, z=STUDENT)
    return Reading("kpi", ratio, n, reference=profile.kpi, detail=detail, interval=interval)


def _kpi_error(con: Any, pipeline: Pipeline, happened: pa.Table) -> float | None:
    """The KPI's standard error, by a jackknife; it works for any SQL.

    One of PARTS random parts of the rows is left out at a time. Quenouille, Biometrika 43 (1956). None if the KPI has no value
    without one of the parts.
    """
    part = np.random.default_rng(0).permutation(happened.num_rows) % PARTS
    without_part = [kpi_of(con, pipeline, happened.filter(pa.array(part != one))) for one in range(PARTS)]
    values = np.array([np.nan if one is None else one for one in without_part])
    if not np.isfinite(values).all():
        return None
    return sqrt((PARTS - 1) / PARTS * float(((values - values.mean()) ** 2).sum()))


def _too_few(n: int, rows: int) -> str:
    if n == 0:
        return f"none of its {rows:,} rows has an outcome, although all are due"
    return f"{format_count(n, 'outcome')} {'is' if n == 1 else 'are'} too few; at least {FEWEST_OUTCOMES} are needed"
