"""The interval of a predicted number."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class PredictionInterval:
    """What to add to a prediction for both ends of its interval, which is to hold the share `coverage` of outcomes."""

    coverage: float
    low: float
    high: float

    def ends(self, predicted: Floats) -> tuple[Floats, Floats]:
        """Return the low and the high end of each prediction's interval, (n,) each."""
        return predicted + self.low, predicted + self.high
