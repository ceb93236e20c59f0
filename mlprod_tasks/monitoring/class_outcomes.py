"""Measure how predicted classes turned out, once the labels of a tick are complete, and estimate it before."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import sqrt
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mlprod_tasks.declaration import ClassValue, Pipeline
from mlprod_tasks.declaration.task import PREDICTION, PROBABILITIES
from mlprod_tasks.documents.formatting import format_count
from mlprod_tasks.models.class_rule import worth_of
from mlprod_tasks.models.predicted_columns import read_scores
from mlprod_tasks.models.reference_profile import ReferenceClasses, ReferenceProfile
from mlprod_tasks.monitoring.estimate import FEWEST_ROWS, estimate_error, reference_of
from mlprod_tasks.monitoring.measurement import Reading
from mlprod_tasks.monitoring.number_outcomes import label_psi, relative
from mlprod_tasks.monitoring.realised import PER, realised, realised_value
from mlprod_tasks.monitoring.yes_no_outcomes import calibration
from mlprod_tasks.platform.sql import quoted
from mlprod_tasks.statistics import class_metrics, intervals
from mlprod_tasks.statistics.class_scores import ClassScores, Names, codes_of, in_order
from mlprod_tasks.statistics.metrics import CannotBeMeasured, Estimate

ROWS_AT_ONCE = 100_000
METRICS = ("accuracy", "macro_f1", "value")
MOST_NAMED = 5

Floats = NDArray[np.float64]


def columns(profile: ReferenceProfile) -> tuple[str, ...]:
    """Columns of predictions that are read besides those of every kind."""
    return (PREDICTION, PROBABILITIES)


def explained_rows(own: pa.Table) -> pa.Table:
    """Rows with `label`, whether the predicted class came, and `score`, its probability."""
    right = pc.equal(own[PREDICTION], own["label"])
    return own.set_column(own.column_names.index("label"), "label", right)


def of_labels(con: Any, profile: ReferenceProfile, judged: pa.Table) -> Iterator[Reading]:
    """The readings of the outcomes themselves, over all rows that have one."""
    classes = _of(profile)
    yield label_psi(con, classes.label, judged)
    yield _unknown(classes, judged)


def unmeasured_labels(why: str, n: int) -> Iterator[Reading]:
    """Readings without value of what `of_labels` measures."""
    for what in ("label_psi", "unknown_classes"):
        yield Reading(what, None, n, why=why)


def of_predictions(
    con: Any, pipeline: Pipeline, profile: ReferenceProfile, own: pa.Table, promised: Promised | None
) -> Iterator[Reading]:
    """The readings of the model's own predictions. own: also registered under this name."""
    n, classes = own.num_rows, _of(profile)
    outcome, predicted = (np.asarray(own[name].to_numpy(zero_copy_only=False), object) for name in ("label", PREDICTION))
    score = read_scores(own[PROBABILITIES].to_pylist())
    losses = class_metrics.row_losses(outcome, score)
    right, chance = outcome == predicted, own["score"].to_numpy().astype(np.float64)
    yield relative("log_loss", float(losses.mean()), intervals.of_mean(losses), classes.log_loss, n)
    yield calibration(right, chance, classes.accuracy - profile.mean_score, "predicted rightly")
    hits = int(right.sum())
    came = {
        "accuracy": Estimate(hits / n, *intervals.wilson(hits, n)),
        "macro_f1": macro_f1(outcome, predicted),
        "value": realised_value(pipeline, own),
    }
    if promised is None:
        promised = promised_by(con, "own", pipeline)
    for metric in METRICS:
        yield realised(metric, came[metric], reference_of(profile, metric), n)
        if metric != "macro_f1":  # of other classes than the estimate's, if rare ones do not come
            yield estimate_error(metric, came[metric], promised)


def unmeasured_predictions(profile: ReferenceProfile, why: str, n: int) -> Iterator[Reading]:
    """Readings without value of what `of_predictions` measures."""
    for what in ("log_loss", "calibration"):
        yield Reading(what, None, n, why=why)
    for metric in METRICS:
        yield Reading(metric, None, n, reference=reference_of(profile, metric), why=why)
        if metric != "macro_f1":
            yield Reading("estimate_error", None, n, metric, why=why)


def macro_f1(outcome: Names, predicted: Names) -> Estimate:
    """The mean F1 of the classes that occur, with a normal interval by the delta method."""
    classes = in_order([*outcome, *predicted])
    real, said = codes_of(outcome, classes), codes_of(predicted, classes)
    both = np.bincount(real, minlength=len(classes)) + np.bincount(said, minlength=len(classes))
    f1 = 2 * np.bincount(real[real == said], minlength=len(classes)) / both
    # What each row adds to the mean, apart from a constant.
    added = (2 * (real == said) / both[real] - f1[real] / both[real] - f1[said] / both[said]) / len(classes)
    mean = float(f1.mean())
    return Estimate(mean, *intervals.normal(mean, sqrt(float((added**2).sum())), 0.0, 1.0))


