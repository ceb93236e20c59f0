"""The ledger: what was audited, published, trained, gated, scored, measured, decided and mailed, and why."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, datetime
from enum import StrEnum
from typing import Any, ClassVar, TypeVar

from sqlalchemy import JSON, Enum, Index, String, Text
from sqlalchemy.orm import DeclarativeBase, Mapped, MappedAsDataclass, mapped_column

from mlprod_tasks.platform.database import Utc

R = TypeVar("R", bound="Row")


class Row(MappedAsDataclass, DeclarativeBase, kw_only=True):
    """One kind of entry. Writing an entry again with the same primary key replaces it."""

    type_annotation_map: ClassVar[dict[Any, Any]] = {
        datetime: Utc(),
        dict[str, Any]: JSON(),
        list[Any]: JSON(),
        str: Text(),
        StrEnum: Enum(StrEnum, native_enum=False, length=20, values_callable=lambda kind: [one.value for one in kind]),
    }


class Asker(StrEnum):
    """Who asked for something."""

    PERSON = "person"
    RULE = "rule"  # one of the pipeline's own, by its action


class PromotionKind(StrEnum):
    """How a version became champion."""

    FIRST = "first"  # there was no champion before
    BETTER = "better"  # its training passed every gate
    ROLLOUT = "rollout"  # so it did, and was then rolled out share by share
    ROLLBACK = "rollback"  # it was champion before, and was brought back


class RampStep(StrEnum):
    """What a ramp wrote a rollout for."""

    BEGUN = "begun"  # the challenger scores in the shadow
    SHARE = "share"  # it answers a share of entities
    PROMOTED = "promoted"  # it became champion
    TAKEN_BACK = "taken back"


class FallbackCause(StrEnum):
    """Why the fallback scored a tick."""

    SWITCHED = "switched"  # a person or a rule wanted it to
    FAILED = "failed"  # the champion could not


class MailAbout(StrEnum):
    """What a mail tells of."""

    DECISION = "decision"  # of a tick: its alarms, that they are over, or still open
    FAILURE = "failure"
    FALLBACK = "fallback"
    APPROVAL = "approval"
    ROLLBACK = "rollback"
    DIGEST = "digest"
    ROLLOUT = "rollout"
    LOG = "log"  # files of the service's log that do not reach the lake


class Audit(Row):
    """The verdict on one tick's partition of one table (reference tables: of the tick that read them)."""

    __tablename__ = "audits"
    pipeline: Mapped[str] = mapped_column(String(63), primary_key=True)
    table_name: Mapped[str] = mapped_column(String(63), primary_key=True)
    tick: Mapped[date] = mapped_column(primary_key=True)
    passed: Mapped[bool]
    rows_read: Mapped[int]
    rows_accepted: Mapped[int]
    rows_refused: Mapped[int]
    staging: Mapped[str]  # the audited file and its SHA-256: publish refuses any other
    at: Mapped[datetime]
    failures: Mapped[list[Any]] = mapped_column(default_factory=list)  # failed expectations, with sample rows
    seconds: Mapped[float] = mapped_column(default=0.0)


class Publication(Row):
    """The rows of one tick of one table that are in the lake."""

    __tablename__ = "publications"
    pipeline: Mapped[str] = mapped_column(String(63), primary_key=True)
    table_name: Mapped[str] = mapped_column(String(63), primary_key=True)
    tick: Mapped[date] = mapped_column(primary_key=True)
    rows: Mapped[int]
    delta_version: Mapped[int]
    at: Mapped[datetime]


class Training(Row):
    """One training, from its start to its end."""

    __tablename__ = "trainings"
    id: Mapped[str] = mapped_column(String(63), primary_key=True)
    pipeline: Mapped[str] = mapped_column(String(63), index=True)
    as_of: Mapped[date]  # the tick whose start it is as of: nothing known later is used
    reason: Mapped[str]
    # running, awaiting approval, rolling out, refused, rejected, taken back, promoted, superseded, failed
    state: Mapped[str] = mapped_column(String(20))
    at: Mapped[datetime]
    run_id: Mapped[str | None] = mapped_column(String(63), default=None)  # MLflow's
    model_version: Mapped[int | None] = mapped_column(default=None)
    metrics: Mapped[dict[str, Any]] = mapped_column(default_factory=dict)
    asker: Mapped[Asker] = mapped_column(default=Asker.PERSON)
    by: Mapped[str] = mapped_column(default="")  # the person's name, where it is known
    decided_at: Mapped[date | None] = mapped_column(default=None)  # where rules ask: the tick of the decision it follows from
    rules: Mapped[list[Any]] = mapped_column(default_factory=list)  # their names


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
    """A person's answer to whether a model that passed its gates may be promoted."""

    __tablename__ = "approvals"
    training_id: Mapped[str] = mapped_column(String(63), primary_key=True)
    model_digest: Mapped[str] = mapped_column(String(64), primary_key=True)  # what was approved: of the model's files
    pipeline: Mapped[str] = mapped_column(String(63), index=True)
    approved: Mapped[bool]
    by: Mapped[str]
    at: Mapped[datetime]
    answered: Mapped[bool] = mapped_column(default=True)  # by a person; else nobody did in time


