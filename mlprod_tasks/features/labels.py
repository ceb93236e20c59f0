"""Labels: the outcomes of scored rows that were known at a given time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext

import duckdb
import pyarrow as pa

from mlprod_tasks.declaration import Pipeline, Tick, TickRange
from mlprod_tasks.declaration.reads import late_columns
from mlprod_tasks.features.known import counts_from, known_at
from mlprod_tasks.features.snapshot import Snapshot
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.engine import engine
from mlprod_tasks.platform.sql import identifier, literal


def labels(
    pipeline: Pipeline,
    ticks: TickRange,
    as_of: Tick,
    platform: Platform,
    *,
    versions: Mapping[str, int] | None = None,
    connection: duckdb.DuckDBPyConnection | None = None,
) -> pa.Table:
    """The labels of rows of `ticks` known before `as_of` starts.

    Rows without a known label are left out. An outcome is known when its row and every late column that the condition reads are
    known. An outcome in an earlier tick than the scored row belongs to another row, because it was known before. If there are
    several outcomes, the latest counts.

    connection: the engine of the step that asks; None: one is opened.
    Returns: the entity's key, `tick`, `label` (bool), `label_known_at`, sorted by (tick, key).
    Raises: TableMissing.
    """
    snapshot = Snapshot(pipeline, platform, versions)
    entity = pipeline.entity_table
    columns = [identifier(name) for name in dict.fromkeys((*entity.key, *pipeline.label.on))]
    # Rows known before `as_of` are in the partition of `as_of` or an earlier one.
    outcome_ticks = TickRange(ticks.schedule, ticks.first, max(as_of.date, ticks.first))
    with engine() if connection is None else nullcontext(connection) as opened, opened.cursor() as mine:
        scored = snapshot.read(mine, lambda relation: f"SELECT {', '.join(columns)}, tick FROM {relation}", entity.name, ticks)
        mine.register("scored", scored)
        return snapshot.read(mine, _labels_sql(pipeline, as_of), pipeline.label.table, outcome_ticks)


def _labels_sql(pipeline: Pipeline, as_of: Tick) -> Callable[[str], str]:
    """SQL of the labels, given the relation of the outcomes.

    The relation `scored` must exist.
    """
    entity, label = pipeline.entity_table, pipeline.label
    table = pipeline.table(label.table)
    key = ", ".join(f"scored.{identifier(name)}" for name in entity.key)
    joined_on = ", ".join(identifier(name) for name in label.on.values())
    matched = " AND ".join(f"labelled.{identifier(theirs)} = scored.{identifier(mine)}" for mine, theirs in label.on.items())
    moment = counts_from(late_columns(table, label.sql))
    calendar = " JOIN calendar USING (tick)" if table.ticks_ahead else ""
    return lambda relation: (
        f"WITH outcomes AS (SELECT *, {known_at(table)} AS known_at FROM {relation}{calendar}), "
        f"labelled AS (SELECT {joined_on}, tick AS _outcome_tick, {_condition(label.sql)} AS label, "
        f"CAST({moment} AS TIMESTAMPTZ) AS label_known_at FROM outcomes) "
        f"SELECT {key}, scored.tick, label, label_known_at FROM scored JOIN labelled ON {matched} "
        f"WHERE label IS NOT NULL AND _outcome_tick >= scored.tick "
        f"AND label_known_at < TIMESTAMPTZ '{as_of.start.isoformat()}' "
        f"QUALIFY row_number() OVER (PARTITION BY scored.tick, {key} "
        "ORDER BY label_known_at DESC, _outcome_tick DESC, label DESC) = 1 "
        f"ORDER BY scored.tick, {key}"
    )


def _condition(sql: str) -> str:
    """SQL of the label's condition. A number or text is no condition: cast, 'no' would be false and 0.1 true."""
    refusal = literal(f"label.sql {sql!r} is not a condition that is true or false: compare it, as in {sql} > 0")
    return f"CASE WHEN typeof(({sql})) IN ('BOOLEAN', '\"NULL\"') THEN CAST(({sql}) AS BOOLEAN) ELSE error({refusal}) END"
