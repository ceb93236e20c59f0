"""Whether a version may become champion at the end of a ramp, and how it does."""

from __future__ import annotations

from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.evaluation.gate import gates_passed
from mlprod_tasks.platform import Platform, names
from mlprod_tasks.platform.ledger import Promotion, Training, newest
from mlprod_tasks.platform.registry import BrokenArtifact, ModelRef
from mlprod_tasks.promotion import approve, history
from mlprod_tasks.promotion.register import Promoted, promote_rolled_out, superseded
from mlprod_tasks.promotion.rollback import rollback
from mlprod_tasks.rollout.routing import CannotRollOut
from mlprod_tasks.rollout.state import Ramping, because
from mlprod_tasks.training.workspace import update


def may_become_champion(pipeline: Pipeline, version: int, platform: Platform) -> None:
    """Let pass a version that can be promoted, so that no ramp ends with one that cannot.

    That is one that was champion before, which a person brings back; or one whose training passed its gates, was approved where
    that is declared, and was not overtaken meanwhile. Its stored files are read and checked.

    Raises: CannotRollOut; GatesRefused, NotApproved.
    """
    known = history.promotions(pipeline, platform)
    if not known:
        raise CannotRollOut(
            f"{pipeline.name} has no champion to roll version {version} out beside: the first is promoted at once"
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


def was_champion(pipeline: Pipeline, version: int, platform: Platform) -> bool:
    return any(one.model_version == version for one in history.promotions(pipeline, platform))


def overtaken_by(pipeline: Pipeline, version: int, platform: Platform) -> str | None:
    """Why a version could not be promoted any more, though it could when its ramp began; None where it can."""
    known = history.promotions(pipeline, platform)
    if was_champion(pipeline, version, platform):
        return None
    training = _training(pipeline, version, platform)
    return _overtaken(pipeline, version, training, last) if (last := superseded(known, version, training)) else None


def note(pipeline: Pipeline, version: int, state: str, platform: Platform, only: str | None = None) -> None:
    """Write how far a version's training has come; only where it was in that state. One that was champion stays as it is."""
    made = newest(platform.ledger.all(Training, pipeline=pipeline.name, model_version=version), "at")
    if made is not None and only in (None, made.state) and not was_champion(pipeline, version, platform):
        update(made.id, platform, state=state)


def settle(pipeline: Pipeline, there: Ramping, platform: Platform) -> Promoted:
    """Bring the aliases, and the training, to where the ledger has the promotion already: it may have failed in between."""
    history.move_aliases(pipeline, platform)
    last = history.promotions(pipeline, platform)[-1]
    if last.rolled_back_from is None:
        update(last.training_id, platform, state="promoted", model_version=last.model_version)
    return Promoted(there.challenger, True, there.sentence)


def promote_challenger(pipeline: Pipeline, there: Ramping, platform: Platform) -> Promoted:
    """Make the challenger champion: by its training's verdict; one that was champion before, as a rollback to it does."""
    if there.done:
        return settle(pipeline, there, platform)
    if was_champion(pipeline, there.challenger, platform):
        why = because("rolled out share by share", there.reason)
        done = rollback(pipeline, platform, to=there.challenger, reason=why, by=there.by)
        return Promoted(done.model_version, True, done.sentence)
    ref: ModelRef = platform.registry.version(names.registered_model(pipeline), there.challenger)
    verdict = gates_passed(pipeline, _training(pipeline, there.challenger, platform).id, platform)
    return promote_rolled_out(pipeline, ref, verdict, platform)


def _overtaken(pipeline: Pipeline, version: int, training: Training, last: Promotion) -> str:
    return (
        f"{pipeline.name}: version {version} was trained as of {training.as_of}, but version {last.model_version} is "
        f"champion from tick {last.effective} on, so it would not be promoted. Train again; or bring it back by "
        f"`mlprod rollback {pipeline.name} --to {version}`"
    )


def _training(pipeline: Pipeline, version: int, platform: Platform) -> Training:
    made = newest(platform.ledger.all(Training, pipeline=pipeline.name, model_version=version), "at")
    if made is None:
        raise CannotRollOut(f"{pipeline.name}: no training made version {version}, so nothing says that it passed its gates")
    return made
