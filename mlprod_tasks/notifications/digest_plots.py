"""The digest's plots: what each day earned, and how outcomes compare with what was predicted."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.declaration.rhythm import TickName
from mlprod_tasks.documents import plot_style
from mlprod_tasks.notifications.week import Day

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ONE_DAY = timedelta(days=1)
WIDTH, HEIGHT = 4.7, 3.1  # inches
PALE = "#b9c6d6"


def plots(pipeline: Pipeline, days: Sequence[Day], this_week: TickName) -> tuple[tuple[str, bytes], ...]:
    """Draw PNGs, each with a title; none if no day has outcomes."""
    drawn = {"binary": (_value, _shares), "regression": (_errors,), "multiclass": (_right,)}[pipeline.task]
    return tuple(one for draw in drawn if (one := draw(pipeline, days, this_week)))


def _value(pipeline: Pipeline, days: Sequence[Day], this_week: TickName) -> tuple[str, bytes] | None:
    title = f"Earned each {pipeline.schedule.unit}, {pipeline.value.unit}; this {pipeline.schedule.period} in blue"
    return _bars(pipeline, title, "value", "as many rows in the test before the promotion", days, this_week)


def _errors(pipeline: Pipeline, days: Sequence[Day], this_week: TickName) -> tuple[str, bytes] | None:
    title = f"Mean absolute error of each {pipeline.schedule.unit}; this {pipeline.schedule.period} in blue"
    return _bars(pipeline, title, "mae", "when accepted", days, this_week)


def _right(pipeline: Pipeline, days: Sequence[Day], this_week: TickName) -> tuple[str, bytes] | None:
    title = f"Share of right predictions of each {pipeline.schedule.unit}; this {pipeline.schedule.period} in blue"
    return _bars(pipeline, title, "accuracy", "when accepted", days, this_week)


def _bars(
    pipeline: Pipeline, title: str, name: str, expected_label: str, days: Sequence[Day], this_week: TickName
) -> tuple[str, bytes] | None:
    """A bar for each day that has the field `name`, and a line for what was expected."""
    known = [(day, at) for day in days if (at := getattr(day, name)) is not None]
    if not known:
        return None
    canvas, axes = plot_style.figure("", HEIGHT, WIDTH)
    local = pipeline.schedule.local
    axes.bar(
        [local(day.tick) for day, _ in known],  # type: ignore[arg-type]
        [at for _, at in known],
        color=[plot_style.BLUE if day.tick >= this_week else PALE for day, _ in known],
        width=0.8 * (pipeline.schedule.shortest / ONE_DAY),
    )
    expected = [
        (pipeline.schedule.local(day.tick), at) for day, _ in known if (at := getattr(day, f"{name}_expected")) is not None
    ]
    if expected:
        ticks: Any = [day for day, _ in expected]
        axes.plot(ticks, [at for _, at in expected], "--", color=plot_style.INK, linewidth=1.2, label=expected_label)
        low, high = axes.get_ylim()
        axes.set_ylim(low, high + 0.16 * (high - low))  # room for the legend
        axes.legend(fontsize=8, frameon=False, loc="upper left")
    if name == "value":
        axes.yaxis.set_major_formatter(lambda at, _: f"{at:,.0f}")
    axes.axhline(0, color=plot_style.INK, linewidth=0.8)
    _style(axes, title)
    return title, plot_style.png(canvas)


def _shares(pipeline: Pipeline, days: Sequence[Day], this_week: TickName) -> tuple[str, bytes] | None:
    if all(day.realised is None for day in days):
        return None
    title = "Share of positive outcomes, and what the scores predicted"
    canvas, axes = plot_style.figure("", HEIGHT, WIDTH)
    for name, colour, style, label in (
        ("realised", plot_style.BLUE, "-", "outcomes"),
        ("promised", plot_style.ORANGE, "--", "predicted"),
    ):
        points = [(pipeline.schedule.local(day.tick), at) for day in days if (at := getattr(day, name)) is not None]
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


def _style(axes: Axes, title: str) -> None:
    from matplotlib.dates import AutoDateLocator, DateFormatter

    axes.set_title(title, fontsize=9.5, loc="left", color=plot_style.INK)
    locator: Any = AutoDateLocator(minticks=3, maxticks=6)  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(DateFormatter("%-d %b"))  # type: ignore[no-untyped-call]
    axes.grid(visible=False, axis="x")
