"""Reproduce a registered model from its record, and compare it bit for bit."""

from __future__ import annotations

import json
import logging
import math
import os
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import duckdb

from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.declaration.recorded import digest_of, read, read_part
from mlprod_tasks.documents.formatting import format_number
from mlprod_tasks.evaluation import evaluate
from mlprod_tasks.evaluation.results import Estimates, Evaluation
from mlprod_tasks.models.predicted_columns import differ, largest_difference
from mlprod_tasks.platform import Platform, names
from mlprod_tasks.platform.lake import TableMissing
from mlprod_tasks.platform.model_files import ModelRef
from mlprod_tasks.platform.registry import TRAINING_TAG
from mlprod_tasks.platform.versioned import from_json
from mlprod_tasks.training import assemble, provenance, segments, workspace
from mlprod_tasks.training.provenance import RECORD_FOLDER
from mlprod_tasks.training.records import Assembled, facts_of
from mlprod_tasks.training.split import TEST, TRAIN, VALIDATION, on_schedule
from mlprod_tasks.training.workspace import StepRecord, TrainingFolder

log = logging.getLogger(__name__)

SHOWN_DIGEST = 12
R = TypeVar("R", bound=StepRecord)


class CannotReproduce(LookupError):
    """Something that the training used no longer exists; the message says what."""


@dataclass(frozen=True)
class Compared:
    """One item as it was recorded and as it is now.

    same: None if the two cannot be compared.
    """

    what: str
    recorded: str
    now: str
    same: bool | None


@dataclass(frozen=True)
class Reproduced:
    """The result of reproducing a model.

    max_difference: the largest |new score - old score| over the test window.

    identical: every score of the test window, every decision and every metric is the same, bit for bit.
    """

    pipeline: str
    model_version: int
    training_id: str
    rows: int
    max_difference: float
    identical: bool
    compared: tuple[Compared, ...]

    def within(self, tolerance: float) -> bool:
        """Whether it is identical, or rows are the same and no score differs by more than `tolerance`.

        If scores are the same but metrics are not, something else is wrong, and no tolerance for scores covers it.
        """
        same_rows = all(one.same for one in self.compared if one.what.startswith("rows"))
        return self.identical or (same_rows and 0 < self.max_difference <= tolerance)

    def text(self) -> str:
        """Format as a table for a terminal."""
        widths = [max(len(getattr(one, field)) for one in self.compared) for field in ("what", "recorded", "now")]
        lines = [f"{self.pipeline} version {self.model_version}, made by training {self.training_id}", ""]
        for one in self.compared:
            verdict = {True: "same", False: "DIFFERS", None: ""}[one.same]
            cells = (one.what.ljust(widths[0]), one.recorded.ljust(widths[1]), one.now.ljust(widths[2]), verdict)
            lines.append("  ".join(cells).rstrip())
        return "\n".join([*lines, "", self._verdict()])

    def _verdict(self) -> str:
        if self.identical:
            return f"identical: all {self.rows:,} scores of the test window are the same bit for bit, and so are the metrics"
        if self.max_difference == 0:
            return "NOT identical: the scores of the test window are the same, but the metrics or rows are not"
        return f"NOT identical: scores of the test window differ by up to {format_number(self.max_difference)}"


@dataclass(frozen=True)
class _Record:
    """The record of a version: training set, evaluation, environment and run tags."""

    assembled: Assembled
    evaluation: Evaluation
    environment: provenance.Environment | None
    tags: Mapping[str, str]


