"""Mail people what happened, where, and with which numbers; every mail goes out once."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING

from mlprod_tasks.declaration import Pipeline, Tick
from mlprod_tasks.declaration.rhythm import TickName
from mlprod_tasks.documents.formatting import format_number
from mlprod_tasks.documents.mail_content import Content, Grid, render
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.ledger import FallbackCause, GateResult, Mail, MailAbout, Promotion, Scoring, Training
from mlprod_tasks.promotion import history
from mlprod_tasks.promotion.approve import ApprovalAsked
from mlprod_tasks.promotion.rollback import RolledBack
from mlprod_tasks.training.workspace import TrainingFolder

if TYPE_CHECKING:
    from mlprod_tasks.ingest.batch_verdict import BatchRefused
    from mlprod_tasks.ingest.tables import TablesFailed

log = logging.getLogger(__name__)
MOST_ROWS, MOST_SAMPLES = 20, 4
LONGEST_KEY = 200  # characters; the ledger's column has no more


@dataclass(frozen=True)
class Failure:
    """A task that failed after all its retries. `key` identifies this failure, so that it is mailed only once.

    run: the run that the task belongs to, by which its mail is found again: see `failure_mailed`.
    """

    key: str
    task: str
    error: BaseException
    links: tuple[tuple[str, str], ...] = ()
    run: str = ""


def tell_failure(pipeline: Pipeline, failure: Failure, platform: Platform) -> bool:
    """Mail a failed task: what the audit refused, which gates failed, or the error's message."""
    content = _failure_mail(pipeline, failure, platform)
    return send(pipeline, MailAbout.FAILURE, failure.key, content, platform, topic=_run_topic(failure.run))


def failure_mailed(pipeline: Pipeline, run: str, since: datetime, platform: Platform) -> bool:
    """Whether a failed task of the run has been mailed since then, which is when the run last began."""
    mails = platform.ledger.all(Mail, Mail.at >= since, pipeline=pipeline.name, about=MailAbout.FAILURE, topic=_run_topic(run))
    return bool(mails)


def _run_topic(run: str) -> str:
    """The run as a mail's topic; the name itself may be too long for it."""
    return hashlib.sha256(run.encode()).hexdigest()[:32] if run else ""


def tell_fallback(pipeline: Pipeline, tick: Tick, platform: Platform, links: Sequence[tuple[str, str]] = ()) -> bool:
    """Mail that the fallback model scored rows of a tick. Returns whether a mail was sent.

    No mail if the champion scored, nor if the fallback was switched on: by a person, who knows of it, or by the monitor,
    whose decision has its own mail.
    """
    scoring = platform.ledger.get(Scoring, pipeline.name, tick.name)
    if scoring is None or scoring.fallback_rows == 0 or scoring.fallback_cause is FallbackCause.SWITCHED:
        return False
    of_some = scoring.fallback_cause is FallbackCause.ROWS
    rows = "these rows" if of_some else "them"
    content = Content(
        subject=f"[{pipeline.name}] fallback scored {'rows of ' if of_some else ''}{tick}",
        headline=f"The fallback model answered {scoring.fallback_rows:,} of {scoring.rows:,} rows of {tick}.",
        paragraphs=(
            f"The champion, version {scoring.model_version}, could not score {rows}: {scoring.fallback_reason}",
            "The predictions are published and marked as the fallback's. When the cause is fixed, clear the score task of "
            "this tick: the champion then scores it and replaces them.",
        ),
        links=tuple(links),
    )
    return send(pipeline, MailAbout.FALLBACK, f"{pipeline.name}/{tick}/fallback", content, platform, tick=tick.name)


def tell_approval(pipeline: Pipeline, training_id: str, platform: Platform, links: Sequence[tuple[str, str]] = ()) -> bool:
    """Mail that a model passed its gates and waits for approval, once per model. Returns whether a mail was sent."""
    model_digest = TrainingFolder(platform, training_id).read(ApprovalAsked).model_digest
    training = platform.ledger.get(Training, training_id)
    waits = "" if pipeline.approval is None else f" Without an answer within {pipeline.approval.wait_in_words} it is rejected."
    content = Content(
        subject=f"[{pipeline.name}] a new model waits for approval",
        headline=f"The new model of {pipeline.name} passed its gates and waits for approval.",
        paragraphs=(
            f"Trained because: {training.reason if training else 'unknown'}. Until it is approved the champion stays as it is."
            + waits,
        ),
        grids=(_gate_grid(platform.ledger.all(GateResult, training_id=training_id)),),
        links=_with_run(links, training, platform),
    )
    return send(pipeline, MailAbout.APPROVAL, f"{pipeline.name}/{training_id}/approval/{model_digest[:12]}", content, platform)


