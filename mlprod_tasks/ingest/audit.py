"""Check staged rows against their expectations, and record for each tick whether it may be published, or why not."""

from __future__ import annotations

import json
import logging
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mlprod_tasks.declaration import Files, Pipeline, Table, TickRange
from mlprod_tasks.declaration.rhythm import TickName
from mlprod_tasks.documents.formatting import format_count, format_exact, format_number
from mlprod_tasks.ingest.batch_verdict import MOST_TICKS, BatchRefused, BatchVerdict, FailedExpectation
from mlprod_tasks.ingest.convert import as_text, convert
from mlprod_tasks.ingest.expectations import bound, sentence, suite
from mlprod_tasks.ingest.extract import shared_name, staging, write_staged
from mlprod_tasks.ingest.partitions import partitions
from mlprod_tasks.ingest.quarantine import quarantine
from mlprod_tasks.ingest.row_keys import repeated_rows
from mlprod_tasks.ingest.rows_in_files import rows_in_files
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.digest import of_file
from mlprod_tasks.platform.ledger import Audit

log = logging.getLogger(__name__)
SAMPLE_ROWS = 5
NOT_NULL = "expect_column_values_to_not_be_null"
ROW_COUNT = "expect_table_row_count_to_be_between"
TYPES = "expect_column_values_to_be_in_type_list"


class StagingMissing(LookupError):
    """No staged rows to audit: the extraction has not run, or its file is gone."""


@dataclass(frozen=True)
class Audited:
    """The result over all ticks: `accepted + refused == read`."""

    pipeline: str
    table: str
    ticks: str
    read: int
    accepted: int
    refused: int
    seconds: float
    verdicts: tuple[BatchVerdict, ...]


def audit(pipeline: Pipeline, table: str, ticks: TickRange, platform: Platform) -> Audited:
    """Check the staged rows of `ticks` with Great Expectations.

    A row that breaks an expectation is refused, with its reasons. If a tick has a larger share of such rows than the table's
    `max_refused_share`, or its batch as a whole is wrong (schema, type, volume), all of its rows are refused. Refused rows go
    to quarantine; the ledger gets one verdict per tick. Running it again, after the source is corrected, replaces both.

    Raises: StagingMissing; BatchRefused, after everything is recorded, unless the refused ticks are empty and others passed.
    """
    began = time.monotonic()
    declared = pipeline.table(table)
    path = _staging_file(pipeline, table, ticks, platform)
    digest, staged = of_file(path), pq.read_table(path)
    read = partitions(declared, ticks)
    starts = _starts(staged, read.names)
    log.info("auditing %s rows of %s.%s %s", f"{staged.num_rows:,}", pipeline.name, table, ticks)

    from mlprod_tasks.ingest.run_expectations import validate  # takes seconds to import, and only this step needs it

    outcome = validate(declared, staged, starts, read, suite(pipeline, table, platform.settings.expectations))
    refused, reasons = _refused_rows(staged.num_rows, outcome.results, declared)
    verdicts: list[BatchVerdict] = []
    told = 0
    for i, tick in enumerate(read.names):
        rows = slice(int(starts[i]), int(starts[i + 1]))
        may_be_empty = declared.may_be_empty_on(pipeline.schedule.day_of(tick))
        verdict = _verdict(i, tick, rows, outcome.results, refused, staged, declared, may_be_empty)
        if not verdict.passed:
            _refuse_batch(verdict, rows, refused, reasons)
            if told < MOST_TICKS:  # for each, the files are read again
                verdict, told = _with_places(verdict, declared, platform), told + 1
        verdicts.append(verdict)

    _quarantine(pipeline, table, read, staged, starts, refused, reasons, platform)
    file, digest = _publishable(staged, refused, verdicts, path, digest, platform)
    seconds = time.monotonic() - began
    no_tick = _notes(staged).get("without_tick", 0)
    again = [repeated_rows(staged.slice(a, b - a), declared) for a, b in pairwise(map(int, starts))]
    if sum(again):
        log.warning("%s.%s %s: %s rows equal another one of their tick", pipeline.name, table, ticks, f"{sum(again):,}")
    made = _Entries(pipeline, table, file, digest, seconds, no_tick, platform)
    platform.ledger.put(*[made.of(verdict, repeated) for verdict, repeated in zip(verdicts, again, strict=True)])
    _keep_for_docs(outcome.result, str(ticks), platform)
    audited = _outcome(pipeline, table, ticks, refused, seconds, verdicts)
    if bad := _refusing(verdicts, ticks):
        raise BatchRefused(pipeline.name, table, bad)
    return audited


