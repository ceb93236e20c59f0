"""Try a use case over the history of its data: ingest, train, score and monitor, and write a page about it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from mlprod_tasks import steps, workflows
from mlprod_tasks.declaration import Pipeline, TickRange
from mlprod_tasks.declaration.rhythm import TickName
from mlprod_tasks.evaluation.gate import GatesRefused, Passed, Refused, gates_passed
from mlprod_tasks.ingest.batch_verdict import BatchRefused
from mlprod_tasks.ingest.publish import TicksEmpty
from mlprod_tasks.ingest.tables import TablesFailed
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.ledger import Training
from mlprod_tasks.platform.progress import tracked
from mlprod_tasks.platform.settings import Settings
from mlprod_tasks.starting.history import History, history
from mlprod_tasks.starting.trial import Refusal, Trial
from mlprod_tasks.starting.trial_folder import PAGE, emptied, platform_in
from mlprod_tasks.starting.trial_page import write_page

MOST_PARTS = 40  # of a history that is ingested around its refused batches
Note = Callable[[str], None]


def try_pipeline(
    pipeline: Pipeline, settings: Settings, folder: Path, note: Note, *, most_ticks: int | None = None
) -> tuple[Trial, Path]:
    """Run the use case over its history in `folder`, which is emptied first, and write a page. The trial, and the page's path.

    Sources are only read; nothing is written outside of the folder, no mail is sent, no person is asked. note: is told what is
    going on. most_ticks: how many of the last ticks are scored and monitored at most; None: see `history`.

    Raises: FolderTaken, DiskFull, NoHistory, HistoryTooShort, NotTrainable; TablesFailed if nothing of a table can be
    published.
    """
    tried = replace(pipeline, publish=None, approval=None)
    with emptied(folder) as home:
        trial = _run(tried, platform_in(home, tried, settings), note, most_ticks, _left_out(pipeline))
        note("writing the page")
        return trial, write_page(trial, folder / PAGE)


def _left_out(pipeline: Pipeline) -> tuple[str, ...]:
    """What production does and a trial does not, for this declaration."""
    left = ["Mails are not sent, and a retraining that a rule asks for is named but not run."]
    if pipeline.publish is not None:
        left.append(f"Predictions are not written to table {pipeline.publish.table!r} of the business database.")
    if pipeline.approval is not None:
        left.append("The approval by a person is taken as given.")
    if pipeline.serving is not None:
        left.append(
            "No requests are answered: the online store is not filled, and what is watched about requests is unmeasured."
        )
    return tuple(left)


def _run(pipeline: Pipeline, platform: Platform, note: Note, most_ticks: int | None, left_out: tuple[str, ...]) -> Trial:
    seconds: dict[str, float] = {}
    found = history(pipeline, platform, most_ticks)
    note(f"1 of 4: loading and checking {len(found.ticks):,} ticks, {found.ticks}")
    with _timed("load and check", seconds):
        rows, refusals = _ingest(pipeline, found.ticks, platform)
    note(f"2 of 4: training as of {found.as_of} on {sum(rows.values()):,} rows")
    with _timed("train and evaluate", seconds):
        training_id, verdict = _train(pipeline, found, platform)
    scoring = pipeline if isinstance(verdict, Passed) else _with_gates_that_passed(pipeline, verdict)
    stopped, decisions = "", list[str]()
    if scoring is None:
        stopped = "No gate passed, so nothing was scored."
    else:
        note(f"3 of 4: scoring and monitoring {len(found.replayed)} ticks, {found.replayed}")
        with _timed("score and monitor", seconds):
            if not isinstance(verdict, Passed):
                _promote(scoring, training_id, platform)
            decisions = list(_replay(scoring, found.replayed, platform))
    return Trial(
        pipeline, platform, found, rows, refusals, training_id, verdict.gates, isinstance(verdict, Passed), tuple(decisions),
        stopped, left_out, seconds,
    )  # fmt: skip


@contextmanager
def _timed(stage: str, seconds: dict[str, float]) -> Iterator[None]:
    began = time.perf_counter()
    yield
    seconds[stage] = time.perf_counter() - began


def _ingest(pipeline: Pipeline, ticks: TickRange, platform: Platform) -> tuple[dict[str, int], tuple[Refusal, ...]]:
    """Ingest all ticks at once, and around batches that the audit refuses, as production would tick by tick.

    Raises: TablesFailed for any other error, and if too much of a table is refused.
    """
    # All of history is read at once, so no partition needs to be read again.
    once = replace(pipeline, tables=tuple(replace(table, refresh_ticks=0) for table in pipeline.tables))
    try:
        return workflows.ingest(once, ticks, platform), ()
    except TablesFailed as error:
        refused = {table: one for table, one in error.errors.items() if isinstance(one, BatchRefused)}
        if any(not isinstance(one, BatchRefused | TicksEmpty) for one in error.errors.values()):
            raise  # a table of which only empty ticks are refused is published
        parts = {table: _around(ticks, {one.tick for one in batch.refused}) for table, batch in refused.items()}
        if any(not part or len(part) > MOST_PARTS for part in parts.values()):
            raise
        for table, between in parts.items():
            for part in tracked(between, f"load {table}"):
                workflows.ingest(once, part, platform, [table])
    published = {table.name: _rows_in_lake(pipeline, table.name, platform) for table in pipeline.tables}
    return published, tuple(_refusals(refused))


def _around(ticks: TickRange, refused: set[TickName]) -> list[TickRange]:
    """The parts of a range between its refused ticks."""
    parts: list[list[str]] = [[]]
    for tick in ticks:
        if tick.name in refused:
            parts.append([])
        else:
            parts[-1].append(str(tick))
    return [ticks.schedule.range(part[0], part[-1]) for part in parts if part]


def _refusals(refused: dict[str, BatchRefused]) -> Iterator[Refusal]:
    for table, batch in refused.items():
        for verdict in batch.refused:
            shown = sorted(verdict.failures, key=lambda one: one.refuses == "batch")[:2]  # rows' own reasons first
            reasons = (f"{f'{one.column}: ' if one.column else ''}{one.sentence}; found {one.observed}" for one in shown)
            yield Refusal(table, verdict.tick, ". ".join(reasons))


def _rows_in_lake(pipeline: Pipeline, table: str, platform: Platform) -> int:
    from mlprod_tasks.platform.names import raw

    name = raw(pipeline, table)
    return int(platform.lake.rows(name, columns=[]).num_rows) if platform.lake.exists(name) else 0


def _train(pipeline: Pipeline, found: History, platform: Platform) -> tuple[str, Passed | Refused]:
    try:
        workflows.train(pipeline, found.as_of, "a trial", platform, by="mlprod try")
    except GatesRefused as error:
        return error.verdict.training_id, error.verdict
    with Session(platform.ledger.engine) as session:
        training = session.scalars(select(Training.id)).one()
    return training, gates_passed(pipeline, training, platform)


def _with_gates_that_passed(pipeline: Pipeline, verdict: Refused) -> Pipeline | None:
    """The declaration with only the gates that passed, to go on behind a red gate; None if none passed."""
    passed = tuple(gate for gate, one in zip(pipeline.gates, verdict.gates, strict=True) if one.passed)
    return replace(pipeline, gates=passed) if passed else None


def _promote(pipeline: Pipeline, training_id: str, platform: Platform) -> None:
    model = steps.register(pipeline, training_id, platform)
    steps.promote(pipeline, model, gates_passed(pipeline, training_id, platform), platform)


def _replay(pipeline: Pipeline, ticks: TickRange, platform: Platform) -> Iterator[str]:
    """Score and monitor tick by tick: a decision of one tick may change who scores the next."""
    for tick in tracked(list(ticks), "score and monitor"):
        only = pipeline.schedule.range(str(tick))
        if not workflows.score(pipeline, only, platform):
            yield f"{tick}  nothing   no rows to score"
            continue
        yield from workflows.monitor(pipeline, only, platform)
