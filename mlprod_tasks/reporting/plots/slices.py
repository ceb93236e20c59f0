"""The slices picture: parts of the test window compared with the whole."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from mlprod_tasks.documents.plot_style import BLUE, GREY, INK, RED, WIDTH, named_rows, panels, shortened
from mlprod_tasks.evaluation.results import Slice
from mlprod_tasks.statistics.metrics import Estimate

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SHOWN = 20


def slices(shown: Sequence[Slice], whole: Estimate, unit: str) -> Figure | None:
    """AUC and value of the first SHOWN slices, with intervals.

    Red if an AUC is below the whole's, or a value below 0. None if no slice has an AUC.
    """
    top = [one for one in shown if "roc_auc" in one.metrics and np.isfinite(one.metrics["roc_auc"].value)][:SHOWN]
    if not top:
        return None
    fig, (ranking, value) = panels("Slices, worst ranking first", 1, 2, width=1.45 * WIDTH, height=0.29 * len(top) + 1.5)
    at = named_rows(ranking, [f"{shortened(one.name, 44)} ({one.rows:,})" for one in top], widest=60)
    ranking.axvline(whole.value, color=GREY, linestyle="--", linewidth=1)
    for y, one in zip(at, top, strict=True):
        _interval(ranking, y, one.metrics["roc_auc"], RED if one.metrics["roc_auc"].high < whole.value else BLUE)
    ranking.set(xlabel=f"AUC; dashed: all rows, {whole.value:.3f}")
    named_rows(value, [""] * len(top))
    value.axvline(0, color=INK, linewidth=0.8)
    for y, one in zip(at, top, strict=True):
        worth = one.metrics.get("value_per_1000")
        if worth is not None and np.isfinite(worth.value):
            _interval(value, y, worth, RED if worth.high < 0 else BLUE)
    value.set(xlabel=f"{unit} per 1,000 rows")
    value.xaxis.set_major_formatter("{x:,.0f}")
    for axes in (ranking, value):  # few ticks, so that the numbers of neighbouring panels do not touch
        axes.locator_params(axis="x", nbins=4)
    return fig


def _interval(axes: Axes, y: float, measured: Estimate, colour: str) -> None:
    axes.hlines(y, measured.low, measured.high, color=colour, linewidth=1.6)
    axes.plot(measured.value, y, "o", color=colour, markersize=5.5)
