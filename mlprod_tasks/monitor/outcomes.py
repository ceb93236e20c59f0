"""How a tick's predictions turned out, once their labels are complete."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.monitor.profile import ReferenceProfile, auc_of, kpi_of, with_value
from mlprod_tasks.monitor.reading import Reading
from mlprod_tasks.platform.engine import engine
from mlprod_tasks.value import ValueUndefined

FEWEST_OUTCOMES = 30
FEWEST_OF_A_CLASS = 10  # the standard error of an AUC is then about 0.09


def outcomes(pipeline: Pipeline, profile: ReferenceProfile, judged: pa.Table, rows: int) -> Iterator[Reading]:
    """The readings of one complete tick.

    judged: score, decision, fallback, label, and what the worth of a decision is declared over, of the rows that have an
    outcome; rows: all that were scored. Ranking and calibration are the model's own, over the rows that it answered; the rest
    is over all rows, for that is what happened.
    """
    n = judged.num_rows
    yield Reading("label_coverage", n / rows, rows, detail=f"{n:,} of {rows:,} rows have an outcome")
    if n < FEWEST_OUTCOMES:
        yield from unmeasured(_too_few(n, rows), n)
        return
    own = judged.filter(pc.invert(judged["fallback"]))
    yield _label_rate(profile, judged)
    yield from _of_the_model(profile, own.rename_columns({"label": "outcome"}))
    yield _kpi(pipeline, profile, judged)


def unmeasured(why: str, n: int) -> Iterator[Reading]:
    """A reading without value for everything but the coverage: a tick without outcomes is said to be one."""
    for what in ("label_rate", "roc_auc", "calibration", "kpi"):
        yield Reading(what, None, n, why=why)


def _label_rate(profile: ReferenceProfile, judged: pa.Table) -> Reading:
    n, rate = judged.num_rows, float(pc.mean(judged["label"].cast(pa.float64())).as_py())
    if not profile.label_rate:
        return Reading("label_rate", None, n, why="no row of the reference is positive")
    detail = f"{rate:.1%} positive; the reference has {profile.label_rate:.1%}"
    return Reading("label_rate", rate / profile.label_rate, n, reference=profile.label_rate, detail=detail)


def _of_the_model(profile: ReferenceProfile, own: pa.Table) -> Iterator[Reading]:
    n = own.num_rows
    if n < FEWEST_OUTCOMES:
        for what in ("roc_auc", "calibration"):
            yield Reading(what, None, n, why=f"{n} rows with an outcome were answered by the model itself")
        return
    outcome = own["outcome"].to_numpy(zero_copy_only=False)
    fewest = int(min(outcome.sum(), n - outcome.sum()))
    if fewest < FEWEST_OF_A_CLASS:
        why = f"{fewest} outcomes of one class are too few to rank; at least {FEWEST_OF_A_CLASS} are needed"
        yield Reading("roc_auc", None, n, reference=profile.roc_auc, why=why)
    else:
        detail = "" if profile.roc_auc is None else f"the reference has {profile.roc_auc:.3f}"
        yield Reading("roc_auc", auc_of(own), n, reference=profile.roc_auc, detail=detail)
    mean_outcome, mean_score = float(np.mean(outcome)), float(np.mean(own["score"].to_numpy()))
    reference = None if profile.label_rate is None else profile.label_rate - profile.mean_score
    detail = f"{mean_outcome:.1%} came true, {mean_score:.1%} were expected"
    yield Reading("calibration", mean_outcome - mean_score, n, reference=reference, detail=detail)


def _kpi(pipeline: Pipeline, profile: ReferenceProfile, judged: pa.Table) -> Reading:
    n, unit = judged.num_rows, f" {pipeline.kpi.unit}".rstrip()
    try:
        happened = with_value(pipeline, judged)
    except ValueUndefined as error:
        return Reading("kpi", None, n, reference=profile.kpi, why=str(error), missing=True)
    with engine(threads=1) as con:
        kpi = kpi_of(con, pipeline, happened)
    if kpi is None:
        return Reading("kpi", None, n, reference=profile.kpi, why="its SQL gives no number for these outcomes")
    if profile.kpi is None or profile.kpi <= 0:
        why = f"it is {kpi:,.4g}{unit}, but the reference's is {profile.kpi}, so there is no ratio"
        return Reading("kpi", None, n, reference=profile.kpi, why=why)
    detail = f"{kpi:,.4g}{unit}; the reference has {profile.kpi:,.4g}{unit}"
    return Reading("kpi", kpi / profile.kpi, n, reference=profile.kpi, detail=detail)


def _too_few(n: int, rows: int) -> str:
    if n == 0:
        return f"none of its {rows:,} rows has an outcome, though all are due"
    return f"{n} outcomes are too few; at least {FEWEST_OUTCOMES} are needed"
