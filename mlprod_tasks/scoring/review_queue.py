"""The review queue: rows that people decide, and their decisions."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence

import pyarrow as pa
from sqlalchemy import func, select, tuple_, update
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError

from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.declaration.task import PREDICTION
from mlprod_tasks.platform import Platform, database
from mlprod_tasks.platform.ledger import Review
from mlprod_tasks.platform.storable_text import one_line, visible

log = logging.getLogger(__name__)
MOST_SHOWN = 200
AT_ONCE = 400  # SQLite limits the values in one statement
# Errors that a row is to blame for, and not the connection.
OF_THE_ROWS = (DataError, IntegrityError, ValueError, TypeError, OverflowError)
COLUMNS = ("request_id", "row", "key", "score", "model_version", "predict_at", "at")
YES_NO = {"yes": True, "no": False}
LONGEST_CLASS = 200  # characters


class NoSuchReview(LookupError):
    """That row is not in the review queue."""


class AlreadyDecided(ValueError):
    """The row is already decided; a decision cannot be changed."""


def open_reviews(pipeline: Pipeline, platform: Platform, most: int = MOST_SHOWN) -> list[Review]:
    """Read the rows that wait for a decision, oldest first."""
    waiting = (Review.pipeline == pipeline.name) & Review.decision.is_(None)
    query = select(Review).where(waiting).order_by(Review.at, Review.request_id, Review.row).limit(most)
    with platform.ledger.session() as session:
        return list(session.scalars(query))


def answer_of(pipeline: Pipeline, written: str) -> bool | str:
    """What a person's answer means: 'yes' or 'no', or of classes the class itself. Raises: ValueError."""
    if pipeline.task == "multiclass":
        return _checked_class(pipeline, written)
    if written not in YES_NO:
        raise ValueError(f"{pipeline.name}: decide 'yes' or 'no', not {written!r}")
    return YES_NO[written]


def decide_review(
    pipeline: Pipeline, request_id: str, row: int, decision: bool | str, by: str, platform: Platform, reason: str = ""
) -> Review:
    """Decide a row of the queue. decision: yes or no; of classes, the class that the row is.

    If two people decide at once, the first decision counts.
    Raises: NoSuchReview, AlreadyDecided, and ValueError if `by` is empty or the decision is none.
    """
    if not by.strip():
        raise ValueError(f"{pipeline.name}: who decides? Give a name with `by`")
    if isinstance(decision, bool) == (pipeline.task == "multiclass"):
        raise ValueError(f"{pipeline.name}: {decision!r} is no decision on predicted {pipeline.of_task.outputs}")
    key = (pipeline.name, request_id, row)
    made: dict[str, object] = {"decision": decision}
    if isinstance(decision, str):
        named = _checked_class(pipeline, decision)
        made = {"decision": func.coalesce(Review.prediction == named, False), "decided_class": named}
    decided = {**made, "by": by.strip(), "reason": reason.strip(), "decided_at": platform.clock.now()}
    one = (Review.pipeline == pipeline.name) & (Review.request_id == request_id) & (Review.row == row)
    with platform.ledger.session() as session:
        done = session.execute(update(Review).where(one, Review.decision.is_(None)).values(decided))
    review = platform.ledger.get(Review, *key)
    if review is None:
        raise NoSuchReview(f"{pipeline.name}: row {row} of request {request_id!r} is not in the review queue")
    if not done.rowcount:  # type: ignore[attr-defined]
        raise AlreadyDecided(
            f"{pipeline.name}: {review.by} has already decided row {row} of request {request_id!r}: {decided_as(review)}"
        )
    log.info("%s: %s decided row %d of request %s: %s", pipeline.name, review.by, row, request_id, decided_as(review))
    return review


def decided_as(review: Review) -> str:
    """What was decided: 'yes', 'no' or a class."""
    return review.decided_class or ("yes" if review.decision else "no")


def _checked_class(pipeline: Pipeline, named: str) -> str:
    declared = getattr(pipeline.label, "classes", ())
    if declared and named not in declared:
        raise ValueError(f"{pipeline.name}: {named!r} is no class; classes are {', '.join(map(repr, declared))}")
    if not named.strip() or len(named) > LONGEST_CLASS or one_line(named) != named:
        raise ValueError(f"{pipeline.name}: {one_line(named)[:LONGEST_CLASS]!r} is no name of a class")
    return named


def ask_for(pipeline: Pipeline, rows: pa.Table, platform: Platform, not_taken: list[tuple[str, int]] | None = None) -> int:
    """Add rows of the service's log to the queue, once each; return how many are new.

    Decisions stay. not_taken: gets the request and row number of each row that the database does not take, such as a request
    id that is too long; the others are still added.
    """
    columns = [*COLUMNS, *({PREDICTION} & set(rows.column_names))]
    logged = [one for one in rows.select(columns).to_pylist() if one["request_id"] and one["row"] is not None]
    added = 0
    for some in _batches(logged):
        try:
            added += _add_new(pipeline, some, platform)
        except OF_THE_ROWS:
            for one in some:
                added += _add_alone(pipeline, one, platform, not_taken)
    return added


def _add_new(pipeline: Pipeline, some: Sequence[dict[str, object]], platform: Platform) -> int:
    """Add the rows that are not in the queue yet, all or none."""
    wanted = {(one["request_id"], one["row"]): one for one in some}
    # Under a lock, so that no other process adds a row between the query and the write.
    with platform.ledger.exclusive(f"{pipeline.name}/reviews") as session:
        place = tuple_(Review.request_id, Review.row)
        query = select(Review.request_id, Review.row).where(Review.pipeline == pipeline.name, place.in_(wanted))
        known = {(request_id, row) for request_id, row in session.execute(query)}
        new = [_review(pipeline, one) for key, one in wanted.items() if key not in known]
        session.add_all(new)
    return len(new)


def _add_alone(pipeline: Pipeline, one: dict[str, object], platform: Platform, not_taken: list[tuple[str, int]] | None) -> int:
    try:
        return _add_new(pipeline, [one], platform)
    except OF_THE_ROWS as error:
        if not_taken is None:
            raise
        # Other errors' texts may quote the row.
        why = database.reason(error) if isinstance(error, DBAPIError) else type(error).__name__
        log.error("%s: the review queue does not take a row of the log: %s", pipeline.name, why)
        not_taken.append((one["request_id"], one["row"]))  # type: ignore[arg-type]
        return 0


def _review(pipeline: Pipeline, one: dict[str, object]) -> Review:
    # A key of an older log may hold U+0000, which PostgreSQL does not store: people see it as an escape.
    key = visible(str(one["key"] or ""))
    prediction = one.get(PREDICTION) if pipeline.task == "multiclass" else None  # of a log of numbers, it is no class
    return Review(pipeline=pipeline.name, prediction=prediction, **{name: one[name] for name in COLUMNS} | {"key": key})  # type: ignore[arg-type]


def _batches(rows: Sequence[dict[str, object]]) -> Iterator[Sequence[dict[str, object]]]:
    for first in range(0, len(rows), AT_ONCE):
        yield rows[first : first + AT_ONCE]
