"""Estimate a tick's performance from its scores, before its labels arrive.

This is confidence-based performance estimation. A calibrated score is the probability of a positive outcome, so each row is a
true positive, a false positive and so on with a known probability, and their expected numbers give the metrics (CBPE, as
published by NannyML). Each ratio is that of the expected numerator and the expected denominator. The interval holds the
realised metric of these same rows in 95 of 100 cases, if labels are drawn from those probabilities. Training calibrates scores
on its validation window; what they meant on the reference (`recalibration`) is closer to the present, and known with an error,
by which intervals are wider. All this assumes that scores still mean that: it cannot detect a concept shift.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import sqrt
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mlprod_tasks.declaration import CostMatrix, Pipeline
from mlprod_tasks.documents.formatting import format_count, format_number
from mlprod_tasks.models.decision_value import ValueUndefined
from mlprod_tasks.monitoring.expected_worth import Worths, by_function, by_matrix, value
from mlprod_tasks.monitoring.measurement import Reading
from mlprod_tasks.monitoring.realised import NotRealised
from mlprod_tasks.monitoring.recalibration import chances
from mlprod_tasks.statistics import intervals
from mlprod_tasks.statistics.auc_interval import Z
from mlprod_tasks.statistics.metrics import CannotBeMeasured, Estimate

if TYPE_CHECKING:
    from mlprod_tasks.models.reference_profile import ReferenceProfile, ScoreCurve

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

FEWEST_ROWS = 30
FEWEST_OF_A_CLASS = 10  # expected of each class for an AUC, as for the realised one
MOST_SINGLE_SCORES = 200_000  # with more rows, scores are grouped in steps of 1 / STEPS
STEPS = 65_536
FINEST = 2**45  # a score is counted to one in so many: the sum of those of a step, of any number of rows, is a whole number
METRICS = ("roc_auc", "precision", "recall", "value")


@dataclass(frozen=True)
class Promised:
    """The rows that the model itself answered, counted by score and decision.

    Arrays are (groups,) each. chances: how likely a positive outcome is by score, (curves, groups); the first is what is known,
    the others tell how surely. worths: the expected worth of their decisions by each of these; if it cannot be computed,
    `no_value` says why.
    """

    score: Floats
    decided: Bools
    rows: Floats
    chances: Floats
    worths: tuple[Worths, ...] = ()
    no_value: str = ""
    metrics = METRICS
    relative: tuple[str, ...] = ()

    @property
    def n(self) -> int:
        return int(self.rows.sum())

    @property
    def value(self) -> Estimate | None:
        """The expected worth of the decisions per 1,000 rows; None if it cannot be computed."""
        return _widened([value(sums) for sums in self.worths]) if self.worths else None

    def estimate(self, metric: str) -> Estimate:
        """The estimate of one of METRICS. Raises: CannotBeMeasured or ValueUndefined."""
        if self.n < FEWEST_ROWS:
            raise CannotBeMeasured(
                f"the model itself answered {format_count(self.n, 'row')}, too few for an estimate; "
                f"at least {FEWEST_ROWS} are needed"
            )
        if metric == "roc_auc":
            return _widened([roc_auc(self.score, self.rows, chance) for chance in self.chances], 0.0, 1.0)
        if metric == "precision":
            by_curve = [precision(one, self.decided, self.rows, sure=bool(i)) for i, one in enumerate(self.chances)]
            return _widened(by_curve, 0.0, 1.0)
        if metric == "recall":
            return _widened([recall(chance, self.decided, self.rows) for chance in self.chances], 0.0, 1.0)
        if self.value is None:
            raise ValueUndefined(self.no_value)
        return self.value


class Estimating(Protocol):
    """What is estimated before labels arrive."""

    @property
    def n(self) -> int:
        """The number of rows that it rests on."""

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics that there are."""

    @property
    def relative(self) -> tuple[str, ...]:
        """Those that are told as multiples of the reference's."""

    def estimate(self, metric: str) -> Estimate:
        """The estimate of one of them. Raises: CannotBeMeasured or ValueUndefined."""


def estimates(profile: ReferenceProfile, promised: Estimating) -> Iterator[Reading]:
    """The estimated metrics of one tick's scores; a reading without a value says why."""
    for metric in promised.metrics:
        what, reference = f"estimated_{metric}", reference_of(profile, metric)
        try:
            estimate = promised.estimate(metric)
        except (CannotBeMeasured, ValueUndefined) as error:
            missing = isinstance(error, ValueUndefined)
            yield Reading(what, None, promised.n, reference=reference, why=str(error), missing=missing)
            continue
        meant = "mean what they did on the reference" if profile.recalibration else "are still calibrated"
        detail = f"assuming that scores {meant}"
        if reference is not None:
            detail += f"; the reference has {format_number(reference)}"
        unit = 1.0
        if metric in promised.relative:
            if not reference:
                yield Reading(what, None, promised.n, reference=reference, why="the reference's is 0, or was not kept")
                continue
            unit, detail = reference, f"{format_number(estimate.value)}, {detail}"
        interval = (estimate.low / unit, estimate.high / unit)
        yield Reading(what, estimate.value / unit, promised.n, reference=reference, detail=detail, interval=interval)


