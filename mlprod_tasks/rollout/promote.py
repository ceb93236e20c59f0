"""Check that a version may become champion at the end of a ramp, and promote it."""

from __future__ import annotations

from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.ledger import PromotionKind, Training, newest
from mlprod_tasks.promotion import eligible, history
from mlprod_tasks.promotion.eligible import was_champion
from mlprod_tasks.promotion.register import Promoted
from mlprod_tasks.rollout.routing import CannotRollOut
from mlprod_tasks.rollout.state import Ramping, because
from mlprod_tasks.training.workspace import update


def may_become_champion(pipeline: Pipeline, version: int, platform: Platform) -> None:
    """As `eligible.may_become_champion`, before a ramp begins with it.

    Raises: CannotRollOut; GatesRefused, NotApproved; ComparedWithAnother.
    """
    try:
        eligible.may_become_champion(pipeline, version, platform)
    except eligible.CannotPromote as error:
        raise CannotRollOut(str(error)) from error


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
    why = because("rolled out share by share", ramp.reason)
    return eligible.promote_version(pipeline, ramp.challenger, platform, kind=PromotionKind.ROLLOUT, reason=why, by=ramp.by)
