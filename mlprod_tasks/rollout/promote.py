"""Check that a version may become champion at the end of a ramp, and promote it."""

from __future__ import annotations

from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.evaluation.gate import gates_passed
from mlprod_tasks.platform import Platform, names
from mlprod_tasks.platform.ledger import Promotion, Training, newest
from mlprod_tasks.platform.model_files import BrokenArtifact, ModelRef
from mlprod_tasks.promotion import approve, history
from mlprod_tasks.promotion.compared import ComparedWithAnother, check_still_champion
from mlprod_tasks.promotion.register import Promoted, promote_rolled_out, superseded
from mlprod_tasks.promotion.rollback import rollback
from mlprod_tasks.rollout.routing import CannotRollOut
from mlprod_tasks.rollout.state import Ramping, because
from mlprod_tasks.training.workspace import update


def may_become_champion(pipeline: Pipeline, version: int, platform: Platform) -> None:
    """Check that a version can be promoted, before a ramp begins with it.

    It must be a former champion that a person brings back; or its training passed its gates, was approved if that is declared,
    and no newer version has become champion since. Its stored files are read and verified.

    Raises: CannotRollOut; GatesRefused, NotApproved; ComparedWithAnother.
    """
    known = history.promotions(pipeline, platform)
    if not known:
        raise CannotRollOut(
            f"{pipeline.name} has no champion, so version {version} needs no rollout: the first version is promoted at once"
        )
    if known[-1].model_version == version:
        raise CannotRollOut(f"{pipeline.name}: version {version} is champion already")
    try:
        ref = platform.registry.version(names.registered_model(pipeline), version)
        platform.registry.load_model(ref)
    except BrokenArtifact as error:
        raise CannotRollOut(f"{pipeline.name}: {error}") from error
    if was_champion(pipeline, version, platform):
        return
    training = _training(pipeline, version, platform)
    approve.required(pipeline, training.id, gates_passed(pipeline, training.id, platform).model_digest, platform)
    if (last := superseded(known, ref.version, training)) is not None:
        raise CannotRollOut(_overtaken(pipeline, version, training, last))
    check_still_champion(pipeline, training.id, known, platform)


def was_champion(pipeline: Pipeline, version: int, platform: Platform) -> bool:
    return any(one.model_version == version for one in history.promotions(pipeline, platform))


def overtaken_by(pipeline: Pipeline, version: int, platform: Platform) -> str | None:
    """Why a version that is being rolled out cannot be promoted any more.

    Returns None if it still can.
    """
    known = history.promotions(pipeline, platform)
    if was_champion(pipeline, version, platform):
        return None
    training = _training(pipeline, version, platform)
    if (last := superseded(known, version, training)) is not None:
        return _overtaken(pipeline, version, training, last)
    try:
        check_still_champion(pipeline, training.id, known, platform)
    except ComparedWithAnother as error:
        return str(error)
    return None


def note(pipeline: Pipeline, version: int, state: str, platform: Platform, only: str | None = None) -> None:
    """Set the state of a version's training, but not of a former champion's.

    only: the state that it must be in before.
    """
    training = newest(platform.ledger.all(Training, pipeline=pipeline.name, model_version=version), "at")
    if training is not None and only in (None, training.state) and not was_champion(pipeline, version, platform):
        update(training.id, platform, state=state)


def settle(pipeline: Pipeline, ramp: Ramping, platform: Platform) -> Promoted:
    """Complete a promotion that the ledger has already.

    An earlier call may have failed before it moved the aliases.
    """
    history.move_aliases(pipeline, platform)
    last = history.promotions(pipeline, platform)[-1]
    if last.rolled_back_from is None:
        update(last.training_id, platform, state="promoted", model_version=last.model_version)
    return Promoted(ramp.challenger, True, ramp.sentence)


def promote_challenger(pipeline: Pipeline, ramp: Ramping, platform: Platform) -> Promoted:
    """Make the challenger champion.

    A former champion is promoted by a rollback to it, any other version because its gates passed.
    """
    if ramp.done:
        return settle(pipeline, ramp, platform)
    if was_champion(pipeline, ramp.challenger, platform):
        why = because("rolled out share by share", ramp.reason)
        done = rollback(pipeline, platform, to=ramp.challenger, reason=why, by=ramp.by)
        return Promoted(done.model_version, True, done.sentence)
    ref: ModelRef = platform.registry.version(names.registered_model(pipeline), ramp.challenger)
    verdict = gates_passed(pipeline, _training(pipeline, ramp.challenger, platform).id, platform)
    return promote_rolled_out(pipeline, ref, verdict, platform)


def _overtaken(pipeline: Pipeline, version: int, training: Training, last: Promotion) -> str:
    return (
        f"{pipeline.name}: version {version} was trained as of {training.as_of}, but version {last.model_version} is "
        f"champion from tick {last.effective} on, so it would not be promoted. Train again, or make it champion with "
        f"`mlprod rollback {pipeline.name} --to {version}`"
    )


def _training(pipeline: Pipeline, version: int, platform: Platform) -> Training:
    training = newest(platform.ledger.all(Training, pipeline=pipeline.name, model_version=version), "at")
    if training is None:
        raise CannotRollOut(
            f"{pipeline.name}: the ledger has no training of version {version}, so it is unknown whether it passed its gates"
        )
    return training
