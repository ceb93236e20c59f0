"""Rows of the scored table that arrived after their tick was scored, and so have no prediction."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import and_, false, or_, select
from sqlalchemy.orm import Session

from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.declaration.rhythm import TickName
from mlprod_tasks.platform.ledger import Publication, Scoring


def unscored_rows(session: Session, pipelines: Sequence[Pipeline]) -> dict[str, dict[TickName, int]]:
    """Count them by the name of the pipeline and the tick, in the order of ticks. Scoring the tick again leaves none."""
    of_entity = (and_(Publication.pipeline == one.name, Publication.table_name == one.entity_name) for one in pipelines)
    query = (
        select(Scoring.pipeline, Scoring.tick, Publication.rows - Scoring.rows)
        .join(Publication, and_(Publication.pipeline == Scoring.pipeline, Publication.tick == Scoring.tick))
        .where(or_(false(), *of_entity), Publication.rows > Scoring.rows, Publication.rows_late > 0)
        .order_by(Scoring.tick)
    )
    found: dict[str, dict[TickName, int]] = {one.name: {} for one in pipelines}
    for name, tick, rows in session.execute(query):
        found[name][tick] = rows
    return found
