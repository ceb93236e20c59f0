"""Whether the model's metrics still correlate with the business's."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import delete, select

from mlprod_tasks.declaration import Pipeline, Schedule
from mlprod_tasks.declaration.rhythm import TickName
from mlprod_tasks.monitoring.bounds import in_force
from mlprod_tasks.monitoring.measurement import Reading, judged
from mlprod_tasks.platform.ledger import Measurement
from mlprod_tasks.statistics import intervals

if TYPE_CHECKING:
    from mlprod_tasks.platform import Platform

TICKS = 28  # the window, with the current tick; the TICKS before it are the comparison
FEWEST_PAIRS = 10
OF_THE_MODEL = {
    "binary": ("roc_auc", "estimated_value", "calibration"),
    "regression": ("mae", "bias", "value"),
    "multiclass": ("accuracy", "estimated_value", "calibration"),
}
# Measurements read from the ledger.
READ = (*dict.fromkeys(name for names in OF_THE_MODEL.values() for name in names), "kpi", "business_metric")

Series = Mapping[TickName, float]


def reached(tick: TickName, schedule: Schedule) -> TickName:
    """The last tick whose correlations use the measurements of `tick`."""
    return schedule.shift(tick, 2 * TICKS - 1)


def rests_on(tick: TickName, schedule: Schedule) -> TickName:
    """The first tick whose measurements the correlations of `tick` use.

    The last is `tick` itself.
    """
    return schedule.shift(tick, 1 - 2 * TICKS)


def correlations(pipeline: Pipeline, tick: TickName, rows: Iterable[Measurement]) -> Iterator[Reading]:
    """Rank correlations (Spearman) of model and business metrics over TICKS ticks.

    The model's metrics are ROC AUC, estimated value and calibration, the last as minus its absolute value; of numbers minus the
    mean absolute error, minus the absolute bias, and the value; of classes accuracy in place of ROC AUC. The business's are the
    KPI and the declared metrics, which are paired with the KPI too. Two metrics have parted if the interval lies entirely
    beyond that of the TICKS ticks before, towards 0 or past it. A model metric and the KPI, where more is better for both, have
    also parted if the interval lies below 0. A Watch's bounds apply only to a pair that has parted.

    Ticks are assumed independent. rows: measurements; those of later ticks are ignored, so the order of measuring does not
    matter.
    """
    series = _series(rows)
    for pair in _pairs(pipeline, series):
        yield _reading(pair, tick, pipeline.schedule)


def renew_correlations(pipeline: Pipeline, ticks: Collection[TickName], platform: Platform) -> list[Measurement]:
    """Recompute all correlations that use one of `ticks`, which were just measured.

    Only ticks with outcomes have correlations. Runs one at a time under a lock, from the ledger as it is then. The last run
    sees everything, so the result is the same in whatever order ticks are measured, also if they are measured twice or at the
    same time.
    """
    if not ticks:
        return []
    at, schedule, written = platform.clock.now(), pipeline.schedule, []
    first, last = min(ticks), reached(max(ticks), schedule)
    mine = Measurement.pipeline == pipeline.name
    with platform.ledger.exclusive(f"{pipeline.name}/kpi_correlation") as session:
        complete = (
            (Measurement.what == "label_coverage") & Measurement.value.is_not(None) & Measurement.tick.between(first, last)
        )
        versions = dict(
            session.execute(select(Measurement.tick, Measurement.model_version).where(mine, complete)).tuples().all()
        )
        read = Measurement.what.in_(READ) & Measurement.tick.between(rests_on(first, schedule), last)
        rows = list(session.scalars(select(Measurement).where(mine, read)))
        stale = [tick for tick in sorted(versions) if any(one <= tick <= reached(one, schedule) for one in ticks)]
        for tick in stale:
            bounds, moment = in_force(pipeline, tick, platform), pipeline.schedule.tick(tick)
            readings = correlations(pipeline, tick, rows)
            written += [judged(reading, pipeline, moment, versions[tick], at, bounds) for reading in readings]
        session.execute(delete(Measurement).where(mine, Measurement.what == "kpi_correlation", Measurement.tick.in_(stale)))
        session.add_all(written)
    return written


@dataclass(frozen=True)
class _Pair:
    """Two series to compare. rises: whether they are expected to rise together."""

    name: str
    one: Series
    other: Series
    rises: bool


@dataclass(frozen=True)
class _Correlation:
    """A rank correlation of n pairs; without a value, `why` says why."""

    n: int
    value: float | None
    low: float = -1.0
    high: float = 1.0
    why: str = ""


def _reading(pair: _Pair, tick: TickName, schedule: Schedule) -> Reading:
    now = _correlation(pair, schedule.shift(tick, 1 - TICKS), tick)
    before = _correlation(pair, rests_on(tick, schedule), schedule.shift(tick, -TICKS))
    if now.value is None:
        return Reading("kpi_correlation", None, now.n, pair.name, before.value, why=now.why)
    detail = f"95 % interval {now.low:.2f} to {now.high:.2f}"
    if before.value is not None:
        detail += f", {before.value:.2f} in the {TICKS} ticks before"
    parted = _parted_words(pair, now, before)
    return Reading(
        "kpi_correlation",
        now.value,
        now.n,
        pair.name,
        before.value,
        detail=f"{detail}; {parted}" if parted else detail,
        watched=bool(parted),
        interval=(now.low, now.high),
    )


def _parted_words(pair: _Pair, now: _Correlation, before: _Correlation) -> str:
    if pair.rises and now.high < 0:
        return "they have parted: when one rises, the other falls"
    if before.value is None:
        return ""
    gone = now.high < before.low if before.value > 0 else now.low > before.high
    return "they have parted: they correlate less than before" if gone else ""


def _correlation(pair: _Pair, first: TickName, last: TickName) -> _Correlation:
    ticks = sorted(tick for tick in pair.one if first <= tick <= last and tick in pair.other)
    n = len(ticks)
    if n < FEWEST_PAIRS:
        return _Correlation(
            n, None, why=f"only {n} of the last {TICKS} ticks have both values; at least {FEWEST_PAIRS} are needed"
        )
    one, other = (np.array([series[tick] for tick in ticks]) for series in (pair.one, pair.other))
    if np.ptp(one) == 0 or np.ptp(other) == 0:
        return _Correlation(n, None, why=f"one of them has the same value at all {n} ticks")
    value = spearman(one, other)
    return _Correlation(n, value, *intervals.of_rank_correlation(value, n))


def spearman(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Spearman's rank correlation; equal values share a rank.

    one, other: (n,), neither constant.
    """
    from scipy.stats import spearmanr

    return float(spearmanr(one, other).statistic)


