"""Fit the model: one part for each segment and one for all rows, then all of it in one piece, with the fallback beside it."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.models import fallback, segmented
from mlprod_tasks.models.feature_frame import outcome_of
from mlprod_tasks.models.model import Model
from mlprod_tasks.models.model import load_one as load_model
from mlprod_tasks.models.model_facts import ContinuedFrom, ModelFacts
from mlprod_tasks.models.segmented import SegmentedModel
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
class _Given:
    """All that a part is made from. key: digest of it; a part that was made with the same key is kept."""

    train: pa.Table
    validation: pa.Table
    facts: ModelFacts
    tuned: Mapping[str, Learner]
    warm: Model | SegmentedModel | None
    key: str


def segments(pipeline: Pipeline, training_id: str, platform: Platform) -> list[str]:
    """What `fit` is to be called for: '*', the model of all rows, then each segment that is large enough for its own.

    Raises: StepMissing before `assemble`.
    """
    folder = TrainingFolder(platform, training_id)
    with failing(training_id, platform):
        given = _given(pipeline, folder, platform)
        return [by_segment.OVERALL, *by_segment.large(pipeline, given.train, given.validation)]


def fit(pipeline: Pipeline, training_id: str, segment: str, platform: Platform) -> Part:
    """Fit one part to the assembled set; one that was made of the same set, declaration, parameters and code is kept.

    Parts of one training may be fitted at the same time. Raises: StepMissing before `assemble`, or before a declared `search`;
    ValueError for a segment that `segments` does not name.
    """
    began = time.perf_counter()
    folder = TrainingFolder(platform, training_id)
    with failing(training_id, platform):
        given = _given(pipeline, folder, platform)
        known = [by_segment.OVERALL, *by_segment.large(pipeline, given.train, given.validation)]
        if segment not in known:
            raise ValueError(f"{pipeline.name}: segment {segment!r} gets no model of its own; there are {', '.join(known)}")
        made = _part(pipeline, segment, given, folder)
        return Part(
            training_id,
            segment,
            _learner(made),
            digest.of_folder(_place(folder, segment) / MODEL),
            made.trees,
            time.perf_counter() - began,
        )


def train(pipeline: Pipeline, training_id: str, platform: Platform) -> Trained:
    """Put the parts together, fit those that are missing and the fallback, save all, and open the training's MLflow run.

    The same set, declaration and threads give the same model, bit for bit.

    Raises: StepMissing before `assemble`, or before a declared `search`.
    """
    began = time.perf_counter()
    folder = TrainingFolder(platform, training_id)
    with failing(training_id, platform):
        assembled = folder.read(Assembled)
        given = _given(pipeline, folder, platform)
        chosen = by_segment.large(pipeline, given.train, given.validation)
        model = by_segment.collect(pipeline, given.train, chosen, lambda name: _part(pipeline, name, given, folder))
        with replacing_folder(folder.model) as target:
            model_digest = model.save(target)
        outcome = outcome_of(given.train)
        fallback.fit_fallback(pipeline.fallback, pipeline.value, given.train, outcome).save(folder.fallback)
        run_id = platform.registry.start_run(pipeline, training_id)
        platform.registry.log(run_id, params=_params(model, assembled), metrics=_scores(model))
        if isinstance(model, SegmentedModel):
            folder.write(_segments(model))
            platform.registry.log_file(run_id, folder.file(Segments), LOGGED)
        update(training_id, platform, run_id=run_id)
        seconds = time.perf_counter() - began
        trained = Trained(
            training_id, run_id, model_digest, _learner(model), len(chosen), model.trees, model.threshold, seconds
        )
        folder.write(trained)
    log.info(
        "%s: %s with %d trees in %.1f s, acts from %.3f on",
        pipeline.name,
        trained.learner,
        trained.trees,
        seconds,
        model.threshold,
    )
    return trained


def _given(pipeline: Pipeline, folder: TrainingFolder, platform: Platform) -> _Given:
    from mlprod_tasks.training.search import tuned as found_by_search

    assembled = folder.read(Assembled)
    tuned = found_by_search(pipeline, folder)
    continued = _continued(pipeline, folder, assembled, platform)
    facts = facts_of(assembled, folder.training_id, pipeline.digest, continued)
    warm = None if continued is None else platform.registry.load(pipeline, continued.version)
    made_by = provenance()
    of = {
        "facts": to_json(facts),
        "set": digest.of_file(folder.training_set),
        "tuned": {name: [type(one).__name__, asdict(one)] for name, one in tuned.items()},
        "code": [made_by.code_digest, made_by.lock_digest],
    }
    key = hashlib.sha256(json.dumps(of, sort_keys=True, default=str).encode()).hexdigest()
    return _Given(read_window(folder, TRAIN), read_window(folder, VALIDATION), facts, tuned, warm, key)


def _continued(pipeline: Pipeline, folder: TrainingFolder, assembled: Assembled, platform: Platform) -> ContinuedFrom | None:
    """The champion that a warm update goes on from; None where there is none to go on from.

    Decided once a training: it may itself be champion when it is run again.
    """
    if not pipeline.model.warm_update:
        return None
    decided = folder.find(WarmStart)
    if decided is None:
        decided = WarmStart(_champion(pipeline, assembled, platform))
        folder.write(decided)
    return decided.champion


def _champion(pipeline: Pipeline, assembled: Assembled, platform: Platform) -> ContinuedFrom | None:
    from mlprod_tasks.platform.registry import BrokenArtifact

    champion = platform.registry.champion(pipeline)
    if champion is None:
        return None
    try:
        seen = platform.registry.load_model(champion).facts.windows
    except BrokenArtifact as error:
        log.warning("%s: no warm update, candidates start anew: %s", pipeline.name, error)
        return None
    if seen is None:
        log.warning(
            "%s: no warm update, candidates start anew: version %d does not say what it was fitted to",
            pipeline.name,
            champion.version,
        )
        return None
    for window, later in ((TRAIN, VALIDATION), (VALIDATION, TEST)):
        last, first = seen[window].last, assembled.windows[later].first
        if last >= first:
            log.warning(
                "%s: no warm update, candidates start anew: version %d has seen rows up to %s in its %s window, and the %s "
                "window begins on %s",
                pipeline.name, champion.version, last, window, later, first,
            )  # fmt: skip
            return None
    return ContinuedFrom(champion.version, champion.digest)


def _part(pipeline: Pipeline, segment: str, given: _Given, folder: TrainingFolder) -> Model:
    """The model of one part: the kept one where it was made from the same, else a new one, which is kept."""
    place = _place(folder, segment)
    kept = read_record(KeptPart, place / PART)
    if kept is not None and kept.key == given.key:
        log.info("%s: part %s is there already", pipeline.name, segment)
        return load_model(place / MODEL)
    log.info("%s: fitting %s", pipeline.name, "all rows" if segment == by_segment.OVERALL else f"segment {segment}")
    made = by_segment.fit_part(pipeline, segment, given.train, given.validation, given.facts, given.tuned, given.warm)
    with replacing_folder(place) as fresh:
        made.save(fresh / MODEL)
        write_record(KeptPart(given.key, segment), fresh / PART)
    return made


def _place(folder: TrainingFolder, segment: str) -> Path:
    name = segmented.OVERALL if segment == by_segment.OVERALL else segmented.folder_of(segment)
    return folder.path / PARTS / name


def _learner(model: Model | SegmentedModel) -> str:
    """The name of the candidate that was chosen."""
    return next(one.name for one in model.candidates if one.chosen)


def _params(model: Model | SegmentedModel, assembled: Assembled) -> dict[str, Any]:
    """What the run lists as parameters: those of the chosen candidate by their own names, others' below their candidate's."""
    learner = _learner(model)
    params = _flat(model.facts.recipe or {}, learner)
    params |= {"learner": learner, "trees": model.trees, "threshold": model.threshold, "as_of": str(assembled.as_of)}
    if isinstance(model, SegmentedModel):
        params["segments"] = len(model.parts)
    params |= {f"window.{name}": str(dates) for name, dates in assembled.windows.named()}
    return params | {f"rows.{name}": n for name, n in assembled.rows.named()}


def _scores(model: Model | SegmentedModel) -> dict[str, float]:
    """What each candidate scored on the validation window; by segments, those of the global model."""
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
                learner=_learner(part),
                threshold=part.threshold,
                validation=dict(next(one.metrics for one in part.candidates if one.chosen)),
            )
            for name, (part, rows) in parts.items()
        ),
    )


def _flat(declared: Mapping[str, Any], chosen: str, prefix: str = "") -> dict[str, Any]:
    """The declared model as MLflow lists parameters: one line each."""
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
