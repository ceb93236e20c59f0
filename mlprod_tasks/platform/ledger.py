"""The tables of the ledger: audits, trainings, promotions, scorings, decisions, mails."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, ClassVar, TypeVar

from sqlalchemy import JSON, Enum, Index, String
from sqlalchemy.orm import DeclarativeBase, Mapped, MappedAsDataclass, mapped_column

from mlprod_tasks.declaration.rhythm import TickName
from mlprod_tasks.platform.database import OneLine, Prose, Utc
from mlprod_tasks.platform.tick_text import TickText

R = TypeVar("R", bound="Row")
Line = Annotated[str, mapped_column(OneLine())]  # what people wrote: names and reasons


class Row(MappedAsDataclass, DeclarativeBase, kw_only=True):
    """Base class of all entries. Writing an entry with an existing primary key replaces the old entry."""

    type_annotation_map: ClassVar[dict[Any, Any]] = {
        datetime: Utc(),
        TickName: TickText(),
        dict[str, Any]: JSON(),
        list[Any]: JSON(),
        str: Prose(),
        StrEnum: Enum(StrEnum, native_enum=False, length=20, values_callable=lambda kind: [one.value for one in kind]),
    }


class Asker(StrEnum):
    """Whether a person or a rule requested something."""

    PERSON = "person"
    RULE = "rule"  # by the action of a declared rule


class PromotionKind(StrEnum):
    """How a version became champion."""

    FIRST = "first"  # there was no champion before
    BETTER = "better"  # its training passed all gates
    ROLLOUT = "rollout"  # its training passed all gates, and a gradual rollout succeeded
    EXPERIMENT = "experiment"  # its training passed all gates, and an experiment found it better
    ROLLBACK = "rollback"  # it was champion before and was brought back


class RampStep(StrEnum):
    """The step of a ramp that wrote a rollout."""

    BEGUN = "begun"  # the challenger runs in shadow mode
    SHARE = "share"  # the challenger answers a share of entities
    PROMOTED = "promoted"  # the challenger became champion
    TAKEN_BACK = "taken back"


class FallbackCause(StrEnum):
    """Why the fallback scored rows of a tick."""

    SWITCHED = "switched"  # a person or a rule switched to it
    FAILED = "failed"  # the champion failed
    ROWS = "rows"  # some rows have features that no model takes; the champion scored the others


class MailAbout(StrEnum):
    """The subject of a mail."""

    DECISION = "decision"  # a tick's alarms: new, over or still open
    FAILURE = "failure"
    FALLBACK = "fallback"
    APPROVAL = "approval"
    ROLLBACK = "rollback"
    DIGEST = "digest"
    ROLLOUT = "rollout"
    EXPERIMENT = "experiment"
    LOG = "log"  # log files of the service that are not collected into the lake


class Audit(Row):
    """The verdict on the rows of one tick of one table (reference tables: the tick that read them)."""

    __tablename__ = "audits"
    pipeline: Mapped[str] = mapped_column(String(63), primary_key=True)
    table_name: Mapped[str] = mapped_column(String(63), primary_key=True)
    tick: Mapped[TickName] = mapped_column(primary_key=True)
    passed: Mapped[bool]
    rows_read: Mapped[int]
    rows_accepted: Mapped[int]
    rows_refused: Mapped[int]
    staging: Mapped[str]  # the audited file, relative to the folder of staged files
    at: Mapped[datetime]
    failures: Mapped[list[Any]] = mapped_column(default_factory=list)  # failed expectations, with sample rows
    seconds: Mapped[float] = mapped_column(default=0.0)
    staging_sha256: Mapped[str] = mapped_column(String(64), default="")  # of that file: publish accepts no other
    rows_without_tick: Mapped[int] = mapped_column(default=0)  # of the whole source table: refused by extract, not in rows_read
    rows_repeated: Mapped[int] = mapped_column(default=0)  # that equal another row of their tick, where rows have no key


class Publication(Row):
    """The publication of one tick of one table in the lake."""

    __tablename__ = "publications"
    pipeline: Mapped[str] = mapped_column(String(63), primary_key=True)
    table_name: Mapped[str] = mapped_column(String(63), primary_key=True)
    tick: Mapped[TickName] = mapped_column(primary_key=True)
    rows: Mapped[int]
    delta_version: Mapped[int]
    at: Mapped[datetime]
    first_at: Mapped[datetime | None] = mapped_column(default=None)  # before it was published again
    rows_late: Mapped[int] = mapped_column(default=0)  # of the rows: those that arrived after the first publication
    rows_moved: Mapped[int] = mapped_column(default=0)  # rows that left the tick so far, because their time moved at the source
    rows_gone: Mapped[int] = mapped_column(default=0)  # rows that left the tick so far, because the source no longer has them


class Training(Row):
    """One training, from its start to its end."""

    __tablename__ = "trainings"
    id: Mapped[str] = mapped_column(String(63), primary_key=True)
    pipeline: Mapped[str] = mapped_column(String(63), index=True)
    as_of: Mapped[TickName]  # the training uses only what was known before the start of this tick
    reason: Mapped[Line]
    # running, awaiting approval, rolling out, refused, rejected, taken back, promoted, superseded, failed
    state: Mapped[str] = mapped_column(String(20))
    at: Mapped[datetime]
    run_id: Mapped[str | None] = mapped_column(String(63), default=None)  # MLflow's
    model_version: Mapped[int | None] = mapped_column(default=None)
    metrics: Mapped[dict[str, Any]] = mapped_column(default_factory=dict)
    asker: Mapped[Asker] = mapped_column(default=Asker.PERSON)
    by: Mapped[Line] = mapped_column(default="")  # the person's name, if known
    decided_at: Mapped[TickName | None] = mapped_column(default=None)  # if rules requested it: the tick of their decision
    rules: Mapped[list[Any]] = mapped_column(default_factory=list)  # names of the rules that requested it
    importance: Mapped[dict[str, Any]] = mapped_column(
        default_factory=dict
    )  # each feature's share of a registered model's gain


class GateResult(Row):
    """One gate's verdict on one training."""

    __tablename__ = "gates"
    training_id: Mapped[str] = mapped_column(String(63), primary_key=True)
    gate: Mapped[str] = mapped_column(String(200), primary_key=True)
    pipeline: Mapped[str] = mapped_column(String(63), index=True)
    passed: Mapped[bool]
    value: Mapped[float | None]
    bound: Mapped[float | None]
    sentence: Mapped[str]
    at: Mapped[datetime]