def tell_rollback(pipeline: Pipeline, done: RolledBack, platform: Platform) -> bool:
    """Mail that an earlier version is champion again, and why. Returns whether a mail was sent.

    A rollback that changed nothing sends no mail. If the mail server cannot be reached, that is logged and nothing is raised,
    because the rollback itself is done.
    """
    if not done.changed:
        return False
    promotion = history.promotions(pipeline, platform)[-1]
    key, content = _rollback_key(pipeline, promotion), _rollback_mail(pipeline, promotion)
    try:
        return send(pipeline, MailAbout.ROLLBACK, key, content, platform)
    except Exception as error:
        log.warning("%s: the mail about the rollback was not sent: %s: %s", pipeline.name, type(error).__name__, error)
        return False


def _rollback_key(pipeline: Pipeline, promotion: Promotion) -> str:
    return f"{pipeline.name}/rollback/{promotion.model_version}/{promotion.at.isoformat()}"


def _rollback_mail(pipeline: Pipeline, promotion: Promotion) -> Content:
    version = promotion.model_version
    return Content(
        subject=f"[{pipeline.name}] rolled back to version {version}",
        headline=f"Version {version} of {pipeline.name} is champion again, from tick {promotion.effective} on.",
        paragraphs=(
            f"It was {promotion.reason}.",
            "Its fallback and reference profile are in use again, too. A model whose training starts from now on can replace "
            "it, if it passes its gates.",
        ),
    )


def send(
    pipeline: Pipeline,
    about: MailAbout,
    key: str,
    content: Content,
    platform: Platform,
    *,
    to: Sequence[str] = (),
    kind: str = "",
    tick: TickName | None = None,
    topic: str = "",
) -> bool:
    """Send one mail for `key`, to `to` or else to `alert_to`, and record it in the ledger. False if it was sent before.

    kind: the kind that it is counted as, if not `about`. tick, topic: what the mail is about, to find it in the ledger.

    The record is written after sending: if the process is killed in between, the mail is sent twice rather than never. The
    second one has the Message-ID of the first, so that mail systems show one.
    """
    if len(key) > LONGEST_KEY:
        digest = hashlib.sha256(key.encode()).hexdigest()
        key = f"{key[: LONGEST_KEY - len(digest) - 1]}#{digest}"
    if platform.ledger.get(Mail, key):
        log.info("mail %r was sent before", key)
        return False
    recipients = tuple(to) or pipeline.alert_to
    platform.mailer.send(replace(render(content, recipients), key=key))
    log.info("mailed %s: %s", ", ".join(recipients), content.subject)
    return platform.ledger.add_once(
        Mail(
            key=key,
            pipeline=pipeline.name,
            kind=kind or about.value,
            subject=content.subject,
            recipients=", ".join(recipients),
            at=platform.clock.now(),
            about=about,
            tick=tick,
            topic=topic,
        )
    )


def _failure_mail(pipeline: Pipeline, failure: Failure, platform: Platform) -> Content:
    from mlprod_tasks.evaluation.gate import GatesRefused
    from mlprod_tasks.ingest.batch_verdict import BatchRefused
    from mlprod_tasks.ingest.tables import TablesFailed

    match failure.error:
        case TablesFailed(errors=errors) if len(errors) == 1 and isinstance(error := next(iter(errors.values())), BatchRefused):
            return _refused_batch_mail(error, failure)
        case TablesFailed() as failed:
            return _failed_tables_mail(failed, failure)
        case GatesRefused() as refused:
            return _refused_model_mail(pipeline, refused.training_id, failure, platform)
    return Content(
        subject=f"[{pipeline.name}] {failure.task} failed",
        headline=f"{failure.task} failed: {type(failure.error).__name__}",
        paragraphs=(
            str(failure.error) or "(no message)",
            "The failed task published nothing. Fix the cause and clear the task in Airflow.",
        ),
        links=failure.links,
    )


