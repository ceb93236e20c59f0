"""How much more each arm earns than the others in the same ticks.

Shares move while time passes, so an arm that had most units on good days would look good. Effects of arms are therefore
estimated beside an effect of each tick (least squares with fixed effects): only what arms earn in one tick is compared.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mlprod_tasks.bandits.arm_rewards import ArmRewards

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Effects:
    """The arms' effects, around their mean. mean: (arms,); covariance: (arms, arms), of a normal distribution."""

    mean: Floats
    covariance: Floats

    def drawn(self, seed: int, draws: int) -> Floats:
        """Draw effects, (draws, arms)."""
        random = np.random.default_rng(seed)
        root = np.linalg.cholesky(self.covariance + 1e-12 * np.eye(len(self.mean)) * max(1e-300, self.covariance.max()))
        return np.asarray(self.mean + random.standard_normal((draws, len(self.mean))) @ root.T)


def effects(counted: ArmRewards) -> Effects:
    """Return the arms' effects, as if each arm had had one more reward that is what its tick gives."""
    inverse = np.asarray(np.linalg.inv(counted.within + np.eye(len(counted.n))), np.float64)
    mean = inverse @ counted.gained
    left = max(0.0, float(counted.around - mean @ counted.gained))
    return Effects(mean, inverse * left / max(1.0, float(counted.n.sum()) - len(counted.n)))
