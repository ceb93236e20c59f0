"""Assemble a training set: features and known labels, from recorded lake versions."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mlprod_tasks.declaration import Pipeline, Split, SplitByColumn, SplitByHash, Tick, TickRange
from mlprod_tasks.declaration.recorded import text_of
from mlprod_tasks.declaration.rhythm import TickName
from mlprod_tasks.models.feature_frame import outcome_of
from mlprod_tasks.models.model_facts import PerWindow
from mlprod_tasks.models.tasks import OutcomeSummary, task_of
from mlprod_tasks.models.tasks.protocol import summary_of
from mlprod_tasks.platform import Platform, names
from mlprod_tasks.platform.failed_values import REMEDY
from mlprod_tasks.platform.files import replacing_folder
from mlprod_tasks.platform.ledger import Asker, Decision, Publication, Training
from mlprod_tasks.platform.versioned import write_record
from mlprod_tasks.training.records import Assembled
from mlprod_tasks.training.row_split import newest_snapshot
from mlprod_tasks.training.split import Windows, windows_of
from mlprod_tasks.training.training_rows import training_rows
from mlprod_tasks.training.workspace import SET, TrainingFolder, failing

log = logging.getLogger(__name__)

DECLARATION = "declaration.json"  # its SHA-256 is the declaration's digest
LEAST_ROWS = 100  # per window: with fewer, metrics mean nothing


class NotTrainable(ValueError):
    """A window has too few labelled rows, or outcomes that no model can be fitted to, such as of one class only."""


class DecisionMissing(LookupError):
    """The decision named as the reason for a training is not in the ledger."""


def assemble(
    pipeline: Pipeline,
    as_of: Tick,
    training_id: str,
    reason: str,
    platform: Platform,
    *,
    by: str = "",
    decided_at: Tick | None = None,
) -> Assembled:
    """Write a training set as it could have been written at the start of `as_of`.

    It is training_set.parquet in the training's folder. Columns: the entity's key, tick, the features, `split`, `label`;
    sorted by tick and key. Rows without a label by then (cancelled, or late) are counted, but neither trained nor tested on.
    Nor are rows with a feature or label that is infinite or cannot be computed.
    Called again with the same id, it reads the same lake versions.

    decided_at: the tick of the decision, if rules started the training; else `by` is the person. `reason` is only text: a
    training counts as started by rules only with a decision.

    Raises: DecisionMissing; HistoryTooShort; NotTrainable; TableMissing; NoSnapshot or PartsUnknown for a table without a time.
    """
    folder = TrainingFolder(platform, training_id)
    _begin(pipeline, as_of, training_id, reason, platform, by, decided_at)
    with failing(training_id, platform):
        before = folder.find(Assembled)
        chosen = _windows(pipeline, as_of, before, platform)
        if before is not None and (before.as_of, before.windows) != (as_of.name, chosen.dates()):
            before = None
        if before is None or before.declaration != pipeline.digest or not folder.training_set.is_file():
            _write(pipeline, as_of, chosen, before.versions if before else None, folder, platform)
        assembled = folder.read(Assembled)
        _warn_of_missing_labels(pipeline, chosen, as_of, platform)
        for name, ticks in chosen.named():
            log.info("%s %s: %d rows, %s", name, ticks, assembled.rows[name], assembled.outcomes(name))
    return assembled


def _windows(pipeline: Pipeline, as_of: Tick, before: Assembled | None, platform: Platform) -> Windows:
    """The ticks of each window; of a table without a time all three have its newest snapshot."""
    versions = before.versions if before is not None and before.as_of == as_of.name else None
    if isinstance(pipeline.split, Split):
        return windows_of(pipeline, as_of, platform, versions)
    return newest_snapshot(pipeline, as_of, versions, platform)


def _begin(
    pipeline: Pipeline, as_of: Tick, training_id: str, reason: str, platform: Platform, by: str, decided_at: Tick | None
) -> None:
    """Record the training in the ledger as running, with its reason and who started it."""
    kept = platform.ledger.get(Training, training_id)
    decision = None if decided_at is None else platform.ledger.get(Decision, pipeline.name, decided_at.name)
    if decided_at is not None and decision is None:
        raise DecisionMissing(
            f"{pipeline.name}: training {training_id} names the decision of {decided_at}, which is not in the ledger"
        )
    platform.ledger.put(
        Training(
            id=training_id,
            pipeline=pipeline.name,
            as_of=as_of.name,
            reason=reason,
            state="running",
            at=platform.clock.now(),
            run_id=kept.run_id if kept else None,
            asker=Asker.PERSON if decision is None else Asker.RULE,
            by=by.strip() if decision is None else "",
            decided_at=None if decision is None else decision.tick,
            rules=[] if decision is None else decision.wanting_training,
        )
    )


def _write(
    pipeline: Pipeline,
    as_of: Tick,
    chosen: Windows,
    versions: Mapping[str, int] | None,
    folder: TrainingFolder,
    platform: Platform,
) -> None:
    """Write the set and its record to a temporary folder, then move it into place."""
    folder.check_kept()
    # This also removes what later steps made from an earlier set.
    with replacing_folder(folder.path) as target:
        write_set(pipeline, as_of, chosen, versions, target, platform)


@dataclass
class _WindowCounts:
    """Rows of a window with and without label, their outcomes, and the days that have rows."""

    outcomes: OutcomeSummary = field(default_factory=OutcomeSummary)
    unlabelled: int = 0
    unusable: Counter[str] = field(default_factory=Counter)  # rows left out, by the feature at fault
    days: set[TickName] = field(default_factory=set)

    def add(self, table: pa.Table, left_out: Counter[str]) -> None:
        self.unusable += left_out
        self.outcomes += summary_of(outcome_of(table.filter(table["label"].is_valid())))
        self.unlabelled += table["label"].null_count
        self.days |= set(pc.unique(table["tick"]).to_pylist())

    @property
    def labelled(self) -> int:
        return self.outcomes.rows


def write_set(
    pipeline: Pipeline,
    as_of: Tick,
    chosen: Windows,
    versions: Mapping[str, int] | None,
    target: Path,
    platform: Platform,
) -> None:
    """Write a training set with record and declaration to a new folder; no ledger.

    versions: of the lake tables; for tables left out, the current one. Raises: as `assemble`.
    """
    target.mkdir(parents=True)
    counts: dict[str, _WindowCounts] = {}
    writer: pq.ParquetWriter | None = None
    read = training_rows(pipeline, chosen, as_of, versions, platform)
    try:
        for name, parts in groupby(read, key=lambda part: part.window):
            counts[name] = _WindowCounts()
            for part in parts:
                versions = part.versions
                writer = writer or pq.ParquetWriter(target / SET, part.rows.schema, compression="zstd")
                writer.write_table(part.rows)
                counts[name].add(part.rows, part.left_out)
            _warn_of_empty_ticks(pipeline, name, chosen[name], counts[name])
            _check(pipeline, name, chosen[name], as_of, counts[name])
    finally:
        if writer is not None:
            writer.close()
    (target / DECLARATION).write_text(text_of(pipeline), encoding="utf-8", newline="\n")
    write_record(_assembled(pipeline, as_of, chosen, counts, versions or {}), target / Assembled.FILE)


def _assembled(
    pipeline: Pipeline, as_of: Tick, chosen: Windows, counts: Mapping[str, _WindowCounts], versions: Mapping[str, int]
) -> Assembled:
    kind = pipeline.label.kind
    return Assembled(
        pipeline=pipeline.name,
        as_of=as_of.name,
        declaration=pipeline.digest,
        windows=chosen.dates(),
        rows=PerWindow(**{name: one.labelled for name, one in counts.items()}),
        positives=PerWindow(**{name: int(one.outcomes.total) if kind == "yes_no" else 0 for name, one in counts.items()}),
        unlabelled=PerWindow(**{name: one.unlabelled for name, one in counts.items()}),
        versions=dict(versions),
        unusable=PerWindow(**{name: one.unusable.total() for name, one in counts.items()}),
        means=PerWindow(**{name: one.outcomes.mean for name, one in counts.items()}) if kind == "number" else None,
        classes=_classes(counts) if kind == "class" else None,
        split=None if isinstance(pipeline.split, Split) else pipeline.as_json()["split"],
    )


def _classes(counts: Mapping[str, _WindowCounts]) -> PerWindow[dict[str, int]]:
    return PerWindow(**{name: dict(one.outcomes.classes or {}) for name, one in counts.items()})


def _warn_of_missing_labels(pipeline: Pipeline, chosen: Windows, as_of: Tick, platform: Platform) -> None:
    """Log which partitions of labels are missing: their rows have no label in the set."""
    if pipeline.table(pipeline.label.table).time is None:  # it has none
        return
    ingested = platform.lake.ticks(names.raw(pipeline, pipeline.label.table))
    published = platform.ledger.all(Publication, pipeline=pipeline.name, table_name=pipeline.label.table)
    ingested |= {one.tick for one in published}  # perhaps without rows
    first = min(ticks.first for _, ticks in chosen.named())
    missing = [tick for tick in pipeline.schedule.range(first, as_of.name) if tick.name > first and tick.name not in ingested]
    if missing:
        log.warning(
            "%d ticks of %s are not ingested, so their outcomes are missing: first %s, last %s",
            len(missing), pipeline.label.table, missing[0], missing[-1],
        )  # fmt: skip


def _warn_of_empty_ticks(pipeline: Pipeline, window: str, ticks: TickRange, counts: _WindowCounts) -> None:
    empty = {
        tick.name for tick in ticks if not pipeline.entity_table.may_be_empty_on(pipeline.schedule.day_of(tick.name))
    } - counts.days
    if empty and len(empty) < len(ticks):
        first, last = min(empty), max(empty)
        log.warning(
            "%d of %d ticks of the %s window have no rows: first %s, last %s", len(empty), len(ticks), window, first, last
        )


def _check(pipeline: Pipeline, window: str, ticks: TickRange, as_of: Tick, counts: _WindowCounts) -> None:
    """Raises: NotTrainable if the window has too few labelled rows, or outcomes that no model can be fitted to."""
    rows, unlabelled = counts.labelled, counts.unlabelled
    in_time = isinstance(pipeline.split, Split)
    at = f"{pipeline.name}: the {window} {'window' if in_time else 'part of the snapshot'} {ticks}, as of {as_of},"
    _check_unusable(pipeline, at, counts)
    if rows == 0 and isinstance(pipeline.split, SplitByColumn | SplitByHash):
        raise NotTrainable(
            f"{at} has no row with an outcome; rows are split {pipeline.split.words}. Look at the table, and at label.sql "
            f"{pipeline.label.sql!r} and the split"
        )
    if rows == 0 and unlabelled == 0:
        raise NotTrainable(f"{at} has no rows of table {pipeline.entity_name!r}: ingest these ticks first")
    if rows == 0:
        raise NotTrainable(
            f"{at} has {unlabelled:,} rows but no label from table {pipeline.label.table!r} was known by then: ingest it up "
            f"to {as_of}"
        )
    if rows < LEAST_ROWS:
        raise NotTrainable(f"{at} has {rows} labelled rows ({unlabelled:,} without label), fewer than {LEAST_ROWS}")
    if problem := task_of(pipeline).problem(pipeline, counts.outcomes):
        raise NotTrainable(f"{at} has {problem}. Check label.sql {pipeline.label.sql!r}")


def _check_unusable(pipeline: Pipeline, at: str, counts: _WindowCounts) -> None:
    """Raises: NotTrainable if more rows than declared have a feature that no model takes, or a label that fails."""
    left_out = counts.unusable.total()
    if not left_out:
        return
    rows, most = counts.labelled + counts.unlabelled + left_out, pipeline.model.max_unusable_share
    which = ", ".join(f"{name!r} in {n:,}" for name, n in counts.unusable.most_common(5))
    said = f"{at} has {left_out:,} of {rows:,} rows with a feature or label that is infinite or cannot be computed: {which}"
    if left_out > most * rows:
        raise NotTrainable(f"{said}. That is more than model.max_unusable_share {most:g}. {REMEDY}, or declare a larger share")
    log.warning("%s; these rows are left out", said)
