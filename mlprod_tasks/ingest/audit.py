"""Judge staged rows against their expectations, and record for every tick whether it may be published, and why not."""

from __future__ import annotations

import json
import logging
import time
from dataclasses import asdict, dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mlprod_tasks.declaration import Pipeline, Table, TickRange
from mlprod_tasks.ingest.convert import as_text
from mlprod_tasks.ingest.expectations import bound, sentence, suite
from mlprod_tasks.ingest.extract import staging, write_staged
from mlprod_tasks.ingest.partitions import days, partitions
from mlprod_tasks.ingest.quarantine import quarantine
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.digest import of_file
from mlprod_tasks.platform.ledger import Audit

log = logging.getLogger(__name__)
SAMPLE_ROWS = 5
NOT_NULL = "expect_column_values_to_not_be_null"
ROW_COUNT = "expect_table_row_count_to_be_between"


class StagingMissing(LookupError):
    """There is nothing to audit: the extraction has not run, or its file is gone."""


@dataclass(frozen=True)
class FailedExpectation:
    """An expectation that rows of one tick broke. `refuses` says what follows: these rows, or the whole batch."""

    expectation: str
    column: str | None
    sentence: str
    observed: str
    bound: str
    count: int
    refuses: str
    sample: tuple[dict[str, str | None], ...] = ()


@dataclass(frozen=True)
class BatchVerdict:
    """What is known of one tick's batch after the audit."""

    tick: date
    read: int
    refused: int
    failures: tuple[FailedExpectation, ...]

    @property
    def passed(self) -> bool:
        return not any(failure.refuses == "batch" for failure in self.failures)


@dataclass(frozen=True)
class Audited:
    """The outcome over all ticks: `accepted + refused == read`."""

    pipeline: str
    table: str
    ticks: str
    read: int
    accepted: int
    refused: int
    seconds: float
    verdicts: tuple[BatchVerdict, ...]


class BatchRefused(ValueError):
    """The audit refused at least one tick's batch. Everything is recorded; nothing of these ticks is published."""

    def __init__(self, pipeline: str, table: str, refused: tuple[BatchVerdict, ...]) -> None:
        self.pipeline, self.table, self.refused = pipeline, table, refused
        super().__init__("\n".join(self._lines()))

    def _lines(self) -> list[str]:
        lines = [
            f"pipeline {self.pipeline!r}, table {self.table!r}: the audit refused the batch of {len(self.refused)} tick(s); "
            "nothing of them is published"
        ]
        for verdict in self.refused[:5]:
            lines.append(f"tick {verdict.tick}: {verdict.read} rows read")
            for failure in verdict.failures[:10]:
                lines.append(f"  {failure.sentence}; found {failure.observed}")
                lines += [f"    for example {json.dumps(row)}" for row in failure.sample[:2]]
        if len(self.refused) > 5:
            lines.append(f"and {len(self.refused) - 5} more ticks, last {self.refused[-1].tick}")
        return [
            *lines,
            f"The rows with their reasons are in the lake: {self.pipeline}/quarantine/{self.table}. Mend the source, or widen "
            "the declaration where the data is right, then clear the task `extract` of this table",
        ]