@dataclass(frozen=True)
class Promised:
    """What probabilities promise of the rows that the model itself answered.

    hits: the share of right predictions; f1: the mean F1 of the classes that are predicted or expected; worth: the value of
    predictions per 1,000 rows; loss: the log loss. None without rows.
    """

    n: int
    hits: Estimate | None = None
    f1: Estimate | None = None
    worth: Estimate | None = None
    loss: Estimate | None = None
    metrics = (*METRICS, "log_loss")
    relative = ("log_loss",)

    def estimate(self, metric: str) -> Estimate:
        """The estimate of one of `metrics`. Raises: CannotBeMeasured."""
        known = {"accuracy": self.hits, "macro_f1": self.f1, "value": self.worth, "log_loss": self.loss}[metric]
        if self.n < FEWEST_ROWS or known is None:
            raise CannotBeMeasured(
                f"the model itself answered {format_count(self.n, 'row')}, too few for an estimate; "
                f"at least {FEWEST_ROWS} are needed"
            )
        return known


def promised_by(con: Any, source: str, pipeline: Pipeline) -> Promised:
    """Estimate the metrics of `source`, all of whose rows the model itself answered, in batches that fit in memory.

    source: what follows FROM, with columns prediction and probabilities.
    """
    selected = ", ".join(map(quoted, (PREDICTION, PROBABILITIES)))
    scores, predicted = [], []
    for batch in con.sql(f"SELECT {selected} FROM {source}").to_arrow_reader(ROWS_AT_ONCE):
        scores.append(read_scores(batch.column(1).to_pylist()))
        predicted.append(np.asarray(batch.column(0).to_numpy(zero_copy_only=False), object))
    if not sum(map(len, predicted)):
        return Promised(0)
    classes = (
        scores[0].classes if len({one.classes for one in scores}) == 1 else in_order([n for s in scores for n in s.classes])
    )
    together = ClassScores(classes, np.concatenate([one.aligned(classes) for one in scores]))
    return promised(together, np.concatenate(predicted), pipeline.value)


def promised(score: ClassScores, predicted: Names, value: Any) -> Promised:
    """Estimate accuracy, macro F1, value and log loss from probabilities (CBPE of several classes, as published by NannyML).

    Each ratio is that of the expected numerator and the expected denominator. Intervals hold what comes of these rows in 95 of
    100 cases, if outcomes are drawn from the probabilities: F1 by the delta method.
    """
    n, p = len(score), score.shares
    chance = score.of(predicted)
    hits = float(chance.mean())
    error = sqrt(float((chance * (1 - chance)).sum())) / n
    return Promised(
        n,
        Estimate(hits, *intervals.normal(hits, error, 0.0, 1.0)),
        _expected_f1(score, predicted),
        _expected_worth(p, score.classes, predicted, value) if isinstance(value, ClassValue) else None,
        _expected_loss(p),
    )


def _expected_f1(score: ClassScores, predicted: Names) -> Estimate:
    said, p = score.codes(predicted), score.shares
    size = len(score.classes)
    hits = np.bincount(said, p[np.arange(len(said)), said], minlength=size)
    both = np.bincount(said, minlength=size) + p.sum(axis=0)
    known = both > 0
    f1 = np.divide(2 * hits, both, out=np.zeros(size), where=known)
    mean = float(f1[known].mean())
    # What an outcome of each class adds to the mean, (n, classes).
    pull = np.divide(-f1, both, out=np.zeros(size), where=known)[None, :] + np.zeros_like(p)
    pull[np.arange(len(said)), said] += 2 / both[said]
    error = sqrt(_variance(p, pull / known.sum()))
    return Estimate(mean, *intervals.normal(mean, error, 0.0, 1.0))


def _expected_worth(p: Floats, classes: tuple[str, ...], predicted: Names, value: ClassValue) -> Estimate:
    names = in_order(list(predicted))
    table = np.array([[worth_of(value, said, real) for real in classes] for said in names], np.float64)
    of_row = table[codes_of(predicted, names)]
    mean = PER * float((p * of_row).sum()) / len(p)
    return Estimate(mean, *intervals.normal(mean, PER * sqrt(_variance(p, of_row)) / len(p)))


def _expected_loss(p: Floats) -> Estimate:
    """The mean entropy of the probabilities."""
    losses = -np.log(np.maximum(p, np.finfo(np.float64).eps))
    mean = float((p * losses).sum()) / len(p)
    return Estimate(mean, *intervals.normal(mean, sqrt(_variance(p, losses)) / len(p), 0.0))


def _variance(p: Floats, values: Floats) -> float:
    """The variance of the sum over rows of the value of the class that is drawn."""
    means = (p * values).sum(axis=1)
    return max(0.0, float((p * values**2).sum() - (means**2).sum()))


def _unknown(classes: ReferenceClasses, judged: pa.Table) -> Reading:
    """The share of outcomes of a class that the model does not know."""
    n = judged.num_rows
    rows = pc.value_counts(judged["label"].combine_chunks()).to_pylist()
    unknown = sorted((one["values"] for one in rows if one["values"] not in classes.known), key=str)
    count = sum(one["counts"] for one in rows if one["values"] in unknown)
    named = ", ".join(repr(name[:40]) for name in unknown[:MOST_NAMED]) + (" and more" if len(unknown) > MOST_NAMED else "")
    detail = f"{count:,} of {n:,} outcomes" + (f" are {named}, which the model does not know" if unknown else "")
    return Reading("unknown_classes", count / n, n, reference=0.0, detail=detail, interval=intervals.wilson(count, n))


def _of(profile: ReferenceProfile) -> ReferenceClasses:
    assert profile.classes is not None
    return profile.classes
