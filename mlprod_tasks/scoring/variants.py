"""Assign the rows of a tick to the variants of an experiment."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mlprod_tasks.declaration import Pipeline, Tick
from mlprod_tasks.declaration.experiment import ASSIGNED, EXPERIMENT, PROPENSITY, VARIANT
from mlprod_tasks.experiments import run as experiments
from mlprod_tasks.experiments.assignment import Variant, assign, unit_columns, units_of
from mlprod_tasks.platform import Platform

if TYPE_CHECKING:
    from mlprod_tasks.models.feature_frame import Predictions


@dataclass(frozen=True)
class Assigned:
    """The variants of a tick's rows.

    experiment: its name; variants: the control first; of_row: the position of each row's variant, (rows,), -1 for none.
    """

    experiment: str
    variants: tuple[Variant, ...]
    of_row: NDArray[np.int64]

    def held_out(self) -> NDArray[np.bool_]:
        """Which rows the fallback answers because they are held out, (rows,)."""
        return np.isin(self.of_row, [i for i, one in enumerate(self.variants) if one.held_out])

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


def row_thresholds(pipeline: Pipeline, rows: pa.Table, platform: Platform) -> list[float | None]:
    """Return the threshold with which a variant decided each stored row; None for the version's own."""
    if not set(ASSIGNED) <= set(rows.column_names):
        return [None] * rows.num_rows
    thresholds: dict[tuple[str | None, str | None], float | None] = {(None, None): None}
    found = []
    for of in zip(rows[EXPERIMENT].to_pylist(), rows[VARIANT].to_pylist(), strict=True):
        if of not in thresholds:
            planned = experiments.plan_of(experiments.get(pipeline, of[0], platform))
            thresholds |= {(of[0], one.name): one.threshold for one in planned.variants}
        found.append(thresholds[of])
    return found


def decided_from(predictions: Predictions, threshold: float | None, by_fallback: NDArray[np.bool_]) -> Predictions:
    """Return predictions decided from another threshold on; the fallback's decisions stand. by_fallback: (rows,)."""
    if threshold is None:
        return predictions
    return replace(predictions, decision=np.where(by_fallback, predictions.decision, predictions.score >= threshold))