class Promotion(Row):
    """A model version that became champion, from a tick on: by a training, or again by a rollback."""

    __tablename__ = "promotions"
    pipeline: Mapped[str] = mapped_column(String(63), primary_key=True)
    model_version: Mapped[int] = mapped_column(primary_key=True)
    effective: Mapped[date] = mapped_column(primary_key=True)  # the first tick it may score
    training_id: Mapped[str] = mapped_column(String(63))
    reason: Mapped[str]
    at: Mapped[datetime] = mapped_column(primary_key=True)
    rolled_back_from: Mapped[int | None] = mapped_column(default=None)  # the version that this rollback withdrew
    kind: Mapped[PromotionKind] = mapped_column(default=PromotionKind.BETTER)
    decided_at: Mapped[date | None] = mapped_column(default=None)  # where rules asked: the tick of the decision it follows from


class Fallback(Row):
    """The fallback model of a version, stored here too: it must score when the registry is down."""

    __tablename__ = "fallbacks"
    pipeline: Mapped[str] = mapped_column(String(63), primary_key=True)
    model_version: Mapped[int] = mapped_column(primary_key=True)
    model: Mapped[dict[str, Any]]
    at: Mapped[datetime]


class Scoring(Row):
    """The predictions of one tick."""

    __tablename__ = "scorings"
    pipeline: Mapped[str] = mapped_column(String(63), primary_key=True)
    tick: Mapped[date] = mapped_column(primary_key=True)
    model_version: Mapped[int]
    rows: Mapped[int]
    fallback_rows: Mapped[int]
    fallback_reason: Mapped[str | None]
    features_digest: Mapped[str] = mapped_column(String(64))  # of the declaration that made the features
    delta_version: Mapped[int]  # of the predictions table
    at: Mapped[datetime]
    fallback_cause: Mapped[FallbackCause | None] = mapped_column(default=None)


class Measurement(Row):
    """One watched value of one tick, with its interval, bounds and verdict. `slice` is a feature's name, or ''."""

    __tablename__ = "measurements"
    __table_args__ = (Index("ix_measurements_what", "pipeline", "what", "tick"),)  # some kinds of a year, not all of them
    pipeline: Mapped[str] = mapped_column(String(63), primary_key=True)
    tick: Mapped[date] = mapped_column(primary_key=True)  # the tick whose predictions are measured
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
    important: Mapped[bool] = mapped_column(default=False)  # of a feature that makes up the model's gain
    sentence: Mapped[str] = mapped_column(default="")


class StepRun(Row):
    """One run of one step: how long it took and waited, and the memory it needed."""

    __tablename__ = "step_runs"
    __table_args__ = (Index("ix_step_runs_subject", "pipeline", "subject"),)  # all that ran for some ticks
    pipeline: Mapped[str] = mapped_column(String(63), primary_key=True)
    step: Mapped[str] = mapped_column(String(100), primary_key=True)  # its verb, and the table, segment or worker
    subject: Mapped[str] = mapped_column(String(100), primary_key=True)  # the tick, or the training's id
    at: Mapped[datetime] = mapped_column(primary_key=True)  # when it began
    seconds: Mapped[float]
    succeeded: Mapped[bool]
    try_number: Mapped[int] = mapped_column(default=1)
    waited_seconds: Mapped[float | None] = mapped_column(default=None)  # for a worker; None outside of Airflow
    rows: Mapped[int | None] = mapped_column(default=None)
    peak_mb: Mapped[float | None] = mapped_column(default=None)


class Intervention(Row):
    """Something done to a pipeline besides its daily work, by a person or by a rule's action."""

    __tablename__ = "interventions"
    id: Mapped[str] = mapped_column(String(100), primary_key=True)
    pipeline: Mapped[str] = mapped_column(String(63), index=True)
    # acknowledge, mute, unmute, bound, unbound, retrain, fallback, champion, rollback, not done
    kind: Mapped[str] = mapped_column(String(20))
    by: Mapped[str]  # who, for people to read
    at: Mapped[datetime]
    subject: Mapped[str] = mapped_column(default="")  # what it is about, for people to read
    reason: Mapped[str] = mapped_column(default="")
    until: Mapped[datetime | None] = mapped_column(default=None)
    tick: Mapped[date | None] = mapped_column(default=None)  # what a rule does: the tick of the decision that asked for it
    low: Mapped[float | None] = mapped_column(default=None)
    high: Mapped[float | None] = mapped_column(default=None)
    asker: Mapped[Asker] = mapped_column(default=Asker.PERSON)
    rule: Mapped[str | None] = mapped_column(default=None)  # that did it, or that is acknowledged or muted; '' is every one
    what: Mapped[str | None] = mapped_column(String(63), default=None)  # of a bound
    slice: Mapped[str | None] = mapped_column(String(200), default=None)  # of a bound; '' is every one
    model_version: Mapped[int | None] = mapped_column(default=None)  # that answers from then on, or whose fallback does