def _pairs(pipeline: Pipeline, series: Mapping[str, Series]) -> Iterator[_Pair]:
    kpi, metrics = pipeline.kpi.name, [metric.name for metric in pipeline.monitoring.metrics]
    for model in OF_THE_MODEL[pipeline.task]:
        mine = series.get(model, {})
        # Of numbers and classes, the KPI may be a cost: it is not known in which direction it should go.
        yield _Pair(f"{model} with {kpi}", mine, series.get("kpi", {}), rises=pipeline.task == "binary")
        for name in metrics:
            yield _Pair(f"{model} with {name}", mine, series.get(f"business_metric/{name}", {}), rises=False)
    for name in metrics:
        theirs = series.get(f"business_metric/{name}", {})
        yield _Pair(f"{name} with {kpi}", theirs, series.get("kpi", {}), rises=False)


def _series(rows: Iterable[Measurement]) -> Mapping[str, Series]:
    series: dict[str, dict[TickName, float]] = {}
    for row in rows:
        value = _value(row)
        if value is not None:
            subject = f"{row.what}/{row.slice}" if row.slice else row.what
            series.setdefault(subject, {})[row.tick] = value
    return series


def _value(row: Measurement) -> float | None:
    if row.value is None:
        return None
    if row.what in ("calibration", "bias"):
        return -abs(row.value)
    if row.what == "mae":  # stored relative to the reference's
        return None if row.reference is None else -row.value * row.reference
    if row.what == "kpi":  # stored relative to the reference's, which changes with each promotion
        return None if row.reference is None else row.value * row.reference
    return row.value
