"""One watched value, judged by its bounds and said in words."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from mlprod_tasks.declaration import Pipeline, Tick
from mlprod_tasks.monitoring.bounds import Bound, Bounds
from mlprod_tasks.monitoring.kinds import KINDS
from mlprod_tasks.platform.ledger import Measurement


@dataclass(frozen=True)
class Reading:
    """What was measured. `value` None where it could not be; `why` then says why.

    `missing` tells the two kinds of that apart: something that must be there is not (counts as a breach), or there is just too
    little to say anything (does not). `important`: of one of the features that make up the model's gain. `quiet` is what the
    reference's own ticks reach, for a profile that keeps no history of them: below it nothing is breached.
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
    """The ledger's entry for a reading: with the bounds in force, the verdict, and a sentence.

    bounds: those of this tick; None: the declared ones alone.
    """
    bound = (bounds or Bounds(pipeline, tick.date)).of(reading.what, reading.slice, reading.watched, reading.quiet)
    value = reading.value
    breached = reading.missing and bool(bound.origin) if value is None else bound.broken_by(value)
    return Measurement(
        pipeline=pipeline.name,
        tick=tick.date,
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
    if breached and bound.low is not None and reading.value < bound.low:
        verdict = f", below the bound {bound.low:.4g}{_whose(bound)}"
    elif breached:
        verdict = f", above the bound {bound.high:.4g}{_whose(bound)}"
    elif bound.low is None and bound.high is None:
        verdict = ""
    else:
        verdict = f", within {_interval(bound)}"
    detail = f" ({reading.detail})" if reading.detail else ""
    return f"{tick}: {what} is {reading.value:.4g}{verdict}{detail}; n = {reading.n:,}"


def _interval(bound: Bound) -> str:
    if bound.low is None:
        return f"the bound {bound.high:.4g}"
    return f"the bound {bound.low:.4g}" if bound.high is None else f"{bound.low:.4g} to {bound.high:.4g}"


def _whose(bound: Bound) -> str:
    """What a reader must know to believe the bound; nothing where it is the declared one."""
    if bound.set_by:
        return f" {bound.origin}"
    return "" if bound.origin in ("", "declared", "nothing to learn from") else ", learned from the reference's own ticks"