class Decision(Row):
    """What the rules say at one tick: nothing, note, alert, retrain, fallback or rollback; and why."""

    __tablename__ = "decisions"
    pipeline: Mapped[str] = mapped_column(String(63), primary_key=True)
    tick: Mapped[date] = mapped_column(primary_key=True)  # the tick at which monitor ran
    action: Mapped[str] = mapped_column(String(20))  # nothing, note, alert, retrain, fallback, rollback
    reason: Mapped[str]
    at: Mapped[datetime]
    rules: Mapped[list[Any]] = mapped_column(default_factory=list)  # each rule that fired, with its measurements
    retrain: Mapped[bool] = mapped_column(default=False)  # whether the rules want a training, besides or as the action
    training_asked_at: Mapped[datetime | None] = mapped_column(default=None)  # when one was asked for, if it was
    training_held: Mapped[str] = mapped_column(default="")  # why none was, though the rules want one

    @property
    def wanting_training(self) -> list[str]:
        """The rules that fired and ask for more than people's attention: a training follows from each."""
        return [rule["rule"] for rule in self.rules if rule["action"] in ("retrain", "fallback", "rollback")]

    @property
    def trained(self) -> bool:
        """Whether a training was asked for, as the rules want it; it may have been held back instead."""
        return self.retrain and self.training_asked_at is not None


class ApiKey(Row):
    """A key that lets a program request predictions. Only its hash is stored."""

    __tablename__ = "api_keys"
    id: Mapped[str] = mapped_column(String(20), primary_key=True)  # the first part of the key, by which people name it
    hash: Mapped[str] = mapped_column(String(64))  # SHA-256: keys are random, so a slow hash would not protect more
    pipelines: Mapped[list[Any]]  # that it may be used for; ["*"] is all
    holder: Mapped[str]  # whose program it is
    by: Mapped[str]  # who made it
    at: Mapped[datetime]
    until: Mapped[datetime | None] = mapped_column(default=None)
    revoked_at: Mapped[datetime | None] = mapped_column(default=None)


class Rollout(Row):
    """How requests are answered from a moment on: by which version, and how far by itself."""

    __tablename__ = "rollouts"
    pipeline: Mapped[str] = mapped_column(String(63), primary_key=True)
    at: Mapped[datetime] = mapped_column(primary_key=True)
    mode: Mapped[str] = mapped_column(String(20))  # champion, blue-green, shadow, canary
    by: Mapped[str]
    reason: Mapped[str]
    challenger: Mapped[int | None] = mapped_column(default=None)  # a version
    share: Mapped[float] = mapped_column(default=0.0)  # of entities that the challenger answers
    automation: Mapped[str] = mapped_column(String(20), default="full")  # shadow, assist, band, full
    band_low: Mapped[float | None] = mapped_column(default=None)  # scores of doubt, [low, high), go to the review queue
    band_high: Mapped[float | None] = mapped_column(default=None)
    ramp: Mapped[RampStep | None] = mapped_column(default=None)  # None where no ramp wrote it
    ramp_for: Mapped[str | None] = mapped_column(default=None)  # who asked for the ramp that goes on
    salt: Mapped[str] = mapped_column(String(16), default="")  # decides which entities; the same while a challenger stays


class RolloutCheck(Row):
    """One check of a challenger against the champion, at one step of a rollout."""

    __tablename__ = "rollout_checks"
    pipeline: Mapped[str] = mapped_column(String(63), primary_key=True)
    at: Mapped[datetime] = mapped_column(primary_key=True)
    what: Mapped[str] = mapped_column(String(20), primary_key=True)  # errors, latency, scores, quality
    challenger: Mapped[int]  # a version
    share: Mapped[float]  # of entities that it answered then
    passed: Mapped[bool | None]  # None: too little to tell
    champion_value: Mapped[float | None]
    challenger_value: Mapped[float | None]
    bound: Mapped[float | None]
    champion_rows: Mapped[int]
    challenger_rows: Mapped[int]
    sentence: Mapped[str]


class Review(Row):
    """A row that is decided by people, and their decision."""

    __tablename__ = "reviews"
    pipeline: Mapped[str] = mapped_column(String(63), primary_key=True)
    request_id: Mapped[str] = mapped_column(String(40), primary_key=True)
    row: Mapped[int] = mapped_column(primary_key=True)  # its place in the request
    key: Mapped[str]
    score: Mapped[float | None]
    model_version: Mapped[int | None]
    predict_at: Mapped[datetime]
    at: Mapped[datetime]  # when it was requested
    decision: Mapped[bool | None] = mapped_column(default=None)  # None: nobody has decided
    by: Mapped[str] = mapped_column(default="")
    reason: Mapped[str] = mapped_column(default="")
    decided_at: Mapped[datetime | None] = mapped_column(default=None)


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
    tick: Mapped[date | None] = mapped_column(default=None)  # that it tells of
    topic: Mapped[str] = mapped_column(String(63), default="")  # what is told of again and again, such as a cause


def newest(rows: Iterable[R], attribute: str) -> R | None:
    """The entry with the greatest value of `attribute`."""
    return max(rows, key=lambda row: getattr(row, attribute), default=None)
