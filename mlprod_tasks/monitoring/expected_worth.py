"""The expected worth of a tick's decisions, before its labels arrive: by a cost matrix, or by the declared function."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mlprod_tasks.declaration import CostMatrix, Pipeline
from mlprod_tasks.models.decision_value import worth
from mlprod_tasks.monitoring.count import rounded, sum_of
from mlprod_tasks.monitoring.realised import PER
from mlprod_tasks.monitoring.recalibration import chances
from mlprod_tasks.platform.sql import quoted
from mlprod_tasks.statistics import intervals
from mlprod_tasks.statistics.metrics import Estimate

if TYPE_CHECKING:
    from mlprod_tasks.models.reference_profile import ScoreCurve

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

ROWS_AT_ONCE = 500_000


@dataclass(frozen=True)
class Worths:
    """Sums over rows: the expected worth of their decisions, and its variance."""

    rows: float
    expected: float
    variance: float

    @staticmethod
    def of_all(several: Sequence[Worths]) -> Worths:
        """Those of all rows from those of pieces."""
        rows, expected, variance = (sum_of(getattr(one, name) for one in several) for name in ("rows", "expected", "variance"))
        return Worths(rows, rounded(expected), rounded(variance))


def expected_worth(score: Floats, if_positive: Floats, if_negative: Floats, rows: Floats | float = 1.0) -> Worths:
    """The expected worth of decisions.

    score, if_positive, if_negative: (n,); rows: how many rows each stands for, (n,).
    """
    expected = score * if_positive + (1 - score) * if_negative
    variance = score * (1 - score) * (if_positive - if_negative) ** 2
    weights = np.broadcast_to(rows, score.shape)
    return Worths(float(weights.sum()), float((weights * expected).sum()), float((weights * variance).sum()))


def value(sums: Worths) -> Estimate:
    """The expected worth of decisions per 1,000 rows.

    The interval is a normal approximation, good except for few rows.
    """
    mean, error = PER * sums.expected / sums.rows, PER * sqrt(sums.variance) / sums.rows
    return Estimate(mean, *intervals.normal(mean, error))


def by_matrix(matrix: CostMatrix, decided: Bools, rows: Floats, by_curve: Floats) -> tuple[Worths, ...]:
    """The expected worth by a cost matrix, of each curve.

    decided, rows: (groups,); by_curve: how likely a positive outcome is, (curves, groups).
    """
    if_positive = np.where(decided, matrix.true_positive, matrix.false_negative).astype(np.float64)
    if_negative = np.where(decided, matrix.false_positive, matrix.true_negative).astype(np.float64)
    return tuple(expected_worth(chance, if_positive, if_negative, rows) for chance in by_curve)


def by_function(con: Any, source: str, pipeline: Pipeline, curves: Sequence[ScoreCurve]) -> tuple[Worths, ...]:
    """The expected worth by the declared function, in batches that fit in memory.

    Raises: ValueUndefined.
    """
    columns = {name for name, *_ in con.execute(f"DESCRIBE SELECT * FROM {source}").fetchall()}
    logged = [name for name in pipeline.value_features if name in columns]  # rows scored before it was declared lack it
    selected = ", ".join(quoted(name) for name in ("score", "decision", *logged))
    sums = [Worths(0.0, 0.0, 0.0)] * max(1, len(curves))
    for batch in con.sql(f"SELECT {selected} FROM {source}").to_arrow_reader(ROWS_AT_ONCE):
        rows = pa.Table.from_batches([batch])
        score = rows["score"].to_numpy().astype(np.float64)
        decision = rows["decision"].to_numpy(zero_copy_only=False).astype(bool)
        either = [worth(pipeline.value, rows, score, np.full(len(score), flag)).of(decision) for flag in (True, False)]
        of_batch = [expected_worth(chance, *either) for chance in chances(score, curves)]
        sums = [
            Worths(one.rows + more.rows, one.expected + more.expected, one.variance + more.variance)
            for one, more in zip(sums, of_batch, strict=True)
        ]
    return tuple(sums)
