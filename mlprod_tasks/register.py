"""Register a model that passed its gates, with everything needed to make it again, and promote it to champion."""

from __future__ import annotations

import logging
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from mlprod_tasks import assemble, evaluate, fallback, model, places, pyfunc, train
from mlprod_tasks import evaluation as evaluations
from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.gate import Passed
from mlprod_tasks.gate import passed as gates_passed
from mlprod_tasks.platform import Platform, digest
from mlprod_tasks.platform.ledger import Fallback, Promotion, Training
from mlprod_tasks.platform.registry import CHAMPION, FALLBACK, PROFILE, PROFILE_TAG, TRAINING_TAG, ModelRef
from mlprod_tasks.provenance import provenance
from mlprod_tasks.split import TEST
from mlprod_tasks.training_folder import TrainingFolder, failing, update, write_json

log = logging.getLogger(__name__)

AS_OF_TAG = "mlprod.as_of"


class NotThisModel(ValueError):
    """A verdict, a reference and the stored files are not of one and the same model."""


@dataclass(frozen=True)
class Promoted:
    """Whether the alias was moved, and why or why not."""

    model_version: int
    moved: bool
    sentence: str


def register(pipeline: Pipeline, training_id: str, platform: Platform) -> ModelRef:
    """Make the training's model a version in the registry, and its fallback beside it. Twice makes no second version.

    Raises: GatesRefused where the training did not pass its gates; StepMissing before `evaluate`.
    """
    verdict = gates_passed(pipeline, training_id, platform)
    folder = TrainingFolder(platform, training_id)
    with failing(training_id, platform):
        trained = folder.read(train.TRAINED, "train")
        if digest.of_folder(folder.model) != verdict.model_digest:
            raise NotThisModel(
                f"the files in {folder.model} changed after training {training_id} passed its gates: train again"
            )
        run_id = trained["run_id"]
        tags = _tags(pipeline, folder)
        _write_reference_profile(pipeline, folder)
        tags[PROFILE_TAG] = digest.of_file(folder.path / PROFILE)
        with tempfile.TemporaryDirectory() as made:
            _package(folder, Path(made))
            platform.registry.log_folder(run_id, Path(made))
        for name in (assemble.MANIFEST, evaluate.EVALUATION):
            platform.registry.log_file(run_id, folder.path / name, "training")
        platform.registry.log(run_id, tags=tags)
        description = _description(pipeline, folder)
        name = places.registered_model(pipeline)
        ref = platform.registry.register(name, run_id, verdict.model_digest, "model", tags, description)
        _register_fallback(pipeline, folder, ref, run_id, tags, platform)
        platform.registry.end_run(run_id)
        update(training_id, platform, model_version=ref.version)
    log.info("%s: registered version %d", pipeline.name, ref.version)
    return ref


def promote(pipeline: Pipeline, ref: ModelRef, verdict: Passed, platform: Platform) -> Promoted:
    """Point alias `champion` at a version, from the tick on as of which it was trained.

    A model of an older moment never takes the place of a newer one: the alias then stays, and the outcome says so.

    Raises: NotThisModel where the verdict is not of this very model; BrokenArtifact where its stored files are not.
    """
    with failing(verdict.training_id, platform):
        if verdict.model_digest != ref.digest:
            raise NotThisModel(
                f"the gates passed model {verdict.model_digest[:12]}..., but version {ref.version} is {ref.digest[:12]}...: "
                "promote the version that was judged"
            )
        stored = platform.registry.version(ref.name, ref.version)
        if stored != ref or ref.name != places.registered_model(pipeline):
            raise NotThisModel(f"version {ref.version} of {ref.name!r} is not what was registered for {pipeline.name}")
        platform.registry.load_model(stored)  # reads and verifies every stored file
        training = platform.ledger.get(Training, verdict.training_id)
        if training is None:
            raise NotThisModel(f"the ledger knows no training {verdict.training_id!r}")
        newer = [
            promotion
            for promotion in platform.ledger.all(Promotion, pipeline=pipeline.name)
            if promotion.effective > training.as_of
        ]
        if newer:
            return _superseded(pipeline, ref, training, max(newer, key=lambda promotion: promotion.effective), platform)
        return _move(pipeline, ref, training, platform)


def promote_training(pipeline: Pipeline, training_id: str, judged: str, platform: Platform) -> Promoted:
    """Promote what a training registered, for a caller that has only names: `judged` is the digest that passed the gates.

    Raises: as `promote`; GatesRefused where the stored evaluation does not pass any more.
    """
    verdict = gates_passed(pipeline, training_id, platform)
    if verdict.model_digest != judged:
        raise NotThisModel(f"training {training_id} was changed after its gates passed: train again")
    run_id = TrainingFolder(platform, training_id).read(train.TRAINED, "train")["run_id"]
    return promote(pipeline, platform.registry.of_run(places.registered_model(pipeline), run_id), verdict, platform)


