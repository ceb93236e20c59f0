"""The weekly digest for the business: what the scores earned, how good they were, what happened, what is open."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date

from mlprod_tasks.declaration import Pipeline, Tick
from mlprod_tasks.documents.formatting import number, of_100
from mlprod_tasks.documents.mail_content import Content, Grid, Tile, as_text
from mlprod_tasks.monitoring.alarms import Alarm, alarms
from mlprod_tasks.monitoring.timeline import happenings
from mlprod_tasks.notifications.events import send
from mlprod_tasks.notifications.week import DAY, DAYS, Day, Week, days_until, week
from mlprod_tasks.platform import Platform

SHOWN_DAYS = 28
NEAR = 0.02  # shares that differ by less are told as the same


@dataclass(frozen=True)
class Digest:
    """One week: `this` and `before` are the last two of which all outcomes are known, `happened` is up to the tick itself."""

    tick: Tick
    this: Week
    before: Week
    shown: tuple[Day, ...]
    happened: tuple[tuple[date, str], ...]
    open: tuple[Alarm, ...]


def digest(pipeline: Pipeline, tick: Tick, platform: Platform) -> Digest:
    """Gather the week that ends with a tick, from the ledger alone."""
    known = tick.date - pipeline.label_delay_ticks * DAY
    shown = days_until(pipeline, known, SHOWN_DAYS, platform)
    first = max(tick.date - (DAYS - 1) * DAY, pipeline.schedule.starts)
    standing = tuple(alarm for alarm in alarms(pipeline, platform, tick) if alarm.open and alarm.told)
    happened = tuple(happenings(pipeline, first, tick.date, platform))
    return Digest(tick, week(shown[-DAYS:]), week(shown[-2 * DAYS : -DAYS]), tuple(shown), happened, standing)


def tell_digest(pipeline: Pipeline, tick: Tick, platform: Platform, links: Sequence[tuple[str, str]] = ()) -> bool:
    """Mail the week that ends with a tick, once, to `digest_to` or else to `alert_to`. Whether a mail went out."""
    content = written(pipeline, digest(pipeline, tick, platform), links)
    return send(pipeline, "digest", f"{pipeline.name}/{tick}/digest", content, platform, pipeline.monitoring.digest_to)


def text(pipeline: Pipeline, tick: Tick, platform: Platform) -> str:
    """The same for a terminal."""
    return as_text(written(pipeline, digest(pipeline, tick, platform)))


def written(pipeline: Pipeline, told: Digest, links: Sequence[tuple[str, str]] = ()) -> Content:
    """The mail."""
    from mlprod_tasks.notifications.digest_plots import plots

    rows = tuple((f"{day:%a %-d %b}", what) for day, what in told.happened)
    return Content(
        subject=f"[{pipeline.name}] the week to {told.tick}: {_headline(pipeline, told)}",
        headline=f"The week to {_day(told.tick.date)}: {_headline(pipeline, told)}.",
        tiles=_tiles(pipeline, told),
        paragraphs=(pipeline.doc.strip(), _value(pipeline, told), _quality(told), _open(told)),
        grids=(_numbers(pipeline, told), *([Grid("What happened", ("day", "what"), rows, prose=True)] if rows else [])),
        plots=plots(pipeline, told.shown, told.this.first),
        links=tuple(links),
    )


def _headline(pipeline: Pipeline, told: Digest) -> str:
    value, unit = told.this.total("value"), pipeline.value.unit
    standing = f", {len(told.open)} open alarm{'s' * (len(told.open) != 1)}" if told.open else ", nothing open"
    return f"{_money(value, unit)} earned{standing}" if value is not None else f"no outcomes yet{standing}"


def _tiles(pipeline: Pipeline, told: Digest) -> tuple[Tile, ...]:
    this, unit = told.this, pipeline.value.unit
    value, promised, realised, auc = this.total("value"), this.mean("promised"), this.mean("realised"), this.mean("roc_auc")
    found = []
    if value is not None:
        found.append(Tile("earned by acting on scores", _money(value, unit), _change(told, unit), value < 0))
    if realised is not None and promised is not None:
        found.append(Tile("came true", f"{realised:.0%}", f"the scores promised {promised:.0%}"))
    if auc is not None:
        expected = this.mean("roc_auc_expected")
        found.append(Tile("ranking (AUC)", f"{auc:.2f}", f"{expected:.2f} when accepted" if expected else ""))
    names = ", ".join(alarm.rule for alarm in told.open)
    found.append(Tile("open alarms", str(len(told.open)), names or "all is well", bool(told.open)))
    return tuple(found)


def _change(told: Digest, unit: str) -> str:
    """Against the week before; a row where it has fewer or more days with outcomes."""
    this, before = told.this, told.before
    now, then = this.total("value"), before.total("value")
    if now is None or then is None or not this.rows or not before.rows:
        return "no week before to compare with"
    if then <= 0:
        return f"{_money(then, unit)} the week before"
    alike = this.measured == before.measured
    change = (now / then if alike else now / this.rows / (then / before.rows)) - 1
    return f"{'+' if change >= 0 else '−'}{abs(change):.0%} {'' if alike else 'a row '}against the week before"


def _value(pipeline: Pipeline, told: Digest) -> str:
    this, unit = told.this, pipeline.value.unit
    value, expected, kpi = this.total("value"), this.total("value_expected"), this.mean("kpi")
    if value is None:
        return f"From {_span(this)} no outcomes are known yet, so there is nothing to say of what the scores earned."
    days = "" if this.measured == DAYS else f" ({this.measured} of {DAYS} days; the others have no outcomes of the model)"
    said = [f"From {_span(this)}{days}, acting on {this.rows:,} scores earned {_money(value, unit)}."]
    if expected is not None:
        said.append(f"In the test by which the model was accepted, as many rows were worth {_money(expected, unit)}.")
    if kpi is not None:
        expected_kpi = this.mean("kpi_expected")
        against = "" if expected_kpi is None else f" (in that test {number(expected_kpi)})"
        said.append(f"{_capital(pipeline.kpi.doc)}: {number(kpi)}{f' {pipeline.kpi.unit}'.rstrip()}{against}.")
    return " ".join(said)


def _quality(told: Digest) -> str:
    promised, realised = told.this.mean("promised"), told.this.mean("realised")
    if promised is None or realised is None:
        return "How well the scores held is not known for this week."
    if abs(realised - promised) < NEAR:
        kept = "The scores kept their promise."
    else:
        kept = f"The scores promised too {'little' if realised > promised else 'much'}."
    return f"{of_100(realised)} came true, {of_100(promised)} were promised. {kept}"


def _open(told: Digest) -> str:
    if not told.open:
        return "No alarm is open."
    return "\n".join(f"Open since {alarm.since:%A, %-d %B}: {alarm.rule}{_known(alarm)}." for alarm in told.open)


def _known(alarm: Alarm) -> str:
    cause = f", by its signs a {alarm.cause}" if alarm.cause else ""
    held = f"; {alarm.held}" if alarm.held else ""
    known = f"; {alarm.acknowledged_by} is on it" if alarm.acknowledged_by else ""
    return f"{cause}{held}{known}"


def _numbers(pipeline: Pipeline, told: Digest) -> Grid:
    weeks = (told.this, told.before)

    def line(name: str, shown: Iterable[float | None], expected: float | None, form: Callable[[float], str]) -> tuple[str, ...]:
        return (name, *("not known" if one is None else form(one) for one in shown), "" if expected is None else form(expected))

    def mean(title: str, name: str, form: Callable[[float], str], expected: float | None) -> tuple[str, ...]:
        return line(title, (one.mean(name) for one in weeks), expected, form)

    this, whole, share = told.this, "{:,.0f}".format, "{:.1%}".format
    rows = (
        line("days with outcomes", (float(one.measured) for one in weeks), None, whole),
        line("rows with an outcome", (float(one.rows) for one in weeks), None, whole),
        line(f"earned, {pipeline.value.unit}", (one.total("value") for one in weeks), this.total("value_expected"), whole),
        mean(pipeline.kpi.name, "kpi", number, this.mean("kpi_expected")),
        mean("AUC", "roc_auc", "{:.3f}".format, this.mean("roc_auc_expected")),
        mean("share that came true", "realised", share, this.mean("realised_expected")),
        mean("share that was promised", "promised", share, None),
    )
    return Grid("In numbers", ("", _span(told.this), _span(told.before), "when accepted"), rows)


def _span(one: Week) -> str:
    first = f"{one.first:%-d %B}" if one.first.month != one.last.month else f"{one.first:%-d}"
    return f"{first} to {one.last:%-d %B}"


def _day(day: date) -> str:
    return f"{day:%A, %-d %B %Y}"


def _money(amount: float, unit: str) -> str:
    return f"{'−' if amount < 0 else ''}{abs(amount):,.0f} {unit}".rstrip()


def _capital(words: str) -> str:
    return words[:1].upper() + words[1:]
