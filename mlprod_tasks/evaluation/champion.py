"""The champion that a model is compared with, by the registry's alias and the ledger."""

from __future__ import annotations

from dataclasses import dataclass

from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.platform import Platform, names
from mlprod_tasks.platform.ledger import Promotion, Training, newest
from mlprod_tasks.platform.model_files import ModelRef


@dataclass(frozen=True)
class ChampionNow:
    """The champion of a use case.

    recorded: the version that the ledger's last promotion made champion; None if there is no promotion. It differs from `ref`
    if somebody moved the alias by hand. problem: why it is unknown which version is champion; gates against it then fail.
    """

    ref: ModelRef | None
    recorded: int | None
    problem: str | None = None

    @property
    def version(self) -> int | None:
        """The champion's version; None only if there never was one."""
        return self.recorded if self.ref is None else self.ref.version


def champion_now(pipeline: Pipeline, platform: Platform) -> ChampionNow:
    """Find the champion. An alias that is gone does not mean that there is no champion, if the ledger has a promotion."""
    ref = platform.registry.champion(pipeline)
    promotions = platform.ledger.all(Promotion, pipeline=pipeline.name)
    last = max(promotions, key=lambda one: (one.effective, one.at), default=None)
    if last is None:
        return ChampionNow(ref, None)
    restore = f"run `mlprod rollback {pipeline.name} --to {last.model_version}`, which sets it again, then run evaluate again"
    if ref is None:
        problem = (
            f"the ledger has version {last.model_version} as champion from tick {last.effective} on, but in MLflow no version "
            f"of {names.registered_model(pipeline)!r} has the alias 'champion': {restore}"
        )
        return ChampionNow(None, last.model_version, problem)
    if ref.version != last.model_version and _unfinished(last, ref.version, platform):
        problem = (
            f"version {last.model_version} was promoted in the ledger, but the alias 'champion' in MLflow was not moved from "
            f"version {ref.version} yet: {restore}"
        )
        return ChampionNow(ref, last.model_version, problem)
    return ChampionNow(ref, last.model_version)


def _unfinished(last: Promotion, alias: int, platform: Platform) -> bool:
    """Whether a promotion was recorded, but killed before the alias was moved."""
    if last.rolled_back_from is not None:
        return last.rolled_back_from == alias
    training = newest(platform.ledger.all(Training, id=last.training_id), "at")
    return training is not None and training.state != "promoted"