class Approval(Row):
    """A person's decision whether a model that passed its gates may be promoted."""

    __tablename__ = "approvals"
    training_id: Mapped[str] = mapped_column(String(63), primary_key=True)
    model_digest: Mapped[str] = mapped_column(String(64), primary_key=True)  # of the model's files
    pipeline: Mapped[str] = mapped_column(String(63), index=True)
    approved: Mapped[bool]
    by: Mapped[Line]
    at: Mapped[datetime]
    answered: Mapped[bool] = mapped_column(default=True)  # False: nobody answered in time


class Promotion(Row):
    """A model version that became champion from a tick on, by a training or a rollback."""

    __tablename__ = "promotions"
    pipeline: Mapped[str] = mapped_column(String(63), primary_key=True)
    model_version: Mapped[int] = mapped_column(primary_key=True)
    effective: Mapped[TickName] = mapped_column(primary_key=True)  # the first tick it may score
    training_id: Mapped[str] = mapped_column(String(63))
    reason: Mapped[Line]
    at: Mapped[datetime] = mapped_column(primary_key=True)
    rolled_back_from: Mapped[int | None] = mapped_column(default=None)  # the version that this rollback withdrew
    kind: Mapped[PromotionKind] = mapped_column(default=PromotionKind.BETTER)
    decided_at: Mapped[TickName | None] = mapped_column(default=None)  # if rules requested it: the tick of their decision


class Fallback(Row):
    """The fallback model of a version.

    Stored here too, so that it can score when the registry is down.
    """

    __tablename__ = "fallbacks"
    pipeline: Mapped[str] = mapped_column(String(63), primary_key=True)
    model_version: Mapped[int] = mapped_column(primary_key=True)
    model: Mapped[dict[str, Any]]
    at: Mapped[datetime]


class Scoring(Row):
    """The predictions of one tick."""

    __tablename__ = "scorings"
    pipeline: Mapped[str] = mapped_column(String(63), primary_key=True)
    tick: Mapped[TickName] = mapped_column(primary_key=True)
    model_version: Mapped[int]
    rows: Mapped[int]
    fallback_rows: Mapped[int]
    fallback_reason: Mapped[str | None]
    features_digest: Mapped[str] = mapped_column(String(64))  # of the declaration of the features
    delta_version: Mapped[int]  # of the predictions table
    at: Mapped[datetime]
    fallback_cause: Mapped[FallbackCause | None] = mapped_column(default=None)


