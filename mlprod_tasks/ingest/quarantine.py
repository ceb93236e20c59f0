"""Store refused rows as text, each with its reasons, so that no row is lost and people can see why it was refused."""

from __future__ import annotations

import pyarrow as pa

from mlprod_tasks.declaration import Pipeline, TickRange
from mlprod_tasks.declaration.rhythm import TickName
from mlprod_tasks.ingest.convert import as_text
from mlprod_tasks.platform import Platform, names
from mlprod_tasks.platform.tick_columns import tick_array


def quarantine(
    pipeline: Pipeline,
    table: str,
    ticks: TickRange,
    refused: pa.Table,
    reasons: list[str],
    of: list[TickName],
    platform: Platform,
) -> None:
    """Replace the quarantined rows of `ticks` by `refused`, each with its reason and its tick.

    When the source is corrected and audited again, the earlier rows of these ticks are removed.
    """
    name = names.quarantine(pipeline, table)
    if not refused.num_rows and not platform.lake.files_if_any(name, ticks):
        return
    columns = {column.name: as_text(refused[column.name].combine_chunks()) for column in pipeline.table(table).lake_columns}
    columns |= {"reason": pa.array(reasons, pa.string()), "tick": tick_array(of, pipeline.schedule)}
    platform.lake.replace_ticks(name, ticks, pa.table(columns), note=f"audit {table} {ticks}")
