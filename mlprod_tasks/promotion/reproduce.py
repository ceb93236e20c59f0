"""Make a registered model again from what was recorded with it, and say whether it is the same, bit for bit."""

from __future__ import annotations

import json
import logging
import os
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import duckdb
import numpy as np

from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.declaration.recorded import digest_of, read, read_part
from mlprod_tasks.evaluation import evaluate
from mlprod_tasks.evaluation.results import Estimates, Evaluation
from mlprod_tasks.platform import Platform, names
from mlprod_tasks.platform.lake import TableMissing
from mlprod_tasks.platform.registry import TRAINING_TAG, ModelRef
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
    """Something that the training used is no longer there; says what."""


@dataclass(frozen=True)
class Compared:
    """One thing as it was recorded and as it is now. same: None where it says nothing about the outcome."""

    what: str
    recorded: str
    now: str
    same: bool | None


@dataclass(frozen=True)
class Reproduced:
    """A model made again. max_difference: the greatest of |score again - score recorded| over the test window.

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
        """Whether it is identical, or of the same rows no score differs by more.

        Where scores are the same and metrics are not, something else is wrong, and no tolerance for scores covers it.
        """
        same_rows = all(one.same for one in self.compared if one.what.startswith("rows"))
        return self.identical or (same_rows and 0 < self.max_difference <= tolerance)

    def text(self) -> str:
        """A table for a terminal."""
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
        return f"NOT identical: scores of the test window differ by up to {self.max_difference:.3g}"


@dataclass(frozen=True)
class _Record:
    """What was kept with a version: its training set, evaluation, where it ran, digests of code and lock."""

    assembled: Assembled
    evaluation: Evaluation
    environment: provenance.Environment | None
    tags: Mapping[str, str]


def reproduce(pipeline: Pipeline, version: int | None, platform: Platform) -> Reproduced:
    """Rebuild a version's (None: the champion's) training set from its Delta versions, fit and measure as then, and compare.

    The declaration is the recorded one, whatever the file says today; code and packages are those that run now, and differences
    are told. Ledger, registry, aliases and the training's folder stay as they are.

    Raises: CannotReproduce; BrokenArtifact where the version's own files are not there.
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
        metrics = evaluate.measure_performance(declared, model, labelled).sampled.estimates()
        rebuilt = folder.read(Assembled)
    difference = float(np.max(np.abs(again.score - before.score), initial=0.0))
    scores_same = bool(np.array_equal(again.score, before.score) and np.array_equal(again.decision, before.decision))
    told = [
        *_of_data(pipeline, record, rebuilt, platform),
        *_of_code(pipeline, record, declared),
        Compared("scores", f"{rows.num_rows:,} rows", f"max |difference| {difference:.3g}", scores_same),
        *_of_metrics(record.evaluation.model, metrics),
    ]
    outcome_same = all(one.same for one in told if one.what.startswith(("rows", "scores", "metric")))
    return Reproduced(pipeline.name, ref.version, folder.training_id, rows.num_rows, difference, outcome_same, tuple(told))


def _record(ref: ModelRef, platform: Platform) -> _Record:
    def find(kind: type[R]) -> R | None:
        file = f"{RECORD_FOLDER}/{kind.FILE}"
        content = platform.registry.read_file(ref.run_id, file)
        return None if content is None else from_json(kind, json.loads(content), f"{file} of run {ref.run_id}")

    def kept(kind: type[R]) -> R:
        found = find(kind)
        if found is None:
            raise CannotReproduce(
                f"version {ref.version} of {ref.name!r} cannot be reproduced: its run {ref.run_id} keeps no "
                f"{RECORD_FOLDER}/{kind.FILE}: it was deleted"
            )
        return found

    return _Record(kept(Assembled), kept(Evaluation), find(provenance.Environment), platform.registry.run_tags(ref.run_id))


def _declaration(pipeline: Pipeline, ref: ModelRef, record: _Record, platform: Platform) -> Pipeline:
    """The declaration that the model was made by: as it was recorded, else today's where it is still the same."""
    recorded = record.assembled.declaration
    content = platform.registry.read_file(ref.run_id, f"{RECORD_FOLDER}/{assemble.DECLARATION}")
    if content is not None and digest_of(content.decode()) == recorded:
        return read(content.decode())
    if pipeline.digest == recorded:
        return pipeline
    why = "is not the one that it names" if content is not None else "is not kept with it, and today's is another"
    commit = record.tags.get("mlprod.git_commit", "")
    raise CannotReproduce(
        f"version {ref.version} of {ref.name!r} cannot be reproduced: the declaration that it was made by ({recorded[:12]}...) "
        f"{why}. Check out the commit that made it{f' ({commit})' if commit else ''} and try again"
    )


