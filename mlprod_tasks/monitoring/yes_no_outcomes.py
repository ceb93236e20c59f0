"""Measure how yes-or-no predictions turned out, once the labels of a tick are complete."""

from __future__ import annotations

from collections.abc import Iterator
from math import sqrt
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.models.reference_profile import ReferenceProfile
from mlprod_tasks.monitoring.estimate import METRICS, Promised, estimate_error, promised_by, reference_of
from mlprod_tasks.monitoring.measurement import Reading
from mlprod_tasks.monitoring.realised import NotRealised, realised, realised_value
from mlprod_tasks.statistics import auc_interval, intervals
from mlprod_tasks.statistics.metrics import Estimate

FEWEST_OF_A_CLASS = 10  # with so few, the standard error of an AUC is about 0.09

Bools = NDArray[np.bool_]


def columns(profile: ReferenceProfile) -> tuple[str, ...]:
    """Columns of predictions that are read besides those of every kind."""
    return ()


def explained_rows(own: pa.Table) -> pa.Table:
    """Rows with `label` and `score`, whose differences are explained by features."""
    return own


def of_labels(con: Any, profile: ReferenceProfile, judged: pa.Table) -> Iterator[Reading]:
    """The readings of the outcomes themselves, over all rows that have one."""
    yield _label_rate(profile, judged)


def unmeasured_labels(why: str, n: int) -> Iterator[Reading]:
    """Readings without value of what `of_labels` measures."""
    yield Reading("label_rate", None, n, why=why)


def of_predictions(
    con: Any, pipeline: Pipeline, profile: ReferenceProfile, own: pa.Table, promised: Promised | None
) -> Iterator[Reading]:
    """The readings of the model's own predictions. own: also registered under this name."""
    n = own.num_rows
    outcome = own["label"].to_numpy(zero_copy_only=False).astype(bool)
    score = own["score"].to_numpy().astype(np.float64)
    decided = own["decision"].to_numpy(zero_copy_only=False).astype(bool)
    reference = None if profile.label_rate is None else profile.label_rate - profile.mean_score
    yield calibration(outcome, score, reference, "positive")
    came = {
        "roc_auc": _roc_auc(outcome, score),
        "precision": _share(outcome, decided, "was decided positive, so there is no precision"),
        "recall": _share(decided, outcome, "has a positive outcome, so there is no recall"),
        "value": realised_value(pipeline, own),
    }
    if promised is None:
        promised = promised_by(con, "own", pipeline, profile.recalibration)
    yield _auc_change(came["roc_auc"], profile, n)
    for metric in METRICS:
        yield realised(metric, came[metric], reference_of(profile, metric), n)
        yield estimate_error(metric, came[metric], promised)


def unmeasured_predictions(profile: ReferenceProfile, why: str, n: int) -> Iterator[Reading]:
    """Readings without value of what `of_predictions` measures."""
    yield Reading("calibration", None, n, why=why)
    yield Reading("roc_auc_change", None, n, why=why)
    for metric in METRICS:
        yield Reading(metric, None, n, reference=reference_of(profile, metric), why=why)
        yield Reading("estimate_error", None, n, metric, why=why)


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


def calibration(outcome: Bools, score: NDArray[np.float64], reference: float | None, what: str) -> Reading:
    """The mean outcome minus the mean score. what: that outcomes that are true were."""
    residual = outcome - score
    mean, n = float(residual.mean()), len(residual)
    # If all outcomes are equal, they vary less than calibrated scores allow: take the larger variance.
    error = sqrt(max(float(residual.var(ddof=1)), float((score * (1 - score)).mean())) / n)
    detail = f"{outcome.mean():.1%} were {what}, {score.mean():.1%} were expected"
    return Reading("calibration", mean, n, reference=reference, detail=detail, interval=intervals.normal(mean, error))


def _auc_change(came: Estimate | NotRealised, profile: ReferenceProfile, n: int) -> Reading:
    """The AUC within the tick minus the mean of those within the reference's ticks.

    The AUC of all rows of a reference is another thing: scores also tell its good ticks from its bad ones.
    """
    of_ticks = () if profile.history is None else profile.history.values.get("roc_auc", ())
    known = [value for value in of_ticks if value is not None]
    reference = float(np.mean(known)) if known else profile.roc_auc
    if isinstance(came, NotRealised):
        return Reading("roc_auc_change", None, n, reference=reference, why=came.why)
    if reference is None:
        return Reading("roc_auc_change", None, n, why="the reference has no AUC")
    detail = f"{came.value:.3f}; the reference's ticks have {reference:.3f} on average"
    interval = (came.low - reference, came.high - reference)
    return Reading("roc_auc_change", came.value - reference, n, reference=reference, detail=detail, interval=interval)


def _roc_auc(outcome: Bools, score: NDArray[np.float64]) -> Estimate | NotRealised:
    fewest = int(min(outcome.sum(), len(outcome) - outcome.sum()))
    if fewest < FEWEST_OF_A_CLASS:
        return NotRealised(f"{fewest} outcomes of one class are too few to rank; at least {FEWEST_OF_A_CLASS} are needed")
    return auc_interval.area(outcome, score)


def _share(of: Bools, among: Bools, none: str) -> Estimate | NotRealised:
    """The share of the rows in `among` that are in `of`.

    `none` ends the sentence for no rows.
    """
    trials = int(among.sum())
    if not trials:
        return NotRealised(f"none of {len(among):,} rows {none}")
    hits = int((of & among).sum())
    return Estimate(hits / trials, *intervals.wilson(hits, trials))
