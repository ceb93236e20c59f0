"""The digest's plots: what each day earned, and positive outcomes beside predicted ones, or how far predictions were off."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import TYPE_CHECKING, Any

from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.documents import plot_style
from mlprod_tasks.notifications.week import Day

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDTH, HEIGHT = 4.7, 3.1  # inches
PALE = "#b9c6d6"


def plots(pipeline: Pipeline, days: Sequence[Day], this_week: date) -> tuple[tuple[str, bytes], ...]:
    """Draw two PNGs, each with a title; none if no day has outcomes."""
    drawn = (_value(pipeline, days, this_week), _shares(days)) if pipeline.task == "binary" else (_errors(days, this_week),)
    return tuple(one for one in drawn if one)


def _value(pipeline: Pipeline, days: Sequence[Day], this_week: date) -> tuple[str, bytes] | None:
    known = [day for day in days if day.value is not None]
    if not known:
        return None
    title = f"Earned each day, {pipeline.value.unit}; this week in blue"
    canvas, axes = plot_style.figure("", HEIGHT, WIDTH)
    axes.bar(
        [day.tick for day in known],  # type: ignore[arg-type]
        [day.value or 0.0 for day in known],
        color=[plot_style.BLUE if day.tick >= this_week else PALE for day in known],
        width=0.8,
    )
    expected = [(day.tick, day.value_expected) for day in known if day.value_expected is not None]
    if expected:
        ticks: Any = [day for day, _ in expected]
        label = "as many rows in the test before the promotion"
        axes.plot(ticks, [at for _, at in expected], "--", color=plot_style.INK, linewidth=1.2, label=label)
        low, high = axes.get_ylim()
        axes.set_ylim(low, high + 0.16 * (high - low))  # room for the legend
        axes.legend(fontsize=8, frameon=False, loc="upper left")
    axes.yaxis.set_major_formatter(lambda at, _: f"{at:,.0f}")
    axes.axhline(0, color=plot_style.INK, linewidth=0.8)
    _style(axes, title)
    return title, plot_style.png(canvas)


def _shares(days: Sequence[Day]) -> tuple[str, bytes] | None:
    if all(day.realised is None for day in days):
        return None
    title = "Share of positive outcomes, and what the scores predicted"
    canvas, axes = plot_style.figure("", HEIGHT, WIDTH)
    for name, colour, style, label in (
        ("realised", plot_style.BLUE, "-", "outcomes"),
        ("promised", plot_style.ORANGE, "--", "predicted"),
    ):
        points = [(day.tick, at) for day in days if (at := getattr(day, name)) is not None]
        ticks: Any = [day for day, _ in points]
        axes.plot(
            ticks, [at for _, at in points], style, color=colour, linewidth=1.8, marker="o", markersize=3,
            label=label,
        )  # fmt: skip
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(lambda at, _: f"{at:.0%}")
    axes.legend(fontsize=8, frameon=False, loc="best")
    _style(axes, title)
    return title, plot_style.png(canvas)


def _errors(days: Sequence[Day], this_week: date) -> tuple[str, bytes] | None:
    known = [(day, day.mae) for day in days if day.mae is not None]
    if not known:
        return None
    title = "Mean absolute error of each day; this week in blue"
    canvas, axes = plot_style.figure("", HEIGHT, WIDTH)
    axes.bar(
        [day.tick for day, _ in known],  # type: ignore[arg-type]
        [off for _, off in known],
        color=[plot_style.BLUE if day.tick >= this_week else PALE for day, _ in known],
        width=0.8,
    )
    expected = [(day.tick, day.mae_expected) for day, _ in known if day.mae_expected is not None]
    if expected:
        ticks: Any = [day for day, _ in expected]
        axes.plot(ticks, [at for _, at in expected], "--", color=plot_style.INK, linewidth=1.2, label="when accepted")
        low, high = axes.get_ylim()
        axes.set_ylim(low, high + 0.16 * (high - low))  # room for the legend
        axes.legend(fontsize=8, frameon=False, loc="upper left")
    _style(axes, title)
    return title, plot_style.png(canvas)


def _style(axes: Axes, title: str) -> None:
    from matplotlib.dates import AutoDateLocator, DateFormatter

    axes.set_title(title, fontsize=9.5, loc="left", color=plot_style.INK)
    locator: Any = AutoDateLocator(minticks=3, maxticks=6)  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(DateFormatter("%-d %b"))  # type: ignore[no-untyped-call]
    axes.grid(visible=False, axis="x")
