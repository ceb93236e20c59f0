"""Labels: the outcomes of scored rows that were known at a given time."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from mlprod_tasks.declaration import Label, Outcome, Pipeline, Tick, TickRange
from mlprod_tasks.declaration.reads import late_columns
from mlprod_tasks.declaration.rhythm import TickName
from mlprod_tasks.features.key_ranges import KeyRange
from mlprod_tasks.features.known import FAILED, KNOWN_AT, counts_from, known_at, usable_at
from mlprod_tasks.features.outcomes import outcome_labels
from mlprod_tasks.features.snapshot import Snapshot
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.engine import engine
from mlprod_tasks.platform.failed_values import REMEDY, VALUE_FAILED, trying_each
from mlprod_tasks.platform.sql import identifier, literal

log = logging.getLogger(__name__)
MOST_NAMED = 5  # rows that a warning names
# The engine's types of numbers, besides DECIMAL(width, scale).
WHOLE_NUMBERS = (
    "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "UHUGEINT",
)  # fmt: skip
NUMBERS = (*WHOLE_NUMBERS, "FLOAT", "DOUBLE")
CLASSES = ("VARCHAR", *WHOLE_NUMBERS)


@dataclass(frozen=True)
class KnownLabels:
    """The outcomes of scored rows that were known at a given time.

    table: the entity's key, `tick`, `label` (bool, float64 of a number, or the name of a class), `label_known_at`, sorted by
    (tick, key).
    failed: key and tick of the rows for whose outcome the label cannot be computed (a failed cast, an overflow, a division
    by zero), or is an infinite number. They have no label.
    """

    table: pa.Table
    failed: pa.Table


def labels(
    pipeline: Pipeline,
    ticks: TickRange,
    as_of: Tick,
    platform: Platform,
    *,
    versions: Mapping[str, int] | None = None,
    connection: duckdb.DuckDBPyConnection | None = None,
    examples: bool = False,
) -> pa.Table:
    """The table of `known_labels`; a warning names rows for which the label cannot be computed.

    Raises: TableMissing.
    """
    known = known_labels(pipeline, ticks, as_of, platform, versions=versions, connection=connection, examples=examples)
    if known.failed.num_rows:
        log.warning("%s: %s", pipeline.name, _failure(pipeline, known.failed))
    return known.table


def known_labels(
    pipeline: Pipeline,
    ticks: TickRange,
    as_of: Tick,
    platform: Platform,
    *,
    versions: Mapping[str, int] | None = None,
    connection: duckdb.DuckDBPyConnection | None = None,
    examples: bool = False,
    keys: KeyRange | None = None,
) -> KnownLabels:
    """The labels of rows of `ticks` known before `as_of` starts.

    Rows without a known label are left out. An outcome is known when its row and every late column that the label reads are
    known; one that arrived late, from the tick on that may use it, unless its table is declared with late='use'. An outcome in
    an earlier tick than the scored row belongs to another row, because it was known before. If there are several outcomes, the
    latest counts; if the label cannot be computed for it, the row has none, whatever an earlier outcome said.

    connection: the engine of the step that asks; None: one is opened. examples: see `Snapshot`. keys: only of rows of these.
    Raises: TableMissing.
    """
    snapshot = Snapshot(pipeline, platform, versions, examples=examples)
    if isinstance(pipeline.label, Outcome):
        with engine(lake=platform.lake) if connection is None else nullcontext(connection) as opened, opened.cursor() as mine:
            table = outcome_labels(snapshot, pipeline.label, ticks, as_of, platform, mine, keys)
        if pipeline.label.kind == "class":
            return KnownLabels(table, table.slice(0, 0).select([*pipeline.entity_table.key, "tick"]))
        fits = pc.is_finite(table["label"].cast(pa.float64()))
        return KnownLabels(table.filter(fits), table.filter(pc.invert(fits)).select([*pipeline.entity_table.key, "tick"]))
    entity = pipeline.entity_table
    columns = [identifier(name) for name in dict.fromkeys((*entity.key, *pipeline.label.on))]
    # Rows known before `as_of` are in the partition of `as_of` or an earlier one.
    outcome_ticks = TickRange(ticks.schedule, ticks.first, max(as_of.name, ticks.first))
    with engine(lake=platform.lake) if connection is None else nullcontext(connection) as opened, opened.cursor() as mine:
        query = _rows(", ".join(columns))
        mine.register("scored", snapshot.read(mine, keys.of(query) if keys else query, entity.name, ticks, scored=True))
        table = pipeline.label.table
        hides_late = snapshot.hides_late(table, outcome_ticks)
        try:
            rows = snapshot.read(mine, _labels_sql(pipeline, as_of, hides_late), table, outcome_ticks)
        except VALUE_FAILED as error:
            with trying_each(mine, error):
                rows = snapshot.read(mine, _labels_sql(pipeline, as_of, hides_late, alone=True), table, outcome_ticks)
    failed = rows.filter(rows[FAILED]).select([*entity.key, "tick"])
    return KnownLabels(rows.filter(pc.invert(rows[FAILED])).drop_columns([FAILED]), failed)


def later(
    pipeline: Pipeline,
    outcome: Outcome,
    ticks: TickRange,
    as_of: Tick,
    platform: Platform,
    connection: duckdb.DuckDBPyConnection,
) -> pa.Table:
    """What happened to the rows of `ticks` after they were scored, as far as it is complete when `as_of` starts.

    Returns: the entity's key, `tick`, `label` (bool, or float64 of a number), `label_known_at`. Raises: TableMissing.
    """
    with connection.cursor() as mine:
        return outcome_labels(Snapshot(pipeline, platform, None), outcome, ticks, as_of, platform, mine)


def label_partitions(pipeline: Pipeline, first: TickName, last: TickName) -> list[TickName]:
    """The partitions of the labels' table with the outcomes of the ticks from `first` to `last`.

    Of a table without a time, which is read as a whole, the first tick by which they are complete: any later one will do.
    """
    schedule = pipeline.schedule
    if pipeline.table(pipeline.label.table).time is None:
        return [schedule.shift(last, pipeline.label_delay_ticks)]
    return schedule.names(schedule.shift(first, 1), schedule.shift(last, pipeline.label_delay_ticks))


def _rows(columns: str) -> Callable[[str], str]:
    return lambda relation: f"SELECT {columns}, tick FROM {relation}"


def _failure(pipeline: Pipeline, failed: pa.Table) -> str:
    """What is wrong with rows whose label cannot be computed, with the first ones' keys unless they are personal."""
    key = pipeline.entity_table.key
    named = "" if any(pipeline.entity_table.column(name).personal for name in key) else f", such as {_first(failed, key)}"
    infinite = " or is infinite" if pipeline.label.kind == "number" else ""
    return (
        f"label.sql {pipeline.label.sql!r} cannot be computed{infinite} for {failed.num_rows:,} rows (a failed cast, an "
        f"overflow, a division by zero), which have no label{named}. {REMEDY}"
    )


