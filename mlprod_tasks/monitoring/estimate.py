"""What a tick's scores promise before its labels are there: confidence-based performance estimation.

A calibrated score is the chance of a positive outcome, so each row is a true positive, a false positive and so on with known
chances, and their expected numbers give the metrics (CBPE, as NannyML published it). Each ratio here is that of the expected
numerator and denominator. The interval is where the realised metric of these very rows lies in 95 of 100 cases, labels being
drawn from the scores. It rests on calibration: of scores that no longer fit, by a shift of the concept, it knows nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import sqrt
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mlprod_tasks.declaration import CostMatrix, Pipeline
from mlprod_tasks.models.decision_value import ValueUndefined, worth
from mlprod_tasks.monitoring.measurement import Reading
from mlprod_tasks.platform.sql import quoted
from mlprod_tasks.statistics import intervals
from mlprod_tasks.statistics.metrics import CannotBeMeasured, Estimate

if TYPE_CHECKING:
    from mlprod_tasks.models.reference_profile import ReferenceProfile

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

FEWEST_ROWS = 30
FEWEST_OF_A_CLASS = 10  # expected of each, for an AUC: as many as the realised one needs
MOST_SINGLE_SCORES = 200_000  # of more rows, scores within 1 / STEPS of each other are counted together
STEPS = 65_536
ROWS_AT_ONCE = 500_000
METRICS = ("roc_auc", "precision", "recall", "value")
PER = 1000  # rows that a value is told for


@dataclass(frozen=True)
class Promised:
    """The rows that the model itself answered, counted by score and decision: (groups,) each.

    `value` is what their decisions are expected to be worth per 1,000 rows; where that cannot be computed, `no_value` says why.
    """

    score: Floats
    decided: Bools
    rows: Floats
    value: Estimate | None = None
    no_value: str = ""

    @property
    def n(self) -> int:
        return int(self.rows.sum())

    def estimate(self, metric: str) -> Estimate:
        """One of METRICS. Raises: CannotBeMeasured, or ValueUndefined."""
        if self.n < FEWEST_ROWS:
            raise CannotBeMeasured(
                f"the model itself answered {self.n} rows, too few for an estimate; at least {FEWEST_ROWS} are needed"
            )
        if metric == "roc_auc":
            return roc_auc(self.score, self.rows)
        if metric == "precision":
            return precision(self.score, self.decided, self.rows)
        if metric == "recall":
            return recall(self.score, self.decided, self.rows)
        if self.value is None:
            raise ValueUndefined(self.no_value)
        return self.value


def estimates(profile: ReferenceProfile, promised: Promised) -> Iterator[Reading]:
    """The readings of one tick's scores: each metric as the scores promise it, or why they promise none."""
    for metric in METRICS:
        what, reference = f"estimated_{metric}", reference_of(profile, metric)
        try:
            found = promised.estimate(metric)
        except (CannotBeMeasured, ValueUndefined) as error:
            missing = isinstance(error, ValueUndefined)
            yield Reading(what, None, promised.n, reference=reference, why=str(error), missing=missing)
            continue
        detail = "if scores are as calibrated as they were"
        if reference is not None:
            detail += f"; the reference has {reference:.4g}"
        yield Reading(what, found.value, promised.n, reference=reference, detail=detail, interval=(found.low, found.high))


def reference_of(profile: ReferenceProfile, metric: str) -> float | None:
    """What the reference realised of one of METRICS; None where it could not be computed or was not kept."""
    known: float | None = getattr(profile, metric, None)
    return known


def promised_by(con: Any, source: str, pipeline: Pipeline) -> Promised:
    """Count the scores and decisions of `source`, all rows of which the model itself answered, within the engine.

    source: what stands after FROM, with columns score, decision, and what the worth of a decision is declared over.
    """
    ((n,),) = con.execute(f"SELECT count(*) FROM {source}").fetchall()
    together = "score" if n <= MOST_SINGLE_SCORES else f"floor(score * {STEPS})"
    found = con.execute(
        f"SELECT avg(score) AS score, decision, count(*)::DOUBLE AS n FROM {source} GROUP BY {together}, decision ORDER BY 1, 2"
    ).fetchnumpy()
    score, decided, rows = (np.asarray(found[name]) for name in ("score", "decision", "n"))
    counted = Promised(score.astype(np.float64), decided.astype(bool), rows)
    if isinstance(pipeline.value, CostMatrix):
        return _with_value(counted, _by_matrix(pipeline.value, counted))
    try:
        return _with_value(counted, _by_function(con, source, pipeline))
    except ValueUndefined as error:
        return Promised(counted.score, counted.decided, counted.rows, no_value=str(error))


