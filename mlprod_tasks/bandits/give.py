"""Give each unit of a tick an arm by chance, with the shares that follow from what was known by then."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mlprod_tasks.bandits.logged import feature_values
from mlprod_tasks.bandits.state import State, for_tick
from mlprod_tasks.declaration import Pipeline, Tick
from mlprod_tasks.experiments.assignment import place, unit_columns, units_of
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.bandit_entries import BanditRun

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Given:
    """What the rows of a tick were given. arm: (rows,) its position, -1 for a row without a unit; propensity: (rows,)."""

    arm: NDArray[np.int64]
    propensity: Floats
    version: int


def give(pipeline: Pipeline, run: BanditRun, tick: Tick, rows: pa.Table, platform: Platform) -> Given:
    """Give the rows of a tick their arms: the same if it is scored again, whatever became known since."""
    state = for_tick(pipeline, run, tick, platform)
    shares = state.row_shares(feature_values(rows, state.plan.bandit.features))
    return draw(units_of(rows, unit_columns(pipeline)), shares, salt_of(run, state), state.version)


def salt_of(run: BanditRun, state: State) -> str:
    """The salt of a version: each one gives a unit its arm anew."""
    text = f"{run.salt}/{state.plan.bandit.seed}/{state.version}"
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def draw(units: list[str | None], shares: Floats, salt: str, version: int) -> Given:
    """Give each unit an arm by its place in [0, 1). units: (rows,); shares: (rows, arms)."""
    known = np.array([unit is not None for unit in units], bool)
    at = np.array([0.0 if unit is None else place(unit, salt) for unit in units])
    # The shares of a row may round to a sum below 1: its last arm ends where places do.
    arm = np.minimum((at[:, None] >= shares.cumsum(axis=1)).sum(axis=1), shares.shape[1] - 1)
    propensity = shares[np.arange(len(units)), arm] if len(units) else np.empty(0)
    return Given(np.where(known, arm, -1).astype(np.int64), propensity, version)
