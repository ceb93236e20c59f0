"""What units were given and what they earned, from the scored rows of one tick and their outcomes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mlprod_tasks.declaration import Pipeline, Tick, UnitMetric
from mlprod_tasks.declaration.experiment import PROPENSITY, VARIANT, Rows
from mlprod_tasks.declaration.rhythm import TickName
from mlprod_tasks.experiments.assignment import unit_columns
from mlprod_tasks.experiments.scored_rows import KNOWN, ArmsRead
from mlprod_tasks.experiments.units import UNITS, open_units, opened
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.sql import quoted

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class LoggedTick:
    """The units of a tick whose reward is known.

    unit: (units,) as text; arm: (units,) its name; propensity: (units,) the probability with which it was given that arm;
    value: (units,) the metric over its rows; null: (units,) whether it is null in all of them, and so 0; features: (units,
    features).
    """

    unit: list[str]
    arm: list[str]
    propensity: Floats
    value: Floats
    null: NDArray[np.bool_]
    features: Floats


@dataclass(frozen=True)
class ArmLog:
    """Where arms are logged. name: of who gave them; column: what names the arm of a row; rows: those scored, or requests.

    features: of each row, that are wanted.
    """

    name: str
    column: str = VARIANT
    rows: Rows = "batch"
    features: tuple[str, ...] = ()


def logged_tick(
    pipeline: Pipeline, log: ArmLog, tick: TickName, metric: UnitMetric, as_of: Tick, platform: Platform
) -> LoggedTick:
    """Return what the units of a tick were given by an experiment or bandit, and what they earned, as known at `as_of`.

    A unit that got several arms within the tick, as requests may that come before and after a new version of a bandit's state,
    is there with each.

    Raises: MetricFailed.
    """
    ticks, arms = pipeline.schedule.range(tick), ArmsRead(log.column, log.features)
    with opened(platform) as con:
        if not open_units(
            con, pipeline, (metric,), ticks, as_of, platform, experiment=log.name, rows=log.rows, arms=arms
        ):  # fmt: skip
            return LoggedTick([], [], np.empty(0), np.empty(0), np.empty(0, bool), np.empty((0, len(log.features))))
        unit = unit_columns(pipeline)
        same = " AND ".join(f"{UNITS}.u{i} = given.u{i}" for i, _ in enumerate(unit))
        own = ", ".join(f"{quoted(column)} AS u{i}" for i, column in enumerate(unit))
        # A null, or what is no finite number, counts as 0.
        numbers = "".join(
            f", min(CASE WHEN isfinite({one}::DOUBLE) THEN {one}::DOUBLE ELSE 0 END) AS x{i}"
            for i, one in enumerate(map(quoted, arms.stored))
        )
        given = (
            f"SELECT {own}, variant, min({PROPENSITY}) AS propensity{numbers} FROM {KNOWN} WHERE label IS NOT NULL GROUP BY ALL"
        )
        key = ", ".join(f"given.u{i}" for i, _ in enumerate(unit))
        wanted = "".join(f", x{i}" for i, _ in enumerate(log.features))
        found = con.sql(
            f"SELECT concat_ws('\x1f', {key}) AS unit, variant AS arm, propensity, a0, n0 = 0 AS empty{wanted} "
            f"FROM {UNITS} JOIN ({given}) AS given USING (variant) WHERE {same} ORDER BY unit, arm"
        ).to_arrow_table()
    return _as_logged(found, len(log.features))


def feature_values(rows: pa.Table, features: tuple[str, ...]) -> Floats:
    """Return the features of rows as numbers, (rows, features); a null, or what is no finite number, counts as 0."""
    columns = [np.array(rows[name].to_pylist(), dtype=float) for name in features]
    values = np.column_stack(columns) if columns else np.empty((rows.num_rows, 0))
    return np.where(np.isfinite(values), values, 0.0)


def _as_logged(found: pa.Table, features: int) -> LoggedTick:
    numbers = [found[f"x{i}"].to_numpy() for i in range(features)]
    return LoggedTick(
        found["unit"].to_pylist(),
        found["arm"].to_pylist(),
        found["propensity"].to_numpy(),
        found["a0"].to_numpy(),
        found["empty"].to_numpy(zero_copy_only=False),
        np.column_stack(numbers) if numbers else np.empty((found.num_rows, 0)),
    )
