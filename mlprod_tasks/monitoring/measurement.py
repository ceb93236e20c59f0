"""One watched value with the verdict of its bounds and a sentence."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from mlprod_tasks.declaration import Pipeline, Tick
from mlprod_tasks.documents.formatting import format_compared, format_number
from mlprod_tasks.monitoring.bounds import Bound, Bounds
from mlprod_tasks.monitoring.kinds import KINDS
from mlprod_tasks.platform.ledger import Measurement


@dataclass(frozen=True)
class Reading:
    """One measured value.

    If it could not be measured, value is None and `why` says why. missing: whether a value is absent because something required
    is missing, which counts as a breach, or because there is too little data, which does not. important: whether it is about
    one of the features that make up most of the model's gain. quiet: what the reference's own ticks reach, for a profile that
    keeps no history of them; up to it nothing is breached.
    """

    what: str
    value: float | None
    n: int
    slice: str = ""
    reference: float | None = None
    quiet: float | None = None
    why: str = ""
    detail: str = ""
    missing: bool = False
    watched: bool = True
    interval: tuple[float, float] | None = None
    important: bool = False


def judged(
    reading: Reading, pipeline: Pipeline, tick: Tick, model_version: int, at: datetime, bounds: Bounds | None = None
) -> Measurement:
    """The ledger entry for a reading, with its bounds, verdict and sentence.

    bounds: those of this tick; None for the declared ones only.
    """
    bound = (bounds or Bounds(pipeline, tick.name)).of(reading.what, reading.slice, reading.watched, reading.quiet)
    value = reading.value
    breached = reading.missing and bool(bound.origin) if value is None else bound.broken_by(value)
    return Measurement(
        pipeline=pipeline.name,
        tick=tick.name,
        what=reading.what,
        slice=reading.slice,
        value=value,
        reference=reading.reference,
        low=bound.low,
        high=bound.high,
        n=reading.n,
        breached=breached,
        interval_low=reading.interval[0] if reading.interval else None,
        interval_high=reading.interval[1] if reading.interval else None,
        important=reading.important,
        model_version=model_version,
        sentence=_sentence(reading, pipeline, tick, bound, breached),
        at=at,
    )


def _sentence(reading: Reading, pipeline: Pipeline, tick: Tick, bound: Bound, breached: bool) -> str:
    what = KINDS[reading.what].words.format(slice=reading.slice, kpi=pipeline.kpi.name)
    if reading.value is None:
        return f"{tick}: {what} could not be measured: {reading.why}"
    shown = format_number(reading.value)
    if breached and bound.low is not None and reading.value < bound.low:
        shown, limit = format_compared(reading.value, bound.low)
        verdict = f", below the bound {limit}{_source(bound)}"
    elif breached and bound.high is not None:
        shown, limit = format_compared(reading.value, bound.high)
        verdict = f", above the bound {limit}{_source(bound)}"
    elif bound.low is None and bound.high is None:
        verdict = f", not judged: {bound.unjudged}" if bound.unjudged else ""
    else:
        verdict = f", within {_interval(bound)}"
    detail = f" ({reading.detail})" if reading.detail else ""
    return f"{tick}: {what} is {shown}{verdict}{detail}; n = {reading.n:,}"


def _interval(bound: Bound) -> str:
    ends = [format_number(end) for end in (bound.low, bound.high) if end is not None]
    return f"the bound {ends[0]}" if len(ends) == 1 else " to ".join(ends)


def _source(bound: Bound) -> str:
    """Where a bound comes from, in words; '' for a declared one."""
    if bound.set_by:
        return f" {bound.origin}"
    if bound.origin in ("", "declared", "nothing to learn from"):
        return ""
    change = " and the change in the same weeks of last year" if bound.last_year else ""
    if bound.holidays:
        return f", learned from {bound.holidays} other holidays{change}"
    return f", learned from the reference's own ticks{change}"