def _move(pipeline: Pipeline, ref: ModelRef, training: Training, platform: Platform) -> Promoted:
    key = (pipeline.name, ref.version, training.as_of)
    # Again the same promotion: it keeps its moment, so the order of promotions stays what it was.
    kept = platform.ledger.get(Promotion, *key)
    platform.ledger.put(
        Promotion(
            pipeline=pipeline.name,
            model_version=ref.version,
            effective=training.as_of,
            training_id=training.id,
            reason=training.reason,
            at=kept.at if kept else platform.clock.now(),
        )
    )
    registry = platform.registry
    registry.set_alias(ref.name, CHAMPION, ref.version)
    beside = places.fallback_model(pipeline)
    registry.set_alias(beside, FALLBACK, registry.of_run(beside, ref.run_id).version)
    update(training.id, platform, state="promoted", model_version=ref.version)
    sentence = f"version {ref.version} of {ref.name} is champion from tick {training.as_of} on"
    log.info("%s", sentence)
    return Promoted(ref.version, True, sentence)


def _superseded(pipeline: Pipeline, ref: ModelRef, training: Training, newer: Promotion, platform: Platform) -> Promoted:
    sentence = (
        f"version {ref.version} of {ref.name} was trained as of {training.as_of}, but version {newer.model_version} is "
        f"champion from tick {newer.effective} on: the alias stays where it is"
    )
    log.warning("%s", sentence)
    update(training.id, platform, state="superseded", model_version=ref.version)
    return Promoted(ref.version, False, sentence)


def _tags(pipeline: Pipeline, folder: TrainingFolder) -> dict[str, str]:
    """Where the model comes from: enough to make it again."""
    assembled = folder.read(assemble.MANIFEST, "assemble")
    made_by = provenance()
    tags = {
        TRAINING_TAG: folder.training_id,
        AS_OF_TAG: assembled["as_of"],
        "mlprod.declaration_digest": assembled["declaration"],
        "mlprod.git_commit": made_by.git_commit,
        "mlprod.code_digest": made_by.code_digest,
        "mlprod.lock_digest": made_by.lock_digest,
    }
    tags |= {f"mlprod.window.{name}": "..".join(ticks) for name, ticks in assembled["windows"].items()}
    return tags | {f"mlprod.data_version.{table}": str(version) for table, version in assembled["versions"].items()}


def _write_reference_profile(pipeline: Pipeline, folder: TrainingFolder) -> None:
    """What features, scores and outcomes looked like on the test window: what is watched is compared with it."""
    from mlprod_tasks.monitor.profile import profile_of

    made = model.load(folder.model)
    rows = train.read_window(folder, TEST, labelled=False)  # rows without an outcome are scored too
    predicted = made.predict(rows)
    rows = rows.append_column("score", pa.array(predicted.score)).append_column("decision", pa.array(predicted.decision))
    write_json(folder.path / PROFILE, profile_of(pipeline, rows, made.importance).as_json())


def _package(folder: TrainingFolder, target: Path) -> None:
    """MLflow models of both, in folders `model` and `fallback`; the reference profile goes with the model."""
    pyfunc.save(model.load(folder.model), folder.model, target / "model")
    (target / "model" / PROFILE).write_bytes((folder.path / PROFILE).read_bytes())
    pyfunc.save(fallback.load(folder.fallback), folder.fallback, target / "fallback")


def _register_fallback(
    pipeline: Pipeline, folder: TrainingFolder, ref: ModelRef, run_id: str, tags: dict[str, str], platform: Platform
) -> None:
    """The fallback is a version of its own, and a row of the ledger: it must answer when the registry does not."""
    beside = fallback.load(folder.fallback)
    described = f"Smoothed outcome rates by {', '.join(beside.feature_names)}, beside {ref.name} version {ref.version}."
    platform.registry.register(
        places.fallback_model(pipeline), run_id, digest.of_folder(folder.fallback), "fallback", tags, described
    )
    platform.ledger.put(
        Fallback(pipeline=pipeline.name, model_version=ref.version, model=beside.as_json(), at=platform.clock.now())
    )


def _description(pipeline: Pipeline, folder: TrainingFolder) -> str:
    """The version's page in the MLflow UI."""
    evaluated = evaluations.from_json(folder.read(evaluate.EVALUATION, "evaluate"))
    assembled = folder.read(assemble.MANIFEST, "assemble")
    test = "..".join(assembled["windows"][TEST])
    lines = [
        f"{(pipeline.doc or pipeline.name).strip()}",
        "",
        f"Test window {test}: {evaluated.rows:,} rows, {evaluated.positives:,} positive; acts from {evaluated.threshold:.4f}.",
        "",
        "| metric | model | 95 % interval | baseline | champion before |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, one in evaluated.model.items():
        before = f"{evaluated.champion[name].value:.4g}" if evaluated.champion else ""
        lines.append(
            f"| {name} | {one.value:.4g} | {one.low:.4g} to {one.high:.4g} | {evaluated.baseline[name].value:.4g} | {before} |"
        )
    return "\n".join(lines)
