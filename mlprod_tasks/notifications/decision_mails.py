"""Mails about decisions: one a pipeline and tick, with all its alarms; one when it is over; reminders, now and then."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from mlprod_tasks.declaration import Pipeline, Tick
from mlprod_tasks.documents.formatting import format_number
from mlprod_tasks.documents.mail_content import Content, Grid
from mlprod_tasks.monitoring.alarms import Alarm, alarms
from mlprod_tasks.monitoring.diagnosis import remedy
from mlprod_tasks.monitoring.mailed_ticks import mailed_ticks
from mlprod_tasks.monitoring.rules import ALERT, NOTE, RETRAIN
from mlprod_tasks.notifications.events import send
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.ledger import Decision, Intervention, MailAbout, newest
from mlprod_tasks.promotion.operator_actions import interventions, is_rule

log = logging.getLogger(__name__)
DAY = timedelta(days=1)
REMIND_EVERY = 7  # ticks
OVER, REMINDER = "over", "reminder"
ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")
DOING = {"fallback": "the fallback answers from now on", "rollback": "the champion before is champion again"}


@dataclass(frozen=True)
class _News:
    """What there is to tell of a tick: alarms that people may hear of, and what was done."""

    decision: Decision
    open: tuple[Alarm, ...]
    new: tuple[Alarm, ...]
    done: tuple[Intervention, ...]


def tell_decision(pipeline: Pipeline, tick: Tick, platform: Platform, links: Sequence[tuple[str, str]] = ()) -> bool:
    """Mail what a tick's decision brings, all alarms in one mail, if it is news.

    News are a rule that did not fire at the tick before, a retraining, a switch to the fallback, a rollback; that nothing fires
    any more; and an alarm of which no mail told for seven ticks and which nobody has acknowledged. Nothing of muted rules.

    Returns: whether a mail went out.
    """
    decision = platform.ledger.get(Decision, pipeline.name, tick.date)
    if decision is None:
        return False
    every = [one for one in alarms(pipeline, platform, tick) if one.told]
    heard = [one for one in every if one.muted_until is None]
    done = tuple(one for one in interventions(pipeline, platform) if one.tick == tick.date and is_rule(one))
    # To mute a rule silences its alarms, not what it does to production.
    there = tuple(alarm for alarm in heard if alarm.open) or tuple(alarm for alarm in every if done and alarm.open)
    news = _News(decision, there, tuple(alarm for alarm in there if alarm.since == tick.date), done)
    if there and (news.new or done or decision.trained):
        return _send(pipeline, tick, _action(decision), _alarm(pipeline, tick, news, platform, links), platform)
    if there and _forgotten(pipeline, tick, there, platform):
        return _send(pipeline, tick, REMINDER, _reminder(pipeline, tick, there, links), platform)
    ended = () if there else _ended(pipeline, tick, heard, platform)
    if ended:
        return _send(pipeline, tick, OVER, _over(pipeline, tick, ended, platform, links), platform)
    if not any(rule["action"] != NOTE for rule in decision.rules) and _told_of(pipeline, tick, platform):
        return _send(pipeline, tick, OVER, _withdrawn(pipeline, tick, links), platform)
    log.info("%s: nothing new to tell of %s", pipeline.name, tick)
    return False


def _send(pipeline: Pipeline, tick: Tick, kind: str, content: Content, platform: Platform) -> bool:
    key = f"{pipeline.name}/{tick}/decision/{kind}"
    return send(pipeline, MailAbout.DECISION, key, content, platform, kind=kind, tick=tick.date)


def _action(decision: Decision) -> str:
    """What the decision comes to: only an alert, where the training that it asks for was held back."""
    return ALERT if decision.action == RETRAIN and not decision.trained else decision.action


def _forgotten(pipeline: Pipeline, tick: Tick, there: Sequence[Alarm], platform: Platform) -> bool:
    """Whether somebody should be reminded: every mail of an alarm lists all that are open.

    Not of a young alarm: ticks run side by side, and the one at which it began may be about to tell of it; unless its rule was
    muted, so that no mail told how it began.
    """
    oldest = tick.date - REMIND_EVERY * DAY
    muted = {one.rule for one in interventions(pipeline, platform, "mute")}
    young = {alarm.rule for alarm in there if alarm.since > oldest and not {alarm.rule, ""} & muted}
    if all(alarm.acknowledged_by or alarm.rule in young for alarm in there):
        return False
    return not any(tick.date - REMIND_EVERY * DAY < day <= tick.date for day in mailed_ticks(pipeline, platform))


def _ended(pipeline: Pipeline, tick: Tick, heard: Sequence[Alarm], platform: Platform) -> tuple[Alarm, ...]:
    """The alarms since all was quiet last, if they ended with the tick before, and somebody was told of them."""
    before = newest(platform.ledger.all(Decision, Decision.tick < tick.date, pipeline=pipeline.name), "tick")
    if before is None:
        return ()
    ended: list[Alarm] = []
    begun = before.tick
    for alarm in sorted(heard, key=lambda alarm: alarm.last, reverse=True):
        if alarm.last >= begun - DAY and (ended or alarm.last == before.tick):
            ended.append(alarm)
            begun = min(begun, alarm.since)
    told = mailed_ticks(pipeline, platform)
    return tuple(sorted(ended, key=lambda alarm: alarm.since)) if any(begun <= day < tick.date for day in told) else ()


def _told_of(pipeline: Pipeline, tick: Tick, platform: Platform) -> bool:
    """Whether a mail told of alarms at this very tick, which was measured again since."""
    return any(mail.kind != OVER for mail in mailed_ticks(pipeline, platform).get(tick.date, ()))


def _withdrawn(pipeline: Pipeline, tick: Tick, links: Sequence[tuple[str, str]]) -> Content:
    return Content(
        subject=f"[{pipeline.name}] over at {tick}: measured again",
        headline=f"{tick}: it is over. What was told of this tick no longer holds.",
        paragraphs=("The tick was measured again, and nothing fires there any more.",),
        links=tuple(links),
    )


def _alarm(pipeline: Pipeline, tick: Tick, news: _News, platform: Platform, links: Sequence[tuple[str, str]]) -> Content:
    from mlprod_tasks.dashboard.report import attached
    from mlprod_tasks.notifications.picture import picture

    decision = news.decision
    first = news.new or news.open
    names = ", ".join(alarm.rule for alarm in first)
    rows = tuple(
        (str(m["tick"]), m["what"], m["slice"], _number(m["value"]), _bounds(m["low"], m["high"]), rule["rule"])
        for rule in decision.rules
        for m in rule["measurements"]
        if rule["rule"] in {alarm.rule for alarm in first}
    )
    going_on = [alarm for alarm in news.open if alarm not in first]
    return Content(
        subject=f"[{pipeline.name}] {_action(decision)} at {tick}: {names}",
        headline=f"{tick}: {_doing(decision, news.done)}, because {names}.",
        paragraphs=(
            *(_alarm_sentence(alarm) for alarm in first),
            *(f"Still open: {_summary(alarm)}" for alarm in going_on),
            _what_follows(decision, news),
        ),
        grids=(Grid("What moved", ("tick", "what", "feature", "value", "bounds", "rule"), rows),),
        picture=picture(pipeline, tick, decision, platform),
        links=tuple(links),
        attachments=attached(pipeline, tick, platform),
    )


def _reminder(pipeline: Pipeline, tick: Tick, there: Sequence[Alarm], links: Sequence[tuple[str, str]]) -> Content:
    names = ", ".join(alarm.rule for alarm in there)
    unknown = [alarm for alarm in there if not alarm.acknowledged_by]
    return Content(
        subject=f"[{pipeline.name}] still open at {tick}: {names}",
        headline=f"{tick}: still open, and nobody has said that he knows of it: {', '.join(alarm.rule for alarm in unknown)}.",
        paragraphs=(
            *(_summary(alarm) for alarm in there),
            "Acknowledged, an alarm is told of again only when it is over: "
            f'`mlprod acknowledge {pipeline.name} "{unknown[0].rule}" --by NAME`, or on the page.',
        ),
        links=tuple(links),
    )


def _over(
    pipeline: Pipeline, tick: Tick, ended: Sequence[Alarm], platform: Platform, links: Sequence[tuple[str, str]]
) -> Content:
    names = ", ".join(dict.fromkeys(alarm.rule for alarm in ended))
    since, last = min(alarm.since for alarm in ended), max(alarm.last for alarm in ended)
    rows = tuple(
        (alarm.rule, str(alarm.since), str(alarm.last), str(alarm.ticks), alarm.cause, alarm.acknowledged_by) for alarm in ended
    )
    done = [one for one in interventions(pipeline, platform) if one.tick and since <= one.tick <= last and is_rule(one)]
    decided = platform.ledger.all(Decision, Decision.tick >= since, Decision.tick <= last, pipeline=pipeline.name)
    trained = ", ".join(str(one.tick) for one in decided if one.training_asked_at is not None)
    return Content(
        subject=f"[{pipeline.name}] over at {tick}: {names}",
        headline=f"{tick}: it is over. Nothing fires any more.",
        paragraphs=(
            f"It went on from {since} to {last}: {_ticks((last - since).days + 1)}.",
            *(f"{alarm.rule}: worst on {alarm.worst_at}: {_without_tick(alarm.worst)}." for alarm in ended),
            *([f"A retraining was requested at {trained}."] if trained else []),
            *(f"{one.kind} at {one.tick} by {one.by}." for one in done),
        ),
        grids=(Grid("What it was", ("rule", "from", "to", "ticks", "cause", "acknowledged by"), rows),),
        links=tuple(links),
    )


def _alarm_sentence(alarm: Alarm) -> str:
    """A new alarm, in full: what, why, what helps."""
    cause = f" This looks like a {alarm.cause}. {remedy(alarm.cause)}" if alarm.cause else ""
    return f"{alarm.rule}: {alarm.sentence}.{cause}"


def _summary(alarm: Alarm) -> str:
    """One that goes on: 'volume: third tick running, since 2013-06-24; worst on 2013-06-25: ...'."""
    worst = f"; worst on {alarm.worst_at}: {_without_tick(alarm.worst)}" if alarm.worst else ""
    cause = f" ({alarm.cause})" if alarm.cause else ""
    known = f". {alarm.acknowledged_by} knows of it" if alarm.acknowledged_by else ""
    return f"{alarm.rule}: {_ordinal(alarm.ticks)} tick running, since {alarm.since}{cause}{worst}{known}."


def _doing(decision: Decision, done: Sequence[Intervention]) -> str:
    for one in done:
        if one.kind in DOING:
            return DOING[one.kind]
    return "a retraining is requested" if decision.trained else "an alarm"


def _what_follows(decision: Decision, news: _News) -> str:
    said = [f"{one.kind.capitalize()} by {one.by}: {one.reason}." for one in news.done if one.kind in DOING]
    said += [f"The {one.subject} was not done: {one.reason}." for one in news.done if one.kind == "not done"]
    if decision.trained:
        said.append("A new model is being trained." if decision.action == RETRAIN else "A new model is being trained, too.")
    waits = list(dict.fromkeys(str(rule["held"]) for rule in decision.rules if rule.get("held")))
    if decision.retrain and decision.training_held:
        waits.append(f"no training was started: {decision.training_held}")
    if not said:
        said.append(f"Nothing is done by itself{': ' if waits else ''}{'; '.join(waits)}.")
    elif waits:
        said.append(f"{'; '.join(waits).capitalize()}.")
    return " ".join(said)


def _ordinal(n: int) -> str:
    if n <= len(ORDINALS):
        return ORDINALS[n - 1]
    ending = "th" if n % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(n % 10, "th")
    return f"{n}{ending}"


def _ticks(n: int) -> str:
    return f"{n} tick{'s' * (n != 1)}"


def _without_tick(sentence: str) -> str:
    """A measurement's sentence without the tick that it begins with."""
    head, colon, rest = sentence.partition(": ")
    return rest if colon and len(head) == len("2013-06-24") and head[:4].isdigit() else sentence


def _number(value: float | None) -> str:
    return "not evaluated" if value is None else format_number(value)


def _bounds(low: float | None, high: float | None) -> str:
    if low is None:
        return f"at most {_number(high)}" if high is not None else ""
    return f"at least {_number(low)}" if high is None else f"{_number(low)} to {_number(high)}"