def roc_auc(score: Floats, rows: Floats) -> Estimate:
    """Expected pairs in the right order over expected pairs of a positive and a negative, equal scores counting half.

    Its error by the delta method: exact variance of the linear statistic sum over pairs of y_i (1 - y_j) (h_ij - AUC), where
    h_ij is 1, 0.5 or 0 as i scores above, like or below j; both parts of its Hoeffding decomposition are in closed form.

    score, rows: (groups,). Raises: CannotBeMeasured.
    """
    s, group = np.unique(score, return_inverse=True)
    n = np.bincount(group, weights=rows)
    positives, negatives = n * s, n * (1 - s)
    spread = n * s * (1 - s)
    total = float(positives.sum()), float(negatives.sum())
    if min(total) < FEWEST_OF_A_CLASS:
        raise CannotBeMeasured(
            f"scores expect {total[0]:.3g} positive and {total[1]:.3g} negative outcomes, too few to rank; at least "
            f"{FEWEST_OF_A_CLASS} of each are needed"
        )
    below, above = _before(negatives), _before(positives[::-1])[::-1]
    right = float((positives * below).sum() + ((n - 1) * spread).sum() / 2)  # no row is paired with itself
    pairs = total[0] * total[1] - float(spread.sum())
    auc = right / pairs
    pull = (below + (n - 1) * (1 - s) / 2 - auc * (total[1] - (1 - s))) - (above + (n - 1) * s / 2 - auc * (total[0] - s))
    of_pairs = (float(spread.sum()) ** 2 - float((n * (s * (1 - s)) ** 2).sum())) / 2
    variance = float((spread * pull**2).sum()) + (1 - 2 * auc) ** 2 * of_pairs
    return Estimate(auc, *intervals.normal(auc, sqrt(variance) / pairs, 0.0, 1.0))


def precision(score: Floats, decided: Bools, rows: Floats) -> Estimate:
    """Mean score of the rows decided positive; the number of hits among them is Poisson binomial.

    score, decided, rows: (groups,). Raises: CannotBeMeasured where no row is decided positive.
    """
    n = float(rows[decided].sum())
    if not n:
        raise CannotBeMeasured(f"none of {rows.sum():,.0f} rows was decided positive, so there is no precision")
    chances, times = score[decided], rows[decided]
    mean = float((times * chances).sum()) / n
    if n <= intervals.MOST_EXACT:
        low, high = intervals.successes(np.repeat(chances, times.astype(np.int64)))
        return Estimate(mean, low / n, high / n)
    error = sqrt(float((times * chances * (1 - chances)).sum())) / n
    return Estimate(mean, *intervals.normal(mean, error, 0.0, 1.0))


def recall(score: Floats, decided: Bools, rows: Floats) -> Estimate:
    """Sum of scores decided positive over the sum of all; its error by the delta method.

    score, decided, rows: (groups,). Raises: CannotBeMeasured where less than one positive outcome is expected.
    """
    positives = float((rows * score).sum())
    if positives < 1:
        raise CannotBeMeasured(f"scores expect {positives:.3g} positive outcomes, so there is no recall")
    share = float((rows * score)[decided].sum()) / positives
    error = sqrt(float((rows * score * (1 - score) * (decided - share) ** 2).sum())) / positives
    return Estimate(share, *intervals.normal(share, error, 0.0, 1.0))


@dataclass(frozen=True)
class Worths:
    """Sums over rows: what their decisions are expected to be worth, and the variance of that."""

    rows: float
    expected: float
    variance: float


def expected_worth(score: Floats, if_positive: Floats, if_negative: Floats, rows: Floats | float = 1.0) -> Worths:
    """What decisions are worth in expectation. score, if_positive, if_negative: (n,); rows: (n,) that each stands for."""
    expected = score * if_positive + (1 - score) * if_negative
    variance = score * (1 - score) * (if_positive - if_negative) ** 2
    weights = np.broadcast_to(rows, score.shape)
    return Worths(float(weights.sum()), float((weights * expected).sum()), float((weights * variance).sum()))


def value(sums: Worths) -> Estimate:
    """What decisions are expected to be worth per 1,000 rows; their sum is normal but for few rows."""
    mean, error = PER * sums.expected / sums.rows, PER * sqrt(sums.variance) / sums.rows
    return Estimate(mean, *intervals.normal(mean, error))


def _with_value(counted: Promised, sums: Worths) -> Promised:
    if not sums.rows:
        return counted
    return Promised(counted.score, counted.decided, counted.rows, value(sums))


def _by_matrix(matrix: CostMatrix, counted: Promised) -> Worths:
    if_positive = np.where(counted.decided, matrix.true_positive, matrix.false_negative).astype(np.float64)
    if_negative = np.where(counted.decided, matrix.false_positive, matrix.true_negative).astype(np.float64)
    return expected_worth(counted.score, if_positive, if_negative, counted.rows)


def _by_function(con: Any, source: str, pipeline: Pipeline) -> Worths:
    """Row by row, for each has its own worth; some at a time, for there may be more of them than memory.

    Raises: ValueUndefined.
    """
    there = {name for name, *_ in con.execute(f"DESCRIBE SELECT * FROM {source}").fetchall()}
    kept = [name for name in pipeline.value_features if name in there]  # a row scored before it was declared lacks one
    shown = ", ".join(quoted(name) for name in ("score", "decision", *kept))
    sums = Worths(0.0, 0.0, 0.0)
    for batch in con.sql(f"SELECT {shown} FROM {source}").to_arrow_reader(ROWS_AT_ONCE):
        rows = pa.Table.from_batches([batch])
        score = rows["score"].to_numpy().astype(np.float64)
        decision = rows["decision"].to_numpy(zero_copy_only=False).astype(bool)
        either = [worth(pipeline.value, rows, score, np.full(len(score), flag)).of(decision) for flag in (True, False)]
        some = expected_worth(score, *either)
        sums = Worths(sums.rows + some.rows, sums.expected + some.expected, sums.variance + some.variance)
    return sums


def _before(values: Floats) -> Floats:
    """The sum of all values before each."""
    return np.concatenate(([0.0], np.cumsum(values)[:-1]))
