"""How the shares of arms follow from what they earned: pure functions of rewards and a seed.

A policy here says with which probability each arm is given, not which one comes next: rewards come in batches, many units are
given arms between two of them, and each needs the probability with which it got its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import reduce, singledispatch

import numpy as np
from numpy.typing import NDArray

from mlprod_tasks.bandits.arm_rewards import ArmRewards
from mlprod_tasks.bandits.linear import fitted
from mlprod_tasks.bandits.within_ticks import effects
from mlprod_tasks.declaration.bandit import (
    UCB1,
    AroundModel,
    Bandit,
    Contextual,
    EpsilonGreedy,
    LinearThompson,
    LinUCB,
    Policy,
    ThompsonSampling,
)

Floats = NDArray[np.float64]
DRAWS = 10_000  # an arm's probability of being the best is known to half a point of percent
ROW_DRAWS = 512  # of each row's
ROWS_AT_ONCE = 100  # times draws: as many numbers as fit into the cache of a core


@dataclass(frozen=True)
class Belief:
    """What is thought of the arms. n, mean: (arms,) rewards and what one is worth; best: gives the probabilities to be best."""

    n: Floats
    mean: Floats
    best: Callable[[], Floats]


def shares(bandit: Bandit, known: ArmRewards, counted: ArmRewards, seed: int, proportion: bool, draws: int = DRAWS) -> Floats:
    """Return the share of each arm, (arms,), of a policy that asks for no features.

    known: all rewards; counted: those that are not forgotten, with their weights; proportion: whether a reward is 0 or 1;
    draws: of what is drawn by chance. Until each arm has had the rewards of the warm-up, all have equal shares, and
    if all rewards are alike; no arm has less than the floor.
    """
    if isinstance(bandit.policy, AroundModel):  # it learns nothing: its shares do not change, and no floor raises them
        return _around(bandit.policy, len(known.n))
    if warming(bandit, known) or counted.alike:
        return np.full(len(known.n), 1 / len(known.n))
    mean = counted.total.sum() / max(1.0, counted.n.sum()) + effects(counted).mean if bandit.by_tick else counted.mean
    belief = Belief(counted.n, mean, lambda: best_probabilities(counted, seed, proportion, draws, by_tick=bandit.by_tick))
    return with_floor(_shares(bandit.policy, belief), bandit.floor)


def row_shares(bandit: Bandit, known: ArmRewards, counted: ArmRewards, features: Floats, seed: int) -> Floats:
    """Return the share of each arm for each row, (rows, arms), of a policy that chooses by features, (rows, features).

    A row's shares do not depend on the other rows.
    """
    return RowShares(bandit, known, counted, seed).of_rows(features)


class RowShares:
    """The shares of the arms for rows by their features, with what is known at one moment: of many rows, or of one at a time.

    See `shares` for known, counted and seed.
    """

    def __init__(self, bandit: Bandit, known: ArmRewards, counted: ArmRewards, seed: int) -> None:
        self._policy, self._floor, self._arms = bandit.policy, bandit.floor, len(known.n)
        self._linear = None if warming(bandit, known) or counted.alike else fitted(counted, _ridge(bandit.policy))
        # The same draws for each row, so that its shares are its own. (arms, draws)
        self._drawn = np.ascontiguousarray(np.random.default_rng(seed).standard_normal((ROW_DRAWS, self._arms)).T)

    def of_rows(self, features: Floats) -> Floats:
        """Return the share of each arm for each row, (rows, arms), from (rows, features)."""
        if self._linear is None:
            return np.full((len(features), self._arms), 1 / self._arms)
        chunks = [features[at : at + ROWS_AT_ONCE] for at in range(0, len(features), ROWS_AT_ONCE)]
        found = [
            _row_shares(self._policy, self._linear.expected(some), self._linear.noise * self._linear.spread(some), self._drawn)
            for some in chunks
        ]
        return with_floor(np.concatenate(found), self._floor) if found else np.empty((0, self._arms))

    def of_row(self, features: Sequence[float]) -> list[float]:
        """Return the same of one row: the same bits, in a tenth of the time."""
        if self._linear is None:
            return [1 / self._arms] * self._arms
        mean, spread = self._linear.of_row(features)
        noise, floor, left = self._linear.noise, self._floor, 1 - self._floor * self._arms
        shares = _shares_of_row(self._policy, mean, [noise * one for one in spread], self._drawn)
        return [floor + left * one for one in shares]


def warming(bandit: Bandit, known: ArmRewards) -> bool:
    """Whether an arm has had less rewards than the warm-up asks for."""
    return bool(known.n.min() < bandit.warm_up)


def best_probabilities(
    counted: ArmRewards, seed: int, proportion: bool, draws: int = DRAWS, *, by_tick: bool = False
) -> Floats:
    """Return the probability of each arm to be the best, (arms,), from draws of what each may be worth.

    A proportion has a Beta distribution with the uniform prior (Thompson, Biometrika 25, 1933); a mean a normal one, as if each
    arm had had one more reward, the mean of all. by_tick: from the arms' effects within ticks instead, which are normal. If
    all rewards are alike, no arm is.
    """
    if counted.alike:  # the best would be the first, or one by rounding
        return np.full(len(counted.n), 1 / len(counted.n))
    drawn = drawn_worth(counted, seed, proportion, draws, by_tick=by_tick)
    return np.asarray(np.bincount(drawn.argmax(axis=1), minlength=len(counted.n)) / draws)


def drawn_worth(counted: ArmRewards, seed: int, proportion: bool, draws: int, *, by_tick: bool) -> Floats:
    """Draw what a reward of each arm may be worth, (draws, arms); by_tick: around the mean of the arms."""
    if by_tick:
        return effects(counted).drawn(seed, draws)
    random = np.random.default_rng(seed)
    if proportion:
        return random.beta(1 + counted.total, 1 + np.maximum(counted.n - counted.total, 0.0), (draws, len(counted.n)))
    middle = counted.total.sum() / max(1.0, counted.n.sum())
    mean = (counted.total + middle) / (counted.n + 1)
    return random.normal(mean, np.sqrt(_variances(counted) / (counted.n + 1)), (draws, len(counted.n)))


def with_floor(shares: Floats, floor: float) -> Floats:
    """Return shares of which none is less than the floor, (..., arms)."""
    return np.asarray(floor + (1 - floor * shares.shape[-1]) * shares)


def _around(policy: AroundModel, arms: int) -> Floats:
    return np.array([1 - policy.share, *[policy.share / (arms - 1)] * (arms - 1)])


def _variances(counted: ArmRewards) -> Floats:
    """The variance of a reward of each arm, (arms,): one that had few is taken to vary as all do."""
    within = np.maximum(counted.squares - counted.n * counted.mean**2, 0.0)
    pooled = within.sum() / max(1.0, counted.n.sum() - len(counted.n))
    return np.asarray((within + pooled) / np.maximum(counted.n, 1.0))


def _best(values: Floats) -> Floats:
    """All for the best arm, (..., arms); alike among equal ones."""
    at_best = values == values.max(axis=-1, keepdims=True)
    return np.asarray(at_best / at_best.sum(axis=-1, keepdims=True))


@singledispatch
def _shares(policy: Policy, belief: Belief) -> Floats:
    raise TypeError(f"{type(policy).__name__} chooses by features: ask for the shares of rows")


@_shares.register
def _(policy: EpsilonGreedy, belief: Belief) -> Floats:
    return with_floor(_best(belief.mean), policy.epsilon / len(belief.n))


@_shares.register
def _(policy: UCB1, belief: Belief) -> Floats:
    rewards = max(1.0, float(belief.n.sum()))
    with np.errstate(divide="ignore"):
        bonus = policy.scale * np.sqrt(2 * np.log(rewards) / belief.n)  # an arm of which nothing is known comes first
    return _best(belief.mean + bonus)


@_shares.register
def _(policy: ThompsonSampling, belief: Belief) -> Floats:
    return belief.best()


def _ridge(policy: Policy) -> float:
    if not isinstance(policy, Contextual):
        raise TypeError(f"{type(policy).__name__} chooses by no features")
    return policy.ridge


@singledispatch
def _row_shares(policy: Policy, mean: Floats, error: Floats, drawn: Floats) -> Floats:
    """The shares of rows. mean, error: (rows, arms) what is expected and its standard error; drawn: (arms, draws)."""
    raise TypeError(f"{type(policy).__name__} chooses by no features")


@_row_shares.register
def _(policy: LinearThompson, mean: Floats, error: Floats, drawn: Floats) -> Floats:
    worth = [mean[:, arm, None] + error[:, arm, None] * of_arm for arm, of_arm in enumerate(drawn)]
    return np.asarray(np.stack([best.sum(axis=1) for best in _best_of_draws(worth)], axis=1) / drawn.shape[1])


@_row_shares.register
def _(policy: LinUCB, mean: Floats, error: Floats, drawn: Floats) -> Floats:
    return _best(mean + policy.alpha * error)


@singledispatch
def _shares_of_row(policy: Policy, mean: Sequence[float], error: Sequence[float], drawn: Floats) -> list[float]:
    """`_row_shares` of one row, (arms,), without arrays where there are but a few numbers."""
    raise TypeError(f"{type(policy).__name__} chooses by no features")


@_shares_of_row.register
def _(policy: LinearThompson, mean: Sequence[float], error: Sequence[float], drawn: Floats) -> list[float]:
    worth = [one * of_arm + middle for middle, one, of_arm in zip(mean, error, drawn, strict=True)]
    return [int(np.count_nonzero(best)) / drawn.shape[1] for best in _best_of_draws(worth)]


@_shares_of_row.register
def _(policy: LinUCB, mean: Sequence[float], error: Sequence[float], drawn: Floats) -> list[float]:
    values = [middle + policy.alpha * one for middle, one in zip(mean, error, strict=True)]
    best = max(values)
    share = 1 / values.count(best)
    return [share if value == best else 0.0 for value in values]


def _best_of_draws(worth: Sequence[Floats]) -> Iterator[NDArray[np.bool_]]:
    """Yield for each arm the draws of which it is the best, of equal ones the first. worth: of each arm, (..., draws).

    Arm by arm, as `argmax` over so few takes several times as long.
    """
    top = reduce(np.maximum, worth)
    before = worth[0] == top
    yield before
    for value in worth[1:-1]:
        best = (value == top) & ~before
        before |= best
        yield best
    yield ~before
