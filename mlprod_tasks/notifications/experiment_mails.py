"""The mail about an experiment that has a verdict."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

from mlprod_tasks.declaration import Pipeline, Tick
from mlprod_tasks.declaration.rhythm import TickName, day_or_moment
from mlprod_tasks.documents.formatting import format_interval, format_number, p_value
from mlprod_tasks.documents.mail_content import Content, Grid
from mlprod_tasks.notifications.bandit_mails import tell_bandits
from mlprod_tasks.notifications.events import send
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.experiment_entries import ExperimentReading, ExperimentRun
from mlprod_tasks.platform.ledger import MailAbout

RUNNING = "running"
NEXT = {
    "better": "Nothing was promoted by itself: roll the version out, or train again.",
    "worse": "The champion stays. Nothing has to be done.",
    "no difference": "The champion stays. Nothing has to be done.",
    "harmful": "The experiment was ended: the champion answers all rows from the next tick on.",
    "ended": "The champion answers all rows. The intervals hold, but there is no verdict.",
    "void": "What was found so far says nothing about the versions: end the experiment, mend the cause, and start another.",
}
BAND, LINE, ZERO = "#c9d9ec", "#2b5c8a", "#8a8a8a"


def tell_experiments(pipeline: Pipeline, tick: Tick, platform: Platform, links: Sequence[tuple[str, str]] = ()) -> list[str]:
    """Mail the verdicts that experiments have by a tick, and bandits that ended, each once.

    Returns: the names of those that were told of.
    """
    told = []
    for run in platform.ledger.all(ExperimentRun, pipeline=pipeline.name):
        reading = _verdict(pipeline, run, tick, platform)
        if reading is not None and _tell(pipeline, run, reading, platform, links):
            told.append(run.name)
    return told + tell_bandits(pipeline, platform, links)


def _verdict(pipeline: Pipeline, run: ExperimentRun, tick: Tick, platform: Platform) -> ExperimentReading | None:
    """The verdict that stays, whenever it was given, else what voids the experiment at this tick; None while it runs."""
    readings = platform.ledger.all(ExperimentReading, pipeline=pipeline.name, name=run.name)
    final = (one for one in sorted(readings, key=lambda one: one.tick) if one.reading.get("final"))
    at_tick = (one for one in readings if one.tick == tick.name and one.verdict != RUNNING)
    return next(final, next(at_tick, None))


def _tell(
    pipeline: Pipeline, run: ExperimentRun, reading: ExperimentReading, platform: Platform, links: Sequence[tuple[str, str]]
) -> bool:
    wanted, what = run.plan["wanted"], reading.reading
    units = ", ".join(f"{name} {n:,}" for name, n in what["units"].items())
    read = f"It ran on rows of {what['first']} to {what['last']}, with units {units or 'none'}."
    if what["last"] is None:
        read = "None of its rows was read."
    content = Content(
        subject=f"[{pipeline.name}] experiment {run.name}: {reading.verdict}",
        headline=f"Experiment {run.name} of {pipeline.name}: {reading.verdict}.",
        paragraphs=(
            what["sentence"],
            f"{read} Planned were {run.plan['units']:,} units in the smallest variant, a smallest difference of "
            f"{format_number(wanted['difference'])} in {wanted['metric']}, and the design {wanted['design']}.",
            *(one["sentence"] for one in what.get("novelty", ()) if one.get("sentence")),
            *(f"{why[:1].upper()}{why[1:]}." for why in what.get("untold", ())),
            _then(run, reading),
        ),
        grids=(_differences(what["compared"]),) if what["compared"] else (),
        picture=_picture(pipeline, run, platform),
        links=tuple(links),
    )
    key = f"{pipeline.name}/experiment/{run.name}/{reading.verdict}"
    return send(pipeline, MailAbout.EXPERIMENT, key, content, platform, tick=reading.tick, topic=run.name)


def _then(run: ExperimentRun, reading: ExperimentReading) -> str:
    """What follows: what the plan's consequence was, once it was drawn."""
    if run.conclusion:
        return f"As planned, {run.conclusion}." if run.conclusion[-1] != "." else f"As planned, {run.conclusion}"
    return NEXT[reading.verdict]


def _differences(compared: Sequence[dict[str, Any]]) -> Grid:
    rows = tuple(
        (
            one["metric"], one["variant"], format_number(one["control"]), format_number(one["treated"]),
            format_number(one["difference"]), format_interval(one["low"], one["high"]),
            "" if one["lift"] is None else f"{one['lift']:+.1%}", _p(one),
        )
        for one in compared
    )  # fmt: skip
    return Grid("Differences", ("metric", "variant", "control", "treated", "difference", "interval", "lift", "p"), rows)


def _p(one: dict[str, Any]) -> str:
    """The p-value, adjusted for the number of metrics if this one does not decide."""
    adjusted = one.get("adjusted_p")
    return p_value(one["p"]) if adjusted is None else f"{p_value(adjusted)}, adjusted"


def _picture(pipeline: Pipeline, run: ExperimentRun, platform: Platform) -> bytes | None:
    """Draw the difference in the primary metric, with its interval, at each tick that it was read; None without two of them."""
    readings = platform.ledger.all(ExperimentReading, pipeline=pipeline.name, name=run.name)
    series: dict[str, list[tuple[TickName, dict[str, Any]]]] = {}
    for reading in sorted(readings, key=lambda one: one.tick):
        for one in reading.reading["compared"]:
            if one["metric"] == run.plan["wanted"]["metric"]:
                series.setdefault(one["variant"], []).append((reading.tick, one))
    series = {variant: points for variant, points in series.items() if len(points) > 1}
    return _drawn(series, run.plan["wanted"]["metric"]) if series else None


def _drawn(series: dict[str, list[tuple[TickName, dict[str, Any]]]], metric: str) -> bytes:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.dates import AutoDateLocator, DateFormatter
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2, 0.5 + 2.1 * len(series)), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    panels: Any = figure.subplots(len(series), 1, squeeze=False, sharex=True)[:, 0]
    for axes, (variant, points) in zip(panels, series.items(), strict=True):
        days: Any = [day_or_moment(day) for day, _ in points]
        axes.fill_between(days, [one["low"] for _, one in points], [one["high"] for _, one in points], color=BAND, linewidth=0)
        axes.plot(days, [one["difference"] for _, one in points], "-o", color=LINE, markersize=3.5, linewidth=1.4)
        axes.axhline(0, color=ZERO, linewidth=1, linestyle="--")
        axes.set_title(f"{metric}: {variant} less control, with the interval at each look", fontsize=9, loc="left")
        locator: Any = AutoDateLocator(minticks=3, maxticks=8)  # type: ignore[no-untyped-call]
        axes.xaxis.set_major_locator(locator)
        axes.xaxis.set_major_formatter(DateFormatter("%d %b"))  # type: ignore[no-untyped-call]
        axes.tick_params(labelsize=8)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
    png = io.BytesIO()
    figure.savefig(png, format="png")
    return png.getvalue()
