"""Categories that a tick has and the reference has not, and those that are gone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mlprod_tasks.statistics.bins import MOST_KNOWN, OTHER, Counts

if TYPE_CHECKING:
    from mlprod_tasks.models.reference_profile import ProfileColumn

NEARLY_EVERY = 0.95  # of the reference's ticks
UNLIKELY = 0.001  # that a category has no row by chance
MOST_NAMED = 5


@dataclass(frozen=True)
class Found:
    """A share of rows, what the reference's own would be, and it in words."""

    share: float
    usual: float
    told: str


def new(column: ProfileColumn, counts: Counts) -> Found | None:
    """The share of the tick's rows whose category no row of the reference has; None where the reference cannot tell.

    A reference of more than MOST_KNOWN categories has rows of others itself: what counts is the share above its own.
    """
    before = np.asarray(column.counts)
    usual = float(before[OTHER] / max(1, before.sum()))
    if usual > 0 and len(column.bins.categories) < MOST_KNOWN:
        return None
    appeared = (before[2:] == 0) & (counts[2:] > 0)  # known of a tick that is left out
    rows = int(counts[OTHER] + counts[2:][appeared].sum())
    told = f"{rows:,} rows" + (
        f"; of the reference's, {usual:.1%} are beyond its {MOST_KNOWN:,} most frequent" if usual else ""
    )
    return Found(max(0.0, rows / max(1, int(counts.sum())) - usual), 0.0, told)


def lost(column: ProfileColumn, counts: Counts, ticks: int) -> Found:
    """The share of the reference's rows whose category does not occur in the tick though it should.

    It should if nearly every tick of the reference has it, and if as many independent rows as this tick has would miss it with
    a probability below UNLIKELY: (1 - share)^rows. ticks: how many the reference has.
    """
    before = np.asarray(column.counts)
    shares = before[2:] / max(1, before.sum())
    everywhere = np.asarray(column.present) >= NEARLY_EVERY * ticks
    sure = (1 - shares) ** int(counts.sum()) < UNLIKELY
    gone = everywhere & sure & (shares > 0) & (counts[2:] == 0)
    names = [name for name, is_gone in zip(column.bins.categories, gone, strict=True) if is_gone]
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return Found(float(shares[gone].sum()), 0.0, ", ".join(names[:MOST_NAMED]) + more)