def reproduce(pipeline: Pipeline, version: int | None, platform: Platform) -> Reproduced:
    """Rebuild a version's training set from its Delta versions, train and evaluate as then, and compare.

    version: None for the champion. The declaration is the recorded one, whatever the file says today; code and packages are the
    current ones, and differences are reported. Ledger, registry, aliases and the training's folder do not change.

    Raises: CannotReproduce; BrokenArtifact if the version's own files are missing.
    """
    name = names.registered_model(pipeline)
    ref = platform.registry.champion(pipeline) if version is None else platform.registry.version(name, version)
    if ref is None:
        raise CannotReproduce(f"{pipeline.name} has no champion: train a model first, or name a version")
    registered = platform.registry.load_model(ref)
    record = _record(ref, platform)
    declared = _declaration(pipeline, ref, record, platform)
    with tempfile.TemporaryDirectory() as home:
        elsewhere = replace(platform, settings=replace(platform.settings, home=Path(home)))
        folder = TrainingFolder(elsewhere, record.tags[TRAINING_TAG])
        _rebuild(declared, record.assembled, folder, platform)
        model = _fit(declared, registered, record, folder, platform)
        rows = workspace.read_window(folder, TEST, labelled=False)
        labelled = workspace.read_window(folder, TEST)
        again, before = model.predict(rows), registered.predict(rows)
        by_tick = record.evaluation.ticks is not None
        metrics = evaluate.measure_performance(declared, model, labelled, by_tick).sampled.estimates()
        rebuilt = folder.read(Assembled)
    difference, scores_same = largest_difference(again, before), not differ(again, before).any()
    compared = [
        *_compare_data(pipeline, record, rebuilt, platform),
        *_compare_code(pipeline, record, declared),
        Compared("scores", f"{rows.num_rows:,} rows", f"max |difference| {format_number(difference)}", scores_same),
        *_compare_metrics(record.evaluation.model, metrics),
    ]
    outcome_same = all(one.same for one in compared if one.what.startswith(("rows", "scores", "metric")))
    return Reproduced(pipeline.name, ref.version, folder.training_id, rows.num_rows, difference, outcome_same, tuple(compared))


def _record(ref: ModelRef, platform: Platform) -> _Record:
    def find(kind: type[R]) -> R | None:
        file = f"{RECORD_FOLDER}/{kind.FILE}"
        content = platform.registry.read_file(ref.run_id, file)
        return None if content is None else from_json(kind, json.loads(content), f"{file} of run {ref.run_id}")

    def read_required(kind: type[R]) -> R:
        step = find(kind)
        if step is None:
            raise CannotReproduce(
                f"version {ref.version} of {ref.name!r} cannot be reproduced: its run {ref.run_id} has no "
                f"{RECORD_FOLDER}/{kind.FILE}: it was deleted"
            )
        return step

    return _Record(
        read_required(Assembled),
        read_required(Evaluation),
        find(provenance.Environment),
        platform.registry.run_tags(ref.run_id),
    )


def _declaration(pipeline: Pipeline, ref: ModelRef, record: _Record, platform: Platform) -> Pipeline:
    """The recorded declaration, or today's if it is still the same."""
    recorded = record.assembled.declaration
    content = platform.registry.read_file(ref.run_id, f"{RECORD_FOLDER}/{assemble.DECLARATION}")
    if content is not None and digest_of(content.decode()) == recorded:
        return read(content.decode())
    if pipeline.digest == recorded:
        return pipeline
    why = "does not match its recorded digest" if content is not None else "was not stored, and today's is a different one"
    commit = record.tags.get("mlprod.git_commit", "")
    raise CannotReproduce(
        f"version {ref.version} of {ref.name!r} cannot be reproduced: its declaration ({recorded[:12]}...) {why}. Check out "
        f"the commit that it was trained with{f' ({commit})' if commit else ''} and try again"
    )


def _rebuild(declared: Pipeline, recorded: Assembled, folder: TrainingFolder, platform: Platform) -> None:
    """Build the training set again, from the recorded versions of the lake's tables."""
    as_of = declared.schedule.tick(recorded.as_of)
    chosen = on_schedule(recorded.windows, declared.schedule)
    try:
        assemble.write_set(declared, as_of, chosen, recorded.versions, folder.path, platform)
    except (duckdb.Error, OSError, TableMissing) as error:
        missing = list(_missing(declared, recorded, platform)) or [f"{type(error).__name__}: {error}"]
        raise CannotReproduce(
            f"{declared.name}: the training set of {folder.training_id} cannot be rebuilt: {'; '.join(missing)}. Restore these "
            "files from a backup of the lake, and never vacuum versions that trainings use"
        ) from error


def _missing(declared: Pipeline, recorded: Assembled, platform: Platform) -> Iterator[str]:
    """What is missing of the recorded versions, one sentence per table.

    Files are checked only if the lake is a folder.
    """
    for name, version in recorded.versions.items():
        table = names.raw(declared, name)
        try:
            files = platform.lake.files(table, version=version)
        except TableMissing as error:
            yield str(error)
            continue
        missing = [] if "://" in platform.lake.root else [file for file in files if not os.path.exists(file)]
        if missing:
            yield (
                f"version {version} of lake table {table!r} lacks {len(missing):,} of its {len(files):,} files: they were "
                f"vacuumed or deleted (first {missing[0]})"
            )


