"""What happened in a range of ticks, in plain words."""

from __future__ import annotations

from collections.abc import Iterator

from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.declaration.rhythm import TickName
from mlprod_tasks.documents.formatting import format_count, listed
from mlprod_tasks.monitoring.alarms import Alarm, alarms
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.ledger import Asker, Audit, FallbackCause, PromotionKind, Scoring, Training
from mlprod_tasks.promotion.history import promotions
from mlprod_tasks.promotion.operator_actions import interventions

ENDED = {
    "promoted": "it passed its gates and took over as version {version}",
    "refused": "it was not good enough and was refused; the previous model stays",
    "rejected": "a person rejected it; the previous model stays",
    "superseded": "a newer decision came first, so it did not take over",
    "failed": "the training failed",
    "rolling out": "it passed its gates and is being rolled out as version {version}",
    "taken back": "it was rolled out as version {version} and taken back; the previous model stays",
    "running": "the training is still running",
    "awaiting approval": "it passed its gates and awaits approval",
}


def happenings(pipeline: Pipeline, first: TickName, last: TickName, platform: Platform) -> list[tuple[TickName, str]]:
    """What happened from `first` to `last`: tick and sentence, in order of time."""
    events = [
        *_alarm_events(pipeline, first, last, platform),
        *_trainings(pipeline, first, last, platform),
        *_champions(pipeline, first, last, platform),
        *_refused_data(pipeline, first, last, platform),
        *_fallback_ticks(pipeline, first, last, platform),
        *_interventions(pipeline, first, last, platform),
    ]
    return sorted(events)


def _alarm_events(pipeline: Pipeline, first: TickName, last: TickName, platform: Platform) -> Iterator[tuple[TickName, str]]:
    for alarm in alarms(pipeline, platform, pipeline.schedule.tick(last)):
        if alarm.told and first <= alarm.since <= last:
            yield alarm.since, f"Alarm: {alarm.rule}{_cause_words(alarm)}; {_length_words(alarm, pipeline)}."
        elif alarm.told and not alarm.open and first <= alarm.last:
            yield alarm.last, f"Over: {alarm.rule}, which began on {alarm.since}."


def _cause_words(alarm: Alarm) -> str:
    return f" ({alarm.cause})" if alarm.cause else ""


def _length_words(alarm: Alarm, pipeline: Pipeline) -> str:
    if alarm.open:
        return "still open"
    return f"over after {format_count(alarm.ticks, pipeline.schedule.unit)}"


def _trainings(pipeline: Pipeline, first: TickName, last: TickName, platform: Platform) -> Iterator[tuple[TickName, str]]:
    for training in platform.ledger.all(Training, Training.as_of >= first, Training.as_of <= last, pipeline=pipeline.name):
        ended = ENDED.get(training.state, training.state).format(version=training.model_version)
        yield training.as_of, f"A new model was trained {_why_trained(training)}; {ended}."


def _why_trained(training: Training) -> str:
    if training.asker is Asker.PERSON:
        return f"because: {training.reason.strip().rstrip('.')}"
    return f"automatically ({listed(training.rules)})" if training.rules else "automatically"


def _champions(pipeline: Pipeline, first: TickName, last: TickName, platform: Platform) -> Iterator[tuple[TickName, str]]:
    trained = {training.id: training for training in platform.ledger.all(Training, pipeline=pipeline.name)}
    for change in promotions(pipeline, platform):
        if not first <= change.effective <= last:
            continue
        if change.kind is PromotionKind.ROLLBACK:
            yield change.effective, f"Version {change.model_version} answers again, {change.reason}."
        elif change.training_id not in trained or not first <= trained[change.training_id].as_of <= last:
            yield change.effective, f"Version {change.model_version} took over."


def _refused_data(pipeline: Pipeline, first: TickName, last: TickName, platform: Platform) -> Iterator[tuple[TickName, str]]:
    audits = platform.ledger.all(Audit, Audit.tick >= first, Audit.tick <= last, pipeline=pipeline.name, passed=False)
    for audit in audits:
        yield (
            audit.tick,
            f"The data of {audit.table_name} was refused: {format_count(len(audit.failures), 'expectation')} failed.",
        )


def _fallback_ticks(pipeline: Pipeline, first: TickName, last: TickName, platform: Platform) -> Iterator[tuple[TickName, str]]:
    scorings = platform.ledger.all(Scoring, Scoring.tick >= first, Scoring.tick <= last, pipeline=pipeline.name)
    answered = [scoring for scoring in scorings if scoring.fallback_rows]
    if answered:
        switched = answered[0].fallback_cause is FallbackCause.SWITCHED
        some = all(scoring.fallback_cause is FallbackCause.ROWS for scoring in answered)
        failed = "some rows have features that no model takes" if some else "the model could not answer"
        why = answered[0].fallback_reason if switched else failed
        ticks = format_count(len(answered), pipeline.schedule.unit)
        yield answered[0].tick, f"The fallback answered on {ticks}, starting on this one: {why}."


def _interventions(pipeline: Pipeline, first: TickName, last: TickName, platform: Platform) -> Iterator[tuple[TickName, str]]:
    words = {"champion": "the model answers again", "bound": "a bound was changed", "unbound": "a changed bound was reset"}
    for one in interventions(pipeline, platform, *words):
        day = one.tick or pipeline.schedule.name_at(one.at)
        if first <= day <= last:
            subject = f" ({one.subject})" if one.subject else ""
            yield day, f"By {one.by}: {words[one.kind]}{subject}{f', because {one.reason}' if one.reason else ''}."
