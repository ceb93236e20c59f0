"""The slices picture: parts of the test window compared with the whole."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from mlprod_tasks.declaration.gate import HIGHER_IS_BETTER
from mlprod_tasks.documents.formatting import format_number, title
from mlprod_tasks.documents.plot_style import BLUE, GREY, INK, RED, WIDTH, named_rows, panels, shortened
from mlprod_tasks.evaluation.results import Slice
from mlprod_tasks.statistics.metrics import Estimate

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SHOWN = 20


def slices(shown: Sequence[Slice], metric: str, whole: Estimate, unit: str) -> Figure | None:
    """The metric of the first SHOWN slices, and their value, or of errors their bias, with intervals.

    Red if the metric is worse than the whole's, a value below 0, or a bias not 0. None if no slice has the metric.
    """
    top = [one for one in shown if metric in one.metrics and np.isfinite(one.metrics[metric].value)][:SHOWN]
    if not top:
        return None
    higher = HIGHER_IS_BETTER[metric]
    heading = "Slices, worst ranking first" if higher else "Slices, largest errors first"
    beside, label = ("value_per_1000", f"{unit} per 1,000 rows".strip()) if higher else ("bias", title("bias"))
    fig, (ranking, value) = panels(heading, 1, 2, width=1.45 * WIDTH, height=0.29 * len(top) + 1.5)
    at = named_rows(ranking, [f"{shortened(one.name, 44)} ({one.rows:,})" for one in top], widest=60)
    ranking.axvline(whole.value, color=GREY, linestyle="--", linewidth=1)
    for y, one in zip(at, top, strict=True):
        measured = one.metrics[metric]
        worse = measured.high < whole.value if higher else measured.low > whole.value
        _interval(ranking, y, measured, RED if worse else BLUE)
    ranking.set(xlabel=f"{title(metric)}; dashed: all rows, {format_number(whole.value)}")
    named_rows(value, [""] * len(top))
    value.axvline(0, color=INK, linewidth=0.8)
    for y, one in zip(at, top, strict=True):
        other = one.metrics.get(beside)
        if other is not None and np.isfinite(other.value):
            _interval(value, y, other, RED if other.high < 0 or (not higher and other.low > 0) else BLUE)
    value.set(xlabel=label)
    if higher:
        value.xaxis.set_major_formatter("{x:,.0f}")
    for axes in (ranking, value):  # few ticks, so that the numbers of neighbouring panels do not touch
        axes.locator_params(axis="x", nbins=4)
    return fig


def _interval(axes: Axes, y: float, measured: Estimate, colour: str) -> None:
    axes.hlines(y, measured.low, measured.high, color=colour, linewidth=1.6)
    axes.plot(measured.value, y, "o", color=colour, markersize=5.5)
