"""Register a model with everything needed to reproduce it, and make it champion."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.declaration.rhythm import TickName
from mlprod_tasks.declaration.split import PROVES_LESS
from mlprod_tasks.documents.formatting import format_number, number
from mlprod_tasks.evaluation.gate import Passed, gates_passed
from mlprod_tasks.evaluation.results import Evaluation
from mlprod_tasks.models import fallback, mlflow_flavor
from mlprod_tasks.models.capacity import within_capacity
from mlprod_tasks.models.feature_frame import Predictions
from mlprod_tasks.models.load_model import load_model
from mlprod_tasks.models.model import cores_for
from mlprod_tasks.models.predicted_columns import logged_columns
from mlprod_tasks.models.reference_profile import ReferenceProfile
from mlprod_tasks.models.stored_rows import StoredRows
from mlprod_tasks.platform import Platform, digest, names
from mlprod_tasks.platform.files import write_json
from mlprod_tasks.platform.ledger import Fallback, Promotion, PromotionKind, Training
from mlprod_tasks.platform.model_files import ModelRef
from mlprod_tasks.platform.registry import GOLDEN, GOLDEN_TAG, PROFILE, PROFILE_TAG, TRAINING_TAG
from mlprod_tasks.promotion import approve, history
from mlprod_tasks.promotion.compared import check_still_champion
from mlprod_tasks.reporting import card
from mlprod_tasks.reporting.write import LOGGED
from mlprod_tasks.training import assemble, workspace
from mlprod_tasks.training.provenance import RECORD_FOLDER, Environment, environment, provenance
from mlprod_tasks.training.records import Assembled, SearchResult, Trained
from mlprod_tasks.training.split import TEST
from mlprod_tasks.training.workspace import TrainingFolder, failing, update

log = logging.getLogger(__name__)

AS_OF_TAG = "mlprod.as_of"
GOLDEN_ROWS = 100
SMOOTHED = {"binary": "outcome rates", "regression": "mean outcomes", "multiclass": "shares of classes"}
NOT_YET = 0  # instead of a version's number: MLflow's begin at 1
# The search result exists only if a search is declared.
RECORD = (Assembled.FILE, assemble.DECLARATION, SearchResult.FILE, Evaluation.FILE, Environment.FILE)


# Builds the reference profile of a test window from its rows, the features' importance and the file of all windows:
# `monitoring.profile.profile_of`.
ProfileOf = Callable[[Pipeline, pa.Table | Sequence[str], Mapping[str, float], Path], ReferenceProfile]


class NotThisModel(ValueError):
    """The verdict, the registered version and the stored files do not belong to the same model."""


@dataclass(frozen=True)
class Promoted:
    """Whether the champion alias was moved, and why or why not."""

    model_version: int
    moved: bool
    sentence: str


def register(pipeline: Pipeline, training_id: str, platform: Platform, profile_of: ProfileOf) -> ModelRef:
    """Register the training's model and its fallback in the registry.

    Running it twice makes no second version.

    profile_of: computes the profile that monitoring compares later ticks with.

    Raises: GatesRefused if the training did not pass its gates; NotApproved if a declared approval is missing; StepMissing
    before `evaluate`; ComparedWithAnother if another version became champion since `evaluate`.
    """
    verdict = gates_passed(pipeline, training_id, platform)
    approve.required(pipeline, training_id, verdict.model_digest, platform)
    folder = TrainingFolder(platform, training_id)
    with failing(training_id, platform):
        if digest.of_folder(folder.model) != verdict.model_digest:
            raise NotThisModel(
                f"the files in {folder.model} changed after training {training_id} passed its gates: train again"
            )
        _check_compared(pipeline, training_id, platform)
        run_id = folder.read(Trained).run_id
        tags = _tags(pipeline, folder)
        importance = _write_references(pipeline, folder, profile_of)
        tags |= {PROFILE_TAG: digest.of_file(folder.path / PROFILE), GOLDEN_TAG: digest.of_file(folder.path / GOLDEN)}
        with tempfile.TemporaryDirectory() as package:
            _package(folder, Path(package))
            platform.registry.log_folder(run_id, Path(package))
        folder.write(environment(cores_for(pipeline.model.threads)))
        for name in RECORD:
            if (folder.path / name).is_file():
                platform.registry.log_file(run_id, folder.path / name, RECORD_FOLDER)
        platform.registry.log(run_id, tags=tags)
        name, description = names.registered_model(pipeline), _description(pipeline, folder)
        ref = platform.registry.register(name, run_id, verdict.model_digest, "model", tags, description)
        _register_fallback(pipeline, folder, ref, run_id, tags, platform)
        for file in card.write(pipeline, folder, ref.version):  # the report step did not know the version yet
            platform.registry.log_file(run_id, file, LOGGED)
        platform.registry.end_run(run_id)
        update(training_id, platform, model_version=ref.version, importance=_shares(importance))
    log.info("%s: registered version %d", pipeline.name, ref.version)
    return ref


def promote(pipeline: Pipeline, ref: ModelRef, verdict: Passed, platform: Platform) -> Promoted:
    """Make a version champion, from the tick on as of which it was trained.

    A model never replaces one that was trained as of a later tick; and a training that began before a rollback never replaces
    the version that was brought back. The alias then stays, and the result says so.

    Raises: NotThisModel if the verdict is of another model; NotApproved if a declared approval is missing; BrokenArtifact if
    the stored files are not those of this model; ComparedWithAnother if a gate compares with the champion, and another version
    became champion since `evaluate`.
    """
    return _promote(pipeline, ref, verdict, platform, PromotionKind.BETTER)


def promote_tried(pipeline: Pipeline, ref: ModelRef, verdict: Passed, platform: Platform, kind: PromotionKind) -> Promoted:
    """Promote a version after it was tried on live rows. kind: how. As `promote`."""
    return _promote(pipeline, ref, verdict, platform, kind)


def _promote(pipeline: Pipeline, ref: ModelRef, verdict: Passed, platform: Platform, kind: PromotionKind) -> Promoted:
    with failing(verdict.training_id, platform):
        if verdict.model_digest != ref.digest:
            raise NotThisModel(
                f"the gates passed model {verdict.model_digest[:12]}..., but version {ref.version} is {ref.digest[:12]}...: "
                "promote the version that passed"
            )
        approve.required(pipeline, verdict.training_id, verdict.model_digest, platform)
        stored = platform.registry.version(ref.name, ref.version)
        if stored != ref or ref.name != names.registered_model(pipeline):
            raise NotThisModel(f"version {ref.version} of {ref.name!r} is not the one that was registered for {pipeline.name}")
        platform.registry.load_model(stored)  # reads and verifies every stored file
        training = platform.ledger.get(Training, verdict.training_id)
        if training is None:
            raise NotThisModel(f"the ledger has no training {verdict.training_id!r}")
        return _make_champion(pipeline, ref, training, platform, kind)


def promote_training(pipeline: Pipeline, training_id: str, passed_digest: str, platform: Platform) -> Promoted:
    """Promote the version that a training registered, given only names.

    passed_digest: of the model that passed the gates. Raises: as `promote`; GatesRefused if the stored evaluation does not pass
    any more.
    """
    verdict = gates_passed(pipeline, training_id, platform)
    if verdict.model_digest != passed_digest:
        raise NotThisModel(f"training {training_id} was changed after its gates passed: train again")
    run_id = TrainingFolder(platform, training_id).read(Trained).run_id
    return promote(pipeline, platform.registry.of_run(names.registered_model(pipeline), run_id), verdict, platform)


def ramp_wanted(pipeline: Pipeline, version: int, platform: Platform) -> bool:
    """Whether a registered version needs a gradual rollout.

    If not, it is promoted directly or a newer one was promoted.
    """
    known = history.promotions(pipeline, platform)
    if pipeline.serving is None or pipeline.serving.ramp is None or not known or known[-1].model_version == version:
        return False
    trainings = platform.ledger.all(Training, pipeline=pipeline.name, model_version=version)
    return all(superseded(known, version, training) is None for training in trainings)


def superseded(known: Sequence[Promotion], version: int, training: Training) -> Promotion | None:
    """The promotion that keeps a training's version from becoming champion.

    Returns None if it may become champion.
    """
    newer = [one for one in known if one.effective > training.as_of and one.rolled_back_from is None]
    # A training that began after a rollback was compared with the version brought back, so it may replace that one.
    undone = any(one.at >= training.at for one in known if one.rolled_back_from is not None)
    before = any((one.model_version, one.effective) == (version, _effective(known, training)) for one in known)
    withdrawn = any(one.rolled_back_from == version for one in known)  # only a person may bring it back
    return known[-1] if newer or undone or before or withdrawn else None


def _effective(known: Sequence[Promotion], training: Training) -> TickName:
    """The tick from which a training's model is champion: not before a rollback since then takes effect."""
    return max([training.as_of, *(one.effective for one in known if one.rolled_back_from is not None)])


