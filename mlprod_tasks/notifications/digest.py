"""The weekly digest for the business: earnings, quality of the scores, events, open alarms."""

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
from mlprod_tasks.platform.ledger import MailAbout

SHOWN_DAYS = 28
NEAR = 0.02  # shares that differ by less are called equal
NEAR_SD = 0.05  # a mean error of fewer standard deviations of the outcomes is called right on average


@dataclass(frozen=True)
class Digest:
    """The digest of one week.

    this, before: the last two weeks whose outcomes are all known. happened: the timeline of the week that ends with the tick.
    """

    tick: Tick
    this: Week
    before: Week
    shown: tuple[Day, ...]
    happened: tuple[tuple[date, str], ...]
    open: tuple[Alarm, ...]


def digest(pipeline: Pipeline, tick: Tick, platform: Platform) -> Digest:
    """Read the week that ends with a tick from the ledger."""
    known = tick.date - pipeline.label_delay_ticks * DAY
    shown = days_until(pipeline, known, SHOWN_DAYS, platform)
    first = max(tick.date - (DAYS - 1) * DAY, pipeline.schedule.starts)
    open_alarms = tuple(alarm for alarm in alarms(pipeline, platform, tick) if alarm.open and alarm.told)
    happened = tuple(happenings(pipeline, first, tick.date, platform))
    return Digest(tick, week(shown[-DAYS:]), week(shown[-2 * DAYS : -DAYS]), tuple(shown), happened, open_alarms)


def tell_digest(pipeline: Pipeline, tick: Tick, platform: Platform, links: Sequence[tuple[str, str]] = ()) -> bool:
    """Mail the week that ends with a tick, once, to `digest_to` or else to `alert_to`. Returns whether a mail was sent."""
    content = digest_mail(pipeline, digest(pipeline, tick, platform), links)
    key, to = f"{pipeline.name}/{tick}/digest", pipeline.monitoring.digest_to
    return send(pipeline, MailAbout.DIGEST, key, content, platform, to=to, tick=tick.date)


def text(pipeline: Pipeline, tick: Tick, platform: Platform) -> str:
    """Render the digest as text for a terminal."""
    return as_text(digest_mail(pipeline, digest(pipeline, tick, platform)))


def digest_mail(pipeline: Pipeline, week_digest: Digest, links: Sequence[tuple[str, str]] = ()) -> Content:
    """Write the digest as a mail."""
    from mlprod_tasks.notifications.digest_plots import plots

    quality = _quality if pipeline.task == "binary" else _errors
    rows = tuple((f"{day:%a %-d %b}", what) for day, what in week_digest.happened)
    return Content(
        subject=f"[{pipeline.name}] the week to {week_digest.tick}: {_headline(pipeline, week_digest)}",
        headline=f"The week to {_day(week_digest.tick.date)}: {_headline(pipeline, week_digest)}.",
        tiles=_tiles(pipeline, week_digest),
        paragraphs=(pipeline.doc.strip(), _value(pipeline, week_digest), quality(week_digest), _open(week_digest)),
        grids=(_numbers(pipeline, week_digest), *([Grid("What happened", ("day", "what"), rows, prose=True)] if rows else [])),
        plots=plots(pipeline, week_digest.shown, week_digest.this.first),
        links=tuple(links),
    )


def _headline(pipeline: Pipeline, week_digest: Digest) -> str:
    value, unit = week_digest.this.total("value"), pipeline.value.unit
    alarms_text = (
        f", {len(week_digest.open)} open alarm{'s' * (len(week_digest.open) != 1)}" if week_digest.open else ", nothing open"
    )
    if pipeline.task == "regression":
        off = week_digest.this.mean("mae")
        return f"off by {number(off)} on average{alarms_text}" if off is not None else f"no outcomes yet{alarms_text}"
    return f"{_money(value, unit)} earned{alarms_text}" if value is not None else f"no outcomes yet{alarms_text}"


def _tiles(pipeline: Pipeline, week_digest: Digest) -> tuple[Tile, ...]:
    this, unit = week_digest.this, pipeline.value.unit
    value, promised, realised, auc = this.total("value"), this.mean("promised"), this.mean("realised"), this.mean("roc_auc")
    tiles = []
    if pipeline.task == "regression":
        tiles += _error_tiles(pipeline, week_digest)
    elif value is not None:
        tiles.append(Tile("earned by acting on scores", _money(value, unit), _change(week_digest, unit), value < 0))
    if realised is not None and promised is not None:
        tiles.append(Tile("positive outcomes", f"{realised:.0%}", f"the scores predicted {promised:.0%}"))
    if auc is not None:
        expected = this.mean("roc_auc_expected")
        tiles.append(Tile("ranking (AUC)", f"{auc:.2f}", f"{expected:.2f} when accepted" if expected else ""))
    names = ", ".join(alarm.rule for alarm in week_digest.open)
    tiles.append(Tile("open alarms", str(len(week_digest.open)), names or "all is well", bool(week_digest.open)))
    return tuple(tiles)


def _error_tiles(pipeline: Pipeline, week_digest: Digest) -> list[Tile]:
    """How far predicted numbers were off, and what they were worth, which is below zero if errors are costs."""
    this, before = week_digest.this, week_digest.before
    off, value = this.mean("mae"), this.total("value")
    tiles = []
    if off is not None:
        expected, then = this.mean("mae_expected"), before.mean("mae")
        beside = [f"{number(expected)} when accepted"] if expected is not None else []
        beside += [f"{number(then)} the week before"] if then is not None else []
        tiles.append(Tile("off by, on average", number(off), ", ".join(beside)))
    if value is not None:
        tiles.append(Tile("declared value", _money(value, pipeline.value.unit), f"{this.rows:,} predictions"))
    return tiles