class Measurement(Row):
    """One monitored value of one tick, with its interval, bounds and verdict.

    slice: a feature's name or ''.
    """

    __tablename__ = "measurements"
    __table_args__ = (Index("ix_measurements_what", "pipeline", "what", "tick"),)  # to read one kind over many ticks
    pipeline: Mapped[str] = mapped_column(String(63), primary_key=True)
    tick: Mapped[TickName] = mapped_column(primary_key=True)  # the tick whose predictions are measured
    what: Mapped[str] = mapped_column(String(63), primary_key=True)
    at: Mapped[datetime]
    value: Mapped[float | None]
    n: Mapped[int]
    breached: Mapped[bool]
    model_version: Mapped[int]
    slice: Mapped[str] = mapped_column(String(200), primary_key=True, default="")
    reference: Mapped[float | None] = mapped_column(default=None)
    low: Mapped[float | None] = mapped_column(default=None)
    high: Mapped[float | None] = mapped_column(default=None)
    interval_low: Mapped[float | None] = mapped_column(default=None)
    interval_high: Mapped[float | None] = mapped_column(default=None)
    cause: Mapped[str] = mapped_column(default="")  # of a breach: the kind of shift, in words
    important: Mapped[bool] = mapped_column(default=False)  # of a feature: it contributes much to the model's gain
    sentence: Mapped[str] = mapped_column(default="")


class StepRun(Row):
    """One run of one step: its duration, waiting time and memory."""

    __tablename__ = "step_runs"
    __table_args__ = (Index("ix_step_runs_subject", "pipeline", "subject"),)  # to read all runs for some ticks
    pipeline: Mapped[str] = mapped_column(String(63), primary_key=True)
    step: Mapped[str] = mapped_column(String(100), primary_key=True)  # its name, and the table, segment or worker
    subject: Mapped[str] = mapped_column(String(100), primary_key=True)  # the tick or the training's id
    at: Mapped[datetime] = mapped_column(primary_key=True)  # when it began
    seconds: Mapped[float]
    succeeded: Mapped[bool]
    try_number: Mapped[int] = mapped_column(default=1)
    waited_seconds: Mapped[float | None] = mapped_column(default=None)  # for a worker; None outside of Airflow
    rows: Mapped[int | None] = mapped_column(default=None)
    peak_mb: Mapped[float | None] = mapped_column(default=None)


class Intervention(Row):
    """An action on a pipeline by a person or a rule, outside of its daily runs."""

    __tablename__ = "interventions"
    id: Mapped[str] = mapped_column(String(100), primary_key=True)
    pipeline: Mapped[str] = mapped_column(String(63), index=True)
    # acknowledge, mute, unmute, bound, unbound, retrain, fallback, champion, rollback, not done
    kind: Mapped[str] = mapped_column(String(20))
    by: Mapped[Line]  # who did it, for people to read
    at: Mapped[datetime]
    subject: Mapped[Line] = mapped_column(default="")  # what it is about, for people to read
    reason: Mapped[Line] = mapped_column(default="")
    until: Mapped[datetime | None] = mapped_column(default=None)
    tick: Mapped[TickName | None] = mapped_column(default=None)  # of an action by a rule: the tick of the decision
    low: Mapped[float | None] = mapped_column(default=None)
    high: Mapped[float | None] = mapped_column(default=None)
    asker: Mapped[Asker] = mapped_column(default=Asker.PERSON)
    rule: Mapped[str | None] = mapped_column(default=None)  # the rule that did it, or is acknowledged or muted ('': all rules)
    what: Mapped[str | None] = mapped_column(String(63), default=None)  # of a bound: the kind of measurement
    slice: Mapped[str | None] = mapped_column(String(200), default=None)  # of a bound; '' is all slices
    model_version: Mapped[int | None] = mapped_column(default=None)  # the version that answers now, or whose fallback does


class Decision(Row):
    """The decision of the rules at one tick: nothing, note, alert, retrain, fallback or rollback; and why."""

    __tablename__ = "decisions"
    pipeline: Mapped[str] = mapped_column(String(63), primary_key=True)
    tick: Mapped[TickName] = mapped_column(primary_key=True)  # the tick at which monitor ran
    action: Mapped[str] = mapped_column(String(20))  # nothing, note, alert, retrain, fallback, rollback
    reason: Mapped[str]
    at: Mapped[datetime]
    rules: Mapped[list[Any]] = mapped_column(default_factory=list)  # each rule that fired, with its measurements
    retrain: Mapped[bool] = mapped_column(default=False)  # whether the rules require a training, alone or with another action
    training_asked_at: Mapped[datetime | None] = mapped_column(default=None)  # when it was requested, if it was
    training_held: Mapped[str] = mapped_column(default="")  # why it was not requested although the rules require it

    @property
    def wanting_training(self) -> list[str]:
        """The rules that fired with an action that includes a training."""
        return [rule["rule"] for rule in self.rules if rule["action"] in ("retrain", "fallback", "rollback")]

    @property
    def trained(self) -> bool:
        """Whether the training that the rules require was requested.

        Retraining limits may have held it back.
        """
        return self.retrain and self.training_asked_at is not None