def _check_compared(pipeline: Pipeline, training_id: str, platform: Platform) -> None:
    """Refuse early what `promote` would refuse.

    A model that came too late is registered all the same: a person may name it later.
    """
    known, training = history.promotions(pipeline, platform), platform.ledger.get(Training, training_id)
    if training is None or superseded(known, NOT_YET, training) is None:
        check_still_champion(pipeline, training_id, known, platform)


def _make_champion(pipeline: Pipeline, ref: ModelRef, training: Training, platform: Platform, kind: PromotionKind) -> Promoted:
    def choose(known: Sequence[Promotion]) -> Promotion | None:
        if known and known[-1].model_version == ref.version:
            return known[-1]  # a repeated call
        if superseded(known, ref.version, training) is not None:
            return None
        check_still_champion(pipeline, training.id, known, platform)  # under the lock: of two at once, one waits and sees this
        effective = _effective(known, training)
        return Promotion(
            pipeline=pipeline.name,
            model_version=ref.version,
            effective=effective,
            training_id=training.id,
            reason=training.reason,
            at=platform.clock.now(),
            kind=kind if known else PromotionKind.FIRST,
            decided_at=training.decided_at,
        )

    promotion = history.record_promotion(pipeline, choose, platform)
    last = history.promotions(pipeline, platform)[-1]
    if promotion is None or last.model_version != ref.version:
        return _superseded(ref, training, last, platform)
    update(training.id, platform, state="promoted", model_version=ref.version)
    sentence = f"version {ref.version} of {ref.name} is champion from tick {last.effective} on"
    log.info("%s", sentence)
    return Promoted(ref.version, True, sentence)


