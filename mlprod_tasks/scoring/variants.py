"""Assign the rows of a tick to the variants of an experiment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mlprod_tasks.declaration import Pipeline, Tick
from mlprod_tasks.declaration.experiment import EXPERIMENT, PROPENSITY, VARIANT
from mlprod_tasks.experiments import run as experiments
from mlprod_tasks.experiments.assignment import Variant, assign, units_of
from mlprod_tasks.experiments.units import unit_columns
from mlprod_tasks.platform import Platform


@dataclass(frozen=True)
class Assigned:
    """The variants of a tick's rows.

    experiment: its name; variants: the control first; of_row: the position of each row's variant, (rows,), -1 for none.
    """

    experiment: str
    variants: tuple[Variant, ...]
    of_row: NDArray[np.int64]

    def rows_of(self, position: int) -> NDArray[np.bool_]:
        """Which rows have that variant; the control also has those without one, as it is the champion."""
        return np.isin(self.of_row, (position, -1) if position == 0 else (position,))

    def columns(self) -> dict[str | None, Any]:
        """The columns that record the assignment; null where there is none."""
        names = [one.name for one in self.variants] + [None]
        shares = [one.share for one in self.variants] + [None]
        return {
            EXPERIMENT: pa.array([self.experiment] * len(self.of_row), pa.string()),
            VARIANT: pa.array([names[position] for position in self.of_row], pa.string()),
            PROPENSITY: pa.array([shares[position] for position in self.of_row], pa.float64()),
        }


def assigned(pipeline: Pipeline, tick: Tick, rows: pa.Table, champion: int, platform: Platform) -> Assigned | None:
    """Assign the rows of a tick; None without an experiment.

    The champion is the control of the plan, or there is no experiment: what was planned is not what would be compared.
    """
    run = experiments.in_force(pipeline, tick, platform)
    if run is None:
        return None
    planned = experiments.plan_of(run)
    if planned.control.version != champion:
        return None
    units = units_of(rows, unit_columns(pipeline))
    return Assigned(run.name, planned.variants, assign(units, run.salt, planned.variants))
