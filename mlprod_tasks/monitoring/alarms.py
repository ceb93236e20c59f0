"""Alarms: how long a rule has been firing, and who acknowledged or muted it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from mlprod_tasks.declaration import Pipeline, Tick
from mlprod_tasks.declaration.rhythm import TickName
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.ledger import Decision, Intervention
from mlprod_tasks.promotion.operator_actions import intervene, interventions

EVERY = ""  # as a rule's name: all rules


class NoSuchAlarm(LookupError):
    """The rule is not firing, or no rule has that name."""


@dataclass(frozen=True)
class Alarm:
    """An unbroken run of decided ticks at which one rule fired.

    open: whether it fires at the last decided tick. sentence, cause, held: those of its newest tick; held says why its action
    waits. worst: the sentence of the measurement furthest outside its bounds, at tick `worst_at`.
    """

    rule: str
    action: str
    since: TickName
    last: TickName
    ticks: int
    open: bool
    cause: str
    sentence: str
    held: str = ""
    worst: str = ""
    worst_at: TickName | None = None
    acknowledged_by: str = ""
    acknowledged_at: datetime | None = None
    note: str = ""
    muted_until: datetime | None = None

    @property
    def told(self) -> bool:
        """Whether people hear of it; a note only goes to the ledger."""
        return self.action != "note"

    def line(self) -> str:
        """The alarm in one line."""
        length = f"since {self.since}, {self.ticks} tick{'s' * (self.ticks != 1)}"
        known = f"; acknowledged by {self.acknowledged_by}" if self.acknowledged_by else ""
        muted = f"; muted until {self.muted_until:%Y-%m-%d %H:%M} UTC" if self.muted_until else ""
        held = f"; {self.held}" if self.held else ""
        cause = f"; {self.cause}" if self.cause else ""
        return f"{self.rule} ({self.action}, {length}): {self.sentence}{cause}{held}{known}{muted}"


def alarms(pipeline: Pipeline, platform: Platform, at: Tick | None = None) -> tuple[Alarm, ...]:
    """All alarms, open ones first, then the newest first.

    With `at`, as they were when that tick was decided.
    """
    ledger = platform.ledger
    decisions = ledger.all(Decision, *([Decision.tick <= at.name] if at else []), pipeline=pipeline.name)
    responses = interventions(pipeline, platform, "acknowledge", "mute", "unmute")
    now = platform.clock.now()
    known = [_with_responses(alarm, responses, now) for alarm in episodes(decisions)]
    newest_first = sorted(
        sorted(known, key=lambda alarm: (alarm.since, alarm.rule)), key=lambda alarm: alarm.last, reverse=True
    )
    return tuple(sorted(newest_first, key=lambda alarm: not alarm.open))


def open_alarms(pipeline: Pipeline, platform: Platform) -> tuple[Alarm, ...]:
    """The alarms that fire at the last decided tick."""
    return tuple(alarm for alarm in alarms(pipeline, platform) if alarm.open)


def acknowledge(pipeline: Pipeline, rule: str, by: str, platform: Platform, *, note: str = "") -> Intervention:
    """Acknowledge the open alarm of a rule, which stops its reminders.

    The first acknowledgement counts. Raises: NoSuchAlarm if the rule is not firing.
    """
    by_rule = {alarm.rule: alarm for alarm in open_alarms(pipeline, platform)}
    if rule not in by_rule:
        names = ", ".join(repr(name) for name in by_rule) or "none"
        raise NoSuchAlarm(f"{pipeline.name} has no open alarm {rule!r}; open alarms: {names}")
    alarm = by_rule[rule]
    once = f"{rule}/{alarm.since}"
    return intervene(pipeline, "acknowledge", by, platform, subject=rule, rule=rule, reason=note, tick=alarm.last, once=once)


def mute(pipeline: Pipeline, rule: str, by: str, platform: Platform, *, until: datetime, reason: str = "") -> Intervention:
    """Mute the mails about a rule, or about all rules with '', until a moment.

    Measuring and deciding go on. Raises: NoSuchAlarm if no rule has that name; ValueError if `until` is in the past or has no
    time zone.
    """
    _check_declared(pipeline, rule)
    if until.tzinfo is None:
        raise ValueError(f"{pipeline.name}: the moment {until} has no time zone")
    if until <= platform.clock.now():
        raise ValueError(f"{pipeline.name}: {until:%Y-%m-%d %H:%M %Z} is in the past: give a moment in the future")
    return intervene(pipeline, "mute", by, platform, subject=rule, rule=rule, reason=reason, until=until.astimezone(UTC))


def unmute(pipeline: Pipeline, rule: str, by: str, platform: Platform, *, reason: str = "") -> Intervention:
    """Unmute the mails about a rule, or about all rules with ''.

    Raises: NoSuchAlarm if no rule has that name.
    """
    _check_declared(pipeline, rule)
    return intervene(pipeline, "unmute", by, platform, subject=rule, rule=rule, reason=reason)


def muted_until(rule: str, done: Iterable[Intervention], now: datetime) -> datetime | None:
    """Until when a rule is muted, alone or together with all rules; None if it is not."""
    until: datetime | None = None
    for one in sorted((one for one in done if one.rule in (rule, EVERY)), key=lambda one: (one.at, one.id)):
        if one.kind == "mute" and one.until is not None:
            until = max(until or one.until, one.until)
        elif one.kind == "unmute":
            until = None
    return until if until is not None and until > now else None


def episodes(decisions: Sequence[Decision]) -> list[Alarm]:
    """The alarms that follow from decisions alone, in the order in which they began.

    An alarm is over when what moved turns out not to matter; what follows is a note of its own.
    """
    in_order = sorted(decisions, key=lambda decision: decision.tick)
    fired = [{rule["rule"]: rule for rule in decision.rules} for decision in in_order]
    known: list[Alarm] = []
    for name, is_note in sorted({(name, _is_note(rule)) for rules in fired for name, rule in rules.items()}):
        for first, last in _runs([name in rules and _is_note(rules[name]) == is_note for rules in fired]):
            ticks = [decision.tick for decision in in_order[first : last + 1]]
            rows = [rules[name] for rules in fired[first : last + 1]]
            known.append(_alarm(name, ticks, rows, last == len(in_order) - 1))
    return sorted(known, key=lambda alarm: (alarm.since, alarm.rule))


def _is_note(rule: dict[str, Any]) -> bool:
    return bool(rule["action"] == "note")


def _runs(fires: Sequence[bool]) -> Iterator[tuple[int, int]]:
    """First and last index of each unbroken run."""
    first: int | None = None
    for i, firing in enumerate([*fires, False]):
        if firing and first is None:
            first = i
        elif not firing and first is not None:
            yield first, i - 1
            first = None


def _alarm(name: str, ticks: Sequence[TickName], rows: Sequence[dict[str, Any]], is_open: bool) -> Alarm:
    newest = rows[-1]
    measured = [(_excess(one), tick, one) for tick, row in zip(ticks, rows, strict=True) for one in row["measurements"]]
    own = [one for one in measured if one[2]["what"] == newest["watch"]] or measured
    _, tick, worst = max(own, key=lambda one: (one[0], one[1]), default=(0.0, None, None))
    return Alarm(
        rule=name,
        action=newest["action"],
        since=ticks[0],
        last=ticks[-1],
        ticks=len(ticks),
        open=is_open,
        cause=newest.get("cause", ""),
        sentence=newest["measurements"][0]["sentence"] if newest["measurements"] else "",
        held=newest.get("held", "") or newest.get("harmless", ""),
        worst=worst["sentence"] if worst else "",
        worst_at=tick,
    )


def _excess(one: dict[str, Any]) -> float:
    if one["value"] is None:
        return float("inf")
    above = one["value"] - one["high"] if one["high"] is not None else float("-inf")
    below = one["low"] - one["value"] if one["low"] is not None else float("-inf")
    return max(above, below)


def _with_responses(alarm: Alarm, responses: Sequence[Intervention], now: datetime) -> Alarm:
    """The alarm with what people did about it: acknowledged, muted."""
    acknowledged = next(
        (
            one
            for one in responses
            if one.kind == "acknowledge" and one.rule == alarm.rule and one.tick and alarm.since <= one.tick <= alarm.last
        ),
        None,
    )
    muted = muted_until(alarm.rule, responses, now)
    if acknowledged is None:
        return replace(alarm, muted_until=muted)
    return replace(
        alarm,
        acknowledged_by=acknowledged.by,
        acknowledged_at=acknowledged.at,
        note=acknowledged.reason,
        muted_until=muted,
    )


def _check_declared(pipeline: Pipeline, rule: str) -> None:
    names = [one.name for one in pipeline.rules]
    if rule != EVERY and rule not in names:
        raise NoSuchAlarm(f"{pipeline.name} has no rule {rule!r}; rules: {', '.join(map(repr, names)) or 'none'}")
