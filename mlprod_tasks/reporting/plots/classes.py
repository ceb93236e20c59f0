"""Pictures of predicted classes: what was confused with what, and whether probabilities of each class come true."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING

import numpy as np

from mlprod_tasks.documents.plot_style import BLUE, GREY, INK, ORANGE, WIDTH, Floats, figure, named_rows, panels, shortened
from mlprod_tasks.statistics import class_metrics, intervals, metrics
from mlprod_tasks.statistics.class_scores import ClassScores, Names

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_CLASSES = 12  # in a picture; rarer ones are put together
MOST_PANELS = 6
REST = "(all others)"
WIDEST = 18  # characters of a class in a picture
BINS = 8  # of a class's probabilities


@dataclass(frozen=True)
class PredictedClasses:
    """Rows of the test window with an outcome: (n,) outcomes, probabilities and predicted classes."""

    outcome: Names
    score: ClassScores
    predicted: Names

    def frequent(self, most: int) -> tuple[str, ...]:
        """The most frequent classes among outcomes, in the model's order; those that it does not know are at the end."""
        names, rows = np.unique(self.outcome.astype(str), return_counts=True)
        by_rows = [str(name) for name in names[np.argsort(-rows, kind="stable")][:most]]
        known = [name for name in self.score.classes if name in by_rows]
        return (*known, *(name for name in by_rows if name not in known))


def confusion(classes: PredictedClasses) -> Figure:
    """How many of the rows of each class were predicted as which, in percent of the class."""
    shown = classes.frequent(MOST_CLASSES)
    outcome, predicted = (_grouped(one, shown) for one in (classes.outcome, classes.predicted))
    names = (*shown, REST) if REST in {*outcome, *predicted} else shown
    counts = class_metrics.confusion(outcome, predicted, names)
    total = counts.sum(axis=1, keepdims=True)
    share = np.divide(100 * counts, total, out=np.zeros(counts.shape), where=total > 0)
    size = max(3.6, 1.2 + 0.55 * len(names))
    fig, axes = figure("Outcome (row) and prediction (column), percent of the row", height=size, width=max(WIDTH, size + 2))
    axes.imshow(share, cmap="Blues", vmin=0, vmax=100, aspect="auto")
    named_rows(axes, [f"{shortened(name, WIDEST)} ({n:,})" for name, n in zip(names, total[:, 0], strict=True)])
    axes.set_xticks(np.arange(len(names)), [shortened(name, WIDEST) for name in names], rotation=35, ha="right", fontsize=9)
    axes.grid(visible=False)
    for (row, column), value in np.ndenumerate(share):
        if counts[row, column]:
            colour = "white" if value > 60 else INK
            axes.text(column, row, f"{value:.0f}", ha="center", va="center", color=colour, fontsize=9)
    return fig


def reliability(classes: PredictedClasses) -> Figure:
    """How often each class came, by its probability; on the dashed line probabilities come true."""
    shown = [name for name in classes.frequent(MOST_PANELS) if name in classes.score.classes]
    columns = min(3, len(shown))
    rows = ceil(len(shown) / columns)
    fig, axes_list = panels(
        "Probability and share of rows, by class", rows, columns, width=1.45 * WIDTH, height=0.4 + 2.9 * rows
    )
    for axes, name in zip(axes_list, shown, strict=False):
        _reliability(axes, name, classes)
    for axes in axes_list[len(shown) :]:
        axes.set_visible(False)
    return fig


def by_class(names: Sequence[str], f1: Floats, auc: Floats) -> Figure:
    """F1 and one-vs-rest AUC of each class."""
    fig, axes = figure("How well each class is found", height=1.2 + 0.36 * len(names))
    at = named_rows(axes, list(names), WIDEST)
    axes.barh(at - 0.18, f1, height=0.34, color=BLUE, label="F1")
    axes.barh(at + 0.18, auc, height=0.34, color=ORANGE, label="AUC against all others")
    axes.axvline(0.5, color=GREY, linestyle="--", linewidth=1)
    axes.set(xlabel="from 0 to 1", xlim=(0, 1))
    axes.legend(loc="lower right", frameon=False, fontsize=9)
    return fig


def _reliability(axes: Axes, name: str, classes: PredictedClasses) -> None:
    came = classes.outcome == name
    share = classes.score.aligned((name,))[:, 0]
    axes.plot([0, 1], [0, 1], color=GREY, linestyle="--", linewidth=1)
    axes.set(title=shortened(name, WIDEST), xlabel="probability", ylabel="share that came")
    if not came.any() or came.all():
        return
    expected, realised, rows = metrics.calibration_bins(came, share, BINS)
    low, high = np.array([intervals.wilson(round(r * n), int(n)) for r, n in zip(realised, rows, strict=True)]).T
    error = np.clip([realised - low, high - realised], 0, None)
    axes.errorbar(expected, realised, yerr=error, color=BLUE, marker="o", markersize=4, linewidth=1.3, elinewidth=1, capsize=2)
    most = min(1.0, 1.15 * max(float(expected.max()), float(high.max())))
    axes.set(xlim=(0, most), ylim=(0, most))


def _grouped(names: Names, shown: Sequence[str]) -> Names:
    known = np.isin(names.astype(str), np.array(shown, str))
    return np.asarray(np.where(known, names, REST), object)