def _change(week_digest: Digest, unit: str) -> str:
    """Compare with the week before; per row if the two weeks differ in days with outcomes."""
    this, before = week_digest.this, week_digest.before
    now, then = this.total("value"), before.total("value")
    if now is None or then is None or not this.rows or not before.rows:
        return "no earlier week to compare with"
    if then <= 0:
        return f"{_money(then, unit)} the week before"
    alike = this.measured == before.measured
    change = (now / then if alike else now / this.rows / (then / before.rows)) - 1
    return f"{'+' if change >= 0 else '−'}{abs(change):.0%} {'' if alike else 'per row '}compared with the week before"


def _value(pipeline: Pipeline, week_digest: Digest) -> str:
    this, unit = week_digest.this, pipeline.value.unit
    value, expected, kpi = this.total("value"), this.total("value_expected"), this.mean("kpi")
    if value is None:
        what = "the scores earned" if pipeline.task == "binary" else "the predictions were worth"
        return f"No outcomes are known yet for {_span(this)}, so we cannot say what {what}."
    days = "" if this.measured == DAYS else f" ({this.measured} of {DAYS} days; the others have no outcomes of the model)"
    acting, earned = (
        (f"acting on {this.rows:,} scores", "earned")
        if pipeline.task == "binary"
        else (f"{this.rows:,} predictions, by the declared value,", "were worth")
    )
    sentences = [f"From {_span(this)}{days}, {acting} {earned} {_money(value, unit)}."]
    if expected is not None:
        model = "the model earned" if pipeline.task == "binary" else "they were worth"
        sentences.append(f"In the test before its promotion, {model} {_money(expected, unit)} on as many rows.")
    if kpi is not None:
        expected_kpi = this.mean("kpi_expected")
        against = "" if expected_kpi is None else f" ({number(expected_kpi)} in that test)"
        sentences.append(f"{_capital(pipeline.kpi.doc)}: {number(kpi)}{f' {pipeline.kpi.unit}'.rstrip()}{against}.")
    return " ".join(sentences)


def _quality(week_digest: Digest) -> str:
    promised, realised = week_digest.this.mean("promised"), week_digest.this.mean("realised")
    if promised is None or realised is None:
        return "We cannot say yet how accurate the scores of this week were."
    if abs(realised - promised) < NEAR:
        verdict = "The scores were right on average."
    else:
        verdict = f"The scores were too {'low' if realised > promised else 'high'}."
    return f"{of_100(realised)} outcomes were positive, the scores predicted {of_100(promised)}. {verdict}"


def _errors(week_digest: Digest) -> str:
    """How far predicted numbers were off, and to which side."""
    off, expected, bias = (week_digest.this.mean(name) for name in ("mae", "mae_expected", "bias"))
    if off is None or bias is None:
        return "We cannot say yet how accurate the predictions of this week were."
    against = "" if expected is None else f" ({number(expected)} in the test before its promotion)"
    if abs(bias) < NEAR_SD:
        verdict = "On average they were right."
    else:
        verdict = f"On average they were too {'low' if bias > 0 else 'high'}."
    return f"Predictions were off by {number(off)} on average{against}. {verdict}"


def _open(week_digest: Digest) -> str:
    if not week_digest.open:
        return "No alarm is open."
    return "\n".join(f"Open since {alarm.since:%A, %-d %B}: {alarm.rule}{_known(alarm)}." for alarm in week_digest.open)


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

    this, whole, share = week_digest.this, "{:,.0f}".format, "{:.1%}".format
    earned, unit = "earned" if pipeline.task == "binary" else "declared value", pipeline.value.unit
    values = (one.total("value") for one in weeks)
    rows = (
        line("days with outcomes", (float(one.measured) for one in weeks), None, whole),
        line("rows with an outcome", (float(one.rows) for one in weeks), None, whole),
        line(f"{earned}, {unit}" if unit else earned, values, this.total("value_expected"), whole),
        mean(pipeline.kpi.name, "kpi", number, this.mean("kpi_expected")),
        *(
            (
                mean("AUC", "roc_auc", "{:.3f}".format, this.mean("roc_auc_expected")),
                mean("share of positive outcomes", "realised", share, this.mean("realised_expected")),
                mean("share that the scores predicted", "promised", share, None),
            )
            if pipeline.task == "binary"
            else (
                mean("mean absolute error", "mae", number, this.mean("mae_expected")),
                mean("outcome minus prediction, standard deviations", "bias", "{:+.2f}".format, None),
            )
        ),
    )
    return Grid("In numbers", ("", _span(week_digest.this), _span(week_digest.before), "when accepted"), rows)


def _span(one: Week) -> str:
    first = f"{one.first:%-d %B}" if one.first.month != one.last.month else f"{one.first:%-d}"
    return f"{first} to {one.last:%-d %B}"


def _day(day: date) -> str:
    return f"{day:%A, %-d %B %Y}"


def _money(amount: float, unit: str) -> str:
    return f"{'−' if amount < 0 else ''}{abs(amount):,.0f} {unit}".rstrip()


def _capital(words: str) -> str:
    return words[:1].upper() + words[1:]
