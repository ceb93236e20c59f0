"""Rules of what a bandit chooses among, and how."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from mlprod_tasks.declaration.bandit import (
    ACTION,
    STATE,
    UCB1,
    AroundModel,
    Contextual,
    EpsilonGreedy,
    LinUCB,
)
from mlprod_tasks.declaration.checks.serving import kind_of_feature
from mlprod_tasks.declaration.checks.tables import IDENTIFIER, listed, repeated
from mlprod_tasks.declaration.feature import names_of

if TYPE_CHECKING:
    from mlprod_tasks.declaration.bandit import Bandit
    from mlprod_tasks.declaration.pipeline import Pipeline

WHERE = "experiments: bandit:"
NUMBERS = ("int", "float", "bool")


def bandit_problems(pipeline: Pipeline) -> Iterator[str]:
    experiments = pipeline.experiments
    if experiments is None or experiments.bandit is None:
        return
    bandit = experiments.bandit
    found = [metric for metric in experiments.metrics if metric.name == bandit.reward]
    if not found:
        known = listed({metric.name for metric in experiments.metrics})
        yield f"{WHERE} reward {bandit.reward!r} is not a metric; metrics are {known}"
    elif found[0].of not in ("mean", "proportion"):
        yield f"{WHERE} reward {bandit.reward!r} is a {found[0].of}, which no unit has by itself: give a mean or a proportion"
    yield from _action_problems(bandit)
    yield from _number_problems(bandit)
    yield from _policy_problems(pipeline, bandit)
    columns = (*pipeline.entity_table.key, *pipeline.feature_names)
    for name in (ACTION, STATE):
        if name in columns:
            yield f"{WHERE} predictions get a column {name!r}, which is also a key or feature here: give that another name"


def _action_problems(bandit: Bandit) -> Iterator[str]:
    yield from repeated(f"{WHERE} actions", bandit.actions)
    if len(bandit.actions) == 1:
        yield f"{WHERE} actions {bandit.actions!r}: give at least two to choose among, or none: then arms are versions"
    for action in bandit.actions:
        if not IDENTIFIER.fullmatch(action):
            yield f"{WHERE} action {action!r} must be lower-case letters, digits and _, starting with a letter"
    arms = max(2, len(bandit.actions))
    if not 0 <= bandit.floor < 1 / arms:
        yield f"{WHERE} floor {bandit.floor} must be at least 0 and less than 1/{arms}, the share of each of {arms} arms"


def _number_problems(bandit: Bandit) -> Iterator[str]:
    if bandit.warm_up < 2:
        yield f"{WHERE} warm_up {bandit.warm_up}: give at least 2: less rewards do not tell how much they vary"
    if bandit.best is not None and not 0.5 < bandit.best < 1:
        yield f"{WHERE} best {bandit.best} must lie between 0.5 and 1, or be None: then it does not end when an arm wins"
    if not 0 < bandit.discount <= 1:
        yield f"{WHERE} discount {bandit.discount} must be above 0 and at most 1"
    if bandit.window is not None and bandit.window < 1:
        yield f"{WHERE} window {bandit.window}: give the number of ticks whose rewards count, at least 1"
    if bandit.window is not None and bandit.discount < 1:
        yield f"{WHERE} discount and window both forget old rewards: declare one of them"


def _policy_problems(pipeline: Pipeline, bandit: Bandit) -> Iterator[str]:
    policy = bandit.policy
    if isinstance(policy, EpsilonGreedy) and not 0 < policy.epsilon < 1:
        yield f"{WHERE} policy: epsilon {policy.epsilon} must lie between 0 and 1"
    if isinstance(policy, AroundModel) and not 0 < policy.share < 1:
        yield f"{WHERE} policy: share {policy.share} must lie between 0 and 1"
    if isinstance(policy, UCB1) and not policy.scale > 0:
        yield f"{WHERE} policy: scale {policy.scale} must be above 0"
    if isinstance(policy, AroundModel) and bandit.actions:
        yield f"{WHERE} policy AroundModel keeps the champion as it is, and no action is that: declare EpsilonGreedy"
    if isinstance(policy, UCB1 | LinUCB) and not bandit.floor > 0:
        yield f"{WHERE} floor 0 with {type(policy).__name__}: rows would not tell what the other arms earn. Give it a floor"
    if isinstance(policy, Contextual):
        yield from _contextual_problems(pipeline, policy)


def _contextual_problems(pipeline: Pipeline, policy: Contextual) -> Iterator[str]:
    if not policy.ridge > 0:
        yield f"{WHERE} policy: ridge {policy.ridge} must be above 0"
    if not policy.features:
        yield f"{WHERE} policy: features is empty: name those by which arms are chosen, or declare ThompsonSampling()"
    yield from repeated(f"{WHERE} policy: features", policy.features)
    yield from number_feature_problems(pipeline, f"{WHERE} policy:", policy.features)
    unit = pipeline.experiments.unit if pipeline.experiments is not None else ()
    if unit and set(unit) != set(pipeline.entity_table.key):
        yield f"{WHERE} policy: features are of rows, and a unit {unit!r} may have several: leave experiments' unit out"


def number_feature_problems(pipeline: Pipeline, where: str, wanted: Sequence[str]) -> Iterator[str]:
    """Yield what is wrong with names of features that are to be numbers or bools."""
    kinds = {name: kind_of_feature(pipeline, feature, name) for feature in pipeline.features for name in names_of(feature)}
    for name in wanted:
        if name not in kinds:
            yield f"{where} {name!r} is not a feature; features are {listed(kinds)}"
        elif (kind := kinds[name]) is not None and kind not in NUMBERS:
            yield f"{where} feature {name!r} is a {kind}: give features that are numbers or bools"
