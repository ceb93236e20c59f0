"""The status of a pipeline: its champion, its last tick, and the traffic light with its reasons."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from mlprod_tasks.dashboard.schemas import AlarmRow, ChampionCard, LastTick, Light, StatusLight
from mlprod_tasks.declaration import Pipeline, Schedule, Split
from mlprod_tasks.declaration.rhythm import TickName
from mlprod_tasks.declaration.split import PROVES_LESS
from mlprod_tasks.platform.ledger import Audit, Decision, FallbackCause, Intervention, Promotion, Scoring, Training

GRACE = timedelta(hours=6)  # a tick that is due for less than this is not late
WORST_FIRST: tuple[Light, ...] = ("red", "amber", "green", "grey")
TICK = re.compile(r"\d{4}-\d\d-\d\d(T\d{4}Z)?")
WAITS, REFUSED, FAILED = "awaiting approval", ("refused", "rejected", "taken back"), "failed"


@dataclass(frozen=True)
class Facts:
    """The current facts of one pipeline, from the ledger.

    promotions: in the order in which they took effect. refused: batches since the last scored tick. unscored: by tick, the rows
    that arrived after it was scored and have no prediction.
    """

    promotions: Sequence[Promotion]
    trainings: Sequence[Training]  # the newest first
    scored: Scoring | None
    decided: Decision | None
    refused: Sequence[Audit]
    switches: Sequence[Intervention]  # to the fallback and back, the newest first
    alarms: Sequence[AlarmRow]
    unscored: Mapping[TickName, int] = field(default_factory=dict)


def champion(pipeline: Pipeline, facts: Facts) -> ChampionCard | None:
    """The version of the last promotion or rollback; None before the first one."""
    if not facts.promotions:
        return None
    last = facts.promotions[-1]
    trained = next((training for training in facts.trainings if training.id == last.training_id), None)
    newest = max(facts.scored.tick, last.effective) if facts.scored else last.effective
    switch = facts.switches[0] if facts.switches else None
    switched = switch is not None and switch.kind == "fallback" and switch.at > last.at
    return ChampionCard(
        version=last.model_version,
        since=str(last.effective),
        age_days=pipeline.schedule.elapsed(last.effective, newest).days,
        trained_as_of=str(trained.as_of) if trained else None,
        reason=last.reason,
        fallback_by=switch.by if switch is not None and switched else None,
        caveat=None if isinstance(pipeline.split, Split) else f"Its rows are split {pipeline.split.words}. {PROVES_LESS}.",
    )


def importance(facts: Facts, version: int | None) -> Mapping[str, float]:
    """Each feature's share of a version's gain; empty if it is not known."""
    return next((one.importance for one in facts.trainings if version is not None and one.model_version == version), {})


def last_tick(pipeline: Pipeline, facts: Facts, now: datetime) -> LastTick | None:
    """The newest scored tick; None before the first one."""
    scored, decided = facts.scored, facts.decided
    if scored is None:
        return None
    return LastTick(
        tick=str(scored.tick),
        rows=scored.rows,
        fallback_rows=scored.fallback_rows,
        version=scored.model_version,
        action=decided.action if decided and decided.tick == scored.tick else None,
        behind=behind(pipeline.schedule, scored.tick, now),
    )


def behind(schedule: Schedule, scored: TickName, now: datetime) -> int | None:
    """The number of ticks that should be scored by now and are not; None for a schedule that has ended."""
    due = schedule.name_at(now - min(GRACE, schedule.shortest))
    if schedule.last is not None and due > schedule.last:
        return None
    return max(0, schedule.ticks_between(scored, due))


def state(pipeline: Pipeline, facts: Facts, now: datetime) -> StatusLight:
    """The traffic light; the worst reason gives its colour."""
    reasons = sorted(_reasons(pipeline, facts, now), key=lambda pair: WORST_FIRST.index(pair[0]))
    if reasons:
        return StatusLight(reasons[0][0], tuple(sentence for _, sentence in reasons))
    scored = facts.scored
    if scored is None:
        return StatusLight("grey", ("No tick is scored yet.",))
    return StatusLight("green", (f"Nothing to do: {scored.tick} is scored and no alarm is open.",))


def _reasons(pipeline: Pipeline, facts: Facts, now: datetime) -> Iterator[tuple[Light, str]]:
    yield from _alarms(facts)
    scored, current = facts.scored, champion(pipeline, facts)
    for audit in facts.refused:
        yield "red", f"The batch of {audit.table_name} for {audit.tick} was refused: correct it at its source."
    switched = scored is not None and scored.fallback_cause is FallbackCause.SWITCHED
    if scored is not None and scored.fallback_rows and not (switched or (current and current.fallback_by)):
        why = f": {scored.fallback_reason}" if scored.fallback_reason else "."
        light: Light = "amber" if scored.fallback_cause is FallbackCause.ROWS else "red"
        yield light, f"The fallback answered {scored.fallback_rows:,} of {scored.rows:,} rows of {scored.tick}{why}"
    if facts.unscored:
        rows, first, last = sum(facts.unscored.values()), min(facts.unscored), max(facts.unscored)
        which = f"{first}" if first == last else f"ticks from {first} to {last}"
        yield (
            "amber",
            f"{rows:,} {'row' if rows == 1 else 'rows'} of {which} arrived after scoring and have no prediction: run the task "
            "`score` again for them, or leave them.",
        )
    late = None if scored is None else behind(pipeline.schedule, scored.tick, now)
    if late and scored is not None:
        ticks = "a tick is" if late == 1 else f"{late:,} ticks are"
        yield (
            ("amber" if late == 1 else "red"),
            f"{ticks[0].upper()}{ticks[1:]} due and not scored; the last one is {scored.tick}.",
        )
    if current and current.fallback_by:
        yield "amber", f"The fallback answers instead of version {current.version}: switched on by {current.fallback_by}."
    yield from _training(facts)
    if current is None and (scored is not None or facts.trainings):
        yield "grey", "There is no champion."


def _alarms(facts: Facts) -> Iterator[tuple[Light, str]]:
    for alarm in facts.alarms:
        if not alarm.open or alarm.action == "note":
            continue
        sentence = _alarm_sentence(alarm)
        if alarm.muted_until:
            yield "amber", f"Muted: {sentence}"
        elif alarm.acknowledged_by:
            yield "amber", f"Acknowledged by {alarm.acknowledged_by}: {sentence}"
        else:
            yield "red", sentence


def _alarm_sentence(alarm: AlarmRow) -> str:
    """Write an alarm as a sentence with its first tick, and the tick of its measurement if that is another."""
    tick, _, rest = alarm.sentence.partition(": ")
    if not TICK.fullmatch(tick):
        return f"{alarm.rule}, since {alarm.since}: {alarm.sentence}"
    when = ":" if tick == alarm.since else f"; at {tick}"
    return f"{alarm.rule}, since {alarm.since}{when} {rest}"


def _training(facts: Facts) -> Iterator[tuple[Light, str]]:
    newest = next(iter(facts.trainings), None)
    if newest is None:
        return
    if newest.state == WAITS:
        yield "red", f"A new model, trained as of {newest.as_of}, waits for approval."
    elif newest.state in REFUSED:
        yield "amber", f"The newest model, trained as of {newest.as_of}, was {newest.state}: the champion stays."
    elif newest.state == FAILED:
        yield "amber", f"The newest training, as of {newest.as_of}, failed."