def estimate_error(metric: str, result: Estimate | NotRealised, promised: Estimating) -> Reading:
    """Realised minus estimated metric.

    The interval contains 0 unless the scores are no longer calibrated.
    """
    try:
        estimate = promised.estimate(metric)
    except (CannotBeMeasured, ValueUndefined) as error:
        return Reading("estimate_error", None, promised.n, metric, why=f"there was no estimate: {error}")
    if isinstance(result, NotRealised):
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


def reference_of(profile: ReferenceProfile, metric: str) -> float | None:
    """The reference's realised value of one of METRICS.

    None if it could not be computed or was not kept.
    """
    known: float | None = getattr(profile.classes, metric, None) if profile.classes else None
    return getattr(profile, metric, None) if known is None else known


def promised_by(con: Any, source: str, pipeline: Pipeline, curves: Sequence[ScoreCurve] = ()) -> Promised:
    """Count the scores and decisions of `source` by SQL.

    The model itself answered all its rows. source: what follows FROM, with columns score, decision and those that the value of
    a decision depends on. curves: what scores mean; without any, scores are probabilities.
    """
    ((n,),) = con.execute(f"SELECT count(*) FROM {source}").fetchall()
    promises = Promises(pipeline, n, tuple(curves))
    return promises.merge([promises.read(con, source)])


@dataclass(frozen=True)
class _Part:
    """Rows by score and decision, (groups,) each; worths and no_value as in `Promised`.

    score: the score, or its step of 1 / STEPS; beyond: the sum of what scores have beyond it, in units of 1 / FINEST.
    """

    score: Floats
    decided: Bools
    rows: NDArray[np.int64]
    beyond: NDArray[np.int64]
    worths: tuple[Worths, ...] = ()
    no_value: str = ""


