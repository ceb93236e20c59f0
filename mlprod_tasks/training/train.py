"""Fit the model: one part per segment and one for all rows; and the fallback."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.models import fallback, segmented
from mlprod_tasks.models.feature_frame import outcome_of
from mlprod_tasks.models.model import Model
from mlprod_tasks.models.model import load_one as load_model
from mlprod_tasks.models.model_facts import ContinuedFrom, ModelFacts
from mlprod_tasks.models.segmented import SegmentedModel
from mlprod_tasks.models.stored_rows import Rows
from mlprod_tasks.platform import Platform, digest
from mlprod_tasks.platform.files import replacing_folder
from mlprod_tasks.platform.versioned import read_record, to_json, write_record
from mlprod_tasks.training import segments as by_segment
from mlprod_tasks.training.provenance import provenance
from mlprod_tasks.training.records import Assembled, KeptPart, Segments, SegmentSummary, Trained, WarmStart, facts_of
from mlprod_tasks.training.split import TEST, TRAIN, VALIDATION
from mlprod_tasks.training.workspace import TrainingFolder, failing, read_window, update

if TYPE_CHECKING:
    from mlprod_tasks.declaration import Learner

log = logging.getLogger(__name__)

PARTS, PART, MODEL = "parts", "part.json", "model"
LOGGED = "training"  # folder of the MLflow run


@dataclass(frozen=True)
class Part:
    """The fitted model of one segment, or of all rows ('*')."""

    training_id: str
    segment: str
    learner: str
    digest: str
    trees: int
    seconds: float


@dataclass(frozen=True)
class _FitInputs:
    """The inputs of a part. key: their hash; a stored part with the same key is reused."""

    train: Rows
    validation: Rows
    facts: ModelFacts
    tuned: Mapping[str, Learner]
    warm: Model | SegmentedModel | None
    key: str


def segments(pipeline: Pipeline, training_id: str, platform: Platform) -> list[str]:
    """List the parts to `fit`: '*' for all rows, then each segment that is large enough.

    Raises: StepMissing before `assemble`.
    """
    folder = TrainingFolder(platform, training_id)
    with failing(training_id, platform):
        inputs = _fit_inputs(pipeline, folder, platform)
        return [by_segment.OVERALL, *by_segment.large(pipeline, inputs.train, inputs.validation)]


def fit(pipeline: Pipeline, training_id: str, segment: str, platform: Platform) -> Part:
    """Fit one part to the assembled set.

    Reuse one of the same set, declaration, parameters and code.
    Parts of one training may be fitted at the same time. Raises: StepMissing before `assemble`, or before a declared `search`;
    ValueError for a segment that `segments` does not list.
    """
    began = time.perf_counter()
    folder = TrainingFolder(platform, training_id)
    with failing(training_id, platform):
        inputs = _fit_inputs(pipeline, folder, platform)
        known = [by_segment.OVERALL, *by_segment.large(pipeline, inputs.train, inputs.validation)]
        if segment not in known:
            raise ValueError(f"{pipeline.name}: segment {segment!r} has no model of its own; parts are {', '.join(known)}")
        model = _part(pipeline, segment, inputs, folder)
        return Part(
            training_id,
            segment,
            _chosen_learner(model),
            digest.of_folder(_part_folder(folder, segment) / MODEL),
            model.trees,
            time.perf_counter() - began,
        )


def train(pipeline: Pipeline, training_id: str, platform: Platform) -> Trained:
    """Combine the parts, fit missing ones and the fallback, save all, start the run.

    The run is the training's in MLflow.
    The same set, declaration and threads give the same model, bit for bit.

    Raises: StepMissing before `assemble`, or before a declared `search`.
    """
    began = time.perf_counter()
    folder = TrainingFolder(platform, training_id)
    with failing(training_id, platform):
        assembled = folder.read(Assembled)
        inputs = _fit_inputs(pipeline, folder, platform)
        chosen = by_segment.large(pipeline, inputs.train, inputs.validation)
        model = by_segment.collect(pipeline, inputs.train, chosen, lambda name: _part(pipeline, name, inputs, folder))
        with replacing_folder(folder.model) as target:
            model_digest = model.save(target)
        outcome = outcome_of(inputs.train)
        classes = () if model.rule is None else model.rule.classes
        table = fallback.fit_fallback(pipeline.fallback, pipeline.value, inputs.train, outcome, classes, pipeline.quantile)
        table.save(folder.fallback)
        run_id = platform.registry.start_run(pipeline, training_id)
        platform.registry.log(run_id, params=_params(model, assembled), metrics=_scores(model))
        if isinstance(model, SegmentedModel):
            folder.write(_segments(model))
            platform.registry.log_file(run_id, folder.file(Segments), LOGGED)
        update(training_id, platform, run_id=run_id)
        seconds = time.perf_counter() - began
        trained = Trained(
            training_id, run_id, model_digest, _chosen_learner(model), len(chosen), model.trees, model.threshold, seconds
        )
        folder.write(trained)
    acts = "" if model.threshold is None else f", acts from a score of {model.threshold:.3f} on"
    log.info("%s: %s with %d trees in %.1f s%s", pipeline.name, trained.learner, trained.trees, seconds, acts)
    return trained


def _fit_inputs(pipeline: Pipeline, folder: TrainingFolder, platform: Platform) -> _FitInputs:
    from mlprod_tasks.training.search import tuned as tuned_by_search

    assembled = folder.read(Assembled)
    tuned = tuned_by_search(pipeline, folder)
    continued = _continued_champion(pipeline, folder, assembled, platform)
    facts = facts_of(assembled, folder.training_id, pipeline.digest, continued)
    warm = None if continued is None else platform.registry.load(pipeline, continued.version)
    code = provenance()
    hashed = {
        "facts": to_json(facts),
        "set": digest.of_file(folder.training_set),
        "tuned": {name: [type(one).__name__, asdict(one)] for name, one in tuned.items()},
        "code": [code.code_digest, code.lock_digest],
    }
    key = hashlib.sha256(json.dumps(hashed, sort_keys=True, default=str).encode()).hexdigest()
    return _FitInputs(read_window(folder, TRAIN), read_window(folder, VALIDATION), facts, tuned, warm, key)


def _continued_champion(
    pipeline: Pipeline, folder: TrainingFolder, assembled: Assembled, platform: Platform
) -> ContinuedFrom | None:
    """Return the champion that a warm update continues, or None.

    Decided once per training: when it runs again, its own model may be the champion.
    """
    if not pipeline.model.warm_update:
        return None
    decided = folder.find(WarmStart)
    if decided is None:
        decided = WarmStart(_usable_champion(pipeline, assembled, platform))
        folder.write(decided)
    return decided.champion


def _usable_champion(pipeline: Pipeline, assembled: Assembled, platform: Platform) -> ContinuedFrom | None:
    from mlprod_tasks.platform.model_files import BrokenArtifact

    champion = platform.registry.champion(pipeline)
    if champion is None:
        return None
    try:
        fitted_to = platform.registry.load_model(champion).facts.windows
    except BrokenArtifact as error:
        log.warning("%s: no warm update, candidates start from scratch: %s", pipeline.name, error)
        return None
    if fitted_to is None:
        log.warning(
            "%s: no warm update, candidates start from scratch: version %d does not record its training rows",
            pipeline.name,
            champion.version,
        )
        return None
    for window, later in ((TRAIN, VALIDATION), (VALIDATION, TEST)):
        last, first = fitted_to[window].last, assembled.windows[later].first
        if last >= first:
            log.warning(
                "%s: no warm update, candidates start from scratch: version %d used rows up to %s in its %s window, and the %s "
                "window starts on %s",
                pipeline.name, champion.version, last, window, later, first,
            )  # fmt: skip
            return None
    return ContinuedFrom(champion.version, champion.digest)


def _part(pipeline: Pipeline, segment: str, inputs: _FitInputs, folder: TrainingFolder) -> Model:
    """Return the model of one part: the stored one if its inputs are the same, else a new one, which is stored."""
    part_folder = _part_folder(folder, segment)
    stored = read_record(KeptPart, part_folder / PART)
    if stored is not None and stored.key == inputs.key:
        log.info("%s: part %s is already fitted", pipeline.name, segment)
        return load_model(part_folder / MODEL)
    log.info("%s: fitting %s", pipeline.name, "all rows" if segment == by_segment.OVERALL else f"segment {segment}")
    model = by_segment.fit_part(pipeline, segment, inputs.train, inputs.validation, inputs.facts, inputs.tuned, inputs.warm)
    with replacing_folder(part_folder) as target:
        model.save(target / MODEL)
        write_record(KeptPart(inputs.key, segment), target / PART)
    return model


def _part_folder(folder: TrainingFolder, segment: str) -> Path:
    name = segmented.OVERALL if segment == by_segment.OVERALL else segmented.folder_of(segment)
    return folder.path / PARTS / name


def _chosen_learner(model: Model | SegmentedModel) -> str:
    """Return the name of the chosen candidate."""
    return next(one.name for one in model.candidates if one.chosen)


def _params(model: Model | SegmentedModel, assembled: Assembled) -> dict[str, Any]:
    """Return the run's parameters; those of candidates that were not chosen are prefixed with the candidate's name."""
    learner = _chosen_learner(model)
    params = _flat(model.facts.recipe or {}, learner)
    if model.rule is not None:
        params["classes"] = len(model.rule.classes)
    params |= {"learner": learner, "trees": model.trees, "as_of": str(assembled.as_of)}
    if model.threshold is not None:
        params["threshold"] = model.threshold
    if isinstance(model, SegmentedModel):
        params["segments"] = len(model.parts)
    params |= {f"window.{name}": str(dates) for name, dates in assembled.windows.named()}
    return params | {f"rows.{name}": n for name, n in assembled.rows.named()}


def _scores(model: Model | SegmentedModel) -> dict[str, float]:
    """Return the validation metrics of each candidate; for a model by segments, those of the global model."""
    return {
        f"validation.{one.name}.{name}": number
        for one in model.candidates
        for name, number in one.metrics.items()
        if number is not None
    }


def _segments(model: SegmentedModel) -> Segments:
    parts = {by_segment.OVERALL: (model.overall, model.overall_rows)}
    parts |= {name: (part, model.rows[name]) for name, part in model.parts.items()}
    return Segments(
        model.by,
        tuple(
            SegmentSummary(
                segment=name,
                rows=rows,
                learner=_chosen_learner(part),
                threshold=part.threshold,
                validation=dict(next(one.metrics for one in part.candidates if one.chosen)),
            )
            for name, (part, rows) in parts.items()
        ),
    )


def _flat(declared: Mapping[str, Any], chosen: str, prefix: str = "") -> dict[str, Any]:
    """Flatten the declared model to MLflow's parameters."""
    flat: dict[str, Any] = {}
    for name, given in declared.items():
        if name == "candidates":
            for candidate in given:
                flat |= _flat(candidate, chosen, "" if candidate["name"] == chosen else f"{prefix}{candidate['name']}.")
        elif isinstance(given, dict):
            flat |= _flat(given, chosen, f"{prefix}{name}.")
        elif name not in ("type", "name"):
            flat[f"{prefix}{name}"] = given
    return flat
