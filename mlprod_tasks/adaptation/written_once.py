"""Rows of the lake that are written once for a tick and a version: whoever comes later finds them as they are."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable

from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.declaration.rhythm import TickName
from mlprod_tasks.platform import Platform


def write_once(
    pipeline: Pipeline, name: str, written: pa.Table, version: int, ticks: list[TickName], platform: Platform
) -> None:
    """Write the rows of a version at some ticks, ascending, but for ticks at which another process was first."""

    def revise(table: DeltaTable | None) -> tuple[pa.Table, list[TickName]]:
        if table is None or not platform.lake.exists(name):
            return written, []
        before = platform.lake.rows(name, ticks)
        for field in written.schema:  # what was written before there was this column has none
            if field.name not in before.column_names:
                before = before.append_column(field, pa.nulls(before.num_rows, field.type))
        before = before.select(written.column_names).cast(written.schema)
        there = before.filter(pc.equal(before["model_version"], version))["tick"]
        new = written.filter(pc.invert(pc.is_in(written["tick"], value_set=there.combine_chunks())))
        return pa.concat_tables([before, new]), []

    between = sorted(set(pipeline.schedule.names(ticks[0], ticks[-1])) - set(ticks))
    platform.lake.revise_ticks(name, pipeline.schedule.range(ticks[0], ticks[-1]), revise, except_for=between)
