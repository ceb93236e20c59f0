"""Take all tables of a tick through one step of ingestion; a table that fails does not stop the others.

Which step each table of a run needs next is noted beside the staged files until the table is published. So a step that is run
again does only what is missing; if nothing is missing, all tables are ingested again. Each run has notes of its own: two
runs of one tick at the same time do not take each other's work for their own.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from mlprod_tasks.declaration import Pipeline, TickRange
from mlprod_tasks.ingest.audit import audit as audit_table
from mlprod_tasks.ingest.extract import delete_old, shared_name
from mlprod_tasks.ingest.extract import extract as extract_table
from mlprod_tasks.ingest.publish import publish as publish_table
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.files import locked, write_json
from mlprod_tasks.platform.progress import tracked

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

    def __reduce__(self) -> tuple[Any, ...]:
        return TablesFailed, (self.pipeline, self.ticks, self.step, self.errors)  # as another process gets it


class TablesMissing(RuntimeError):
    """Everything that passed its audit is published, but an earlier step failed for some tables.

    That step has mailed why, so this needs neither a mail nor a retry.
    """

    def __init__(self, pipeline: str, ticks: str, missing: Mapping[str, Step]) -> None:
        self.pipeline, self.ticks, self.missing = pipeline, ticks, missing
        which = "; ".join(f"{table}: {step} failed" for table, step in missing.items())
        super().__init__(
            f"pipeline {pipeline!r}, {ticks}: not published: {which}. See that task's log. Fix the cause, then clear the "
            "task `extract`: tables that are published already are left alone"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return TablesMissing, (self.pipeline, self.ticks, self.missing)


@dataclass(frozen=True)
class TablesDone:
    """The rows of each table that a step has handled: read, accepted or published."""

    pipeline: str
    ticks: str
    rows: Mapping[str, int]


def extract(pipeline: Pipeline, ticks: TickRange, platform: Platform, tables: Sequence[str] = (), run: str = "") -> TablesDone:
    """Read tables of `ticks` into staging: `tables`, or else the unfinished ones of a `run`, or else all.

    Raises: TablesFailed, after every table was tried.
    """

    def read(table: str) -> int:
        return extract_table(pipeline, table, ticks, platform).rows

    return _each("extract", read, _Unfinished(pipeline, ticks, platform, tables, run))


def audit(pipeline: Pipeline, ticks: TickRange, platform: Platform, tables: Sequence[str] = (), run: str = "") -> TablesDone:
    """Check staged tables of `ticks`. The number of rows is that of accepted ones.

    Raises: TablesFailed, after every table was tried and every verdict is recorded.
    """

    def check(table: str) -> int:
        return audit_table(pipeline, table, ticks, platform).accepted

    return _each("audit", check, _Unfinished(pipeline, ticks, platform, tables, run))


def publish(pipeline: Pipeline, ticks: TickRange, platform: Platform, tables: Sequence[str] = (), run: str = "") -> TablesDone:
    """Write audited tables of `ticks` to the lake.

    Raises: TablesFailed; TablesMissing if all went well, but tables of the run are missing that failed at an earlier step.
    """

    def write(table: str) -> int:
        return publish_table(pipeline, table, ticks, platform).rows

    unfinished = _Unfinished(pipeline, ticks, platform, tables, run)
    done = _each("publish", write, unfinished)
    if missing := unfinished.read():
        raise TablesMissing(pipeline.name, str(ticks), missing)
    return done


def _each(step: Step, work: Callable[[str], int], unfinished: _Unfinished) -> TablesDone:
    """Do the step's work for each table that needs it."""
    rows: dict[str, int] = {}
    errors: dict[str, Exception] = {}
    for table in tracked(unfinished.due(step), step):
        try:
            rows[table] = work(table)
        except Exception as error:
            # The tracebacks of all but the first, which is chained below, would only hide what is wrong.
            log.debug("%s %s: %s of %s failed", unfinished.pipeline, unfinished.ticks, step, table, exc_info=error)
            errors[table] = error
        else:
            unfinished.done(table, step)
    if errors:
        raise TablesFailed(unfinished.pipeline, unfinished.ticks, step, errors) from next(iter(errors.values()))
    return TablesDone(unfinished.pipeline, unfinished.ticks, rows)


class _Unfinished:
    """The tables of some ticks that a run has begun and not published, each with the step that it needs next, in a file.

    given: the tables, if the caller names them and sees to it itself which ones are left: then nothing is noted.
    """

    def __init__(self, pipeline: Pipeline, ticks: TickRange, platform: Platform, given: Sequence[str], run: str) -> None:
        self.pipeline, self.ticks = pipeline.name, str(ticks)
        self._given = list(given)
        self._tables = [table.name for table in pipeline.tables]
        of_run = f".{hashlib.sha256(run.encode()).hexdigest()[:16]}" if run else ""
        self._platform = platform
        self._file: Path = platform.settings.staging / pipeline.name / FOLDER / f"{ticks}{of_run}.json"

    def read(self) -> dict[str, Step]:
        """The unfinished tables in the order of the declaration; a table that it no longer has is left out."""
        if self._given:
            return {}
        self._platform.shared.fetch(shared_name(self._file, self._platform), self._file)
        try:
            noted: dict[str, Step] = json.loads(self._file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        return {table: noted[table] for table in self._tables if table in noted}

    def due(self, step: Step) -> list[str]:
        """The tables that this step is to handle: those given, else the unfinished ones that came this far, else all.

        They are noted to need this step, so that a process that is killed in it leaves them unfinished.
        """
        if self._given:
            return self._given
        with self._changing() as noted:
            delete_old(self._file.parent, self._platform)  # notes of runs whose staged files are gone too
            far = ORDER[ORDER.index(step) :]
            due = [table for table, next_step in noted.items() if step == "extract" or next_step in far]
            due = due or ([] if noted else self._tables)
            noted |= dict.fromkeys(due, step)
        return due

    def done(self, table: str, step: Step) -> None:
        """Note that the step was done for a table."""
        if self._given:
            return
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
            name = shared_name(self._file, self._platform)
            if noted:
                write_json(self._file, noted)
                self._platform.shared.share(name, self._file)
            else:
                self._platform.shared.forget(name, self._file)
