"""The picture in a decision's mail: each measurement that fired, over ticks, with its bounds and breaches."""

from __future__ import annotations

import io
from collections.abc import Sequence
from datetime import date
from typing import Any

from mlprod_tasks.declaration import Pipeline, Schedule, Tick
from mlprod_tasks.documents.formatting import format_number
from mlprod_tasks.monitoring.kinds import KINDS
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.ledger import Decision, Measurement

SHOWN_TICKS = 30
MOST_PANELS = 3
VALUE, BREACH, BOUND = "#2b5c8a", "#c0392b", "#8a8a8a"


def picture(pipeline: Pipeline, tick: Tick, decision: Decision, platform: Platform) -> bytes | None:
    """Draw what fired, over the ticks up to this one, as a PNG; None if nothing fired."""
    shown: dict[tuple[str, str], str] = {}
    for rule in decision.rules:
        for one in rule["measurements"][:1]:  # the worst of each rule
            shown.setdefault((one["what"], one["slice"]), rule["rule"])
    series = []
    for (what, name), rule in list(shown.items())[:MOST_PANELS]:
        delay = pipeline.label_delay_ticks if KINDS[what].family == "outcome" else 0
        last = pipeline.schedule.shift(tick.name, -delay)  # known at the tick
        rows = platform.ledger.all(
            Measurement,
            (Measurement.tick > pipeline.schedule.shift(tick.name, -SHOWN_TICKS)) & (Measurement.tick <= last),
            pipeline=pipeline.name,
            what=what,
            slice=name,
        )
        words = KINDS[what].words.format(slice=name, kpi=pipeline.kpi.name)
        series.append((f"{rule}: {words}", rows))
    return draw(pipeline.schedule, series) if series else None


def draw(schedule: Schedule, series: Sequence[tuple[str, Sequence[Measurement]]]) -> bytes:
    """Draw one panel for each titled series of measurements, as PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2, 0.5 + 2.1 * len(series)), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    panels: Any = figure.subplots(len(series), 1, squeeze=False, sharex=True)[:, 0]
    for axes, (title, rows) in zip(panels, series, strict=True):
        _panel(axes, schedule, title, sorted(rows, key=lambda row: row.tick))
    png = io.BytesIO()
    figure.savefig(png, format="png")
    return png.getvalue()


def _panel(axes: Any, schedule: Schedule, title: str, rows: Sequence[Measurement]) -> None:
    from matplotlib.dates import AutoDateLocator, DateFormatter

    measured = [row for row in rows if row.value is not None]
    breached = [row for row in measured if row.breached]
    axes.plot(
        [schedule.local(row.tick) for row in measured],
        [row.value for row in measured],
        "-o",
        color=VALUE,
        markersize=3.5,
        linewidth=1.4,
    )
    axes.plot([schedule.local(row.tick) for row in breached], [row.value for row in breached], "o", color=BREACH, markersize=7)
    for bound in ("low", "high"):
        line: list[tuple[date, float]] = [
            (schedule.local(row.tick), at) for row in rows if (at := getattr(row, bound)) is not None
        ]
        if line:
            axes.plot([day for day, _ in line], [at for _, at in line], "--", color=BOUND, linewidth=1)
            axes.annotate(
                f"bound {format_number(line[-1][1])}",
                line[-1],
                xytext=(4, 3),
                textcoords="offset points",
                fontsize=8,
                color=BOUND,
            )
    axes.set_title(title, fontsize=9, loc="left")
    axes.margins(x=0.1, y=0.15)
    locator: Any = AutoDateLocator(minticks=3, maxticks=8)  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(DateFormatter("%d %b"))  # type: ignore[no-untyped-call]
    axes.tick_params(labelsize=8)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
