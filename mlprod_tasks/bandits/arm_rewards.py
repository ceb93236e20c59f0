"""What arms earned: the sums from which every policy computes its shares. They add up in any order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlprod_tasks.bandits.untold import are_alike

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class ArmRewards:
    """Sums over the rewards of each arm.

    n, total, squares: (arms,) how many, their sum, and that of their squares. products: (arms, 1 + features, 1 + features)
    sums of the outer product of each row's 1 and features; earned: (arms, 1 + features) of these times the reward; both
    without features if no policy asks for them. within: (arms, arms), gained: (arms,), around: the normal equations of the
    arms' effects beside one of each tick, and the sum of squares around the ticks' means. nulls: (arms,) how many rewards are
    0 because the metric is null.
    """

    n: Floats
    total: Floats
    squares: Floats
    products: Floats
    earned: Floats
    within: Floats
    gained: Floats
    around: Floats
    nulls: Floats

    @classmethod
    def none(cls, arms: int, features: int = 0) -> ArmRewards:
        """No rewards."""
        wide = 1 + features
        return cls(
            np.zeros(arms), np.zeros(arms), np.zeros(arms), np.zeros((arms, wide, wide)), np.zeros((arms, wide)),
            np.zeros((arms, arms)), np.zeros(arms), np.zeros(()), np.zeros(arms),
        )  # fmt: skip

    @classmethod
    def of(
        cls, arms: int, arm: Ints, reward: Floats, features: Floats | None = None, null: NDArray[np.bool_] | None = None
    ) -> ArmRewards:
        """Sum up the rewards of one tick. arm, reward, null: (rows,); features: (rows, features).

        Raises: ValueError if a reward or feature is not finite.
        """
        x = np.ones((len(arm), 1)) if features is None else np.hstack([np.ones((len(arm), 1)), features])
        if not np.isfinite(reward).all() or not np.isfinite(x).all():
            raise ValueError("a reward or feature is infinite or no number")
        mine = [arm == one for one in range(arms)]
        n = np.array([float(of.sum()) for of in mine])
        total = np.array([float(reward[of].sum()) for of in mine])
        squares = np.array([float((reward[of] ** 2).sum()) for of in mine])
        return cls(
            n, total, squares,
            np.stack([x[of].T @ x[of] for of in mine]),
            np.stack([x[of].T @ reward[of] for of in mine]),
            *within_a_tick(n, total, squares),
            np.zeros(arms) if null is None else np.bincount(arm[null], minlength=arms).astype(float),
        )  # fmt: skip

    def __add__(self, other: ArmRewards) -> ArmRewards:
        return ArmRewards(*(mine + theirs for mine, theirs in zip(self._parts(), other._parts(), strict=True)))

    def weighted(self, weight: float) -> ArmRewards:
        """The same, each reward counted so often."""
        return ArmRewards(*(weight * part for part in self._parts()))

    @property
    def mean(self) -> Floats:
        """The mean reward of each arm, (arms,); that of all for an arm without any."""
        middle = self.total.sum() / max(1.0, self.n.sum())
        return np.where(self.n > 0, self.total / np.where(self.n > 0, self.n, 1.0), middle)

    @property
    def alike(self) -> bool:
        """Whether all rewards are the same, but for rounding: they tell no arm from another."""
        return are_alike(*(float(one.sum()) for one in (self.n, self.total, self.squares)))

    def as_json(self) -> dict[str, Any]:
        """The sums as plain JSON values."""
        return {name: part.tolist() for name, part in zip(self.__dataclass_fields__, self._parts(), strict=True)}

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> ArmRewards:
        """Read what `as_json` wrote; that of earlier versions does not count nulls."""
        found = {name: np.array(part, float) for name, part in plain.items()}
        return cls(**{"nulls": np.zeros_like(found["n"]), **found})

    def _parts(self) -> tuple[Floats, ...]:
        return (
            self.n, self.total, self.squares, self.products, self.earned, self.within, self.gained, self.around, self.nulls,
        )  # fmt: skip


def within_a_tick(n: Floats, total: Floats, squares: Floats) -> tuple[Floats, Floats, Floats]:
    """Return what a tick tells of the arms' effects, beside its own: `within`, `gained` and `around`."""
    rows = max(1.0, float(n.sum()))
    middle = total.sum() / rows
    return np.diag(n) - np.outer(n, n) / rows, total - n * middle, np.asarray(squares.sum() - total.sum() * middle)


def remembered(by_tick: Mapping[int, ArmRewards], last: int, discount: float = 1.0, window: int | None = None) -> ArmRewards:
    """Return what counts of rewards as of a tick, in whatever order they came.

    by_tick: the rewards of each tick by its number, from 0; last: the tick up to which they are known. A reward weighs less by
    `discount` with each tick that has passed since its own; with a window, only those of so many last ticks count.
    """
    counted = sorted(tick for tick in by_tick if tick <= last and (window is None or tick > last - window))
    arms, features = _shape(by_tick)
    # In one order, so that sums round the same way each time.
    parts = (by_tick[tick].weighted(discount ** (last - tick)) for tick in counted)
    return reduce(ArmRewards.__add__, parts, ArmRewards.none(arms, features))


def _shape(by_tick: Mapping[int, ArmRewards]) -> tuple[int, int]:
    some = next(iter(by_tick.values()))
    return len(some.n), some.earned.shape[1] - 1
