"""Roll back: an earlier version is champion again, from the next tick on, and the ledger says why."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from mlprod_tasks.declaration import Pipeline, Schedule
from mlprod_tasks.platform import Platform, names
from mlprod_tasks.platform.ledger import GateResult, Intervention, Promotion, PromotionKind, Scoring, Training, newest
from mlprod_tasks.platform.registry import BrokenArtifact, ModelRef
from mlprod_tasks.promotion import history, operator_actions

log = logging.getLogger(__name__)

ONE_DAY = timedelta(days=1)


class CannotRollBack(LookupError):
    """There is no version to roll back to, or the one asked for was never good enough, or its files are broken."""


@dataclass(frozen=True)
class RolledBack:
    """Which version took the place of which, from which tick on; changed: whether it was not so already."""

    model_version: int
    withdrawn: int | None
    effective: str
    changed: bool
    sentence: str


def rollback(
    pipeline: Pipeline,
    platform: Platform,
    *,
    to: int | None = None,
    reason: str = "",
    by: operator_actions.Who = operator_actions.UNKNOWN,
    tick: date | None = None,
) -> RolledBack:
    """Make the previous champion, or version `to`, champion again, with its own fallback beside it.

    The aliases move at once, so whatever is scored from now on is scored by it; for scoring as of a tick it counts from the
    next tick on, by the platform's clock. A training that began before it does not become champion by itself: its gates
    compared it with the version that is withdrawn. One that begins after it may, from the same tick on. The same rollback
    again changes nothing. Nobody is told here: see `notifications.events.tell_rollback`. Who did it, `by`, stays in the
    ledger, for a rule also the tick.

    Raises: CannotRollBack.
    """
    now = platform.clock.now()
    alias = platform.registry.champion(pipeline)
    if alias is None:
        raise CannotRollBack(f"{pipeline.name} has no champion, so there is nothing to roll back: train a model first")
    target = _target(pipeline, to, alias, platform)
    training = _once_good(pipeline, target, platform)
    _verify(pipeline, target, platform)
    scored = newest(platform.ledger.all(Scoring, pipeline=pipeline.name), "tick")
    coming = next_tick(pipeline.schedule, now, scored.tick if scored else None)

    def choose(known: Sequence[Promotion]) -> Promotion | None:
        last = known[-1] if known else None
        withdrawn = alias.version if alias.version != target or last is None else last.model_version
        if last is not None and last.model_version == target:
            if withdrawn == target:
                return None
            if last.rolled_back_from == withdrawn:
                return last  # killed before the aliases were moved
        return Promotion(
            pipeline=pipeline.name,
            model_version=target,
            # What takes effect later than the next tick, in a replay of the past, is withdrawn too.
            effective=max(coming, last.effective) if last else coming,
            training_id=training,
            reason=f"rolled back from version {withdrawn}" + (f": {reason.strip()}" if reason.strip() else ""),
            at=now,
            rolled_back_from=withdrawn,
            kind=PromotionKind.ROLLBACK,
            decided_at=tick,
        )

    def record(made: Promotion) -> Intervention:
        return operator_actions.of_promotion(made, by, reason, tick)

    made = history.record_promotion(pipeline, choose, platform, record)
    if made is None:
        sentence = f"version {target} of {pipeline.name} is champion already: nothing changed"
        return RolledBack(target, None, str(history.promotions(pipeline, platform)[-1].effective), False, sentence)
    sentence = f"version {target} of {pipeline.name} is champion again from tick {made.effective} on, {made.reason}"
    log.warning("%s", sentence)
    return RolledBack(target, made.rolled_back_from, str(made.effective), True, sentence)


def next_tick(schedule: Schedule, now: datetime, scored: date | None) -> date:
    """The first tick that is due after `now`; of a schedule that has ended, the one after the last that was scored."""
    day = now.astimezone(schedule.zone).date()
    coming = max(schedule.starts, day if schedule.moment(day) > now else day + ONE_DAY)
    if schedule.ends is None or coming <= schedule.ends:
        return coming
    return schedule.ends if scored is None else min(scored, schedule.ends) + ONE_DAY


def _target(pipeline: Pipeline, to: int | None, alias: ModelRef, platform: Platform) -> int:
    if to is not None:
        return to
    standing = history.champion_stack(history.promotions(pipeline, platform), alias.version)
    if len(standing) < 2:
        raise CannotRollBack(
            f"{pipeline.name}: version {alias.version} is the first champion, there is no earlier one to roll back to. Name a "
            "version that passed its gates with --to, or train a model"
        )
    return standing[-2]


def _once_good(pipeline: Pipeline, version: int, platform: Platform) -> str:
    """The training of a version that was promoted once or passed all its gates. Raises: CannotRollBack."""
    known = history.promotions(pipeline, platform)
    for promotion in known:
        if promotion.model_version == version:
            return promotion.training_id
    for training in platform.ledger.all(Training, pipeline=pipeline.name, model_version=version):
        gates = platform.ledger.all(GateResult, training_id=training.id)
        if gates and all(gate.passed for gate in gates):
            return training.id
    good = ", ".join(str(number) for number in sorted({promotion.model_version for promotion in known})) or "none"
    raise CannotRollBack(
        f"{pipeline.name}: version {version} was never champion and no training with passed gates made it. Versions that were "
        f"champion: {good}"
    )


def _verify(pipeline: Pipeline, version: int, platform: Platform) -> None:
    """Read and check every stored file of the version and of its fallback."""
    registry = platform.registry
    try:
        ref = registry.version(names.registered_model(pipeline), version)
        registry.load_model(ref)
        registry.reference_profile(pipeline, version)
        registry.load_model(registry.of_run(names.fallback_model(pipeline), ref.run_id))
    except BrokenArtifact as error:
        raise CannotRollBack(
            f"{pipeline.name} cannot be rolled back to version {version}: {error}. The champion stays as it is; name another "
            "version with --to"
        ) from error
