"""Compare a model with the champion on the same rows, with intervals and p-values."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mlprod_tasks.evaluation.results import Comparison
from mlprod_tasks.models.tasks import task_of_outcomes
from mlprod_tasks.models.tasks.protocol import Outcomes
from mlprod_tasks.statistics.metrics import Difference, Sampled, interval
from mlprod_tasks.statistics.resamples import Ticks

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Performance:
    """A model's scores and decision values on some rows, (n,) each, and their metrics.

    ticks: the place of each row's tick, (n,), if ticks were drawn for the metrics' intervals; None if rows were.
    """

    score: Floats
    worth: Floats
    sampled: Sampled
    ticks: Ticks | None = None


def compare(champion_version: int, outcome: Outcomes, model: Performance, champion: Performance) -> Comparison:
    """Return every metric of the model minus the champion's.

    Both on the same rows and the same resamples of ticks or rows (a paired bootstrap); ROC AUC by DeLong's test, which needs
    no resamples.
    Raises: CannotBeMeasured.
    """
    return Comparison(champion_version, len(outcome), paired_differences(outcome, model, champion))


def paired_differences(outcome: Outcomes, ours: Performance, theirs: Performance) -> dict[str, Difference]:
    """Return every metric of one model minus the other's on the same rows, as `compare` does. Raises: CannotBeMeasured."""
    both = [name for name in ours.sampled.points if name in theirs.sampled.points]  # a champion may have no intervals
    differences = {name: _paired_difference(name, ours.sampled, theirs.sampled) for name in both}
    return differences | task_of_outcomes(outcome).exact_differences(outcome, ours.score, theirs.score, ours.ticks)


def _paired_difference(name: str, model: Sampled, champion: Sampled) -> Difference:
    """Return the difference with the percentile interval of the resamples' differences.

    p is twice the share of resamples on the rarer side of 0, with 1 added to both counts (Davison and Hinkley, 1997, section
    4.4): never 0, and below 0.05 about when the interval excludes 0.
    """
    value = model.points[name] - champion.points[name]
    draws = model.draws[name] - champion.draws[name]
    drawn = draws[np.isfinite(draws)]
    if not len(drawn):
        return Difference(value, np.nan, np.nan, np.nan)
    rarer = min(int((drawn <= 0).sum()), int((drawn >= 0).sum()))
    return Difference(value, *interval(draws, value), min(1.0, 2 * (rarer + 1) / (len(drawn) + 1)))
