"""Which variant a unit gets: the same on every machine and at every tick, and independent of other experiments."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

SEPARATOR = "\x1f"  # between the parts of a unit; no key that a system writes contains it
SCALE = 2.0**64


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


def units_of(rows: pa.Table, unit: Sequence[str]) -> list[str | None]:
    """Return the unit of each row as text; None if a part of it is null: such a row is in no experiment."""
    columns = [rows[name].to_pylist() for name in unit]
    return [_text(parts) for parts in zip(*columns, strict=True)]


def place(unit: str, salt: str) -> float:
    """Return where a unit lies in [0, 1): uniform, and independent for another salt."""
    digest = hashlib.blake2b(unit.encode(), digest_size=8, salt=salt.encode()).digest()
    return int.from_bytes(digest) / SCALE


def assign(units: Sequence[str | None], salt: str, variants: Sequence[Variant]) -> NDArray[np.int64]:
    """Return the position of each unit's variant, (units,); -1 for None."""
    ends = np.cumsum([one.share for one in variants])
    places: dict[str, float] = {unit: place(unit, salt) for unit in units if unit is not None}
    at = np.array([-1.0 if unit is None else places[unit] for unit in units])
    # Shares may round to a sum below 1: the last variant ends where places do.
    found = np.minimum(np.searchsorted(ends, at, side="right"), len(variants) - 1)
    return np.where(at < 0, -1, found).astype(np.int64)


def _text(parts: Sequence[Any]) -> str | None:
    return None if any(part is None for part in parts) else SEPARATOR.join(map(str, parts))
