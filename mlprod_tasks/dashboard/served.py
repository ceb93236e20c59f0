"""Read what the page shows about requests: rollouts, the checks of the last ramp, the review queue."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from mlprod_tasks.dashboard.served_schemas import CheckRow, RampChecks, ReviewRow, RolloutRow, ServingDetail
from mlprod_tasks.declaration import Pipeline, Ramp
from mlprod_tasks.platform.ledger import Review, Rollout, RolloutCheck
from mlprod_tasks.rollout.task_checks import check_names

MOST_ROLLOUTS, MOST_REVIEWS, MOST_DECIDED = 20, 100, 20
MOST_CHECKS = 2000  # of these, the newest of each share and kind is shown
ORDER = ("errors", "latency", "scores", "quality")


def served(session: Session, pipeline: Pipeline, until: datetime) -> ServingDetail | None:
    """Read the state at a moment; None if the use case answers no requests."""
    if pipeline.serving is None:
        return None
    mine = select(Rollout).where(Rollout.pipeline == pipeline.name, Rollout.at <= until).order_by(Rollout.at.desc())
    rollouts = tuple(rollout_row(one) for one in session.scalars(mine.limit(MOST_ROLLOUTS)))
    mine_until = Review.pipeline == pipeline.name, Review.at <= until
    undecided = *mine_until, or_(Review.decided_at.is_(None), Review.decided_at > until)
    oldest = select(Review).where(*undecided).order_by(Review.at, Review.request_id, Review.row)
    newest = select(Review).where(*mine_until, Review.decided_at <= until).order_by(Review.decided_at.desc())
    reviews = tuple(_open_review(one) for one in session.scalars(oldest.limit(MOST_REVIEWS)))
    decided = tuple(_decided_review(one) for one in session.scalars(newest.limit(MOST_DECIDED)))
    return ServingDetail(
        rollout=rollouts[0] if rollouts else None,
        rollouts=rollouts,
        ramp=(pipeline.serving.ramp or Ramp()).shares,
        checks=_checks(session, pipeline, until),
        open_reviews=session.scalar(select(func.count()).select_from(Review).where(*undecided)) or 0,
        reviews=reviews,
        decided=decided,
        automations=pipeline.of_task.reviews,
        classes=_classes(pipeline, (*reviews, *decided)),
    )


def _classes(pipeline: Pipeline, shown: Sequence[ReviewRow]) -> tuple[str, ...]:
    """The classes that people choose among: the declared ones, or else those of the rows that are shown."""
    if pipeline.task != "multiclass":
        return ()
    declared: tuple[str, ...] = getattr(pipeline.label, "classes", ())
    return declared or tuple(sorted({name for one in shown for name in (one.prediction, one.decided_class) if name}))


def open_reviews(session: Session, names: Sequence[str]) -> dict[str, int]:
    """Count the rows that wait for people, by use case; use cases without such rows are left out."""
    query = select(Review.pipeline, func.count()).where(Review.pipeline.in_(names), Review.decision.is_(None))
    return {name: int(n) for name, n in session.execute(query.group_by(Review.pipeline))}


def rollout_row(one: Rollout) -> RolloutRow:
    return RolloutRow(
        at=one.at.isoformat(),
        by=one.by,
        reason=one.reason,
        mode=one.mode,
        challenger=one.challenger,
        share=one.share,
        automation=one.automation,
        band=None if one.band_low is None or one.band_high is None else (one.band_low, one.band_high),
    )


def _checks(session: Session, pipeline: Pipeline, until: datetime) -> RampChecks | None:
    """The newest check of each share and kind since the last ramp began."""
    c, r = RolloutCheck, Rollout
    mine = select(c).where(c.pipeline == pipeline.name, c.at <= until).order_by(c.at.desc())
    last = session.scalars(mine.limit(1)).first()
    if last is None:
        return None
    # An earlier ramp of the same version that was taken back does not count.
    other = or_(r.mode != "canary", r.challenger != last.challenger)
    before = session.scalar(select(func.max(r.at)).where(r.pipeline == pipeline.name, r.at < last.at, other))
    of_ramp = mine.where(c.challenger == last.challenger, *([c.at > before] if before else []))
    newest: dict[tuple[float, str], Any] = {}
    for one in session.scalars(of_ramp.limit(MOST_CHECKS)):
        newest.setdefault((one.share, one.what), one)
    known = check_names(pipeline)
    return RampChecks(last.challenger, tuple(_check(newest[key], known) for key in sorted(newest, key=_check_order)))


def _check_order(share_and_what: tuple[float, str]) -> tuple[float, int, str]:
    share, what = share_and_what
    return share, ORDER.index(what) if what in ORDER else len(ORDER), what


def _check(one: RolloutCheck, known: dict[str, str]) -> CheckRow:
    return CheckRow(
        at=one.at.isoformat(),
        share=one.share,
        what=one.what,
        name=known.get(one.what, one.what),
        passed=one.passed,
        champion_value=one.champion_value,
        challenger_value=one.challenger_value,
        bound=one.bound,
        champion_rows=one.champion_rows,
        challenger_rows=one.challenger_rows,
        sentence=one.sentence,
    )


def _open_review(one: Review) -> ReviewRow:
    """An undecided row; a decision after the moment that is shown is left out."""
    return _review(one, None, "", "", None)


def _decided_review(one: Review) -> ReviewRow:
    return _review(one, one.decision, one.by, one.reason, one.decided_at)


def _review(one: Review, decision: bool | None, by: str, reason: str, decided_at: datetime | None) -> ReviewRow:
    return ReviewRow(
        request_id=one.request_id,
        row=one.row,
        key=one.key,
        score=one.score,
        version=one.model_version,
        at=one.at.isoformat(),
        decision=decision,
        by=by,
        reason=reason,
        decided_at=decided_at.isoformat() if decided_at else None,
        prediction=one.prediction,
        decided_class=one.decided_class if decided_at else None,
    )