def audit(pipeline: Pipeline, table: str, ticks: TickRange, platform: Platform) -> Audited:
    """Judge the staged rows of `ticks` with Great Expectations.

    A row that breaks an expectation is refused, with its reasons. Where a tick has more such rows than the table's
    `max_refused_share`, or its batch as a whole is wrong (schema, type, volume), all of its rows are. Refused rows go
    to quarantine; the ledger holds one verdict a tick. Run again after the source is mended, it replaces both.

    Raises: StagingMissing; BatchRefused, after everything is recorded.
    """
    began = time.monotonic()
    declared = pipeline.table(table)
    path = staging(platform.settings, pipeline, table, ticks)
    if not path.exists():
        raise StagingMissing(
            f"pipeline {pipeline.name!r}, table {table!r}, tick {ticks}: nothing is staged at {path}; run extract first"
        )
    digest, staged = of_file(path), pq.read_table(path)
    judged = partitions(declared, ticks)
    dates = days(judged)
    starts = _starts(staged, dates)
    log.info("auditing %s rows of %s.%s %s", f"{staged.num_rows:,}", pipeline.name, table, ticks)

    from mlprod_tasks.ingest.run_expectations import validate  # it takes seconds to import, and only this step needs it

    outcome = validate(declared, staged, starts, judged, suite(pipeline, table, platform.settings.expectations))
    refused, reasons = _refused_rows(staged.num_rows, outcome.findings)
    verdicts = []
    for i, tick in enumerate(dates):
        rows = slice(int(starts[i]), int(starts[i + 1]))
        failures = [f for finding in outcome.findings if (f := _failure(finding, i, rows, staged, declared))]
        verdict = _with_share(BatchVerdict(tick, rows.stop - rows.start, int(refused[rows].sum()), tuple(failures)), declared)
        verdict = _with_newest(verdict, staged, declared)
        if not verdict.passed:
            verdict = replace(verdict, refused=verdict.read)
            why = "the whole batch is refused: " + next(f.sentence for f in verdict.failures if f.refuses == "batch")
            refused[rows] = True
            for row in range(rows.start, rows.stop):
                reasons.setdefault(row, []).append(why)
        verdicts.append(verdict)

    which = np.flatnonzero(refused).tolist()
    of = np.repeat(np.array(dates), np.diff(starts))[which].tolist()
    quarantine(
        pipeline,
        table,
        judged,
        staged.take(pa.array(which, pa.int64())),
        ["; ".join(reasons[row]) for row in which],
        of,
        platform,
    )
    file, digest = _publishable(staged, refused, verdicts, path, digest)
    seconds = time.monotonic() - began
    reference = f"{file.relative_to(platform.settings.staging)} sha256:{digest}"
    platform.ledger.put(*[_entry(pipeline, table, verdict, reference, seconds, platform) for verdict in verdicts])
    _keep_for_docs(outcome.result, str(ticks), platform)
    audited = Audited(
        pipeline.name, table, str(ticks), staged.num_rows, int((~refused).sum()), int(refused.sum()), seconds, tuple(verdicts)
    )
    assert audited.accepted + audited.refused == audited.read == sum(verdict.read for verdict in verdicts)
    log.info("%s.%s %s: %s accepted, %s refused", pipeline.name, table, ticks, f"{audited.accepted:,}", f"{audited.refused:,}")
    if bad := tuple(verdict for verdict in verdicts if not verdict.passed):
        raise BatchRefused(pipeline.name, table, bad)
    return audited


def _starts(staged: pa.Table, dates: list[date]) -> np.ndarray:
    """Where each tick's rows begin in the staged rows, which are sorted by tick; the end at last."""
    if "tick" not in staged.column_names:
        return np.array([0, staged.num_rows])
    named = staged["tick"].to_numpy()
    edges = np.searchsorted(named, np.array(dates, dtype="datetime64[D]"), side="left")
    return np.append(edges, staged.num_rows)


def _refused_rows(count: int, findings: tuple[Any, ...]) -> tuple[np.ndarray, dict[int, list[str]]]:
    """Which rows are refused for a reason of their own, and the reasons."""
    refused = np.zeros(count, dtype=bool)
    reasons: dict[int, list[str]] = {}
    for finding in findings:
        if finding.rows is not None and finding.mostly == 1:
            refused[finding.rows] = True
            told = sentence(finding.kind, finding.kwargs)
            for row in finding.rows.tolist():
                reasons.setdefault(row, []).append(told)
    return refused, reasons