def _refusing(verdicts: list[BatchVerdict], ticks: TickRange) -> tuple[BatchVerdict, ...]:
    """The refused batches, if they keep the others from being published.

    An empty tick does not, as long as one of `ticks` passed: `publish` leaves it out, and says so.
    """
    bad = tuple(verdict for verdict in verdicts if not verdict.passed)
    empty = [verdict.tick for verdict in bad if not verdict.read]
    passed = any(verdict.passed for verdict in verdicts if verdict.tick >= ticks.first)
    if len(empty) < len(bad) or not passed:
        return bad
    if empty:
        log.warning("%s are empty and refused: first %s, last %s", format_count(len(empty), "tick"), min(empty), max(empty))
    return ()


def _staging_file(pipeline: Pipeline, table: str, ticks: TickRange, platform: Platform) -> Path:
    path = staging(platform.settings, pipeline, table, ticks)
    platform.shared.fetch(shared_name(path, platform), path)
    if not path.exists():
        raise StagingMissing(
            f"pipeline {pipeline.name!r}, table {table!r}, tick {ticks}: nothing is staged at {path}; run extract first"
        )
    return path


def _outcome(
    pipeline: Pipeline, table: str, ticks: TickRange, refused: np.ndarray, seconds: float, verdicts: list[BatchVerdict]
) -> Audited:
    accepted, rejected = int((~refused).sum()), int(refused.sum())
    audited = Audited(pipeline.name, table, str(ticks), len(refused), accepted, rejected, seconds, tuple(verdicts))
    assert accepted + rejected == audited.read == sum(verdict.read for verdict in verdicts)
    log.info("%s.%s %s: %s accepted, %s refused", pipeline.name, table, ticks, f"{accepted:,}", f"{rejected:,}")
    return audited


def _verdict(
    i: int,
    tick: TickName,
    rows: slice,
    results: tuple[Any, ...],
    refused: np.ndarray,
    staged: pa.Table,
    table: Table,
    may_be_empty: bool,
) -> BatchVerdict:
    """The verdict on the batch of tick i. If the batch is refused, all of its rows count as refused."""
    failures = [failure for result in results if (failure := _failure(result, i, rows, staged, table, may_be_empty))]
    verdict = _with_share(BatchVerdict(tick, rows.stop - rows.start, int(refused[rows].sum()), tuple(failures)), table)
    verdict = _with_newest(verdict, staged, table)
    return verdict if verdict.passed else replace(verdict, refused=verdict.read)


def _with_places(verdict: BatchVerdict, table: Table, platform: Platform) -> BatchVerdict:
    """Add where the sampled rows stand in their files."""
    numbered = [list(_numbered(failure.sample)) for failure in verdict.failures]
    rows = {key: dict(key[0]) for keys in numbered for key in keys}  # a row that fails twice is looked for once
    places = dict(zip(rows, rows_in_files(table, list(rows.values()), verdict.tick, platform.settings), strict=True))
    told = [tuple(places[key] for key in keys) for keys in numbered]
    failures = [replace(one, places=of_it) for one, of_it in zip(verdict.failures, told, strict=True)]
    return replace(verdict, failures=tuple(failures))


def _numbered(sample: Sequence[Mapping[str, str | None]]) -> Iterator[tuple[tuple[tuple[str, str | None], ...], int]]:
    """The rows of a sample, each with how many equal ones stand before it."""
    before: Counter[tuple[tuple[str, str | None], ...]] = Counter()
    for row in sample:
        key = tuple(row.items())
        yield key, before[key]
        before[key] += 1


