"""The distribution of scores."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mlprod_tasks.documents.plot_style import BLUE, INK, ORANGE, figure
from mlprod_tasks.reporting.plots.curves import ScoredOutcomes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BINS = 40


def scores(scored: ScoredOutcomes) -> Figure:
    """The distribution of scores, in percent of the positives and the negatives."""
    fig, axes = figure("Scores by outcome")
    edges = np.linspace(0, max(float(scored.score.max()), 1e-6), BINS + 1)
    for chosen, colour, name in ((~scored.outcome, BLUE, "negative"), (scored.outcome, ORANGE, "positive")):
        rows = int(chosen.sum())
        share = np.histogram(scored.score[chosen], edges)[0] / rows
        axes.stairs(100 * share, edges, fill=True, color=colour, alpha=0.25)
        axes.stairs(100 * share, edges, color=colour, linewidth=1.4, label=f"{name} ({rows:,} rows)")
    if scored.threshold is not None and scored.threshold <= 1:
        axes.axvline(scored.threshold, color=INK, linestyle="--", linewidth=1, label=f"acts from {scored.threshold:.3f} on")
    axes.set(xlabel="score", ylabel="percent of the class", xlim=(0, edges[-1]))
    axes.legend(loc="upper right", frameon=False, fontsize=9)
    return fig
