"""Roll back: make an earlier version champion again from the next tick on."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from mlprod_tasks.declaration import Pipeline, Schedule
from mlprod_tasks.declaration.rhythm import TickName
from mlprod_tasks.platform import Platform, names
from mlprod_tasks.platform.ledger import GateResult, Intervention, Promotion, PromotionKind, Scoring, Training, newest
from mlprod_tasks.platform.model_files import BrokenArtifact
from mlprod_tasks.promotion import history, operator_actions

log = logging.getLogger(__name__)


class CannotRollBack(LookupError):
    """No version to roll back to, or it never passed its gates, or its files are broken."""


@dataclass(frozen=True)
class RolledBack:
    """The version that is champion now, the one it replaced, and from which tick on.

    changed: False if nothing changed.
    """

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
    tick: TickName | None = None,
) -> RolledBack:
    """Make the previous champion, or version `to`, champion again, together with its own fallback.

    The aliases move at once, so all later scoring uses it; in the history of champions it counts from the next tick on, by the
    platform's clock. A training that began before the rollback does not become champion by itself, because its gates compared
    it with the withdrawn version; one that begins after it may. Repeating the same rollback changes nothing. If the alias is
    gone from MLflow, a rollback to the ledger's champion only sets it again. The ledger records `by`, and for a rule also the
    tick. No mail is sent: see `notifications.events.tell_rollback`.

    Raises: CannotRollBack.
    """
    now, alias = platform.clock.now(), platform.registry.champion(pipeline)
    known = history.promotions(pipeline, platform)
    champion = alias.version if alias is not None else known[-1].model_version if known else None
    if champion is None:
        raise CannotRollBack(f"{pipeline.name} has no champion, so there is nothing to roll back: train a model first")
    target = _target(pipeline, to, champion, platform)
    training = _passed_training(pipeline, target, platform)
    _verify(pipeline, target, platform)
    scored = newest(platform.ledger.all(Scoring, pipeline=pipeline.name), "tick")
    coming = next_tick(pipeline.schedule, now, scored.tick if scored else None)
    plan = _Plan(pipeline.name, target, champion, training, reason.strip(), now, coming, tick)

    def record(promotion: Promotion) -> Intervention:
        return operator_actions.of_promotion(promotion, by, reason, tick)

    promotion = history.record_promotion(pipeline, plan.promotion, platform, record)
    if promotion is None:
        return _unchanged(pipeline, target, platform, alias_gone=alias is None)
    sentence = f"version {target} of {pipeline.name} is champion again from tick {promotion.effective} on, {promotion.reason}"
    log.warning("%s", sentence)
    return RolledBack(target, promotion.rolled_back_from, str(promotion.effective), True, sentence)


def _unchanged(pipeline: Pipeline, target: int, platform: Platform, *, alias_gone: bool) -> RolledBack:
    """Nothing to roll back, since the version is champion already; set its alias again if that is gone."""
    sentence = f"version {target} of {pipeline.name} is champion already: nothing changed"
    if alias_gone:
        history.move_aliases(pipeline, platform)
        sentence = f"version {target} of {pipeline.name} is champion already; its alias in MLflow was gone and is set again"
        log.warning("%s", sentence)
    return RolledBack(target, None, str(history.promotions(pipeline, platform)[-1].effective), False, sentence)


@dataclass(frozen=True)
class _Plan:
    """A rollback to write.

    alias: the version behind the champion alias now; if that is gone, the ledger's. coming: the next tick.
    """

    pipeline: str
    target: int
    alias: int
    training_id: str
    reason: str
    now: datetime
    coming: TickName
    decided_at: TickName | None

    def promotion(self, known: Sequence[Promotion]) -> Promotion | None:
        """The promotion to record, given those so far.

        Returns None if the target is champion already.
        """
        last = known[-1] if known else None
        withdrawn = self.alias if self.alias != self.target or last is None else last.model_version
        if last is not None and last.model_version == self.target:
            if withdrawn == self.target:
                return None
            if last.rolled_back_from == withdrawn:
                return last  # an earlier call was killed before it moved the aliases
        return Promotion(
            pipeline=self.pipeline,
            model_version=self.target,
            # In a replay of the past, a promotion may take effect after the next tick: it is withdrawn too.
            effective=max(self.coming, last.effective) if last else self.coming,
            training_id=self.training_id,
            reason=f"rolled back from version {withdrawn}" + (f": {self.reason}" if self.reason else ""),
            at=self.now,
            rolled_back_from=withdrawn,
            kind=PromotionKind.ROLLBACK,
            decided_at=self.decided_at,
        )


def next_tick(schedule: Schedule, now: datetime, scored: TickName | None) -> TickName:
    """The first tick after `now`.

    If the schedule has ended, it is the one after the last scored tick.
    """
    coming = max(schedule.first, schedule.next_after(now))
    if schedule.last is None or coming <= schedule.last:
        return coming
    return schedule.last if scored is None else schedule.shift(min(scored, schedule.last), 1)


def _target(pipeline: Pipeline, to: int | None, champion: int, platform: Platform) -> int:
    if to is not None:
        return to
    stack = history.champion_stack(history.promotions(pipeline, platform), champion)
    if len(stack) < 2:
        raise CannotRollBack(
            f"{pipeline.name}: version {champion} is the first champion, there is no earlier one to roll back to. Name a "
            "version that passed its gates with --to, or train a model"
        )
    return stack[-2]


def _passed_training(pipeline: Pipeline, version: int, platform: Platform) -> str:
    """The id of a version's training.

    Raises: CannotRollBack if the version was never champion and has no training that passed its gates.
    """
    known = history.promotions(pipeline, platform)
    for promotion in known:
        if promotion.model_version == version:
            return promotion.training_id
    for training in platform.ledger.all(Training, pipeline=pipeline.name, model_version=version):
        gates = platform.ledger.all(GateResult, training_id=training.id)
        if gates and all(gate.passed for gate in gates):
            return training.id
    former = ", ".join(str(number) for number in sorted({promotion.model_version for promotion in known})) or "none"
    raise CannotRollBack(
        f"{pipeline.name}: version {version} was never champion and has no training that passed its gates. Versions that were "
        f"champion: {former}"
    )


def _verify(pipeline: Pipeline, version: int, platform: Platform) -> None:
    """Read and verify every stored file of the version and of its fallback."""
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
