"""Alarms: how long a rule has been firing, who knows of it, and until when nobody wants to hear of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from typing import Any

from mlprod_tasks.declaration import Pipeline, Tick
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.ledger import Decision, Intervention
from mlprod_tasks.promotion.operator_actions import intervene, interventions

EVERY = ""  # the rule's name that stands for all rules


class NoSuchAlarm(LookupError):
    """The rule does not fire, or there is no rule of that name."""


@dataclass(frozen=True)
class Alarm:
    """An episode of a rule: the decided ticks, one after the other, at which it fired.

    `open` while it fires at the last decided tick. sentence, cause, held: of its newest tick; held says why its action waits.
    worst: the sentence of the measurement furthest outside of its bounds, of tick `worst_at`.
    """

    rule: str
    action: str
    since: date
    last: date
    ticks: int
    open: bool
    cause: str
    sentence: str
    held: str = ""
    worst: str = ""
    worst_at: date | None = None
    acknowledged_by: str = ""
    acknowledged_at: datetime | None = None
    note: str = ""
    muted_until: datetime | None = None

    @property
    def told(self) -> bool:
        """Whether it is for people at all: a note only stays in the ledger."""
        return self.action != "note"

    def line(self) -> str:
        """The alarm on one line of text."""
        length = f"since {self.since}, {self.ticks} tick{'s' * (self.ticks != 1)}"
        known = f"; {self.acknowledged_by} knows of it" if self.acknowledged_by else ""
        muted = f"; muted until {self.muted_until:%Y-%m-%d %H:%M} UTC" if self.muted_until else ""
        held = f"; {self.held}" if self.held else ""
        cause = f"; {self.cause}" if self.cause else ""
        return f"{self.rule} ({self.action}, {length}): {self.sentence}{cause}{held}{known}{muted}"


def alarms(pipeline: Pipeline, platform: Platform, at: Tick | None = None) -> tuple[Alarm, ...]:
    """Every alarm there was, the newest first, open ones before all; as they stood when tick `at` was decided, if given."""
    ledger = platform.ledger
    decisions = ledger.all(Decision, *([Decision.tick <= at.date] if at else []), pipeline=pipeline.name)
    done = interventions(pipeline, platform, "acknowledge", "mute", "unmute")
    now = platform.clock.now()
    found = [_with_people(alarm, done, now) for alarm in episodes(decisions)]
    return tuple(sorted(found, key=lambda alarm: (not alarm.open, -alarm.last.toordinal(), alarm.since, alarm.rule)))


def open_alarms(pipeline: Pipeline, platform: Platform) -> tuple[Alarm, ...]:
    """The alarms of the last decided tick."""
    return tuple(alarm for alarm in alarms(pipeline, platform) if alarm.open)


def acknowledge(pipeline: Pipeline, rule: str, by: str, platform: Platform, *, note: str = "") -> Intervention:
    """Somebody knows of the open alarm of a rule: no more reminders of it. The first to say so stands.

    Raises: NoSuchAlarm where the rule does not fire.
    """
    standing = {alarm.rule: alarm for alarm in open_alarms(pipeline, platform)}
    if rule not in standing:
        there = ", ".join(repr(name) for name in standing) or "none"
        raise NoSuchAlarm(f"{pipeline.name} has no open alarm {rule!r}; open alarms: {there}")
    alarm = standing[rule]
    once = f"{rule}/{alarm.since}"
    return intervene(pipeline, "acknowledge", by, platform, subject=rule, rule=rule, reason=note, tick=alarm.last, once=once)


def mute(pipeline: Pipeline, rule: str, by: str, platform: Platform, *, until: datetime, reason: str = "") -> Intervention:
    """No mails about a rule, or with '' about any, until a moment; what is measured and decided goes on.

    Raises: NoSuchAlarm where no rule has that name; ValueError where `until` lies behind.
    """
    _declared(pipeline, rule)
    if until.tzinfo is None:
        raise ValueError(f"{pipeline.name}: until {until} has no time zone")
    if until <= platform.clock.now():
        raise ValueError(f"{pipeline.name}: until {until:%Y-%m-%d %H:%M %Z} is over already: name a moment that is to come")
    return intervene(pipeline, "mute", by, platform, subject=rule, rule=rule, reason=reason, until=until.astimezone(UTC))


def unmute(pipeline: Pipeline, rule: str, by: str, platform: Platform, *, reason: str = "") -> Intervention:
    """Mails about a rule again, or with '' about every one. Raises: NoSuchAlarm where no rule has that name."""
    _declared(pipeline, rule)
    return intervene(pipeline, "unmute", by, platform, subject=rule, rule=rule, reason=reason)


def muted_until(rule: str, done: Iterable[Intervention], now: datetime) -> datetime | None:
    """Until when a rule is muted, by its own name or with all others; None where it is not."""
    until: datetime | None = None
    for one in sorted((one for one in done if one.rule in (rule, EVERY)), key=lambda one: (one.at, one.id)):
        if one.kind == "mute" and one.until is not None:
            until = max(until or one.until, one.until)
        elif one.kind == "unmute":
            until = None
    return until if until is not None and until > now else None


def episodes(decisions: Sequence[Decision]) -> list[Alarm]:
    """The alarms that decisions hold, whatever people did about them, in the order in which they began."""
    in_order = sorted(decisions, key=lambda decision: decision.tick)
    fired = [{rule["rule"]: rule for rule in decision.rules} for decision in in_order]
    found: list[Alarm] = []
    for name in sorted({name for rules in fired for name in rules}):
        for first, last in _runs([name in rules for rules in fired]):
            ticks = [decision.tick for decision in in_order[first : last + 1]]
            rows = [rules[name] for rules in fired[first : last + 1]]
            found.append(_alarm(name, ticks, rows, last == len(in_order) - 1))
    return sorted(found, key=lambda alarm: (alarm.since, alarm.rule))


def _runs(fires: Sequence[bool]) -> Iterator[tuple[int, int]]:
    """First and last index of each unbroken run."""
    first: int | None = None
    for i, there in enumerate([*fires, False]):
        if there and first is None:
            first = i
        elif not there and first is not None:
            yield first, i - 1
            first = None


def _alarm(name: str, ticks: Sequence[date], rows: Sequence[dict[str, Any]], is_open: bool) -> Alarm:
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
        held=newest.get("held", ""),
        worst=worst["sentence"] if worst else "",
        worst_at=tick,
    )


def _excess(one: dict[str, Any]) -> float:
    if one["value"] is None:
        return float("inf")
    above = one["value"] - one["high"] if one["high"] is not None else float("-inf")
    below = one["low"] - one["value"] if one["low"] is not None else float("-inf")
    return max(above, below)


def _with_people(alarm: Alarm, done: Sequence[Intervention], now: datetime) -> Alarm:
    acknowledged = next(
        (
            one
            for one in done
            if one.kind == "acknowledge" and one.rule == alarm.rule and one.tick and alarm.since <= one.tick <= alarm.last
        ),
        None,
    )
    muted = muted_until(alarm.rule, done, now)
    if acknowledged is None:
        return replace(alarm, muted_until=muted)
    return replace(
        alarm,
        acknowledged_by=acknowledged.by,
        acknowledged_at=acknowledged.at,
        note=acknowledged.reason,
        muted_until=muted,
    )


def _declared(pipeline: Pipeline, rule: str) -> None:
    names = [one.name for one in pipeline.rules]
    if rule != EVERY and rule not in names:
        raise NoSuchAlarm(f"{pipeline.name} has no rule {rule!r}; rules: {', '.join(map(repr, names)) or 'none'}")