def _refuse_batch(verdict: BatchVerdict, rows: slice, refused: np.ndarray, reasons: dict[int, list[str]]) -> None:
    """Mark every row of a refused batch, with the reason."""
    reason = "the whole batch is refused: " + next(f.sentence for f in verdict.failures if f.refuses == "batch")
    refused[rows] = True
    for row in range(rows.start, rows.stop):
        reasons.setdefault(row, []).append(reason)


def _quarantine(
    pipeline: Pipeline,
    table: str,
    read: TickRange,
    staged: pa.Table,
    starts: np.ndarray,
    refused: np.ndarray,
    reasons: dict[int, list[str]],
    platform: Platform,
) -> None:
    which = np.flatnonzero(refused).tolist()
    rows = staged.take(pa.array(which, pa.int64()))
    ticks = np.repeat(np.array(read.names, dtype=object), np.diff(starts))[which].tolist()
    quarantine(pipeline, table, read, rows, ["; ".join(reasons[row]) for row in which], ticks, platform)


def _starts(staged: pa.Table, names: list[TickName]) -> np.ndarray:
    """The first position of each tick's rows in the staged rows, which are sorted by tick; then the end."""
    if "tick" not in staged.column_names:
        return np.array([0, staged.num_rows])
    # Rows are sorted by tick, and so are the ticks: each begins after the rows of those before it.
    found = pc.value_counts(staged["tick"]).to_pylist()
    counts = {one["values"]: one["counts"] for one in found}
    edges = np.cumsum([0, *(counts.get(name, 0) for name in names)])[:-1]
    return np.append(edges, staged.num_rows)


def _refused_rows(count: int, results: tuple[Any, ...], table: Table) -> tuple[np.ndarray, dict[int, list[str]]]:
    """A mask of the rows that break an expectation themselves, and the reasons by row."""
    refused = np.zeros(count, dtype=bool)
    reasons: dict[int, list[str]] = {}
    for result in results:
        if result.rows is not None and result.mostly == 1:
            refused[result.rows] = True
            reason = sentence(result.kind, result.kwargs, table)
            for row in result.rows.tolist():
                reasons.setdefault(row, []).append(reason)
    return refused, reasons


def _failure(result: Any, i: int, rows: slice, staged: pa.Table, table: Table, may_be_empty: bool) -> FailedExpectation | None:
    """The failure of an expectation on tick i; None if the tick meets it."""
    mine = np.empty(0, dtype=np.int64)
    if result.rows is not None:
        mine = result.rows[np.searchsorted(result.rows, rows.start) : np.searchsorted(result.rows, rows.stop)]
    if result.batches is not None:
        if i not in result.batches or (result.kind == ROW_COUNT and may_be_empty and rows.stop == rows.start):
            return None
        observed, refuses = result.batches[i], "batch"
    else:
        if not len(mine):
            return None
        total = rows.stop - rows.start
        if result.column in staged.column_names and result.kind != NOT_NULL:
            total -= staged[result.column].slice(rows.start, total).null_count
        if result.mostly < 1 and len(mine) <= (1 - result.mostly) * total + 1e-9:
            return None
        observed = f"{len(mine):,} of {total:,} rows that do not meet it" + _values(result.column, mine, staged)
        refuses = "rows" if result.mostly == 1 else "batch"
    if result.kind == ROW_COUNT:
        observed = f"{observed} rows" if rows.stop > rows.start else "no rows: the partition is empty"
    if result.kind == TYPES and len(mine):
        observed += _decimal_comma(result.column, mine, staged, table)
    return FailedExpectation(
        expectation=result.kind,
        column=result.column,
        sentence=sentence(result.kind, result.kwargs, table),
        observed=observed,
        bound=bound(result.kwargs, table),
        count=len(mine),
        refuses=refuses,
        sample=_sample(mine, staged, table),
    )


def _values(column: str | None, rows: np.ndarray, staged: pa.Table) -> str:
    if column is None or column not in staged.column_names:
        return ""
    values = as_text(staged[column].take(pa.array(rows[:SAMPLE_ROWS])).combine_chunks()).unique().to_pylist()
    return f": {', '.join('(missing)' if value is None else repr(value) for value in values)}"


