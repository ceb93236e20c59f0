"""Labels: what came of the scored rows, as far as it was known at a moment."""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa

from mlprod_tasks.declaration import Pipeline, Tick, TickRange
from mlprod_tasks.declaration.reads import late_columns
from mlprod_tasks.features.known import counts_from, known_at, quoted
from mlprod_tasks.features.snapshot import Snapshot
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.engine import engine


def labels(
    pipeline: Pipeline, ticks: TickRange, as_of: Tick, platform: Platform, *, versions: Mapping[str, int] | None = None
) -> pa.Table:
    """The labels of the rows of `ticks` that were known before `as_of` starts; other rows are left out.

    An outcome counts from when its row and every late column that the condition reads were known. One that lies in an
    earlier tick than the scored row is another's: it was known before the row was. Of several the latest counts.

    Returns: the entity's key, `tick`, `label` (bool), `label_known_at`, sorted by (tick, key).
    Raises: TableMissing.
    """
    snapshot = Snapshot(pipeline, platform, versions)
    entity, label = pipeline.entity_table, pipeline.label
    table = pipeline.table(label.table)
    keys = [quoted(name) for name in entity.key]
    mine = [quoted(name) for name in dict.fromkeys((*entity.key, *label.on))]
    theirs = [quoted(name) for name in label.on.values()]
    moment = counts_from(late_columns(table, label.sql))
    calendar = " JOIN calendar USING (tick)" if table.ticks_ahead else ""
    matched = " AND ".join(f"told.{quoted(b)} = scored.{quoted(a)}" for a, b in label.on.items())

    def query(relation: str) -> str:
        shown = ", ".join(f"scored.{key}" for key in keys)
        return (
            f"WITH outcomes AS (SELECT *, {known_at(table)} AS known_at FROM {relation}{calendar}), "
            f"told AS (SELECT {', '.join(theirs)}, tick AS told_tick, CAST(({label.sql}) AS BOOLEAN) AS label, "
            f"CAST({moment} AS TIMESTAMPTZ) AS label_known_at FROM outcomes) "
            f"SELECT {shown}, scored.tick, label, label_known_at FROM scored JOIN told ON {matched} "
            f"WHERE label IS NOT NULL AND told_tick >= scored.tick "
            f"AND label_known_at < TIMESTAMPTZ '{as_of.start.isoformat()}' "
            f"QUALIFY row_number() OVER (PARTITION BY scored.tick, {shown} "
            "ORDER BY label_known_at DESC, told_tick DESC, label DESC) = 1 "
            f"ORDER BY scored.tick, {shown}"
        )

    # Rows known before `as_of` lie in its own partition at the latest.
    outcomes = TickRange(ticks.schedule, ticks.first, max(as_of.date, ticks.first))
    with engine() as connection:
        connection.execute("SET preserve_insertion_order = true")
        scored = snapshot.read(
            connection, lambda relation: f"SELECT {', '.join(mine)}, tick FROM {relation}", entity.name, ticks
        )
        connection.register("scored", scored)
        return snapshot.read(connection, query, table.name, outcomes)
