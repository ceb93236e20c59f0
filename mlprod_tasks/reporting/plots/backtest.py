"""The backtest picture: how the quality of the same recipe varies over time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date, timedelta
from typing import TYPE_CHECKING

import numpy as np

from mlprod_tasks.declaration.rhythm import day_or_moment
from mlprod_tasks.documents.formatting import title
from mlprod_tasks.documents.plot_style import BLUE, GREY, INK, PURPLE, panels
from mlprod_tasks.evaluation.results import BacktestResult, Fold
from mlprod_tasks.statistics.metrics import Estimate

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_NAMED = 8  # with more folds, their windows are not written out
Estimates = dict[str, Estimate]


def backtest(made_by: BacktestResult, shown: Sequence[str], unit: str) -> Figure:
    """The first two metrics of `shown` and the value of each fold, at the middle of its test window.

    The series are model, constant and champion's recipe.
    """
    words = {name: title(name) for name in shown[:2]} | {"value_per_1000": f"{unit} per 1,000 rows".strip()}
    tested = "on rows that no other point is tested on" if made_by.of_parts else "on the weeks after it"
    fig, rows = panels(f"Backtest: each point is a separate model, tested {tested}", 3, 1, width=9.2, height=7.2)
    days = [_middle(fold) for fold in made_by.folds]
    if made_by.of_parts:  # one beside the other: all are of the same tick
        days = [days[0] + timedelta(days=10 * place) for place in range(len(days))]
    apart = timedelta(hours=12) + (max(days) - min(days)) * 0.006
    other = any(fold.champion for fold in made_by.folds)
    series: list[tuple[str, str, timedelta, Callable[[Fold], Estimates | None]]] = [
        ("constant", GREY, apart, lambda fold: fold.baseline),
        ("model", BLUE, timedelta(0), lambda fold: fold.model),
    ]
    if other:
        series.insert(1, ("champion's recipe", PURPLE, -apart, lambda fold: fold.champion))
    for axes, (metric, label) in zip(rows, words.items(), strict=True):
        for name, colour, moved, estimates in series:
            points = [
                (day + moved, one)
                for day, fold in zip(days, made_by.folds, strict=True)
                if (one := _estimate(fold, estimates, metric))
            ]
            _series(axes, points, name, colour)
        axes.set_ylabel(label, fontsize=9)
        if metric == "value_per_1000":
            axes.axhline(0, color=INK, linewidth=0.8)
            axes.yaxis.set_major_formatter("{x:,.0f}")
        _dates(axes, days, made_by.folds, labelled=axes is rows[-1])
    rows[0].legend(loc="upper center", bbox_to_anchor=(0.5, 1.24), ncols=3, frameon=False, fontsize=9)
    return fig


def _series(axes: Axes, points: list[tuple[date, Estimate]], name: str, colour: str) -> None:
    if not points:
        return
    days, estimates = zip(*points, strict=True)
    value = np.array([one.value for one in estimates])
    ends = np.abs([[one.value - one.low for one in estimates], [one.high - one.value for one in estimates]])
    style = "--" if name == "constant" else "-"
    axes.errorbar(
        days, value, yerr=np.nan_to_num(ends), color=colour, linestyle=style, marker="o", markersize=5,  # type: ignore[arg-type]
        linewidth=1.4, elinewidth=1, capsize=2.5, label=name,
    )  # fmt: skip


def _dates(axes: Axes, days: list[date], folds: Sequence[Fold], labelled: bool) -> None:
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    axes.margins(x=0.06)
    if any(fold.part for fold in folds):
        axes.set_xticks(days, [str(place + 1) if labelled else "" for place in range(len(folds))], fontsize=9)  # type: ignore[arg-type]
        return
    if len(folds) <= MOST_NAMED:
        names = [_window_words(fold) if labelled else "" for fold in folds]
        axes.set_xticks(days, names, fontsize=9)  # type: ignore[arg-type]
        return
    locator = AutoDateLocator(minticks=3, maxticks=9)  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]
    axes.tick_params(labelbottom=labelled)


def _window_words(fold: Fold) -> str:
    first, last = fold.windows.test
    return f"{day_or_moment(first):%d %b} to\n{day_or_moment(last):%d %b %Y}"


def _estimate(fold: Fold, estimates: Callable[[Fold], Estimates | None], metric: str) -> Estimate | None:
    one = (estimates(fold) or {}).get(metric)
    return one if one is not None and np.isfinite(one.value) else None


def _middle(fold: Fold) -> date:
    """The middle of the fold's test window."""
    first, last = map(day_or_moment, fold.windows.test)
    return first + (last - first) / 2
