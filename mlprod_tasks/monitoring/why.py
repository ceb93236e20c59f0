"""Explain the decision of a tick, rule by rule."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from textwrap import indent, wrap
from typing import Any

from mlprod_tasks.declaration import Pipeline, Rule, Tick
from mlprod_tasks.declaration.rhythm import TickName
from mlprod_tasks.documents.formatting import format_count, format_number
from mlprod_tasks.monitoring.act import NotDecided
from mlprod_tasks.monitoring.alarms import Alarm, alarms
from mlprod_tasks.monitoring.decide import evidence_of
from mlprod_tasks.monitoring.diagnosis import remedy
from mlprod_tasks.monitoring.holidays import judged_ones
from mlprod_tasks.monitoring.mailed_ticks import mailed_ticks
from mlprod_tasks.monitoring.rules import Evidence, counted, evidence, excess
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.ledger import Asker, Decision, Measurement, Training
from mlprod_tasks.promotion.operator_actions import interventions

WIDEST = 110
MOST_ROWS = 5  # per rule


@dataclass(frozen=True)
class RuleTold:
    """One rule at the tick.

    lines: its breaches if it fired, else how far each condition was from holding.
    """

    rule: str
    asks_for: str
    fired: bool
    lines: tuple[str, ...]
    cause: str = ""
    remedy: str = ""
    held: str = ""


@dataclass(frozen=True)
class Why:
    """The explanation of a tick's decision."""

    pipeline: str
    tick: str
    action: str
    reason: str
    rules: tuple[RuleTold, ...]
    since: tuple[str, ...]

    def text(self) -> str:
        """The explanation as text for a terminal."""
        fired, quiet = [one for one in self.rules if one.fired], [one for one in self.rules if not one.fired]
        lines = [f"{self.pipeline} at {self.tick}: {self.action}", ""]
        for one in fired:
            lines += [f"{one.rule} fired and asks for: {one.asks_for}", *_wrap_lines(one.lines)]
            lines += _wrap_lines([f"cause: {one.cause}. {one.remedy}"]) if one.cause else []
            lines += _wrap_lines([one.held]) if one.held else []
            lines.append("")
        if quiet:
            lines.append("did not fire" if fired else "no rule fired")
            for one in quiet:
                lines += [f"  {one.rule} (would ask for: {one.asks_for})", *_wrap_lines(one.lines, "    ")]
            lines.append("")
        lines += ["done since", *_wrap_lines(self.since or ("nothing",))]
        return "\n".join(lines)


def why(pipeline: Pipeline, tick: Tick, platform: Platform) -> Why:
    """Explain the decision of a tick from the ledger.

    Rules that fired are explained by the measurements kept with the decision, the others by the current measurements.

    Raises: NotDecided.
    """
    decision = platform.ledger.get(Decision, pipeline.name, tick.name)
    if decision is None:
        raise NotDecided(f"{pipeline.name}: tick {tick} has no decision: decide it first (`mlprod monitor`)")
    with platform.ledger.session() as session:
        rows = evidence_of(pipeline, tick, session)
    fired = [_explain_fired(rule) for rule in decision.rules]
    names = {one.rule for one in fired}
    quiet = [_explain_quiet(rule, rows, tick.name, pipeline) for rule in pipeline.rules if rule.name not in names]
    since = tuple(_actions_since(pipeline, tick.name, decision, platform))
    return Why(pipeline.name, str(tick), decision.action, decision.reason, (*fired, *quiet), since)


def _explain_fired(rule: dict[str, Any]) -> RuleTold:
    rows = [one["sentence"] for one in rule["measurements"]]
    more = len(rows) - MOST_ROWS
    lines = (*rows[:MOST_ROWS], *([f"and {more} more"] if more > 0 else []))
    cause = str(rule.get("cause", ""))
    helps = remedy(cause) if cause else ""
    return RuleTold(
        rule["rule"], rule["action"], True, lines, cause, helps, str(rule.get("held", "") or rule.get("harmless", ""))
    )


def _explain_quiet(rule: Rule, rows: Sequence[Measurement], tick: TickName, pipeline: Pipeline) -> RuleTold:
    known = counted(judged_ones(pipeline, rows))
    delay, schedule = pipeline.label_delay_ticks, pipeline.schedule
    lines = (_how_far(evidence(condition, known, tick, delay, schedule), rows) for condition in rule.conditions)
    return RuleTold(rule.name, rule.action, False, tuple(lines))


