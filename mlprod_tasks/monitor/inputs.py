"""What went into a model and came out of it at one tick, against the model's reference profile."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from mlprod_tasks.monitor import bins, drift
from mlprod_tasks.monitor.bins import Counts
from mlprod_tasks.monitor.profile import Column, ReferenceProfile
from mlprod_tasks.monitor.reading import Reading

FEWEST_ROWS = 50  # below, a tick's distribution says nothing
QUIET_MARGIN = 1.25


def inputs(
    profile: ReferenceProfile, counts: Mapping[str, Counts], rows: int, fallback_rows: int, only_important: Mapping[str, bool]
) -> Iterator[Reading]:
    """The readings of one tick's predictions.

    counts: of the rows that the model itself answered, by column; a column that the predictions lack is missing from it.
    only_important: by watch, whether only the important features are held to its bounds.
    """
    yield Reading("fallback_share", fallback_rows / rows, rows, reference=0.0, detail=f"{fallback_rows:,} of {rows:,} rows")
    yield volume(profile, rows)
    answered = rows - fallback_rows
    yield _psi("score_psi", "", profile.score, counts, answered, True)
    for column in profile.features:
        held = {what: column.important or not only for what, only in only_important.items()}
        yield _psi("feature_psi", column.name, column, counts, answered, held.get("feature_psi", True))
        yield _null_share(column, counts, answered, held.get("null_share", True))


def volume(profile: ReferenceProfile, rows: int) -> Reading:
    """The rows of a tick over those of the reference's mean tick; all that can be said of a tick without rows."""
    mean = profile.rows_per_tick
    return Reading("volume", rows / mean, rows, reference=mean, detail=f"{rows:,} rows; the reference has {mean:,.0f} a tick")


def quiet_bound(ticks: tuple[float, ...]) -> float | None:
    """What a quiet tick may reach: the largest value of the reference's own ticks, with a margin. None without ticks.

    Rows of one tick resemble each other (one day's weather, one day's trailing means), so a tick never looks like a
    sample of the whole reference; how far it lies off is learned from the reference itself, tick by tick.
    """
    return QUIET_MARGIN * max(ticks) if ticks else None


def _psi(what: str, name: str, column: Column, counts: Mapping[str, Counts], n: int, watched: bool) -> Reading:
    def none(why: str, missing: bool = False) -> Reading:
        return Reading(what, None, n, name, why=why, missing=missing, watched=watched)

    if n < FEWEST_ROWS:
        return none(_too_few(n))
    if column.name not in counts:
        return none("the reference has this column and the predictions do not", missing=True)
    value = drift.corrected_psi(column.counts, counts[column.name])
    typical = float(np.median(column.tick_psi)) if column.tick_psi else 0.0
    detail = f"a tick of the reference has {typical:.3g}, at most {max(column.tick_psi):.3g}" if column.tick_psi else ""
    return Reading(what, value, n, name, typical, quiet_bound(column.tick_psi), detail=detail, watched=watched)


def _null_share(column: Column, counts: Mapping[str, Counts], n: int, watched: bool) -> Reading:
    if n < FEWEST_ROWS:
        return Reading("null_share", None, n, column.name, why=_too_few(n), watched=watched)
    if column.name not in counts:
        why = "the reference has this column and the predictions do not"
        return Reading("null_share", None, n, column.name, why=why, missing=True, watched=watched)
    share = float(counts[column.name][bins.NULL] / n)
    return Reading(
        "null_share",
        share - column.null_share,
        n,
        column.name,
        column.null_share,
        quiet_bound(column.tick_null_share),
        detail=f"{share:.1%} null; the reference has {column.null_share:.1%}",
        watched=watched,
    )


def _too_few(n: int) -> str:
    if n == 0:
        return "the fallback answered every row, so there is nothing of the model to compare"
    return f"{n} rows are too few to compare distributions; at least {FEWEST_ROWS} are needed"
