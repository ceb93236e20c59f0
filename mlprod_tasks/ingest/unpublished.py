"""Which tables lack a tick, according to the ledger."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.declaration.rhythm import TickName

if TYPE_CHECKING:
    from mlprod_tasks.platform import Platform


def unpublished(pipeline: Pipeline, tick: TickName, platform: Platform) -> tuple[str, ...]:
    """The tables of which the tick is not published, as they are declared.

    A reference table has no partitions: one publication is enough.
    """
    from mlprod_tasks.platform.ledger import Publication

    published = {row.table_name for row in platform.ledger.all(Publication, pipeline=pipeline.name, tick=tick)}
    return tuple(
        table.name
        for table in pipeline.tables
        if table.name not in published
        and not (table.time is None and platform.ledger.all(Publication, pipeline=pipeline.name, table_name=table.name))
    )
