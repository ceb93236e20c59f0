"""How often 95 % intervals hold the truth where rows of a day, and neighbouring days, are alike: drawn by row, and by tick.

Every day makes outcomes likelier or less likely by as much for all of its rows, which no score knows. The truth is that of
days without number. Differences are those of two models on the same rows; a slice is a third of the rows, with the intervals
of formulas instead of resamples.

`python -m benchmarks.intervals`: a table in Markdown; some minutes on an idle core.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Mapping

import numpy as np

from benchmarks.size import sized
from mlprod_tasks.evaluation.compare import Performance, paired_differences
from mlprod_tasks.models.tasks import task_of_outcomes
from mlprod_tasks.statistics import metrics
from mlprod_tasks.statistics.metrics import Difference, Estimate
from mlprod_tasks.statistics.resamples import Ticks, enough_ticks

TRIES = sized(200, 2)
RESAMPLES = 200
ROWS = 100  # a day, on average
SPREAD = 0.5  # of days, in log odds
AT_ONCE = sized(400_000, 20_000)  # rows by which the truth is known
THRESHOLD, TOP_SHARE = 0.4, 0.1
Rows = tuple[np.ndarray, np.ndarray, np.ndarray, Ticks, np.ndarray]  # outcome, two scores, tick, whether in the slice


def main() -> int:
    """Print the table; what is being done goes to standard error."""
    print("| ticks | neighbouring days | drawn by | AUC | log loss | value | AUC of a slice | calibration of a slice "
          "| difference of AUC | difference of log loss |")  # fmt: skip
    print("| ---: | --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    random = np.random.default_rng(0)
    true = measured(days(random, AT_ONCE // ROWS, alike=0.0), None, resamples=0)
    for ticks in sized((8, 14, 28), (10,)):
        for alike in (0.0, 0.3, 0.6):
            held: Counter[tuple[str, str]] = Counter()
            for _ in range(TRIES):
                rows = days(random, ticks, alike)
                for by, places in (("row", None), ("tick", enough_ticks(rows[3]))):
                    for name, one in measured(rows, places, RESAMPLES).items():
                        held[by, name] += one.low <= true[name].value <= one.high
            for by in ("row", "tick"):
                words = "independent" if not alike else f"correlated by {alike:g}"
                cells = [f"{held[by, name] / TRIES:.0%}" for name in true]
                print(f"| {ticks} | {words} | {by} | {' | '.join(cells)} |", flush=True)
    return 0


def days(random: np.random.Generator, ticks: int, alike: float) -> Rows:
    """The rows of so many days. alike: the correlation of neighbouring days."""
    of_day = np.empty(ticks)
    for at, noise in enumerate(random.normal(size=ticks)):
        of_day[at] = noise if not at else alike * of_day[at - 1] + np.sqrt(1 - alike**2) * noise
    tick = np.repeat(np.arange(ticks), random.poisson(ROWS, ticks))
    known, slightly = random.normal(size=len(tick)), random.normal(0.0, 0.5, len(tick))
    outcome = random.random(len(tick)) < 1 / (1 + np.exp(1 - known - SPREAD * of_day[tick]))
    score, other = (1 / (1 + np.exp(1 - one)) for one in (known, known + slightly))
    return outcome, score, other, tick, random.random(len(tick)) < 1 / 3


def measured(rows: Rows, ticks: Ticks | None, resamples: int) -> Mapping[str, Estimate | Difference]:
    """The columns of the table."""
    outcome, score, other, tick, inside = rows
    judged = []
    for one in (score, other):
        worth = np.where(one >= THRESHOLD, np.where(outcome, 10.0, -4.0), 0.0)
        sampled = metrics.sample(outcome, one, worth, TOP_SHARE, resamples, seed=1, ticks=ticks)
        judged.append(Performance(one, worth, sampled, ticks))
    whole, less = judged[0].sampled.estimates(), paired_differences(outcome, *judged)
    of_slice = task_of_outcomes(outcome).slice_metrics(
        outcome[inside], score[inside], judged[0].worth[inside], None if ticks is None else enough_ticks(tick[inside])
    )
    return {
        **{name: whole[name] for name in ("roc_auc", "log_loss", "value_per_1000")},
        **{f"slice_{name}": of_slice[name] for name in ("roc_auc", "calibration")},
        **{f"less_{name}": less[name] for name in ("roc_auc", "log_loss")},
    }


if __name__ == "__main__":
    sys.exit(main())
