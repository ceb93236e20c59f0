"""Adapt the champion's score of one row, bit for bit as in a batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.models.predicted_columns import shares_text
from mlprod_tasks.platform import Platform, names
from mlprod_tasks.serving.row_score import RowScore

if TYPE_CHECKING:
    from mlprod_tasks.serving.single_row import SingleRow

Logged = tuple[float | str | None, str | None]  # the champion's own score of a row, and what adapted it
NOT_THE_CHAMPIONS: Logged = (None, None)


class Adapter(msgspec.Struct, frozen=True):
    """What adapts the scores of a version now.

    state: its name in the lake; None if the version's own scores stand. adapted: of a score, or of the probabilities of all
    classes; reads: the features that it takes as well, in this order. lake_version: of the table that it was read from, at tick
    `until`.
    """

    version: int
    lake_version: int
    until: str
    state: str | None = None
    adapted: Callable[..., Any] | None = None
    reads: tuple[str, ...] = ()

    def of(self, row: SingleRow, values: Sequence[Any], own: RowScore) -> RowScore:
        """Return what becomes of the version's own score of a row. values: in the order of its features."""
        if self.adapted is None:
            return own
        before = own.score if own.probabilities is None else list(own.probabilities.values())
        if not self.reads:
            return row.answering(values).decided(self.adapted(before))
        read = [values[row.feature_names.index(name)] for name in self.reads]
        return row.answering(values).decided(self.adapted(before, read))

    def logged(self, own: RowScore) -> Logged:
        """Return the values of `log_row.columns_of_adaptation` for a row that the version answered."""
        shares = own.probabilities
        return own.score if shares is None else shares_text(shares, shares.values()), self.state


def adapter_of(pipeline: Pipeline, version: int, before: Adapter | None, platform: Platform) -> Adapter | None:
    """Return what adapts the scores of a version now, the one before if nothing was written since; None if none is declared."""
    if pipeline.adapt is None:
        return None
    from mlprod_tasks.adaptation.state import newest  # loads libraries that serving without adaptation does not need
    from mlprod_tasks.platform.lake import TableMissing

    tick = pipeline.schedule.last_at(platform.clock.now()).name
    try:
        lake_version = platform.lake.version(names.adaptation(pipeline))
    except TableMissing:
        return Adapter(version, -1, str(tick))
    if before is not None and (before.version, before.lake_version, before.until) == (version, lake_version, str(tick)):
        return before
    state = newest(pipeline, tick, version, platform)
    layer = None if state is None else state.layer(pipeline)
    if state is None or layer is None:
        return Adapter(version, lake_version, str(tick))
    return Adapter(version, lake_version, str(tick), state.name, layer.single(), state.features)
