"""Categories that are new in a tick or lost from it, compared with the reference."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mlprod_tasks.statistics.bins import MOST_KNOWN, OTHER, Counts

if TYPE_CHECKING:
    from mlprod_tasks.models.reference_profile import ProfileColumn

NEARLY_EVERY = 0.95  # share of the reference's ticks
UNLIKELY = 0.001  # probability that a category has no row by chance
MOST_NAMED = 5


@dataclass(frozen=True)
class Found:
    """A share of rows, the usual share, and a description in words."""

    share: float
    usual: float
    detail: str


def new(column: ProfileColumn, counts: Counts) -> Found | None:
    """The share of the tick's rows whose category no reference row has.

    None if the reference cannot tell. A reference with more than MOST_KNOWN categories has rows of other categories itself;
    only the excess over that counts. As few rows as a reference of so many rows may lack by chance are not new.
    """
    before = np.asarray(column.counts)
    usual = float(before[OTHER] / max(1, before.sum()))
    if usual > 0 and len(column.bins.categories) < MOST_KNOWN:
        return None
    appeared = (before[2:] == 0) & (counts[2:] > 0)  # happens if the tick was left out of the reference
    rows = int(counts[OTHER] + counts[2:][appeared].sum())
    chance = _all_in_one_tick if column.bins.of_integers else _missed_by_reference
    if (column.bins.of_integers or not usual) and chance(rows, int(counts.sum()), column) > UNLIKELY:
        return Found(0.0, 0.0, f"{rows:,} rows, as may be by chance" if rows else "0 rows")
    detail = f"{rows:,} rows" + (
        f"; in the reference, {usual:.1%} are outside its {MOST_KNOWN:,} most frequent" if usual else ""
    )
    return Found(max(0.0, rows / max(1, int(counts.sum())) - usual), 0.0, detail)


def _all_in_one_tick(rows: int, n: int, column: ProfileColumn) -> float:
    """The probability that of two ticks, this one of n rows and one of the reference, this one has all `rows` of a kind."""
    other = sum(column.counts) * column.of_one_tick
    left = np.arange(rows)
    return float(np.prod(np.maximum(0, n - left) / np.maximum(1, n + other - left)))


def _missed_by_reference(rows: int, n: int, column: ProfileColumn) -> float:
    """The probability that as many of n rows have categories that the reference lacks by chance.

    How much it lacks is told by what it has once (Good, Biometrika 40, 1953).
    """
    from scipy.special import bdtrc

    before = np.asarray(column.counts)
    return float(bdtrc(rows - 1, n, (np.count_nonzero(before[2:] == 1) + 1) / (before.sum() + 1)))


def lost(column: ProfileColumn, counts: Counts, ticks: int) -> Found:
    """The share of the reference's rows whose expected category the tick lacks.

    It is expected if nearly every tick of the reference has it, and if this tick's number of independent rows would all miss it
    with a probability (1 - share)^rows below UNLIKELY. ticks: how many the reference has.
    """
    before = np.asarray(column.counts)
    shares = before[2:] / max(1, before.sum())
    everywhere = np.asarray(column.present) >= NEARLY_EVERY * ticks
    sure = (1 - shares) ** int(counts.sum()) < UNLIKELY
    gone = everywhere & sure & (shares > 0) & (counts[2:] == 0)
    names = [name for name, is_gone in zip(column.bins.categories, gone, strict=True) if is_gone]
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return Found(float(shares[gone].sum()), 0.0, ", ".join(names[:MOST_NAMED]) + more)
