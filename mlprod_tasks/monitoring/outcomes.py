"""Measure how a tick's predictions turned out, once their labels are complete."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import sqrt
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.declaration.task import HIGH, LOW
from mlprod_tasks.documents.formatting import format_count, format_number
from mlprod_tasks.models.decision_value import ValueUndefined
from mlprod_tasks.models.kpi import kpi_of, with_value
from mlprod_tasks.models.reference_profile import ReferenceProfile
from mlprod_tasks.monitoring import number_outcomes
from mlprod_tasks.monitoring.estimate import METRICS, PER, Promised, promised_by, reference_of
from mlprod_tasks.monitoring.inputs import LOST
from mlprod_tasks.monitoring.measurement import Reading
from mlprod_tasks.monitoring.residuals import explained, residual_drift, residuals
from mlprod_tasks.platform.engine import engine
from mlprod_tasks.statistics import auc_interval, intervals
from mlprod_tasks.statistics.metrics import CannotBeMeasured, Estimate

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
    ends = (LOW, HIGH) if profile.numbers is not None and profile.numbers.held is not None else ()
    return tuple(dict.fromkeys(("score", "decision", "fallback", *ends, *pipeline.value_features, *regions)))


def outcomes(
    pipeline: Pipeline, profile: ReferenceProfile, judged: pa.Table, rows: int, promised: Promised | None = None
) -> Iterator[Reading]:
    """The readings of one complete tick.

    judged: `columns` and label of the rows with an outcome; rows: how many were scored; promised: the estimates from all rows
    that the model answered, None to estimate from those in `judged`; numbers are not estimated. Model metrics cover the rows
    that the model answered itself; label rate and KPI cover all rows, since they describe what happened.
    """
    n = judged.num_rows
    detail = f"{n:,} of {rows:,} rows have an outcome"
    yield Reading("label_coverage", n / rows, rows, detail=detail, interval=intervals.wilson(n, rows))
    if n < FEWEST_OUTCOMES:
        yield from unmeasured(profile, _too_few(n, rows), n)
        return
    own = judged.filter(pc.invert(judged["fallback"]))
    with engine(threads=1) as con:
        if profile.numbers is not None:
            yield from number_outcomes.of_labels(con, profile.numbers, judged)
            yield from _number_metrics(con, pipeline, profile, own)
        else:
            yield _label_rate(profile, judged)
            yield from _model_metrics(con, pipeline, profile, own, promised)
        yield _kpi(con, pipeline, profile, judged)


def unmeasured(profile: ReferenceProfile, why: str, n: int) -> Iterator[Reading]:
    """A reading without value for everything but the coverage.

    It makes a tick without outcomes visible.
    """
    if profile.numbers is None:
        yield Reading("label_rate", None, n, why=why)
    else:
        yield from number_outcomes.unmeasured_labels(why, n)
    yield Reading("kpi", None, n, why=why)
    yield from _unmeasured_model(profile, why, n)


def _label_rate(profile: ReferenceProfile, judged: pa.Table) -> Reading:
    n = judged.num_rows
    positives = int(pc.sum(judged["label"].cast(pa.int64())).as_py())
    rate, reference = positives / n, profile.label_rate
    if not reference:
        return Reading("label_rate", None, n, why=f"no row of the reference is positive, but {rate:.1%} of these are")
    low, high = intervals.wilson(positives, n)
    detail = f"{rate:.1%} positive, 95 % interval {low:.1%} to {high:.1%}; the reference has {reference:.1%}"
    return Reading(
        "label_rate", rate / reference, n, reference=reference, detail=detail, interval=(low / reference, high / reference)
    )


def _number_metrics(con: Any, pipeline: Pipeline, profile: ReferenceProfile, own: pa.Table) -> Iterator[Reading]:
    n = own.num_rows
    if n < FEWEST_OUTCOMES:
        yield from _unmeasured_model(profile, _too_few_of_model(n), n)
        return
    yield from number_outcomes.of_predictions(pipeline, profile, own)
    con.register("own", own)
    yield from _residual_drift(con, profile, own)


def _too_few_of_model(n: int) -> str:
    return f"the model itself answered only {n} of the rows with an outcome; at least {FEWEST_OUTCOMES} are needed"


def _model_metrics(
    con: Any, pipeline: Pipeline, profile: ReferenceProfile, own: pa.Table, promised: Promised | None
) -> Iterator[Reading]:
    n = own.num_rows
    if n < FEWEST_OUTCOMES:
        yield from _unmeasured_model(profile, _too_few_of_model(n), n)
        return
    outcome = own["label"].to_numpy(zero_copy_only=False).astype(bool)
    score = own["score"].to_numpy().astype(np.float64)
    decided = own["decision"].to_numpy(zero_copy_only=False).astype(bool)
    yield _calibration(profile, outcome, score)
    realised = {
        "roc_auc": _roc_auc(outcome, score),
        "precision": _share(outcome, decided, "was decided positive, so there is no precision"),
        "recall": _share(decided, outcome, "has a positive outcome, so there is no recall"),
        "value": _value(pipeline, own),
    }
    con.register("own", own)
    if promised is None:
        promised = promised_by(con, "own", pipeline)
    for metric in METRICS:
        yield _realised(profile, metric, realised[metric], n)
        yield _estimate_error(metric, realised[metric], promised)
    yield from _residual_drift(con, profile, own)


def _unmeasured_model(profile: ReferenceProfile, why: str, n: int) -> Iterator[Reading]:
    if profile.numbers is not None:
        yield from number_outcomes.unmeasured_predictions(profile, why, n)
        for one in explained(profile.features):
            yield Reading("residual_shift", None, n, one.column, why=why, important=True)
        return
    yield Reading("calibration", None, n, why=why)
    for metric in METRICS:
        yield Reading(metric, None, n, reference=reference_of(profile, metric), why=why)
        yield Reading("estimate_error", None, n, metric, why=why)
    for one in explained(profile.features):
        yield Reading("residual_drift", None, n, one.column, why=why, important=True)


@dataclass(frozen=True)
class _NotRealised:
    """Why a metric has no value; missing: whether it should have one."""

    why: str
    missing: bool = False


def _calibration(profile: ReferenceProfile, outcome: Bools, score: NDArray[np.float64]) -> Reading:
    residual = outcome - score
    mean, n = float(residual.mean()), len(residual)
    # If all outcomes are equal, they vary less than calibrated scores allow: take the larger variance.
    error = sqrt(max(float(residual.var(ddof=1)), float((score * (1 - score)).mean())) / n)
    reference = None if profile.label_rate is None else profile.label_rate - profile.mean_score
    detail = f"{outcome.mean():.1%} were positive, {score.mean():.1%} were expected"
    return Reading("calibration", mean, n, reference=reference, detail=detail, interval=intervals.normal(mean, error))


def _roc_auc(outcome: Bools, score: NDArray[np.float64]) -> Estimate | _NotRealised:
    fewest = int(min(outcome.sum(), len(outcome) - outcome.sum()))
    if fewest < FEWEST_OF_A_CLASS:
        return _NotRealised(f"{fewest} outcomes of one class are too few to rank; at least {FEWEST_OF_A_CLASS} are needed")
    return auc_interval.area(outcome, score)


def _share(of: Bools, among: Bools, none: str) -> Estimate | _NotRealised:
    """The share of the rows in `among` that are in `of`.

    `none` ends the sentence for no rows.
    """
    trials = int(among.sum())
    if not trials:
        return _NotRealised(f"none of {len(among):,} rows {none}")
    hits = int((of & among).sum())
    return Estimate(hits / trials, *intervals.wilson(hits, trials))


def _value(pipeline: Pipeline, own: pa.Table) -> Estimate | _NotRealised:
    try:
        value = PER * with_value(pipeline, own)["value"].to_numpy()
    except ValueUndefined as error:
        return _NotRealised(str(error), missing=True)
    return Estimate(float(value.mean()), *intervals.of_mean(value))


def _realised(profile: ReferenceProfile, metric: str, result: Estimate | _NotRealised, n: int) -> Reading:
    reference = reference_of(profile, metric)
    if isinstance(result, _NotRealised):
        return Reading(metric, None, n, reference=reference, why=result.why, missing=result.missing)
    detail = "" if reference is None else f"the reference has {format_number(reference)}"
    return Reading(metric, result.value, n, reference=reference, detail=detail, interval=(result.low, result.high))


def _estimate_error(metric: str, result: Estimate | _NotRealised, promised: Promised) -> Reading:
    """Realised minus estimated metric.

    The interval contains 0 unless the scores are no longer calibrated.
    """
    try:
        estimate = promised.estimate(metric)
    except (CannotBeMeasured, ValueUndefined) as error:
        return Reading("estimate_error", None, promised.n, metric, why=f"there was no estimate: {error}")
    if isinstance(result, _NotRealised):
        return Reading("estimate_error", None, promised.n, metric, reference=estimate.value, why=result.why)
    expected = (
        f"{format_number(estimate.value)} (95 % interval {format_number(estimate.low)} to {format_number(estimate.high)})"
    )
    return Reading(
        "estimate_error",
        result.value - estimate.value,
        promised.n,
        metric,
        reference=estimate.value,
        detail=f"{format_number(result.value)} instead of {expected}",
        interval=(result.value - estimate.high, result.value - estimate.low),
    )


def _residual_drift(con: Any, profile: ReferenceProfile, own: pa.Table) -> Iterator[Reading]:
    regions = explained(profile.features)
    logged = [one for one in regions if one.column in own.column_names]
    yield from residual_drift(profile, residuals(con, "own", logged))
    for one in regions:
        if one not in logged:
            what = "residual_drift" if profile.numbers is None else "residual_shift"
            yield Reading(what, None, own.num_rows, one.column, why=LOST, missing=True, important=True)


def _kpi(con: Any, pipeline: Pipeline, profile: ReferenceProfile, judged: pa.Table) -> Reading:
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
    sd = _kpi_error(con, pipeline, happened)
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
