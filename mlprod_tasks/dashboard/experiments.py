"""Read what the page shows about experiments: their plans and readings, as the ledger holds them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from mlprod_tasks.dashboard.bandits import bandits, declared_bandit
from mlprod_tasks.dashboard.experiment_schemas import (
    DifferencePath,
    DifferenceRow,
    ExperimentRow,
    ExperimentsDetail,
    ExposurePath,
    VariantRow,
)
from mlprod_tasks.declaration import Pipeline, UnitMetric
from mlprod_tasks.declaration.rhythm import TickName
from mlprod_tasks.experiments.layer import share_units
from mlprod_tasks.platform.experiment_entries import ExperimentReading, ExperimentRun

MOST_EXPERIMENTS = 10
NOT_READ = "not read"


def experiments(
    session: Session, pipeline: Pipeline, until: datetime, last: TickName | None = None
) -> ExperimentsDetail | None:
    """Read the newest experiments as they stood at a moment; None if the use case declares none and never had one.

    last: the newest tick whose readings are shown; None for all.
    """
    mine = select(ExperimentRun).where(ExperimentRun.pipeline == pipeline.name, ExperimentRun.at <= until)
    runs = list(session.scalars(mine.order_by(ExperimentRun.at.desc()).limit(MOST_EXPERIMENTS)))
    chosen = bandits(session, pipeline, until, last)
    if pipeline.experiments is None and not runs and not chosen:
        return None
    declared = pipeline.experiments.metrics if pipeline.experiments is not None else ()
    known = {metric.name: metric for metric in declared}
    of_runs = select(ExperimentReading).where(
        ExperimentReading.pipeline == pipeline.name, ExperimentReading.name.in_([run.name for run in runs])
    )
    readings: dict[str, list[ExperimentReading]] = {run.name: [] for run in runs}
    for one in session.scalars(of_runs.order_by(ExperimentReading.tick)):
        if last is None or one.tick <= last:
            readings[one.name].append(one)
    return ExperimentsDetail(
        metrics=tuple((metric.name, metric.doc, metric.unit) for metric in declared),
        runs=tuple(_run(pipeline, run, runs, readings[run.name], known, until) for run in runs),
        bandits=chosen,
        bandit=declared_bandit(pipeline),
    )


def _run(
    pipeline: Pipeline,
    run: ExperimentRun,
    runs: Sequence[ExperimentRun],
    readings: Sequence[ExperimentReading],
    known: Mapping[str, UnitMetric],
    until: datetime,
) -> ExperimentRow:
    newest = next((one for one in readings if one.reading.get("final")), readings[-1] if readings else None)
    shown: Mapping[str, Any] = {} if newest is None else newest.reading
    wanted = run.plan["wanted"]
    ended = run.ended if run.ended_at is not None and run.ended_at <= until else None
    return ExperimentRow(
        name=run.name, at=run.at.isoformat(), by=run.by, reason=run.reason, starts=str(run.starts), ends=str(run.ends),
        ended=None if ended is None else str(ended), ended_by="" if ended is None else run.ended_by,
        end_reason="" if ended is None else run.end_reason,
        metric=wanted["metric"], unit=_unit(known, wanted["metric"]), rows=wanted.get("rows", "batch"),
        traffic=wanted.get("traffic", 1.0), fresh=wanted.get("fresh", False), then=wanted.get("then", "nothing"),
        conclusion=run.conclusion if run.concluded_at is not None and run.concluded_at <= until else "",
        design=wanted["design"], difference=wanted["difference"],
        alpha=wanted["alpha"], power=wanted["power"], units=run.plan["units"],
        verdict=NOT_READ if newest is None else newest.verdict, sentence=shown.get("sentence", "no tick has read it yet"),
        final=bool(shown.get("final")), first=shown.get("first"), last=shown.get("last"),
        sample_ratio=shown.get("sample_ratio"),
        variants=tuple(_variant(one, shown) for one in run.plan["variants"]),
        differences=tuple(_difference(one, known) for one in shown.get("compared", ())),
        paths=tuple(_paths(readings, wanted["metric"])),
        exposure=tuple(_exposure(one) for one in shown.get("novelty", ())),
        may_end=ended is None and pipeline.schedule.moment(pipeline.schedule.shift(run.ends, 1)) > until,
        beside=tuple(other.name for other in runs if other.name != run.name and share_units(run, other)),
        untold=tuple(shown.get("untold", ())),
    )  # fmt: skip


def _variant(planned: Mapping[str, Any], shown: Mapping[str, Any]) -> VariantRow:
    rows, waiting = shown.get("rows", {}).get(planned["name"], (0, 0))
    return VariantRow(
        name=planned["name"],
        version=planned["version"],
        share=planned["share"],
        threshold=planned["threshold"],
        held_out=planned.get("held_out", False),
        units=shown.get("units", {}).get(planned["name"], 0),
        rows=rows,
        waiting=waiting,
    )


def _difference(one: Mapping[str, Any], known: Mapping[str, UnitMetric]) -> DifferenceRow:
    metric = known.get(one["metric"])
    gain = None
    if metric is not None and (one["low"] > 0 or one["high"] < 0):
        gain = (one["difference"] > 0) == (metric.better == "higher")
    adjusted = (one["better"], one["better_low"], one["better_high"])
    return DifferenceRow(
        metric=one["metric"], unit=_unit(known, one["metric"]), variant=one["variant"], control=one["control"],
        treated=one["treated"], difference=one["difference"], low=one["low"], high=one["high"], lift=one["lift"], p=one["p"],
        adjusted_p=one.get("adjusted_p"),
        gain=gain, adjusted=None if None in adjusted else adjusted,
    )  # fmt: skip


def _paths(readings: Sequence[ExperimentReading], metric: str) -> list[DifferencePath]:
    """The differences in a metric by variant, at the ticks at which each was read."""
    points: dict[str, list[tuple[str, float, float, float]]] = {}
    for reading in readings:
        for one in reading.reading["compared"]:
            if one["metric"] == metric:
                point = (str(reading.tick), one["difference"], one["low"], one["high"])
                points.setdefault(one["variant"], []).append(point)
    paths = []
    for variant, of_variant in points.items():
        ticks, difference, low, high = zip(*of_variant, strict=True)
        paths.append(DifferencePath(variant, ticks, difference, low, high))
    return paths


def _exposure(one: Mapping[str, Any]) -> ExposurePath:
    later = one["later"]
    return ExposurePath(
        variant=one["variant"],
        ages=tuple(one["ages"]),
        difference=tuple(point["value"] for point in one["by_age"]),
        low=tuple(point["low"] for point in one["by_age"]),
        high=tuple(point["high"] for point in one["by_age"]),
        later=None if later is None else (later["value"], later["low"], later["high"]),
        sentence=one.get("sentence") or "",
    )


def _unit(known: Mapping[str, UnitMetric], metric: str) -> str:
    return known[metric].unit if metric in known else ""
