"""A plan of an experiment in words, as commands and the page show it."""

from __future__ import annotations

from mlprod_tasks.declaration import Pipeline, UnitMetric
from mlprod_tasks.declaration.experiment import Then
from mlprod_tasks.documents.formatting import format_count, format_number
from mlprod_tasks.experiments.plan import Plan, Wanted

AFTER: dict[Then, str] = {
    "nothing": "changes nothing by itself",
    "take_back": "ends the assignment; the champion answers all again",
    "promote": "ends the assignment, and a winner becomes champion, by the gates of any promotion",
}


def told(pipeline: Pipeline, planned: Plan) -> str:
    """Tell a plan in words."""
    wanted, usual = planned.wanted, planned.usual
    assert pipeline.experiments is not None
    metric = pipeline.experiments.metric(wanted.metric)
    unit = f" {metric.unit}" if metric.unit else ""
    shares = ", ".join(f"{one.name} {one.share:.0%}" for one in planned.variants)
    length = format_count(planned.periods, pipeline.schedule.period)
    return "\n".join(
        [
            f"{metric.name}: {metric.doc}",
            f"  in {usual.first} to {usual.last}: {format_count(usual.units, 'unit')}, {_middle(metric)} "
            f"{format_number(usual.mean)}{unit}, {_spread(metric)} {format_number(usual.sd)}{unit}",
            f"  smallest difference that matters: {format_number(wanted.difference)}{unit}",
            f"  significance {wanted.alpha:.0%}, power {wanted.power:.0%}, design {wanted.design}",
            f"variants: {shares}" + _among(wanted),
            f"needs {format_count(planned.units, 'unit')} in the smallest variant: {length}, in which "
            f"{format_count(planned.expected, 'unit')} are expected",
            *_without(pipeline, planned),
            f"with them, a difference of {format_number(planned.seen)}{unit} is found with that power",
            f"a verdict: {AFTER[wanted.then]}",
        ]
    )


def _without(pipeline: Pipeline, planned: Plan) -> list[str]:
    """What covariates save; nothing without any."""
    if (without := planned.unadjusted) is None:
        return []
    period = pipeline.schedule.period
    time = f"more {period}s than were planned" if without.periods is None else format_count(without.periods, period)
    return [
        f"  given {', '.join(planned.covariates)}, which explain {planned.usual.explained:.1%} of the variance; without them: "
        f"{format_count(without.units, 'unit')}, {time}",
    ]


def _among(wanted: Wanted) -> str:
    """Which units the shares of variants are of, if not of all."""
    part = "" if wanted.traffic == 1 else f"{wanted.traffic:.0%} of the units"
    fresh = "units first seen after the start" if wanted.fresh else ""
    return "".join(f", of {one}" for one in (part, fresh) if one)


def _middle(metric: UnitMetric) -> str:
    return "mean" if metric.quantile is None else f"quantile {metric.quantile:g}"


def _spread(metric: UnitMetric) -> str:
    return "standard deviation" if metric.quantile is None else "its standard error times the root of the units"
