"""Take all tables of a tick through one step of ingestion; a table that fails does not stop the others.

Which step each table needs next is noted beside the staged files until the table is published. So a step that is run again
does only what is missing; if nothing is missing, all tables are ingested again.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mlprod_tasks.declaration import Pipeline, TickRange
from mlprod_tasks.ingest.audit import audit as audit_table
from mlprod_tasks.ingest.extract import extract as extract_table
from mlprod_tasks.ingest.publish import publish as publish_table
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.files import locked, write_json

log = logging.getLogger(__name__)
Step = Literal["extract", "audit", "publish"]
ORDER: tuple[Step, ...] = ("extract", "audit", "publish")
FOLDER = ".unfinished"  # no table has such a name


class TablesFailed(RuntimeError):
    """A step failed for some tables, and did its work for the others. `errors` holds each failed table's error."""

    def __init__(self, pipeline: str, ticks: str, step: Step, errors: Mapping[str, Exception]) -> None:
        self.pipeline, self.ticks, self.step, self.errors = pipeline, ticks, step, errors
        causes = "\n".join(f"{table}: {type(error).__name__}: {error}" for table, error in errors.items())
        super().__init__(f"pipeline {pipeline!r}, {ticks}: {step} failed for {', '.join(errors)}\n{causes}")


class TablesMissing(RuntimeError):
    """Everything that passed its audit is published, but an earlier step failed for some tables.

    That step has mailed why, so this needs neither a mail nor a retry.
    """

    def __init__(self, pipeline: str, ticks: str, missing: Mapping[str, Step]) -> None:
        self.missing = missing
        which = "; ".join(f"{table}: {step} failed" for table, step in missing.items())
        super().__init__(
            f"pipeline {pipeline!r}, {ticks}: not published: {which}. See that task's log. Fix the cause, then clear the "
            "task `extract`: tables that are published already are left alone"
        )


@dataclass(frozen=True)
class TablesDone:
    """The rows of each table that a step has handled: read, accepted or published."""

    pipeline: str
    ticks: str
    rows: Mapping[str, int]


def extract(pipeline: Pipeline, ticks: TickRange, platform: Platform, tables: Sequence[str] = ()) -> TablesDone:
    """Read the unfinished tables of `ticks` into staging, or `tables` if they are given.

    Raises: TablesFailed, after every table was tried.
    """
    return _each(
        "extract", lambda table: extract_table(pipeline, table, ticks, platform).rows, pipeline, ticks, platform, tables
    )


def audit(pipeline: Pipeline, ticks: TickRange, platform: Platform, tables: Sequence[str] = ()) -> TablesDone:
    """Check the staged tables of `ticks`. The number of rows is that of accepted ones.

    Raises: TablesFailed, after every table was tried and every verdict is recorded.
    """
    return _each(
        "audit", lambda table: audit_table(pipeline, table, ticks, platform).accepted, pipeline, ticks, platform, tables
    )


def publish(pipeline: Pipeline, ticks: TickRange, platform: Platform, tables: Sequence[str] = ()) -> TablesDone:
    """Write the audited tables of `ticks` to the lake.

    Raises: TablesFailed; TablesMissing if all went well, but tables are missing that failed at an earlier step.
    """
    done = _each(
        "publish", lambda table: publish_table(pipeline, table, ticks, platform).rows, pipeline, ticks, platform, tables
    )
    missing = {
        table: step for table, step in _Unfinished(pipeline, ticks, platform).read().items() if not tables or table in tables
    }
    if missing:
        raise TablesMissing(pipeline.name, str(ticks), missing)
    return done


def _each(
    step: Step,
    work: Callable[[str], int],
    pipeline: Pipeline,
    ticks: TickRange,
    platform: Platform,
    tables: Sequence[str],
) -> TablesDone:
    """Do the step's work for each table that needs it."""
    unfinished = _Unfinished(pipeline, ticks, platform)
    rows: dict[str, int] = {}
    errors: dict[str, Exception] = {}
    for table in unfinished.due(step, tables):
        try:
            rows[table] = work(table)
        except Exception as error:
            log.exception("%s %s: %s of %s failed", pipeline.name, ticks, step, table)
            errors[table] = error
        else:
            unfinished.done(table, step)
    if errors:
        raise TablesFailed(pipeline.name, str(ticks), step, errors)
    return TablesDone(pipeline.name, str(ticks), rows)


class _Unfinished:
    """The tables of some ticks that are on their way, each with the step that it needs next, in a file."""

    def __init__(self, pipeline: Pipeline, ticks: TickRange, platform: Platform) -> None:
        self._tables = [table.name for table in pipeline.tables]
        self._file: Path = platform.settings.staging / pipeline.name / FOLDER / f"{ticks}.json"

    def read(self) -> dict[str, Step]:
        """The unfinished tables in the order of the declaration; a table that it no longer has is left out."""
        try:
            noted: dict[str, Step] = json.loads(self._file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        return {table: noted[table] for table in self._tables if table in noted}

    def due(self, step: Step, tables: Sequence[str] = ()) -> list[str]:
        """The tables that this step is to handle: `tables`, else the unfinished ones that came this far, else all.

        They are noted to need this step, so that a process that is killed in it leaves them unfinished.
        """
        with self._changing() as noted:
            far = ORDER[ORDER.index(step) :]
            due = list(tables) or [table for table, next_step in noted.items() if step == "extract" or next_step in far]
            due = due or ([] if noted else self._tables)
            noted |= dict.fromkeys(due, step)
        return due

    def done(self, table: str, step: Step) -> None:
        """Note that the step was done for a table."""
        with self._changing() as noted:
            if step == ORDER[-1]:
                noted.pop(table, None)
            else:
                noted[table] = ORDER[ORDER.index(step) + 1]

    @contextmanager
    def _changing(self) -> Iterator[dict[str, Step]]:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        with locked(self._file.parent):
            noted = self.read()
            yield noted
            if noted:
                write_json(self._file, noted)
            else:
                self._file.unlink(missing_ok=True)
