"""What scores meant on the reference: the share of positive outcomes by score.

Training calibrates scores on its validation window; the reference is later, and its outcomes are known.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mlprod_tasks.models.reference_profile import ScoreCurve
from mlprod_tasks.statistics.resamples import drawn_ticks

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

Floats = NDArray[np.float64]

FEWEST_OF_A_CLASS = 100  # outcomes: with fewer, steps of the curve rest on a few rows each
FEWEST_TICKS = 5  # to tell from their differences how sure the curve is
RESAMPLES = 20
STEPS = 4096  # scores are counted in so many parts of [0, 1]
DIGITS = 7  # parallel sums differ in their last digits from run to run, a profile must not


def recalibration(con: DuckDBPyConnection, source: str) -> tuple[ScoreCurve, ...]:
    """The curve of all outcomes, then those of RESAMPLES resamples of the ticks; empty with too few outcomes.

    Isotonic regression (Zadrozny and Elkan, 2002). Ticks are resampled, not rows: rows of a tick share what moves outcomes.
    source: what follows FROM, with the columns tick, score and label.
    """
    counts = con.execute(
        f"SELECT tick, avg(score) AS score, count(*)::DOUBLE AS n, count(*) FILTER (label)::DOUBLE AS positives FROM {source} "
        f"WHERE label IS NOT NULL GROUP BY tick, floor(score * {STEPS}) ORDER BY tick, 2"
    ).fetchnumpy()
    n, positives = (np.asarray(counts[name], np.float64) for name in ("n", "positives"))
    if min(positives.sum(), (n - positives).sum()) < FEWEST_OF_A_CLASS:
        return ()
    ticks, at = np.unique(np.asarray(counts["tick"]), return_inverse=True)
    score: Floats = np.asarray(counts["score"], np.float64).round(DIGITS)
    weights = [np.ones(len(ticks))]
    if len(ticks) >= FEWEST_TICKS:
        weights += list(drawn_ticks(len(ticks), 1, RESAMPLES, seed=0))
    return tuple(_curve(score, positives / n, n * weight[at]) for weight in weights)


def chances(score: Floats, curves: Sequence[ScoreCurve]) -> Floats:
    """How likely a positive outcome is by each curve, (curves, n); the scores themselves without any."""
    if not curves:
        return score[None, :]
    return np.stack([np.interp(score, curve.x, curve.y) for curve in curves])


def _curve(score: Floats, rate: Floats, weight: Floats) -> ScoreCurve:
    from sklearn.isotonic import IsotonicRegression

    used = weight > 0
    edge = 1 / (float(weight.sum()) + 2)  # no number of rows proves that something never happens
    fitted = IsotonicRegression(y_min=edge, y_max=1 - edge, out_of_bounds="clip").fit(score[used], rate[used], weight[used])
    x, y = (tuple(float(f"{one:.{DIGITS}g}") for one in values) for values in (fitted.X_thresholds_, fitted.y_thresholds_))
    return ScoreCurve(x, y)
