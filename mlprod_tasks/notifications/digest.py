"""The weekly digest for the business: earnings, quality of the scores, events, open alarms."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from mlprod_tasks.declaration import Pipeline, Tick
from mlprod_tasks.declaration.rhythm import TickName
from mlprod_tasks.documents.formatting import money, number
from mlprod_tasks.documents.mail_content import Content, Grid, Tile, as_text
from mlprod_tasks.monitoring.alarms import Alarm, alarms
from mlprod_tasks.monitoring.timeline import happenings
from mlprod_tasks.notifications import digest_binary, digest_classes, digest_numbers
from mlprod_tasks.notifications.events import send
from mlprod_tasks.notifications.week import Day, Week, days_until, week
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.ledger import MailAbout

SHOWN_WEEKS, SHOWN_TICKS = 4, 28  # at least


@dataclass(frozen=True)
class Digest:
    """The digest of one week; of a month if ticks are further apart than a week.

    this, before: the last two weeks whose outcomes are all known. happened: the timeline of the week that ends with the tick.
    """

    tick: Tick
    this: Week
    before: Week
    shown: tuple[Day, ...]
    happened: tuple[tuple[TickName, str], ...]
    open: tuple[Alarm, ...]


def digest(pipeline: Pipeline, tick: Tick, platform: Platform) -> Digest:
    """Read the week that ends with a tick from the ledger."""
    shift = pipeline.schedule.shift
    known = shift(tick.name, -pipeline.label_delay_ticks)
    count = max(1, pipeline.schedule.ticks_a_week)
    shown = days_until(pipeline, known, max(SHOWN_TICKS, SHOWN_WEEKS * count), platform)
    first = max(shift(tick.name, 1 - count), pipeline.schedule.first)
    open_alarms = tuple(alarm for alarm in alarms(pipeline, platform, tick) if alarm.open and alarm.told)
    happened = tuple(happenings(pipeline, first, tick.name, platform))
    this, before = week(pipeline, shown[-count:]), week(pipeline, shown[-2 * count : -count])
    return Digest(tick, this, before, tuple(shown), happened, open_alarms)


def tell_digest(pipeline: Pipeline, tick: Tick, platform: Platform, links: Sequence[tuple[str, str]] = ()) -> bool:
    """Mail the week that ends with a tick, once, to `digest_to` or else to `alert_to`. Returns whether a mail was sent."""
    content = digest_mail(pipeline, digest(pipeline, tick, platform), links)
    key, to = f"{pipeline.name}/{tick}/digest", pipeline.monitoring.digest_to
    return send(pipeline, MailAbout.DIGEST, key, content, platform, to=to, tick=tick.name)


def text(pipeline: Pipeline, tick: Tick, platform: Platform) -> str:
    """Render the digest as text for a terminal."""
    return as_text(digest_mail(pipeline, digest(pipeline, tick, platform)))


def digest_mail(pipeline: Pipeline, week_digest: Digest, links: Sequence[tuple[str, str]] = ()) -> Content:
    """Write the digest as a mail."""
    from mlprod_tasks.notifications.digest_plots import plots

    quality, local = _of_task(pipeline).quality(week_digest.this), pipeline.schedule.local
    rows = tuple((f"{local(day):%a %-d %b}", what) for day, what in week_digest.happened)
    return Content(
        subject=f"[{pipeline.name}] the {week_digest.this.period} to {week_digest.tick}: {_headline(pipeline, week_digest)}",
        headline=f"The {week_digest.this.period} to {_day(local(week_digest.tick.name))}: {_headline(pipeline, week_digest)}.",
        tiles=_tiles(pipeline, week_digest),
        paragraphs=(pipeline.doc.strip(), _value(pipeline, week_digest), quality, _open(pipeline, week_digest)),
        grids=(_numbers(pipeline, week_digest), *([Grid("What happened", ("day", "what"), rows, prose=True)] if rows else [])),
        plots=plots(pipeline, week_digest.shown, week_digest.this.days[0].tick),
        links=tuple(links),
    )


def _of_task(pipeline: Pipeline) -> Any:
    """The sentences about the kind of prediction: a module with the same functions for each."""
    return {"binary": digest_binary, "regression": digest_numbers, "multiclass": digest_classes}[pipeline.task]


def _headline(pipeline: Pipeline, week_digest: Digest) -> str:
    alarms_text = (
        f", {len(week_digest.open)} open alarm{'s' * (len(week_digest.open) != 1)}" if week_digest.open else ", nothing open"
    )
    return f"{_of_task(pipeline).headline(pipeline, week_digest.this) or 'no outcomes yet'}{alarms_text}"


def _tiles(pipeline: Pipeline, week_digest: Digest) -> tuple[Tile, ...]:
    tiles = _of_task(pipeline).tiles(pipeline, week_digest.this, week_digest.before)
    names = ", ".join(alarm.rule for alarm in week_digest.open)
    return (*tiles, Tile("open alarms", str(len(week_digest.open)), names or "all is well", bool(week_digest.open)))


def _value(pipeline: Pipeline, week_digest: Digest) -> str:
    this, unit, words = week_digest.this, pipeline.value.unit, _of_task(pipeline)
    value, expected, kpi = this.total("value"), this.total("value_expected"), this.mean("kpi")
    if value is None:
        return f"No outcomes are known yet for {_span(this)}, so we cannot say what {words.THE_WORTH}."
    every, count = pipeline.schedule.unit, len(this.days)
    some = "" if this.measured == count else f" ({this.measured} of {count} {every}s; the others have no outcomes of the model)"
    sentences = [f"From {_span(this)}{some}, {words.worth(this.rows)} {money(value, unit)}."]
    if expected is not None:
        then = f"{words.IT_WAS_WORTH} {money(expected, unit)} on as many rows"
        sentences.append(f"In the test before its promotion, {then}.")
    if kpi is not None:
        expected_kpi = this.mean("kpi_expected")
        against = "" if expected_kpi is None else f" ({number(expected_kpi)} in that test)"
        sentences.append(f"{_capital(pipeline.kpi.doc)}: {number(kpi)}{f' {pipeline.kpi.unit}'.rstrip()}{against}.")
    return " ".join(sentences)


def _open(pipeline: Pipeline, week_digest: Digest) -> str:
    if not week_digest.open:
        return "No alarm is open."
    return "\n".join(
        f"Open since {pipeline.schedule.local(alarm.since):%A, %-d %B}: {alarm.rule}{_known(alarm)}."
        for alarm in week_digest.open
    )


def _known(alarm: Alarm) -> str:
    cause = f", probably a {alarm.cause}" if alarm.cause else ""
    waits = f"; {alarm.held}" if alarm.held else ""
    known = f"; {alarm.acknowledged_by} is working on it" if alarm.acknowledged_by else ""
    return f"{cause}{waits}{known}"


def _numbers(pipeline: Pipeline, week_digest: Digest) -> Grid:
    weeks = (week_digest.this, week_digest.before)

    def line(name: str, shown: Iterable[float | None], expected: float | None, form: Callable[[float], str]) -> tuple[str, ...]:
        return (name, *("not known" if one is None else form(one) for one in shown), "" if expected is None else form(expected))

    def mean(title: str, name: str, form: Callable[[float], str], expected: float | None) -> tuple[str, ...]:
        return line(title, (one.mean(name) for one in weeks), expected, form)

    this, whole, words, unit = week_digest.this, "{:,.0f}".format, _of_task(pipeline), pipeline.value.unit
    values = (one.total("value") for one in weeks)
    rows = (
        line(f"{pipeline.schedule.unit}s with outcomes", (float(one.measured) for one in weeks), None, whole),
        line("rows with an outcome", (float(one.rows) for one in weeks), None, whole),
        line(f"{words.VALUE}, {unit}" if unit else words.VALUE, values, this.total("value_expected"), whole),
        mean(pipeline.kpi.name, "kpi", number, this.mean("kpi_expected")),
        *(mean(title, name, form, this.mean(expected) if expected else None) for title, name, form, expected in words.MEANS),
    )
    return Grid("In numbers", ("", _span(week_digest.this), _span(week_digest.before), "when accepted"), rows)


def _span(one: Week) -> str:
    first = f"{one.first:%-d %B}" if one.first.month != one.last.month else f"{one.first:%-d}"
    return f"{first} to {one.last:%-d %B}"


def _day(day: date) -> str:
    return f"{day:%A, %-d %B %Y}"


def _capital(words: str) -> str:
    return words[:1].upper() + words[1:]