def _decimal_comma(name: str, rows: np.ndarray, staged: pa.Table, table: Table) -> str:
    """What to declare if values that are no numbers would be some with a decimal comma; '' if they would not."""
    source, column = table.source, table.column(name)
    if not isinstance(source, Files) or source.format != "csv" or source.decimal != "." or column.kind != "float":
        return ""
    texts = as_text(staged[name].take(pa.array(rows)).combine_chunks())
    if convert(texts, "float", decimal=",").lossless:
        return ". They are numbers with a decimal comma: declare Files(decimal=',')"
    return ""


def _sample(rows: np.ndarray, staged: pa.Table, table: Table) -> tuple[dict[str, str | None], ...]:
    some = staged.take(pa.array(rows[:SAMPLE_ROWS]))
    return tuple(pa.table({c.name: as_text(some[c.name].combine_chunks()) for c in table.lake_columns}).to_pylist())


def _with_share(verdict: BatchVerdict, table: Table) -> BatchVerdict:
    """Add a failure to the verdict if too many of the batch's rows are refused."""
    share = verdict.refused / verdict.read if verdict.read else 0.0
    if share <= table.max_refused_share or not verdict.passed:
        return verdict
    bound_text = f"at most {format_exact(table.max_refused_share)}"
    allowed = f"{bound_text} of the rows may be refused"
    observed = f"{format_number(share)} ({verdict.refused:,} of {verdict.read:,})"
    failure = FailedExpectation("max_refused_share", None, allowed, observed, bound_text, verdict.refused, "batch")
    return replace(verdict, failures=(*verdict.failures, failure))


def _with_newest(verdict: BatchVerdict, staged: pa.Table, table: Table) -> BatchVerdict:
    """Add the newest time in the source if rows are missing, so that people can tell a late source from an empty day."""
    newest = _notes(staged).get("newest")
    if newest is None or verdict.read >= table.min_rows:
        return verdict
    failures = [
        replace(f, observed=f"{f.observed}; the newest {table.time} in the source is {newest}")
        if f.expectation == ROW_COUNT
        else f
        for f in verdict.failures
    ]
    return replace(verdict, failures=tuple(failures))


def _notes(staged: pa.Table) -> dict[str, Any]:
    """What `extract` noted about the source."""
    return dict(json.loads((staged.schema.metadata or {}).get(b"mlprod", b"{}")))


def _publishable(
    staged: pa.Table, refused: np.ndarray, verdicts: list[BatchVerdict], path: Path, digest: str, platform: Platform
) -> tuple[Path, str]:
    """The file that `publish` reads: the staged one, or a copy without the refused rows of the ticks that passed."""
    if not any(verdict.passed and verdict.refused for verdict in verdicts):
        return path, digest
    accepted = path.with_suffix(".accepted.parquet")
    write_staged(staged.filter(pa.array(~refused)), accepted, platform)
    return accepted, of_file(accepted)


@dataclass(frozen=True)
class _Entries:
    """What the ledger's entries of all ticks share."""

    pipeline: Pipeline
    table: str
    file: Path
    digest: str
    seconds: float
    without_tick: int
    platform: Platform

    def of(self, verdict: BatchVerdict, repeated: int) -> Audit:
        """The entry of a tick."""
        return Audit(
            pipeline=self.pipeline.name,
            table_name=self.table,
            tick=verdict.tick,
            passed=verdict.passed,
            rows_read=verdict.read,
            rows_accepted=verdict.read - verdict.refused,
            rows_refused=verdict.refused,
            staging=str(self.file.relative_to(self.platform.settings.staging)),
            staging_sha256=self.digest,
            at=self.platform.clock.now(),
            failures=[asdict(failure) for failure in verdict.failures],
            seconds=round(self.seconds, 3),
            rows_without_tick=self.without_tick,
            rows_repeated=repeated,
        )


def _keep_for_docs(result: Any, ticks: str, platform: Platform) -> None:
    from mlprod_tasks.ingest.data_docs import keep

    keep(result, ticks, platform)
