"""What acting on the best rows of a tick is worth, by how many there is room for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mlprod_tasks.documents.plot_style import BLUE, INK, ORANGE, WIDTH, Bools, Floats, panels, thinned
from mlprod_tasks.models.decision_value import Worth

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDEST = 3  # times the capacity that are shown


@dataclass(frozen=True)
class RankedOutcomes:
    """Labelled rows with their place among the scores of their tick, from 0 on; acts: what was decided, (n,) each."""

    place: NDArray[np.int64]
    outcome: Bools
    worth: Worth
    acts: Bools
    ticks: int

    def value_per_tick(self, most: int) -> Floats:
        """The value of a tick if so many of its best rows are acted on, (most + 1,), from none on."""
        gained = np.bincount(self.place, self.worth.acted - self.worth.waited, minlength=most)[:most]
        return np.concatenate(([0.0], np.cumsum(gained))) / self.ticks + float(self.worth.waited.sum()) / self.ticks

    def precision(self, most: int) -> Floats:
        """The share of positives among so many of the best rows of each tick, (most,), from one on."""
        hits, rows = (np.bincount(self.place, of, minlength=most)[:most] for of in (self.outcome, np.ones(len(self.place))))
        return np.asarray(np.cumsum(hits) / np.maximum(np.cumsum(rows), 1))


def by_capacity(ranked: RankedOutcomes, capacity: int, unit: str) -> Figure:
    """Value of a tick and precision, by the number of its best rows that are acted on; the point is what was decided."""
    most = max(2, min(WIDEST * capacity, int(ranked.place.max(initial=0)) + 1))
    fig, (left, right) = panels("By room for rows of a tick", 1, 2, width=1.5 * WIDTH, height=3.6)
    places = np.arange(most + 1)
    left.plot(*thinned(places.astype(float), ranked.value_per_tick(most)), color=BLUE, linewidth=2)
    right.plot(*thinned(places[1:].astype(float), ranked.precision(most)), color=BLUE, linewidth=2)
    decided = float(ranked.acts.sum()) / ranked.ticks
    value = float(ranked.worth.of(ranked.acts).sum()) / ranked.ticks
    hit = float(ranked.outcome[ranked.acts].mean()) if ranked.acts.any() else np.nan
    for axes, at, name in ((left, value, f"{unit} a tick"), (right, hit, "share of positives")):
        axes.axvline(capacity, color=INK, linestyle="--", linewidth=1, label=f"capacity, {capacity:,}")
        axes.plot(decided, at, "o", color=ORANGE, markersize=8, label="decided, mean of the ticks", zorder=5)
        axes.set(xlabel="rows acted on, the best of each tick", ylabel=name, xlim=(0, most))
    left.legend(loc="best", frameon=False, fontsize=9)
    return fig