def _refused_batch_mail(refused: BatchRefused, failure: Failure) -> Content:
    failures = [(verdict.tick, one) for verdict in refused.refused for one in verdict.failures]
    rows = tuple((str(tick), one.sentence, one.observed) for tick, one in failures[:MOST_ROWS])
    grids = [Grid("Failed expectations", ("tick", "expected", "found"), rows)]
    for tick, one in [pair for pair in failures if pair[1].sample][:MOST_SAMPLES]:
        # The failing column comes second, after the first one, where it is seen even in a wide table.
        names = sorted(one.sample[0], key=lambda name: (name != next(iter(one.sample[0])), name != one.column))
        shown = [tuple(_shorten_cell(row[name]) for name in names) for row in one.sample]
        if any(one.places):
            names, shown = ["where", *names], [(place, *row) for place, row in zip(one.places, shown, strict=True)]
        grids.append(Grid(f"Rows of {tick}: {one.sentence}", tuple(names), tuple(shown)))
    read = sum(verdict.read for verdict in refused.refused)
    first, last = refused.refused[0].tick, refused.refused[-1].tick
    when = str(first) if first == last else f"{len(refused.refused)} ticks from {first} to {last}"
    return Content(
        subject=f"[{refused.pipeline}] {refused.table} refused for {when}: {len(failures)} expectations failed",
        headline=f"The batch of {refused.table} for {when} was refused: {len(failures)} expectations failed.",
        paragraphs=(
            f"None of its {read:,} rows reached the lake; they are in quarantine, each with its reason. Tasks that need "
            "this tick keep waiting.",
            f"Correct {refused.table} at its source, then clear the task `extract` in this run: tables that are published "
            "are left alone.",
        ),
        grids=tuple(grids),
        links=failure.links,
    )


def _failed_tables_mail(failed: TablesFailed, failure: Failure) -> Content:
    from mlprod_tasks.ingest.batch_verdict import BatchRefused

    refused = {table: error for table, error in failed.errors.items() if isinstance(error, BatchRefused)}
    others = [f"{table}: {error}" for table, error in failed.errors.items() if table not in refused]
    return Content(
        subject=f"[{failed.pipeline}] {failed.step} of {', '.join(failed.errors)} failed for {failed.ticks}",
        headline=f"{failed.step} failed for {len(failed.errors)} table(s) of {failed.ticks}: {', '.join(failed.errors)}.",
        paragraphs=(
            *others,
            "Nothing of these tables is published for this tick; the other tables are. Tasks that need this tick keep waiting. "
            "Fix the cause, then clear the task `extract` in this run: tables that are published are left alone.",
        ),
        grids=tuple(grid for error in refused.values() for grid in _refused_batch_mail(error, failure).grids),
        links=failure.links,
    )


def _refused_model_mail(pipeline: Pipeline, training_id: str, failure: Failure, platform: Platform) -> Content:
    gates = platform.ledger.all(GateResult, training_id=training_id)
    training = platform.ledger.get(Training, training_id)
    not_passed = [gate for gate in gates if not gate.passed]
    return Content(
        subject=f"[{pipeline.name}] model refused: {len(not_passed)} of {len(gates)} gates failed",
        headline=f"The new model of {pipeline.name} was refused: {len(not_passed)} of {len(gates)} gates failed.",
        paragraphs=(
            f"Trained because: {training.reason if training else 'unknown'}. The champion stays as it is.",
            *(gate.sentence for gate in not_passed),
        ),
        grids=(_gate_grid(gates),),
        links=_with_run(failure.links, training, platform),
    )


def _gate_grid(gates: Sequence[GateResult]) -> Grid:
    rows = tuple(("passed" if gate.passed else "FAILED", gate.gate, _number(gate.value), _number(gate.bound)) for gate in gates)
    failed = frozenset(i for i, gate in enumerate(gates) if not gate.passed)
    return Grid("Gates", ("verdict", "gate", "value", "bound"), rows, failed)


def _with_run(links: Sequence[tuple[str, str]], training: Training | None, platform: Platform) -> tuple[tuple[str, str], ...]:
    """Add a link to the training's run if MLflow's address is known."""
    base = platform.settings.mlflow_base_url
    if training is None or not training.run_id or not base:
        return tuple(links)
    return (*links, ("MLflow run", platform.registry.run_url(training.run_id, base)))


def _number(value: float | None) -> str:
    return "not evaluated" if value is None else format_number(value)


def _shorten_cell(cell: str | None) -> str:
    """Shorten a cell of a source row: timestamps lose seconds that are zero."""
    return "" if cell is None else cell.replace(".000000Z", "Z").replace(":00Z", "Z")
