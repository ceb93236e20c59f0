"""Which variant a unit gets: the same on every machine and at every tick, and independent of other experiments."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mlprod_tasks.declaration import Column, Expression, Pipeline
from mlprod_tasks.declaration.experiment import CONTROL

if TYPE_CHECKING:
    from mlprod_tasks.platform.experiment_entries import ExperimentRun

SEPARATOR = "\x1f"  # between the parts of a unit; no key that a system writes contains it
HASH_BYTES = 8
SCALE = 2.0 ** (8 * HASH_BYTES)


@dataclass(frozen=True)
class Variant:
    """One of the things that an experiment compares.

    name: its name; version: of the registered model; share: of the units; threshold: from which its scores are decided as
    positive, None for the version's own. held_out: whether the version's fallback answers instead of it, so that the difference
    is what the model is worth at all.
    """

    name: str
    version: int
    share: float
    threshold: float | None = None
    held_out: bool = False


def combined(one: Variant, other: Variant) -> Variant:
    """Return what answers a unit of two experiments: the version of the one that gives it another, the threshold likewise.

    Only one of them may change each. Both controls together are the control.
    """
    if other.name == CONTROL:
        return one
    if one.name == CONTROL:
        return other
    first, second = (one, other) if one.threshold is None else (other, one)
    return Variant(f"{first.name} and {second.name}", first.version, one.share * other.share, second.threshold)


@dataclass(frozen=True)
class UnitRange:
    """Which units take part in an experiment: those whose place by the layer's salt is in [low, high).

    Experiments that vary the same part of an answer have ranges that do not overlap, so no unit is in two of them.
    """

    salt: str
    low: float
    high: float

    @property
    def whole(self) -> bool:
        """Whether all units take part."""
        return self.low <= 0 and self.high >= 1

    def has(self, units: Sequence[str | None]) -> NDArray[np.bool_]:
        """Return which units take part, (units,); None does not."""
        if self.whole:
            return np.array([unit is not None for unit in units], bool)
        at = _places(units, self.salt)
        # Places round to 1 at the very end.
        return (at >= self.low) & ((at < self.high) | (self.high >= 1)) & (at >= 0)


def units_of_run(run: ExperimentRun) -> UnitRange:
    """Return which units take part in an experiment."""
    return UnitRange(run.layer_salt, run.units_from, run.units_to)


def unit_columns(pipeline: Pipeline) -> tuple[str, ...]:
    """Return the columns that make a unit."""
    assert pipeline.experiments is not None
    return pipeline.experiments.unit or pipeline.entity_table.key


def column_of_unit(pipeline: Pipeline, name: str) -> Column | None:
    """Return the column of the scored row that a part of the unit is; None of a feature that is looked up or computed."""
    entity = pipeline.entity_table
    if name in entity.key:
        return entity.column(name)
    feature = next((one for one in pipeline.features if isinstance(one, Expression) and one.name == name), None)
    columns = {
        one.name: one for one in entity.lake_columns if one.known_at is None and one.name not in (entity.time, entity.added)
    }
    column = None if feature is None else columns.get(feature.sql.strip())
    return column if column is not None and feature is not None and _same_text(column, feature) else None


def _same_text(column: Column, feature: Expression) -> bool:
    """Whether a feature that is a column has its values; a float may have lost digits, and a bool may be a number."""
    return column.kind == feature.kind and column.kind in ("int", "text", "date")


def units_of(rows: pa.Table, unit: Sequence[str]) -> list[str | None]:
    """Return the unit of each row as text; None if a part of it is null: such a row is in no experiment."""
    columns = [rows[name].to_pylist() for name in unit]
    return [_text(parts) for parts in zip(*columns, strict=True)]


def place(unit: str, salt: str) -> float:
    """Return where a unit lies in [0, 1)."""
    return placing(salt)(unit)


def placing(salt: str) -> Callable[[str], float]:
    """Return what gives where a unit lies in [0, 1): uniform, and independent for another salt."""
    before = salted(salt)

    def place(unit: str) -> float:
        hashed = before.copy()  # half the time of salting anew
        hashed.update(unit.encode())
        return int.from_bytes(hashed.digest()) / SCALE

    return place


def salted(salt: str) -> Any:
    """Return the hash that places units, before any is in it."""
    return hashlib.blake2b(digest_size=HASH_BYTES, salt=salt.encode())


def first_hash(end: float) -> bytes:
    """Return the first hash whose place in [0, 1) is not below `end`, as it is compared with others as bytes."""
    low, high = 0, 2 ** (8 * HASH_BYTES) - 1
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if middle / SCALE >= end else (middle + 1, high)
    return low.to_bytes(HASH_BYTES)


def shares_end(variants: Sequence[Variant]) -> list[float]:
    """Return where the share of each variant ends in [0, 1)."""
    return [float(end) for end in np.cumsum([one.share for one in variants])]


def assign(
    units: Sequence[str | None], salt: str, variants: Sequence[Variant], among: UnitRange | None = None
) -> NDArray[np.int64]:
    """Return the position of each unit's variant, (units,); -1 for None, and for units that are not `among` those given."""
    ends = shares_end(variants)
    at = _places(units, salt)
    # Shares may round to a sum below 1: the last variant ends where places do.
    found = np.minimum(np.searchsorted(ends, at, side="right"), len(variants) - 1)
    taken = at >= 0 if among is None else among.has(units)
    return np.where(taken, found, -1).astype(np.int64)


def _places(units: Sequence[str | None], salt: str) -> NDArray[np.float64]:
    """Where units lie, (units,); -1 for None."""
    place = placing(salt)
    places: dict[str, float] = {unit: place(unit) for unit in units if unit is not None}
    return np.array([-1.0 if unit is None else places[unit] for unit in units], float)


def _text(parts: Sequence[Any]) -> str | None:
    return None if any(part is None for part in parts) else SEPARATOR.join(map(str, parts))