def _first(failed: pa.Table, key: Sequence[str]) -> str:
    rows = failed.slice(0, MOST_NAMED).to_pylist()
    return "; ".join(", ".join(f"{name} {row[name]}" for name in key) for row in rows)


def _labels_sql(pipeline: Pipeline, as_of: Tick, hides_late: bool, alone: bool = False) -> Callable[[str], str]:
    """SQL of the labels, given the relation of the outcomes.

    The relation `scored` must exist. Column `_failed` tells rows whose label cannot be computed; such a row fails the query,
    unless `alone` is set, which is slower. An infinite number fails no query.
    """
    entity, label = pipeline.entity_table, pipeline.label
    assert isinstance(label, Label)
    table = pipeline.table(label.table)
    key = ", ".join(f"scored.{identifier(name)}" for name in entity.key)
    joined_on = ", ".join(identifier(name) for name in label.on.values())
    matched = " AND ".join(f"labelled.{identifier(theirs)} = scored.{identifier(mine)}" for mine, theirs in label.on.items())
    moment = f"CAST({counts_from(late_columns(table, label.sql))} AS TIMESTAMPTZ)"
    # Alone, a row that fails has no struct; a row whose label is null has a struct with null.
    value, fails = ("struct_extract(_computed, 'v')", "_computed IS NULL") if alone else ("_computed", "false")
    if label.kind == "number":
        fails = f"({fails} OR coalesce(NOT isfinite({value}), false))"
        value = f"CASE WHEN isfinite({value}) THEN {value} END"
    label_of = f"{value} AS _label, {fails} AS {FAILED}"
    calendar = " JOIN calendar USING (tick)" if table.ticks_ahead else ""
    start = f"TIMESTAMPTZ '{as_of.start.isoformat()}'"
    arrived = f" WHERE {usable_at(start)}" if hides_late else ""
    return lambda relation: (
        f"WITH outcomes AS (SELECT *, {known_at(table)} AS {KNOWN_AT} FROM {relation}{calendar}), "
        f"computed AS (SELECT {joined_on}, tick AS _outcome_tick, {_outcome(label, alone)} AS _computed, "
        f"{moment} AS _label_known_at FROM outcomes{arrived}), labelled AS (SELECT *, {label_of} FROM computed) "
        f"SELECT {key}, scored.tick, _label AS label, _label_known_at AS label_known_at, {FAILED} "
        f"FROM scored JOIN labelled ON {matched} "
        f"WHERE (_label IS NOT NULL OR {FAILED}) AND _outcome_tick >= scored.tick "
        f"AND _label_known_at < {start} "
        f"QUALIFY row_number() OVER (PARTITION BY scored.tick, {key} "
        f"ORDER BY _label_known_at DESC, _outcome_tick DESC, {FAILED} DESC, _label DESC) = 1 "
        f"ORDER BY scored.tick, {key}"
    )


def _outcome(label: Label, alone: bool) -> str:
    """SQL of the label's value, which refuses values of another kind.

    A number or text is no condition: cast, 'no' would be false and 0.1 true. A condition is no number: cast, true would be 1.
    The name of a class that is a whole number is its digits.
    """
    sql, type_ = label.sql, {"number": "DOUBLE", "yes_no": "BOOLEAN", "class": "VARCHAR"}[label.kind]
    kind, value = f"typeof(({sql}))", f"CAST(({sql}) AS {type_})"
    if alone:
        kind, value = f"typeof(TRY(({sql})))", f"TRY(struct_pack(v := {value}))"
    if label.kind == "number":
        refusal = f"label.sql {sql!r} does not give a number: derive one from it, or declare kind='yes_no'"
        fits = f"({kind} IN ({', '.join(map(literal, NUMBERS))}, '\"NULL\"') OR {kind} LIKE 'DECIMAL%')"
    elif label.kind == "class":
        refusal = f"label.sql {sql!r} gives no class, a text or a whole number: derive one from it, or declare another kind"
        fits = f"{kind} IN ({', '.join(map(literal, CLASSES))}, '\"NULL\"')"
    else:
        refusal = f"label.sql {sql!r} is not a condition that is true or false: compare it, as in {sql} > 0"
        fits = f"{kind} IN ('BOOLEAN', '\"NULL\"')"
    return f"CASE WHEN {fits} THEN {value} ELSE error({literal(refusal)}) END"
