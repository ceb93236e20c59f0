"""The features of scored rows beside their outcomes, as far as these are known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa

from mlprod_tasks import features
from mlprod_tasks.declaration import Pipeline, Tick, TickRange
from mlprod_tasks.declaration.rhythm import TickName
from mlprod_tasks.platform import Platform, names
from mlprod_tasks.platform.engine import engine
from mlprod_tasks.platform.lake import TableMissing
from mlprod_tasks.platform.sql import quoted


@dataclass(frozen=True)
class LabelledFeatures:
    """table: the key, `tick`, `predict_at`, the features, and `label`, null where it is not known. ticks: those of the rows."""

    table: pa.Table
    ticks: TickRange


def labelled_features(pipeline: Pipeline, ticks: TickRange, as_of: Tick, platform: Platform) -> LabelledFeatures:
    """The rows of `ticks` with their features, and the labels that were known at the start of `as_of`. It only reads.

    Raises: TableMissing.
    """
    built = features.build(pipeline, ticks, platform, examples=True)
    known = features.known_labels(pipeline, ticks, as_of, platform, examples=True)
    key = list(pipeline.entity_table.key)
    joined_by = ", ".join(map(quoted, ("tick", *key)))
    selected = [*key, "tick", "predict_at", *(name for name in pipeline.feature_names if name not in key)]
    columns = ", ".join(f"f.{quoted(name)}" for name in selected)
    with engine() as connection:
        connection.register("features", built.table)
        connection.register("labels", known.table.select([*key, "tick", "label"]))
        query = f"SELECT {columns}, l.label FROM features f LEFT JOIN labels l USING ({joined_by}) ORDER BY {joined_by}"
        return LabelledFeatures(connection.sql(query).to_arrow_table(), ticks)


def newest_ticks(pipeline: Pipeline, platform: Platform, most_rows: int) -> TickRange:
    """The newest ticks in the lake that together have no more rows than that; at least one. Raises: TableMissing."""
    chosen = newest_within(_rows_of_ticks(pipeline, platform), most_rows)
    return pipeline.schedule.range(str(chosen[-1]), str(chosen[0]))


def newest_within(counts: Mapping[TickName, int], most_rows: int) -> list[TickName]:
    """The newest ticks, newest first, that together have no more rows than that; at least one if there is any."""
    chosen: list[TickName] = []
    total = 0
    for tick in sorted(counts, reverse=True):
        total += counts[tick]
        if chosen and total > most_rows:
            break
        chosen.append(tick)
    return chosen


def _rows_of_ticks(pipeline: Pipeline, platform: Platform) -> dict[TickName, int]:
    table = pipeline.entity_name if pipeline.population is None else pipeline.population.seen_in
    name = names.raw(pipeline, table)
    counts = platform.lake.rows_of_ticks(name)
    first = pipeline.schedule.first
    found = {day: n for day, n in counts.items() if day >= first and n}
    if not found:
        raise TableMissing(f"lake table {name!r} has no rows yet: ingest it first, or give --trial after `mlprod try`")
    return found