def _failure(finding: Any, i: int, rows: slice, staged: pa.Table, table: Table) -> FailedExpectation | None:
    """The finding as it concerns tick i, or None where it has nothing against it."""
    mine = np.empty(0, dtype=np.int64)
    if finding.rows is not None:
        mine = finding.rows[np.searchsorted(finding.rows, rows.start) : np.searchsorted(finding.rows, rows.stop)]
    if finding.batches is not None:
        if i not in finding.batches:
            return None
        observed, refuses = finding.batches[i], "batch"
    else:
        if not len(mine):
            return None
        total = rows.stop - rows.start
        if finding.column in staged.column_names and finding.kind != NOT_NULL:
            total -= staged[finding.column].slice(rows.start, total).null_count
        if finding.mostly < 1 and len(mine) <= (1 - finding.mostly) * total + 1e-9:
            return None
        observed = f"{len(mine):,} of {total:,} rows otherwise" + _values(finding.column, mine, staged)
        refuses = "rows" if finding.mostly == 1 else "batch"
    if finding.kind == ROW_COUNT:
        observed = f"{observed} rows" if rows.stop > rows.start else "none: the partition is empty"
    return FailedExpectation(
        expectation=finding.kind,
        column=finding.column,
        sentence=sentence(finding.kind, finding.kwargs),
        observed=observed,
        bound=bound(finding.kwargs),
        count=len(mine),
        refuses=refuses,
        sample=_sample(mine, staged, table),
    )


def _values(column: str | None, rows: np.ndarray, staged: pa.Table) -> str:
    if column is None or column not in staged.column_names:
        return ""
    found = as_text(staged[column].take(pa.array(rows[:SAMPLE_ROWS])).combine_chunks()).unique().to_pylist()
    return f": {', '.join('(missing)' if value is None else repr(value) for value in found)}"


def _sample(rows: np.ndarray, staged: pa.Table, table: Table) -> tuple[dict[str, str | None], ...]:
    some = staged.take(pa.array(rows[:SAMPLE_ROWS]))
    return tuple(pa.table({c.name: as_text(some[c.name].combine_chunks()) for c in table.lake_columns}).to_pylist())


def _with_share(verdict: BatchVerdict, table: Table) -> BatchVerdict:
    """The verdict, with one failure more where too many of the batch's rows are refused."""
    share = verdict.refused / verdict.read if verdict.read else 0.0
    if share <= table.max_refused_share or not verdict.passed:
        return verdict
    told = f"at most {table.max_refused_share:.4g} of the rows may be refused"
    observed = f"{share:.4g} ({verdict.refused:,} of {verdict.read:,})"
    failure = FailedExpectation(
        "max_refused_share", None, told, observed, f"at most {table.max_refused_share:.4g}", verdict.refused, "batch"
    )
    return replace(verdict, failures=(*verdict.failures, failure))


def _with_newest(verdict: BatchVerdict, staged: pa.Table, table: Table) -> BatchVerdict:
    """The verdict, where rows are lacking with the source's newest time: an empty day is not a source that is late."""
    newest = json.loads((staged.schema.metadata or {}).get(b"mlprod", b"{}")).get("newest")
    if newest is None or verdict.read >= table.min_rows:
        return verdict
    told = [
        replace(f, observed=f"{f.observed}; the newest {table.time} in the source is {newest}")
        if f.expectation == ROW_COUNT
        else f
        for f in verdict.failures
    ]
    return replace(verdict, failures=tuple(told))


def _publishable(
    staged: pa.Table, refused: np.ndarray, verdicts: list[BatchVerdict], path: Path, digest: str
) -> tuple[Path, str]:
    """The file that publish takes rows from: the staged one, or one without the refused rows of the ticks that passed."""
    if not any(verdict.passed and verdict.refused for verdict in verdicts):
        return path, digest
    accepted = path.with_suffix(".accepted.parquet")
    write_staged(staged.filter(pa.array(~refused)), accepted)
    return accepted, of_file(accepted)


def _entry(pipeline: Pipeline, table: str, verdict: BatchVerdict, reference: str, seconds: float, platform: Platform) -> Audit:
    return Audit(
        pipeline=pipeline.name,
        table_name=table,
        tick=verdict.tick,
        passed=verdict.passed,
        rows_read=verdict.read,
        rows_accepted=verdict.read - verdict.refused,
        rows_refused=verdict.refused,
        staging=reference,
        at=platform.clock.now(),
        failures=[asdict(failure) for failure in verdict.failures],
        seconds=round(seconds, 3),
    )


def _keep_for_docs(result: Any, ticks: str, platform: Platform) -> None:
    from mlprod_tasks.ingest.data_docs import keep

    keep(result, ticks, platform.settings.expectations)
