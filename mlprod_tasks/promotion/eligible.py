"""Whether a version that a rollout or an experiment tries may become champion, and its promotion."""

from __future__ import annotations

from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.evaluation.gate import gates_passed
from mlprod_tasks.platform import Platform, names
from mlprod_tasks.platform.ledger import Promotion, PromotionKind, Training, newest
from mlprod_tasks.platform.model_files import BrokenArtifact, ModelRef
from mlprod_tasks.promotion import approve, history
from mlprod_tasks.promotion.compared import ComparedWithAnother, check_still_champion
from mlprod_tasks.promotion.register import Promoted, promote_tried, superseded
from mlprod_tasks.promotion.rollback import rollback


class CannotPromote(ValueError):
    """The version cannot become champion; the message says why."""


def may_become_champion(pipeline: Pipeline, version: int, platform: Platform) -> None:
    """Check that a version can be promoted, before it is tried.

    It must be a former champion that a person brings back; or its training passed its gates, was approved if that is declared,
    and no newer version has become champion since. Its stored files are read and verified.

    Raises: CannotPromote; GatesRefused, NotApproved; ComparedWithAnother.
    """
    known = history.promotions(pipeline, platform)
    if not known:
        raise CannotPromote(
            f"{pipeline.name} has no champion, so version {version} needs no rollout: the first version is promoted at once"
        )
    if known[-1].model_version == version:
        raise CannotPromote(f"{pipeline.name}: version {version} is champion already")
    try:
        ref = platform.registry.version(names.registered_model(pipeline), version)
        platform.registry.load_model(ref)
    except BrokenArtifact as error:
        raise CannotPromote(f"{pipeline.name}: {error}") from error
    if was_champion(pipeline, version, platform):
        return
    training = training_of(pipeline, version, platform)
    approve.required(pipeline, training.id, gates_passed(pipeline, training.id, platform).model_digest, platform)
    if (last := superseded(known, ref.version, training)) is not None:
        raise CannotPromote(_overtaken(pipeline, version, training, last))
    check_still_champion(pipeline, training.id, known, platform)


def was_champion(pipeline: Pipeline, version: int, platform: Platform) -> bool:
    return any(one.model_version == version for one in history.promotions(pipeline, platform))


def overtaken_by(pipeline: Pipeline, version: int, platform: Platform) -> str | None:
    """Why a version that is being tried cannot be promoted any more.

    Returns None if it still can.
    """
    known = history.promotions(pipeline, platform)
    if was_champion(pipeline, version, platform):
        return None
    training = training_of(pipeline, version, platform)
    if (last := superseded(known, version, training)) is not None:
        return _overtaken(pipeline, version, training, last)
    try:
        check_still_champion(pipeline, training.id, known, platform)
    except ComparedWithAnother as error:
        return str(error)
    return None


def promote_version(
    pipeline: Pipeline, version: int, platform: Platform, *, kind: PromotionKind, reason: str, by: str
) -> Promoted:
    """Make a version that was tried champion.

    A former champion is promoted by a rollback to it, for that reason; any other version because its gates passed. Raises: as
    `register.promote`; CannotPromote, CannotRollBack.
    """
    if was_champion(pipeline, version, platform):
        done = rollback(pipeline, platform, to=version, reason=reason, by=by)
        return Promoted(done.model_version, True, done.sentence)
    ref: ModelRef = platform.registry.version(names.registered_model(pipeline), version)
    verdict = gates_passed(pipeline, training_of(pipeline, version, platform).id, platform)
    return promote_tried(pipeline, ref, verdict, platform, kind)


def training_of(pipeline: Pipeline, version: int, platform: Platform) -> Training:
    """Return the training of a version. Raises: CannotPromote."""
    training = newest(platform.ledger.all(Training, pipeline=pipeline.name, model_version=version), "at")
    if training is None:
        raise CannotPromote(
            f"{pipeline.name}: the ledger has no training of version {version}, so it is unknown whether it passed its gates"
        )
    return training


def _overtaken(pipeline: Pipeline, version: int, training: Training, last: Promotion) -> str:
    return (
        f"{pipeline.name}: version {version} was trained as of {training.as_of}, but version {last.model_version} is "
        f"champion from tick {last.effective} on, so it would not be promoted. Train again, or make it champion with "
        f"`mlprod rollback {pipeline.name} --to {version}`"
    )