def _superseded(ref: ModelRef, training: Training, last: Promotion, platform: Platform) -> Promoted:
    why = "" if last.rolled_back_from is None else f" ({last.reason})"
    sentence = (
        f"version {ref.version} of {ref.name} was trained as of {training.as_of}, but version {last.model_version} is "
        f"champion from tick {last.effective} on{why}: the alias stays where it is"
    )
    log.warning("%s", sentence)
    update(training.id, platform, state="superseded", model_version=ref.version)
    return Promoted(ref.version, False, sentence)


def _tags(pipeline: Pipeline, folder: TrainingFolder) -> dict[str, str]:
    """Tags that say where the model comes from, enough to reproduce it."""
    assembled = folder.read(Assembled)
    made_by = provenance()
    tags = {
        TRAINING_TAG: folder.training_id,
        AS_OF_TAG: str(assembled.as_of),
        "mlprod.declaration_digest": assembled.declaration,
        "mlprod.git_commit": made_by.git_commit,
        "mlprod.code_digest": made_by.code_digest,
        "mlprod.lock_digest": made_by.lock_digest,
    }
    tags |= {f"mlprod.window.{name}": str(dates) for name, dates in assembled.windows.named()}
    return tags | {f"mlprod.data_version.{table}": str(version) for table, version in assembled.versions.items()}


def _write_references(pipeline: Pipeline, folder: TrainingFolder, profile_of: ProfileOf) -> Mapping[str, float]:
    """Write the reference profile and the golden predictions of the test window. Returns the gain of each feature.

    Monitoring compares later ticks with the profile. Golden predictions are rows evenly spaced over the test window, with
    scores that the model must reproduce forever.
    """
    model = load_model(folder.model)
    rows = workspace.read_window(folder, TEST, labelled=False)  # rows without an outcome are scored too
    predicted = model.predict(rows)
    decided = within_capacity(pipeline, rows, predicted)  # what is watched; golden predictions are the model's own
    with tempfile.TemporaryDirectory(dir=folder.path) as temporary:
        scored: pa.Table | list[str] = (
            _write_scored(pipeline, rows, decided, Path(temporary) / "scored.parquet")
            if isinstance(rows, StoredRows)
            else _with_scores(rows, decided)
        )
        profile = profile_of(pipeline, scored, model.importance, folder.training_set)
        write_json(folder.path / PROFILE, profile.as_json())
    chosen = np.unique(np.linspace(0, rows.num_rows - 1, GOLDEN_ROWS).astype(np.int64))
    golden = _with_scores(rows.take(chosen), predicted.take(chosen))
    pq.write_table(golden.select([*pipeline.feature_names, *logged_columns(predicted.take(slice(0, 0)))]), folder.path / GOLDEN)
    return model.importance


