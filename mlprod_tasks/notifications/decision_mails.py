"""Mails about decisions: one per pipeline and tick with all its alarms, one when it is over, and reminders."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from email.utils import getaddresses

from mlprod_tasks.declaration import Pipeline, Tick
from mlprod_tasks.documents.formatting import format_number
from mlprod_tasks.documents.mail_content import Content, Grid
from mlprod_tasks.monitoring.alarms import Alarm, alarms
from mlprod_tasks.monitoring.diagnosis import remedy
from mlprod_tasks.monitoring.incidents import Incident, incidents_of, same_time
from mlprod_tasks.monitoring.mailed_ticks import SHARED, mailed_ticks
from mlprod_tasks.monitoring.rules import ALERT, NOTE, RETRAIN
from mlprod_tasks.notifications.events import send
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.ledger import Decision, Intervention, Mail, MailAbout, newest
from mlprod_tasks.promotion.operator_actions import interventions, is_rule

log = logging.getLogger(__name__)
REMIND_EVERY = 7  # ticks
OVER, REMINDER = "over", "reminder"
INCIDENTS = "incidents"  # the turn in which mails about shared alarms are sent
ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")
DOING = {"fallback": "the fallback answers from now on", "rollback": "the previous champion is champion again"}


@dataclass(frozen=True)
class _News:
    """The news of a tick: its open alarms, those that began with it, what was done about them, and what others share."""

    decision: Decision
    open: tuple[Alarm, ...]
    new: tuple[Alarm, ...]
    done: tuple[Intervention, ...]
    incidents: tuple[Incident, ...]


def tell_decision(pipeline: Pipeline, tick: Tick, platform: Platform, links: Sequence[tuple[str, str]] = ()) -> bool:
    """Mail a tick's decision if it is news, with all alarms in one mail.

    News is: a rule that did not fire at the tick before, a retraining, a switch to the fallback, a rollback, the end of all
    alarms, and an alarm that nobody has acknowledged and no mail has mentioned for seven ticks. Muted rules are left out.
    Alarms of several use cases with one cause are told by one mail, that of the first: people who had it get no other.

    Returns: whether a mail was sent.
    """
    decision = platform.ledger.get(Decision, pipeline.name, tick.name)
    if decision is None:
        return False
    every = [one for one in alarms(pipeline, platform, tick) if one.told]
    unmuted = [one for one in every if one.muted_until is None]
    done = tuple(one for one in interventions(pipeline, platform) if one.tick == tick.name and is_rule(one))
    # Muting a rule silences its alarms, but not what it does to production.
    open_alarms = tuple(alarm for alarm in unmuted if alarm.open) or tuple(alarm for alarm in every if done and alarm.open)
    new = tuple(alarm for alarm in open_alarms if alarm.since == tick.name)
    news = _News(decision, open_alarms, new, done, incidents_of(decision, platform) if open_alarms else ())
    if open_alarms and (news.new or done or decision.trained):
        # Use cases that decide at once would not see one another's mails.
        with platform.ledger.turn(INCIDENTS) if news.incidents else nullcontext():
            return _tell_alarms(pipeline, tick, news, platform, links)
    if open_alarms and _needs_reminder(pipeline, tick, open_alarms, platform):
        return _send(pipeline, tick, REMINDER, _reminder_mail(pipeline, tick, open_alarms, links), platform)
    ended = () if open_alarms else _ended_alarms(pipeline, tick, unmuted, platform)
    if ended:
        return _send(pipeline, tick, OVER, _over_mail(pipeline, decision, ended, platform, links), platform)
    if not any(rule["action"] != NOTE for rule in decision.rules) and _alarm_was_mailed(pipeline, tick, platform):
        return _send(pipeline, tick, OVER, _withdrawal_mail(pipeline, tick, links), platform)
    log.info("%s: nothing new to mail about %s", pipeline.name, tick)
    return False


def _send(pipeline: Pipeline, tick: Tick, kind: str, content: Content, platform: Platform, to: Sequence[str] = ()) -> bool:
    key = f"{pipeline.name}/{tick}/decision/{kind}"
    return send(pipeline, MailAbout.DECISION, key, content, platform, to=to, kind=kind, tick=tick.name)


def _tell_alarms(pipeline: Pipeline, tick: Tick, news: _News, platform: Platform, links: Sequence[tuple[str, str]]) -> bool:
    """Mail a tick's alarms to whom no other use case's mail has told of them. Whether anybody got one."""
    decision = news.decision
    told = _told_by_others(pipeline, tick, news, platform) if not news.done and not decision.trained else set[str]()
    if told.issuperset(pipeline.alert_to):
        return _note_as_shared(pipeline, tick, news, platform)
    to = [one for one in pipeline.alert_to if one not in told]
    return _send(pipeline, tick, _action(decision), _alarm_mail(pipeline, tick, news, platform, links), platform, to)


def _told_by_others(pipeline: Pipeline, tick: Tick, news: _News, platform: Platform) -> set[str]:
    """Who was told of these incidents by mails of other use cases; nobody if one of the new alarms is not part of any."""
    shared = {rule for one in news.incidents for name, rule in one.alarms if name == pipeline.name}
    if not {alarm.rule for alarm in news.new} <= shared:
        return set()
    told: set[str] | None = None
    for one in news.incidents:
        others = [name for name in one.use_cases if name != pipeline.name]
        mails = [mail for name in others for mail in platform.ledger.all(Mail, pipeline=name, about=MailAbout.DECISION)]
        near = [mail for mail in mails if mail.kind not in (SHARED, OVER) and mail.tick and same_time(mail.tick, tick.name)]
        recipients = {address for _, address in getaddresses([mail.recipients for mail in near])}  # each is a line To
        told = recipients if told is None else told & recipients
    return told or set()


def _note_as_shared(pipeline: Pipeline, tick: Tick, news: _News, platform: Platform) -> bool:
    """Note in the ledger that a tick's alarms were told by another use case's mail."""
    log.info("%s: %s: no mail, as people were told: %s", pipeline.name, tick, "; ".join(_shared(news)))
    key = f"{pipeline.name}/{tick}/decision/{SHARED}"
    noted = Mail(
        key=key, pipeline=pipeline.name, kind=SHARED, subject="; ".join(_shared(news)), recipients="",
        at=platform.clock.now(), about=MailAbout.DECISION, tick=tick.name,
    )  # fmt: skip
    platform.ledger.add_once(noted)
    return False


def _shared(news: _News) -> list[str]:
    return [one.sentence() for one in news.incidents]


def _action(decision: Decision) -> str:
    """The action that was taken: only an alert if the retraining that was decided did not start."""
    return ALERT if decision.action == RETRAIN and not decision.trained else decision.action


def _needs_reminder(pipeline: Pipeline, tick: Tick, open_alarms: Sequence[Alarm], platform: Platform) -> bool:
    """Whether to send a reminder: no mail for `REMIND_EVERY` ticks (each mail lists all open alarms).

    No reminder of a young alarm: ticks run in parallel, and the tick at which it began may be about to mail it. If its rule
    was muted, no mail announced it, and a young alarm counts too.
    """
    oldest = pipeline.schedule.shift(tick.name, -REMIND_EVERY)
    muted = {one.rule for one in interventions(pipeline, platform, "mute")}
    young = {alarm.rule for alarm in open_alarms if alarm.since > oldest and not {alarm.rule, ""} & muted}
    if all(alarm.acknowledged_by or alarm.rule in young for alarm in open_alarms):
        return False
    return not any(oldest < day <= tick.name for day in mailed_ticks(pipeline, platform))


def _ended_alarms(pipeline: Pipeline, tick: Tick, unmuted: Sequence[Alarm], platform: Platform) -> tuple[Alarm, ...]:
    """The unbroken run of alarms that ended with the previous tick; empty if no mail was sent about them."""
    before = newest(platform.ledger.all(Decision, Decision.tick < tick.name, pipeline=pipeline.name), "tick")
    if before is None:
        return ()
    ended: list[Alarm] = []
    begun = before.tick
    for alarm in sorted(unmuted, key=lambda alarm: alarm.last, reverse=True):
        if alarm.last >= pipeline.schedule.shift(begun, -1) and (ended or alarm.last == before.tick):
            ended.append(alarm)
            begun = min(begun, alarm.since)
    mailed = {day for day, mails in mailed_ticks(pipeline, platform).items() if any(one.kind != SHARED for one in mails)}
    return tuple(sorted(ended, key=lambda alarm: alarm.since)) if any(begun <= day < tick.name for day in mailed) else ()


def _alarm_was_mailed(pipeline: Pipeline, tick: Tick, platform: Platform) -> bool:
    """Whether alarms of this very tick were mailed, before it was measured again."""
    return any(mail.kind not in (OVER, SHARED) for mail in mailed_ticks(pipeline, platform).get(tick.name, ()))


def _withdrawal_mail(pipeline: Pipeline, tick: Tick, links: Sequence[tuple[str, str]]) -> Content:
    return Content(
        subject=f"[{pipeline.name}] over at {tick}: measured again",
        headline=f"{tick}: it is over. Please ignore the earlier mail about this tick.",
        paragraphs=("The tick was measured again, and no rule fires any more.",),
        links=tuple(links),
    )


def _alarm_mail(pipeline: Pipeline, tick: Tick, news: _News, platform: Platform, links: Sequence[tuple[str, str]]) -> Content:
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
            *(f"{sentence[0].upper()}{sentence[1:]}." for sentence in _shared(news)),
            _what_follows(decision, news),
        ),
        grids=(Grid("What changed", ("tick", "what", "feature", "value", "bounds", "rule"), rows),),
        picture=picture(pipeline, tick, decision, platform),
        links=tuple(links),
        attachments=attached(pipeline, tick, platform),
    )


def _reminder_mail(pipeline: Pipeline, tick: Tick, open_alarms: Sequence[Alarm], links: Sequence[tuple[str, str]]) -> Content:
    names = ", ".join(alarm.rule for alarm in open_alarms)
    unknown = [alarm for alarm in open_alarms if not alarm.acknowledged_by]
    return Content(
        subject=f"[{pipeline.name}] still open at {tick}: {names}",
        headline=f"{tick}: still open and not acknowledged: {', '.join(alarm.rule for alarm in unknown)}.",
        paragraphs=(
            *(_summary(alarm) for alarm in open_alarms),
            "Acknowledge an alarm to stop the reminders; you then get one more mail, when it is over: "
            f'`mlprod acknowledge {pipeline.name} "{unknown[0].rule}" --by NAME`, or on the page.',
        ),
        links=tuple(links),
    )


def _over_mail(
    pipeline: Pipeline, decision: Decision, ended: Sequence[Alarm], platform: Platform, links: Sequence[tuple[str, str]]
) -> Content:
    tick = decision.tick
    notes = {rule["rule"]: str(rule["harmless"]) for rule in decision.rules if rule.get("harmless")}
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
        headline=f"{tick}: it is over. {'What still moves does not matter' if notes else 'No rule fires any more'}.",
        paragraphs=(
            *(f"{name} is a note from now on: {why}." for name, why in notes.items()),
            f"It lasted from {since} to {last}: {_ticks(pipeline.schedule.ticks_between(since, last) + 1)}.",
            *(f"{alarm.rule}: worst on {alarm.worst_at}: {_without_tick(alarm.worst)}." for alarm in ended),
            *([f"A retraining was requested at {trained}."] if trained else []),
            *(f"{one.kind} at {one.tick} by {one.by}." for one in done),
        ),
        grids=(Grid("The alarms", ("rule", "from", "to", "ticks", "cause", "acknowledged by"), rows),),
        links=tuple(links),
    )


def _alarm_sentence(alarm: Alarm) -> str:
    """Describe a new alarm in full: what happened, the likely cause, what helps."""
    cause = f" This looks like a {alarm.cause}. {remedy(alarm.cause)}" if alarm.cause else ""
    return f"{alarm.rule}: {alarm.sentence}.{cause}"


def _summary(alarm: Alarm) -> str:
    """Describe an alarm that goes on: 'volume: third tick in a row, since 2013-06-24; worst on 2013-06-25: ...'."""
    worst = f"; worst on {alarm.worst_at}: {_without_tick(alarm.worst)}" if alarm.worst else ""
    cause = f" ({alarm.cause})" if alarm.cause else ""
    known = f". Acknowledged by {alarm.acknowledged_by}" if alarm.acknowledged_by else ""
    return f"{alarm.rule}: {_ordinal(alarm.ticks)} tick in a row, since {alarm.since}{cause}{worst}{known}."


def _doing(decision: Decision, done: Sequence[Intervention]) -> str:
    for one in done:
        if one.kind in DOING:
            return DOING[one.kind]
    return "a retraining is requested" if decision.trained else "an alarm"


def _what_follows(decision: Decision, news: _News) -> str:
    sentences = [f"{one.kind.capitalize()} by {one.by}: {one.reason}." for one in news.done if one.kind in DOING]
    sentences += [f"The {one.subject} was not done: {one.reason}." for one in news.done if one.kind == "not done"]
    if decision.trained:
        sentences.append(
            "A new model is being trained." if decision.action == RETRAIN else "A new model is being trained, too."
        )
    waits = list(dict.fromkeys(str(rule["held"]) for rule in decision.rules if rule.get("held")))
    if decision.retrain and decision.training_held:
        waits.append(f"no training was started: {decision.training_held}")
    if not sentences:
        sentences.append(f"Nothing is done automatically{': ' if waits else ''}{'; '.join(waits)}.")
    elif waits:
        sentences.append(f"{'; '.join(waits).capitalize()}.")
    return " ".join(sentences)


def _ordinal(n: int) -> str:
    if n <= len(ORDINALS):
        return ORDINALS[n - 1]
    ending = "th" if n % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(n % 10, "th")
    return f"{n}{ending}"


def _ticks(n: int) -> str:
    return f"{n} tick{'s' * (n != 1)}"


def _without_tick(sentence: str) -> str:
    """Remove the tick at the start of a measurement's sentence."""
    head, colon, rest = sentence.partition(": ")
    return rest if colon and len(head) == len("2013-06-24") and head[:4].isdigit() else sentence


def _number(value: float | None) -> str:
    return "not evaluated" if value is None else format_number(value)


def _bounds(low: float | None, high: float | None) -> str:
    if low is None:
        return f"at most {_number(high)}" if high is not None else ""
    return f"at least {_number(low)}" if high is None else f"{_number(low)} to {_number(high)}"
