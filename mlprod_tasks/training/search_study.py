"""What trial to make next, and which to cut: Optuna's TPE over the trials so far, and their median."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median_low
from typing import TYPE_CHECKING, Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState, create_trial

from mlprod_tasks.declaration.search import Between, OneOf, Range

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

LEAST_TO_COMPARE = 5  # trials at the same point before one is cut as worse than their median
STATES = {"complete": TrialState.COMPLETE, "pruned": TrialState.PRUNED}  # a failed trial tells the sampler nothing


@dataclass(frozen=True)
class EndedTrial:
    """A trial that ended.

    loss: None if it failed, the last reported one if it was cut. note: why it failed or was cut. values: the losses that it
    reported, by step.
    """

    candidate: str
    place: int
    parameters: dict[str, Any]
    loss: float | None
    state: str  # 'complete', 'pruned' or 'failed'
    note: str
    began: float  # seconds since 1970
    seconds: float
    worker: int
    values: dict[int, float]


def next_parameters(
    space: Mapping[str, Range], ended: Sequence[EndedTrial], running: Sequence[Mapping[str, Any]], seed: int
) -> dict[str, Any]:
    """The parameters to try next.

    ended: in order of their places. running: the parameters of trials that have not ended. seed: another for each trial, so
    that what is tried depends on the earlier trials, and not on who makes it.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # it would log every study
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed), direction="minimize")
    study.add_trials([*_observed(space, ended), *(_trial(space, tried, TrialState.RUNNING) for tried in running)])
    tried = study.ask({field: _distribution(range_) for field, range_ in space.items()})
    return from_text(space, tried.params)


def first_parameters(space: Mapping[str, Range], declared: Mapping[str, Any]) -> dict[str, Any]:
    """The declared parameters; of a choice, the one that is equal."""
    return {
        field: next(choice for choice in range_.choices if choice == declared[field])
        if isinstance(range_, OneOf)
        else declared[field]
        for field, range_ in space.items()
    }


def is_worse_than_median(values: Mapping[int, float], ended: Sequence[EndedTrial]) -> bool:
    """Whether a trial's newest loss is worse than the median of completed trials at the same step.

    Optuna's own median rule compares the best loss so far: with several folds, an easy one would hide all later ones.
    """
    step = max(values)
    others = [one.values[step] for one in ended if one.state == "complete" and step in one.values]
    return len(others) >= LEAST_TO_COMPARE and values[step] > median_low(others)


def seed_of(seed: int, candidate: str, place: int) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed}:{candidate}:{place}".encode()).digest()[:4], "big")


def as_text(space: Mapping[str, Range], parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters with the choices of OneOf as text: they may be tuples, which neither Optuna nor JSON can store."""
    return {
        field: parameters[field] if isinstance(range_, Between) else repr(parameters[field])
        for field, range_ in space.items()
        if field in parameters
    }


def from_text(space: Mapping[str, Range], stored: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of which `as_text` gives these."""
    return {
        field: stored[field]
        if isinstance(range_, Between)
        else {repr(choice): choice for choice in range_.choices}[stored[field]]
        for field, range_ in space.items()
        if field in stored
    }


def _observed(space: Mapping[str, Range], ended: Sequence[EndedTrial]) -> Iterator[FrozenTrial]:
    for one in ended:
        if one.state in STATES:
            yield _trial(space, one.parameters, STATES[one.state], one.loss, one.values)


def _trial(
    space: Mapping[str, Range],
    parameters: Mapping[str, Any],
    state: TrialState,
    loss: float | None = None,
    values: Mapping[int, float] | None = None,
) -> FrozenTrial:
    return create_trial(
        state=state,
        value=loss,
        params=as_text(space, parameters),
        distributions={field: _distribution(range_) for field, range_ in space.items()},
        intermediate_values=dict(values or {}),
    )


def _distribution(range_: Range) -> BaseDistribution:
    if isinstance(range_, OneOf):
        return CategoricalDistribution([repr(choice) for choice in range_.choices])
    if isinstance(range_.low, int) and isinstance(range_.high, int):
        return IntDistribution(range_.low, range_.high, log=range_.log)
    return FloatDistribution(float(range_.low), float(range_.high), log=range_.log)