class Rollout(Row):
    """How requests are answered from a time on: by which version, and with how much automation."""

    __tablename__ = "rollouts"
    pipeline: Mapped[str] = mapped_column(String(63), primary_key=True)
    at: Mapped[datetime] = mapped_column(primary_key=True)
    mode: Mapped[str] = mapped_column(String(20))  # champion, blue-green, shadow, canary
    by: Mapped[Line]
    reason: Mapped[Line]
    challenger: Mapped[int | None] = mapped_column(default=None)  # a version
    share: Mapped[float] = mapped_column(default=0.0)  # the share of entities that the challenger answers
    automation: Mapped[str] = mapped_column(String(20), default="full")  # shadow, assist, band, full
    band_low: Mapped[float | None] = mapped_column(default=None)  # uncertain scores, [low, high), go to the review queue
    band_high: Mapped[float | None] = mapped_column(default=None)
    ramp: Mapped[RampStep | None] = mapped_column(default=None)  # None if no ramp wrote it
    ramp_for: Mapped[str | None] = mapped_column(default=None)  # who started the ramp
    salt: Mapped[str] = mapped_column(String(16), default="")  # selects the entities; stays while the challenger is the same


class RolloutCheck(Row):
    """One check of a challenger against the champion, at one step of a rollout."""

    __tablename__ = "rollout_checks"
    pipeline: Mapped[str] = mapped_column(String(63), primary_key=True)
    at: Mapped[datetime] = mapped_column(primary_key=True)
    what: Mapped[str] = mapped_column(String(20), primary_key=True)  # errors, latency, scores, quality
    challenger: Mapped[int]  # a version
    share: Mapped[float]  # the share of entities that it answered then
    passed: Mapped[bool | None]  # None: too little data
    champion_value: Mapped[float | None]
    challenger_value: Mapped[float | None]
    bound: Mapped[float | None]
    champion_rows: Mapped[int]
    challenger_rows: Mapped[int]
    sentence: Mapped[str]


class Review(Row):
    """A row that people decide, and their decision."""

    __tablename__ = "reviews"
    pipeline: Mapped[str] = mapped_column(String(63), primary_key=True)
    request_id: Mapped[str] = mapped_column(String(40), primary_key=True)
    row: Mapped[int] = mapped_column(primary_key=True)  # its position in the request
    key: Mapped[str]
    score: Mapped[float | None]
    model_version: Mapped[int | None]
    predict_at: Mapped[datetime]
    at: Mapped[datetime]  # when it was requested
    decision: Mapped[bool | None] = mapped_column(default=None)  # None: nobody has decided. Of a class: whether it was right
    by: Mapped[Line] = mapped_column(default="")
    reason: Mapped[Line] = mapped_column(default="")
    decided_at: Mapped[datetime | None] = mapped_column(default=None)
    prediction: Mapped[str | None] = mapped_column(default=None)  # the class that was predicted, whose probability `score` is
    decided_class: Mapped[str | None] = mapped_column(default=None)  # the class that it is


class Mail(Row):
    """A mail that was sent; its key prevents a second mail about the same event."""

    __tablename__ = "mails"
    key: Mapped[str] = mapped_column(String(200), primary_key=True)
    pipeline: Mapped[str] = mapped_column(String(63), index=True)
    kind: Mapped[str] = mapped_column(String(40))
    subject: Mapped[str]
    recipients: Mapped[str]
    at: Mapped[datetime]
    about: Mapped[MailAbout]
    tick: Mapped[TickName | None] = mapped_column(default=None)  # the tick that it is about
    topic: Mapped[str] = mapped_column(String(63), default="")  # of repeated mails: their common topic, such as a cause


def newest(rows: Iterable[R], attribute: str) -> R | None:
    """The entry with the greatest value of `attribute`."""
    return max(rows, key=lambda row: getattr(row, attribute), default=None)