@dataclass(frozen=True)
class Promises:
    """What scores promise: an aggregate of the rows that the model itself answered. rows: how many there are; else as above.

    Scores are summed as whole numbers, so neither pieces nor threads change a bit; sums of worths by a function are rounded.
    """

    pipeline: Pipeline
    rows: int
    curves: tuple[ScoreCurve, ...] = ()

    def read(self, con: Any, source: str) -> _Part:
        step = f"floor(score * {STEPS})"
        beyond = f"sum((score * {FINEST})::BIGINT - {step}::BIGINT * {FINEST // STEPS})::BIGINT"
        groups = con.execute(
            f"SELECT {step if self._in_steps else 'score'} AS score, decision, count(*) AS n, "
            f"{beyond if self._in_steps else '0::BIGINT'} AS beyond FROM {source} GROUP BY 1, 2"
        ).fetchnumpy()
        score, decided, rows, sums = (np.asarray(groups[name]) for name in ("score", "decision", "n", "beyond"))
        part = _Part(score.astype(np.float64), decided.astype(bool), rows.astype(np.int64), sums.astype(np.int64))
        if isinstance(self.pipeline.value, CostMatrix) or not len(rows):
            return part
        try:
            return replace(part, worths=by_function(con, source, self.pipeline, self.curves))
        except ValueUndefined as error:
            return replace(part, no_value=str(error))

    @property
    def _in_steps(self) -> bool:
        return self.rows > MOST_SINGLE_SCORES

    def merge(self, parts: Sequence[_Part]) -> Promised:
        score, place = np.unique(np.concatenate([part.score for part in parts]), return_inverse=True)
        groups, group = np.unique(2 * place + np.concatenate([part.decided for part in parts]), return_inverse=True)
        score, decided = score[groups // 2], groups % 2 == 1
        rows, beyond = np.zeros(len(groups), np.int64), np.zeros(len(groups), np.int64)
        np.add.at(rows, group, np.concatenate([part.rows for part in parts]))
        np.add.at(beyond, group, np.concatenate([part.beyond for part in parts]))
        if self._in_steps:
            score = score / STEPS + beyond / rows / FINEST
            order = np.lexsort((decided, score))
            score, decided, rows = score[order], decided[order], rows[order]
        counted = Promised(score, decided, rows.astype(np.float64), chances(score, self.curves))
        if not counted.n:
            return counted
        if isinstance(self.pipeline.value, CostMatrix):
            return replace(counted, worths=by_matrix(self.pipeline.value, decided, counted.rows, counted.chances))
        if undefined := [part.no_value for part in parts if part.no_value]:
            return replace(counted, no_value=undefined[0])
        return replace(counted, worths=tuple(map(Worths.of_all, zip(*(p.worths for p in parts if p.worths), strict=True))))


def _widened(by_curve: Sequence[Estimate], low: float = -np.inf, high: float = np.inf) -> Estimate:
    """The first curve's estimate, its interval wider by how much the estimates of the other curves differ.

    The two errors are independent: one is of the outcomes still to come, the other of those of the reference.
    """
    first, *others = by_curve
    if len(others) < 2:
        return first
    unsure = Z * float(np.std([one.value for one in others], ddof=1))
    below, above = np.hypot(first.value - first.low, unsure), np.hypot(first.high - first.value, unsure)
    return Estimate(first.value, max(low, first.value - float(below)), min(high, first.value + float(above)))


def roc_auc(score: Floats, rows: Floats, chance: Floats | None = None) -> Estimate:
    """Expected ROC AUC: the share of positive-negative pairs in the right order.

    Equal scores count half. The standard error is by the delta method: the exact variance of the linear statistic sum over
    pairs of y_i (1 - y_j) (h_ij - AUC), where h_ij is 1, 0.5 or 0 if i scores above, like or below j. Both parts of its
    Hoeffding decomposition are in closed form.

    score, rows: (groups,); chance: of a positive outcome, (groups,), the score by default. Raises: CannotBeMeasured.
    """
    distinct, first, group = np.unique(score, return_index=True, return_inverse=True)
    s = distinct if chance is None else chance[first]
    n = np.bincount(group, weights=rows)
    positives, negatives = n * s, n * (1 - s)
    spread = n * s * (1 - s)
    total = float(positives.sum()), float(negatives.sum())
    if min(total) < FEWEST_OF_A_CLASS:
        raise CannotBeMeasured(
            f"by their scores, {format_number(total[0])} positive and {format_number(total[1])} negative outcomes are "
            f"expected, too few to rank; at least {FEWEST_OF_A_CLASS} of each are needed"
        )
    below, above = _sums_before(negatives), _sums_before(positives[::-1])[::-1]
    right = float((positives * below).sum() + ((n - 1) * spread).sum() / 2)  # a row is not paired with itself
    pairs = total[0] * total[1] - float(spread.sum())
    auc = right / pairs
    pull = (below + (n - 1) * (1 - s) / 2 - auc * (total[1] - (1 - s))) - (above + (n - 1) * s / 2 - auc * (total[0] - s))
    of_pairs = (float(spread.sum()) ** 2 - float((n * (s * (1 - s)) ** 2).sum())) / 2
    variance = float((spread * pull**2).sum()) + (1 - 2 * auc) ** 2 * of_pairs
    return Estimate(auc, *intervals.normal(auc, sqrt(variance) / pairs, 0.0, 1.0))


def precision(score: Floats, decided: Bools, rows: Floats, *, sure: bool = False) -> Estimate:
    """Expected precision: the mean score of the rows decided positive. sure: without its interval, which takes long.

    The number of hits is Poisson binomial. score, decided, rows: (groups,). Raises: CannotBeMeasured if no row is decided
    positive.
    """
    n = float(rows[decided].sum())
    if not n:
        raise CannotBeMeasured(f"none of {rows.sum():,.0f} rows was decided positive, so there is no precision")
    chances, times = score[decided], rows[decided]
    mean = float((times * chances).sum()) / n
    if sure:
        return Estimate(mean, mean, mean)
    if n <= intervals.MOST_EXACT:
        low, high = intervals.successes(np.repeat(chances, times.astype(np.int64)))
        return Estimate(mean, low / n, high / n)
    error = sqrt(float((times * chances * (1 - chances)).sum())) / n
    return Estimate(mean, *intervals.normal(mean, error, 0.0, 1.0))


def recall(score: Floats, decided: Bools, rows: Floats) -> Estimate:
    """Expected recall: the sum of scores decided positive over the sum of all.

    The error is by the delta method. score, decided, rows: (groups,). Raises: CannotBeMeasured if less than one positive
    outcome is expected.
    """
    positives = float((rows * score).sum())
    if positives < 1:
        raise CannotBeMeasured(
            f"by their scores, {format_number(positives)} positive outcomes are expected, so there is no recall"
        )
    share = float((rows * score)[decided].sum()) / positives
    error = sqrt(float((rows * score * (1 - score) * (decided - share) ** 2).sum())) / positives
    return Estimate(share, *intervals.normal(share, error, 0.0, 1.0))


def _sums_before(values: Floats) -> Floats:
    """For each position, the sum of the values before it."""
    return np.concatenate(([0.0], np.cumsum(values)[:-1]))