def _shares(gain: Mapping[str, float]) -> dict[str, float]:
    """Each feature's share of the gain; empty if the learner tells none."""
    total = sum(gain.values())
    return {feature: one / total for feature, one in gain.items()} if total > 0 else {}


def _with_scores(rows: pa.Table, predicted: Predictions) -> pa.Table:
    for name, column in logged_columns(predicted).items():
        rows = rows.append_column(name, column)
    return rows


def _write_scored(pipeline: Pipeline, rows: StoredRows, predicted: Predictions, file: Path) -> list[str]:
    """Write stored rows with their scores to a file; return its name."""
    names, at = [*pipeline.feature_names, "tick", "label"], 0
    writer: pq.ParquetWriter | None = None
    for batch in rows.batches([name for name in rows.column_names if name in names]):
        part = slice(at, at + batch.num_rows)
        table = _with_scores(batch, predicted.take(part))
        writer = writer or pq.ParquetWriter(file, table.schema)
        writer.write_table(table)
        at += batch.num_rows
    if writer is not None:
        writer.close()
    return [str(file)]


def _package(folder: TrainingFolder, target: Path) -> None:
    """Write the MLflow models `model` and `fallback`.

    Reference profile and golden predictions go with the model.
    """
    mlflow_flavor.save(load_model(folder.model), folder.model, target / "model")
    for name in (PROFILE, GOLDEN):
        (target / "model" / name).write_bytes((folder.path / name).read_bytes())
    mlflow_flavor.save(fallback.load(folder.fallback), folder.fallback, target / "fallback")


def _register_fallback(
    pipeline: Pipeline, folder: TrainingFolder, ref: ModelRef, run_id: str, tags: dict[str, str], platform: Platform
) -> None:
    """Register the fallback as a model of its own.

    It is stored in the ledger too, for when the registry is down.
    """
    model = fallback.load(folder.fallback)
    description = (
        f"Smoothed {SMOOTHED[model.task]} by {', '.join(model.feature_names)}, the "
        f"fallback of {ref.name} version {ref.version}."
    )
    platform.registry.register(
        names.fallback_model(pipeline), run_id, digest.of_folder(folder.fallback), "fallback", tags, description
    )
    platform.ledger.put(
        Fallback(pipeline=pipeline.name, model_version=ref.version, model=model.as_json(), at=platform.clock.now())
    )


def _tested_on(assembled: Assembled) -> str:
    """The rows of the test, and what they do not show if they are no later than those of the training."""
    test = assembled.windows.test
    if assembled.split is None:
        return f"Test window {test}"
    return f"{PROVES_LESS}. Test part of the snapshot of {test.last}, split {assembled.split_words}"


def _description(pipeline: Pipeline, folder: TrainingFolder) -> str:
    """The description on the version's page in the MLflow UI, in Markdown."""
    evaluated = folder.read(Evaluation)
    assembled = folder.read(Assembled)
    acts = "" if evaluated.threshold is None else f"; decision threshold {format_number(evaluated.threshold)}"
    lines = [
        f"{(pipeline.doc or pipeline.name).strip()}",
        "",
        f"{_tested_on(assembled)}: {evaluated.rows:,} rows, {evaluated.outcomes}{acts}.",
        "",
        "| metric | model | 95 % interval | baseline | champion before |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, one in evaluated.model.items():
        champion = (evaluated.champion or {}).get(name)
        before = "" if champion is None else number(champion.value)
        interval = f"{number(one.low)} to {number(one.high)}"
        baseline = number(evaluated.baseline[name].value) if name in evaluated.baseline else ""
        lines.append(f"| {name} | {number(one.value)} | {interval} | {baseline} | {before} |")
    return "\n".join(lines)
