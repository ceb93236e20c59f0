"""Read labelled rows of any past window from features that are computed once."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from mlprod_tasks import features
from mlprod_tasks.declaration import Pipeline, Tick, TickRange
from mlprod_tasks.models import stored_rows
from mlprod_tasks.models.model_facts import DateRange
from mlprod_tasks.platform import Platform, memory
from mlprod_tasks.platform.engine import engine
from mlprod_tasks.platform.sql import identifier
from mlprod_tasks.platform.versioned import read_record, write_record
from mlprod_tasks.training.records import ComputedFeatures
from mlprod_tasks.training.usable_rows import usable_rows

BYTES_A_VALUE = 40  # the table, its join with the labels, the matrix and LightGBM's bins

log = logging.getLogger(__name__)


class History:
    """The features of some ticks in files, at fixed lake versions, read by window.

    A point-in-time feature does not depend on when it is computed, so one set serves every `as_of`; labels are joined as they
    were known then. `folder` must contain nothing else.
    """

    def __init__(
        self, pipeline: Pipeline, ticks: TickRange, versions: Mapping[str, int], folder: Path, platform: Platform
    ) -> None:
        self.pipeline, self.versions, self.platform = pipeline, dict(versions), platform
        self._files, self._record_file = folder / ".features", folder / ".features.json"
        self._write(ticks)

    def window(self, ticks: TickRange, as_of: Tick) -> pa.Table:
        """Return the rows of `ticks` whose label was known before `as_of`, like `assemble`.

        Columns: the entity's key, tick, the features, `label`; sorted by tick and key.
        """
        wanted: pc.Expression = (pc.field("tick") >= pa.scalar(ticks.first)) & (pc.field("tick") <= pa.scalar(ticks.last))
        stored = ds.dataset(sorted(self._files.glob("*.parquet")))
        self._require_memory(ticks, stored.count_rows(filter=wanted) * len(stored.schema))
        rows = stored.to_table(filter=wanted)
        rows = usable_rows(self.pipeline, rows).table
        known = features.labels(self.pipeline, ticks, as_of, self.platform, versions=self.versions)
        key = list(self.pipeline.entity_table.key)
        selected = [*key, "tick", *(name for name in self.pipeline.feature_names if name not in key)]
        columns = ", ".join(f'f."{name}"' for name in selected)
        joined_by = ", ".join(identifier(name) for name in ("tick", *key))
        with engine() as db:
            db.register("features", rows)
            db.register("labels", known.select([*key, "tick", "label"]))
            return db.sql(
                f"SELECT {columns}, l.label FROM features f JOIN labels l USING ({joined_by}) ORDER BY {joined_by}"
            ).to_arrow_table()

    def _require_memory(self, ticks: TickRange, values: int) -> None:
        """Raises: NotEnoughMemory if a large window does not fit into memory, where its model is fitted."""
        if values >= stored_rows.CELLS_IN_MEMORY:
            memory.require(
                values * BYTES_A_VALUE,
                f"{self.pipeline.name}: the window {ticks} of a backtest",
                "declare a shorter split.train, or no backtest",
            )

    def _write(self, ticks: TickRange) -> None:
        """Compute the features, unless a killed run has left the same ones."""
        wanted = ComputedFeatures(self.pipeline.digest, self.versions, DateRange(ticks.first, ticks.last))
        if self._files.is_dir() and read_record(ComputedFeatures, self._record_file) == wanted:
            return
        self._record_file.unlink(missing_ok=True)
        log.info("computing the features of %d ticks, %s", len(ticks), ticks)
        written = features.write(self.pipeline, ticks, self._files, self.platform, versions=self.versions)
        write_record(wanted, self._record_file)
        log.info("%d rows in %d files", written.rows, len(written.files))

    def remove(self) -> None:
        """Remove the files."""
        self._record_file.unlink(missing_ok=True)
        shutil.rmtree(self._files, ignore_errors=True)