def _how_far(one: Evidence, rows: Sequence[Measurement]) -> str:
    """How far a condition was from holding, in words.

    Such as 'roc_auc breached on 1 of the last 3 ticks, 2 of 3 are needed; nearest: 2013-06-20: ...'.
    """
    condition, newest = one.condition, [row for row in rows if row.what == one.condition.watch and row.tick == one.newest]
    if not one.ticks:
        return newest[0].sentence if newest else f"{condition.watch} was not measured at {one.newest}"
    features = f" by {condition.least} or more" if condition.least > 1 else ""
    important = " (important features only)" if condition.only_important else ""
    status = f"{condition.watch}{important} {'' if one.breached or condition.of > 1 else 'not '}breached{features}"
    if condition.of > 1:
        needed = f"{condition.breaches} of {condition.of} {'is' if condition.breaches == 1 else 'are'} needed"
        status = f"{status} on {len(one.breached)} of the last {len(one.ticks)} ticks, {needed}"
    holds = "this condition holds: " if one.holds else ""
    bounded = [row for row in newest if row.low is not None or row.high is not None]
    if not bounded:
        return f"{holds}{status}; {condition.watch} has no bounds at {one.newest}"
    nearest = max(bounded, key=lambda row: (excess(row), row.slice))
    distance = -excess(nearest)
    margin = f"; {format_number(distance)} from its bound" if 0 < distance < float("inf") else ""
    return f"{holds}{status}; nearest: {nearest.sentence}{margin}"


def _actions_since(pipeline: Pipeline, tick: TickName, decision: Decision, platform: Platform) -> Iterator[str]:
    """What rules and people did about the tick.

    Mails come first, then trainings, interventions, and what people did about alarms.
    """
    fired = {rule["rule"] for rule in decision.rules}
    about = [alarm for alarm in alarms(pipeline, platform) if alarm.rule in fired and alarm.since <= tick <= alarm.last]
    last = max((pipeline.schedule.shift(alarm.last, 1) for alarm in about), default=tick)
    for day, mails in sorted(mailed_ticks(pipeline, platform).items()):
        if tick <= day <= last:
            yield from (f"mail at {mail.at:%Y-%m-%d %H:%M} UTC to {mail.recipients}: {mail.subject}" for mail in mails)
    yield from _training_lines(pipeline, tick, decision, platform)
    for one in interventions(pipeline, platform):
        if one.tick == tick and one.kind in ("fallback", "rollback", "not done"):
            what = {"rollback": f"rollback to version {one.subject}", "not done": f"{one.subject} was not done"}
            yield f"{what.get(one.kind, one.kind)} by {one.by} at {one.at:%Y-%m-%d %H:%M} UTC: {one.reason}"
    yield from _alarm_lines(about)


def _training_lines(pipeline: Pipeline, tick: TickName, decision: Decision, platform: Platform) -> Iterator[str]:
    trainings = platform.ledger.all(Training, pipeline=pipeline.name, asker=Asker.RULE, decided_at=tick)
    for training in trainings:
        version = f", version {training.model_version}" if training.model_version else ""
        yield f"training {training.id}: {training.state}{version}"
    if decision.retrain and not trainings:
        yield "a training is requested but has not begun" if decision.trained else _why_not_trained(decision)


def _why_not_trained(decision: Decision) -> str:
    return f"no training was started{f': {decision.training_held}' if decision.training_held else ''}"


def _alarm_lines(about: Sequence[Alarm]) -> Iterator[str]:
    for alarm in about:
        if alarm.acknowledged_at:
            note = f": {alarm.note}" if alarm.note else ""
            yield f"{alarm.rule} acknowledged by {alarm.acknowledged_by} at {alarm.acknowledged_at:%Y-%m-%d %H:%M} UTC{note}"
        if alarm.muted_until:
            yield f"{alarm.rule} is muted until {alarm.muted_until:%Y-%m-%d %H:%M} UTC"
        if not alarm.open:
            yield f"{alarm.rule} was over after {alarm.last}, {format_count(alarm.ticks, 'tick')} in total"


def _wrap_lines(lines: Sequence[str], margin: str = "  ") -> list[str]:
    return [indent(part, margin if i == 0 else f"{margin}  ") for line in lines for i, part in enumerate(wrap(line, WIDEST))]