def _rebuild(declared: Pipeline, recorded: Assembled, folder: TrainingFolder, platform: Platform) -> None:
    """The training set once more, from the recorded versions of the lake's tables."""
    as_of = declared.schedule.tick(recorded.as_of)
    chosen = on_schedule(recorded.windows, declared.schedule)
    try:
        assemble.write_set(declared, as_of, chosen, recorded.versions, folder.path, platform)
    except (duckdb.Error, OSError, TableMissing) as error:
        missing = list(_missing(declared, recorded, platform)) or [f"{type(error).__name__}: {error}"]
        raise CannotReproduce(
            f"{declared.name}: the training set of {folder.training_id} cannot be rebuilt: {'; '.join(missing)}. Restore these "
            "files from a backup of the lake; versions that trainings use must not be vacuumed"
        ) from error


def _missing(declared: Pipeline, recorded: Assembled, platform: Platform) -> Iterator[str]:
    """What is gone of the recorded versions, a sentence a table. Files are looked for only where the lake is a folder."""
    for name, version in recorded.versions.items():
        table = names.raw(declared, name)
        try:
            files = platform.lake.files(table, version=version)
        except TableMissing as error:
            yield str(error)
            continue
        gone = [] if "://" in platform.lake.root else [file for file in files if not os.path.exists(file)]
        if gone:
            yield (
                f"version {version} of lake table {table!r} lacks {len(gone)} of its {len(files)} files, vacuumed or deleted "
                f"since (first {gone[0]})"
            )


def _fit(declared: Pipeline, registered: Any, record: _Record, folder: TrainingFolder, platform: Platform) -> Any:
    """The model once more: by its recipe, which holds the parameters that a search had found, and with as many threads."""
    recipe, continued = registered.facts.recipe, registered.facts.continued_from
    facts = facts_of(record.assembled, folder.training_id, record.assembled.declaration, continued)
    made_by = declared if recipe is None else replace(declared, model=read_part(recipe))
    if record.environment is not None:
        made_by = replace(made_by, model=replace(made_by.model, threads=record.environment.threads))
    warm = None if continued is None else platform.registry.load(declared, continued.version)
    rows = [workspace.read_window(folder, split) for split in (TRAIN, VALIDATION)]
    return segments.fit_all(made_by, rows[0], rows[1], facts, warm=warm)


def _of_data(pipeline: Pipeline, record: _Record, rebuilt: Assembled, platform: Platform) -> Iterator[Compared]:
    as_of = str(record.assembled.as_of)
    yield Compared("as of", as_of, as_of, True)
    for name, version in record.assembled.versions.items():
        table = names.raw(pipeline, name)
        newest = platform.lake.version(table)
        later = "" if newest == version else f" (now at {newest})"
        yield Compared(f"data {name}", f"version {version}", f"read at {rebuilt.versions[name]}{later}", True)
    for name in (TRAIN, VALIDATION, TEST):
        counts = [f"{of.rows[name]:,}, {of.positives[name]:,} positive" for of in (record.assembled, rebuilt)]
        yield Compared(f"rows {name}", counts[0], counts[1], counts[0] == counts[1])


def _of_code(pipeline: Pipeline, record: _Record, declared: Pipeline) -> Iterator[Compared]:
    """Declaration, code, packages: what differs is told, and not counted against the outcome."""
    recorded = record.assembled.declaration
    same = pipeline.digest == recorded
    yield Compared("declaration", recorded[:SHOWN_DIGEST], "the same" if same else "another; the recorded is used", same)
    now = provenance.provenance()
    for what, tag, value in (
        ("code", "mlprod.code_digest", now.code_digest),
        ("git commit", "mlprod.git_commit", now.git_commit),
        ("lock", "mlprod.lock_digest", now.lock_digest),
    ):
        before = record.tags.get(tag, "")
        shown = [text[:SHOWN_DIGEST] + ("+changes" if text.endswith("+changes") else "") for text in (before, value)]
        yield Compared(what, shown[0] or "unknown", shown[1] or "unknown", before == value if before and value else None)
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


def _of_metrics(recorded: Estimates, now: Estimates) -> Iterator[Compared]:
    """Values and intervals, compared by their bits; NaN is what could not be computed, then and now."""
    for name, before in recorded.items():
        again = now.get(name)
        if again is None:
            yield Compared(f"metric {name}", f"{before.value:.6g}", "not computed", False)
            continue
        pairs = [(before.value, again.value), (before.low, again.low), (before.high, again.high)]
        same = all(one == other or (one != one and other != other) for one, other in pairs)
        yield Compared(f"metric {name}", f"{before.value:.6g}", f"{again.value:.6g}", same)
