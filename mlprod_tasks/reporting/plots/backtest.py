"""The same recipe, again and again over the history: how its quality spreads over time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date, timedelta
from typing import TYPE_CHECKING

import numpy as np

from mlprod_tasks.documents.plot_style import BLUE, GREY, INK, PURPLE, panels
from mlprod_tasks.evaluation.results import BacktestResult, Fold
from mlprod_tasks.statistics.metrics import Estimate

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WORDS = {"roc_auc": "AUC", "log_loss": "log loss", "value_per_1000": "{unit} per 1,000 rows"}
MOST_NAMED = 8  # folds whose windows are written out
Estimates = dict[str, Estimate]


def backtest(made_by: BacktestResult, unit: str) -> Figure:
    """AUC, log loss and value of every fold at the middle of its test window: model, constant and champion's recipe."""
    made, there = panels("Backtest: each point a model of its own, tested on the weeks after it", 3, 1, width=9.2, height=7.2)
    days = [_middle(fold) for fold in made_by.folds]
    apart = timedelta(hours=12) + (max(days) - min(days)) * 0.006
    other = any(fold.champion for fold in made_by.folds)
    series: list[tuple[str, str, timedelta, Callable[[Fold], Estimates | None]]] = [
        ("constant", GREY, apart, lambda fold: fold.baseline),
        ("model", BLUE, timedelta(0), lambda fold: fold.model),
    ]
    if other:
        series.insert(1, ("champion's recipe", PURPLE, -apart, lambda fold: fold.champion))
    for axes, (metric, words) in zip(there, WORDS.items(), strict=True):
        for name, colour, moved, of in series:
            points = [
                (day + moved, found) for day, fold in zip(days, made_by.folds, strict=True) if (found := _of(fold, of, metric))
            ]
            _series(axes, points, name, colour)
        axes.set_ylabel(words.format(unit=unit), fontsize=9)
        if metric == "value_per_1000":
            axes.axhline(0, color=INK, linewidth=0.8)
            axes.yaxis.set_major_formatter("{x:,.0f}")
        _dates(axes, days, made_by.folds, labelled=axes is there[-1])
    there[0].legend(loc="upper center", bbox_to_anchor=(0.5, 1.24), ncols=3, frameon=False, fontsize=9)
    return made


def _series(axes: Axes, points: list[tuple[date, Estimate]], name: str, colour: str) -> None:
    if not points:
        return
    days, found = zip(*points, strict=True)
    value = np.array([one.value for one in found])
    ends = np.abs([[one.value - one.low for one in found], [one.high - one.value for one in found]])
    style = "--" if name == "constant" else "-"
    axes.errorbar(
        days, value, yerr=np.nan_to_num(ends), color=colour, linestyle=style, marker="o", markersize=5,  # type: ignore[arg-type]
        linewidth=1.4, elinewidth=1, capsize=2.5, label=name,
    )  # fmt: skip


def _dates(axes: Axes, days: list[date], folds: Sequence[Fold], labelled: bool) -> None:
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    axes.margins(x=0.06)
    if len(folds) <= MOST_NAMED:
        names = [_named(fold) if labelled else "" for fold in folds]
        axes.set_xticks(days, names, fontsize=9)  # type: ignore[arg-type]
        return
    locator = AutoDateLocator(minticks=3, maxticks=9)  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]
    axes.tick_params(labelbottom=labelled)


def _named(fold: Fold) -> str:
    first, last = fold.windows.test
    return f"{first:%d %b} to\n{last:%d %b %Y}"


def _of(fold: Fold, of: Callable[[Fold], Estimates | None], metric: str) -> Estimate | None:
    found = (of(fold) or {}).get(metric)
    return found if found is not None and np.isfinite(found.value) else None


def _middle(fold: Fold) -> date:
    """The middle day of the fold's test window."""
    first, last = fold.windows.test
    return first + (last - first) / 2
