"""One watched value, judged by its bounds and said in words."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from mlprod_tasks.declaration import Pipeline, Tick, Watch
from mlprod_tasks.monitor.kinds import KINDS
from mlprod_tasks.platform.ledger import Measurement


@dataclass(frozen=True)
class Reading:
    """What was measured. `value` None where it could not be; `why` then says why.

    `missing` tells the two kinds of that apart: something that must be there is not (counts as a breach), or there is just too
    little to say anything (does not). `quiet` is what the reference's own ticks reach: below it nothing is breached.
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


def judged(reading: Reading, pipeline: Pipeline, tick: Tick, model_version: int, at: datetime) -> Measurement:
    """The ledger's entry for a reading: with the bounds of its Watch, the verdict, and a sentence."""
    watch = next((w for w in pipeline.watches if w.what == reading.what), None) if reading.watched else None
    low, high = bounds(watch, reading.quiet)
    value = reading.value
    breached = reading.missing and watch is not None
    if value is not None:
        breached = (low is not None and value < low) or (high is not None and value > high)
    return Measurement(
        pipeline=pipeline.name,
        tick=tick.date,
        what=reading.what,
        slice=reading.slice,
        value=value,
        reference=reading.reference,
        low=low,
        high=high,
        n=reading.n,
        breached=breached,
        interval_low=reading.interval[0] if reading.interval else None,
        interval_high=reading.interval[1] if reading.interval else None,
        model_version=model_version,
        sentence=_sentence(reading, pipeline, tick, low, high, breached),
        at=at,
    )


def bounds(watch: Watch | None, quiet: float | None) -> tuple[float | None, float | None]:
    """The watch's bounds, the upper one raised to what the reference's own ticks reach."""
    if watch is None:
        return None, None
    high = watch.high
    if high is not None and quiet is not None:
        high = max(high, quiet)
    return watch.low, high


def _sentence(reading: Reading, pipeline: Pipeline, tick: Tick, low: float | None, high: float | None, breached: bool) -> str:
    what = KINDS[reading.what].words.format(slice=reading.slice, kpi=pipeline.kpi.name)
    if reading.value is None:
        return f"{tick}: {what} could not be measured: {reading.why}"
    if breached and low is not None and reading.value < low:
        verdict = f", below the bound {low:.4g}"
    elif breached:
        verdict = f", above the bound {high:.4g}"
    elif low is None and high is None:
        verdict = ""
    else:
        verdict = f", within {_interval(low, high)}"
    detail = f" ({reading.detail})" if reading.detail else ""
    return f"{tick}: {what} is {reading.value:.4g}{verdict}{detail}; n = {reading.n:,}"


def _interval(low: float | None, high: float | None) -> str:
    if low is None:
        return f"the bound {high:.4g}"
    return f"the bound {low:.4g}" if high is None else f"{low:.4g} to {high:.4g}"