def _fit(declared: Pipeline, registered: Any, record: _Record, folder: TrainingFolder, platform: Platform) -> Any:
    """Train the model again, with the same parameters and number of threads.

    The recipe has the parameters that a search found.
    """
    recipe, continued = registered.facts.recipe, registered.facts.continued_from
    facts = facts_of(record.assembled, folder.training_id, record.assembled.declaration, continued)
    pipeline = declared if recipe is None else replace(declared, model=read_part(recipe))
    if record.environment is not None:
        pipeline = replace(pipeline, model=replace(pipeline.model, threads=record.environment.threads))
    warm = None if continued is None else platform.registry.load(declared, continued.version)
    rows = [workspace.read_window(folder, split) for split in (TRAIN, VALIDATION)]
    return segments.fit_all(pipeline, rows[0], rows[1], facts, warm=warm)


def _compare_data(pipeline: Pipeline, record: _Record, rebuilt: Assembled, platform: Platform) -> Iterator[Compared]:
    as_of = str(record.assembled.as_of)
    yield Compared("as of", as_of, as_of, True)
    for name, version in record.assembled.versions.items():
        table = names.raw(pipeline, name)
        newest = platform.lake.version(table)
        later = "" if newest == version else f" (now at {newest})"
        yield Compared(f"data {name}", f"version {version}", f"read at {rebuilt.versions[name]}{later}", True)
    for name in (TRAIN, VALIDATION, TEST):
        counts = [_counts(of, name) for of in (record.assembled, rebuilt)]
        yield Compared(f"rows {name}", counts[0], counts[1], counts[0] == counts[1])


def _counts(assembled: Assembled, window: str) -> str:
    """The rows of a window, and how many are positive or of each class, or the mean of numbers with all its digits."""
    rows = f"{assembled.rows[window]:,}"
    if assembled.classes is not None:
        return ", ".join([rows, *(f"{count:,} {name!r}" for name, count in sorted(assembled.classes[window].items()))])
    if assembled.means is not None:
        return f"{rows}, mean outcome {assembled.means[window]!r}"
    return f"{rows}, {assembled.positives[window]:,} positive"


def _compare_code(pipeline: Pipeline, record: _Record, declared: Pipeline) -> Iterator[Compared]:
    """Compare declaration, code and packages.

    Differences are reported, but do not count for `identical`.
    """
    recorded = record.assembled.declaration
    same = pipeline.digest == recorded
    yield Compared("declaration", recorded[:SHOWN_DIGEST], "the same" if same else "differs; the recorded is used", same)
    now = provenance.provenance()
    for what, tag, value in (
        ("code", "mlprod.code_digest", now.code_digest),
        ("git commit", "mlprod.git_commit", now.git_commit),
        ("lock", "mlprod.lock_digest", now.lock_digest),
    ):
        before = record.tags.get(tag, "")
        short = [text[:SHOWN_DIGEST] + ("+changes" if text.endswith("+changes") else "") for text in (before, value)]
        yield Compared(what, short[0] or "unknown", short[1] or "unknown", before == value if before and value else None)
    yield Compared("seed", str(declared.model.seed), str(declared.model.seed), True)
    if record.environment is None:
        yield Compared("packages", "not recorded", "", None)
        return
    here = provenance.environment(record.environment.threads)
    for what in ("python", "machine", "threads"):
        was, is_now = str(getattr(record.environment, what)), str(getattr(here, what))
        yield Compared(what, was, is_now, was == is_now)
    other = {name for name, was in record.environment.packages.items() if here.packages.get(name) != was}
    yield Compared("packages", f"{len(record.environment.packages)} versions", f"{len(other)} differ", not other)
    for name in sorted(other):
        yield Compared(f"  {name}", record.environment.packages[name], here.packages.get(name, "absent"), False)


def _compare_metrics(recorded: Estimates, now: Estimates) -> Iterator[Compared]:
    """Compare values and intervals exactly; NaN (could not be computed) equals NaN."""
    for name, before in recorded.items():
        again = now.get(name)
        if again is None:
            yield Compared(f"metric {name}", _six_digits(before.value), "not computed", False)
            continue
        pairs = [(before.value, again.value), (before.low, again.low), (before.high, again.high)]
        same = all(one == other or (math.isnan(one) and math.isnan(other)) for one, other in pairs)
        yield Compared(f"metric {name}", _six_digits(before.value), _six_digits(again.value), same)


def _six_digits(value: float) -> str:
    """Format a metric with six digits, two more than `format_number`, to make small differences visible."""
    return f"{value:,.0f}" if abs(value) >= 1_000_000 else f"{value:,.6g}"
