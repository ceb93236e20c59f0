"""The verdict on an experiment: void, harmful, better, worse, no difference, or none yet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import sqrt
from typing import NamedTuple

from mlprod_tasks.declaration import Pipeline, UnitMetric
from mlprod_tasks.documents.formatting import format_interval, format_number
from mlprod_tasks.experiments.compare import Compared, Looked
from mlprod_tasks.experiments.plan import Plan
from mlprod_tasks.statistics.multiple_tests import holm

RUNNING, VOID, HARMFUL, ENDED = "running", "void", "harmful", "ended"
BETTER, WORSE, ALIKE = "better", "worse", "no difference"


class Decided(NamedTuple):
    """A verdict and its sentence. variant: the one that is better or worse; None of other verdicts."""

    verdict: str
    sentence: str
    variant: str | None = None


def decide(
    pipeline: Pipeline,
    planned: Plan,
    primary: UnitMetric,
    compared: Sequence[Compared],
    wrong: Sequence[str],
    looked: Looked | None,
    units: Mapping[str, int],
) -> Decided:
    """Return the verdict, its sentence, and the variant that it is about.

    wrong: what voids it; looked: None if there may be no verdict now; units: of each variant.
    """
    if wrong:
        return Decided(VOID, "; ".join(wrong))
    if (harm := _harm(pipeline, compared)) is not None:
        return Decided(HARMFUL, harm)
    progress = f"{min(units.values(), default=0):,} of {planned.units:,} units in the smallest variant"
    if looked is None:
        return Decided(RUNNING, f"no verdict yet: {progress}")
    mine = [one.without_covariates if planned.covariates else one for one in compared if one.metric == primary.name]
    if len(mine) < len(planned.treated):
        nothing = f"metric {primary.name!r} has no difference to test: all units are alike, or a variant has too few"
        return Decided(VOID, nothing)
    decided = _decided(planned, mine, looked)
    if decided:
        best = max(decided, key=lambda one: one.difference if primary.better == "higher" else -one.difference)
        gained = (best.difference > 0) == (primary.better == "higher")
        given = f", given {', '.join(planned.covariates)}" if planned.covariates else ""
        return Decided(BETTER if gained else WORSE, _said(best, primary) + given, best.variant)
    if not looked.at_end:
        return Decided(RUNNING, f"no difference so far: {progress}")
    # As many units as came show it, not as many as were planned.
    seen = planned.seen * sqrt(planned.expected / max(1, min(units.values())))
    return Decided(
        ALIKE,
        f"no difference in {primary.name} was found; one of {format_number(seen)} would have been, "
        f"with power {planned.wanted.power:.0%}",
    )


def _decided(planned: Plan, mine: Sequence[Compared], looked: Looked) -> list[Compared]:
    """The variants that differ from the control."""
    if planned.wanted.design == "fixed":
        significant = holm([one.p if one.p is not None else 1.0 for one in mine]) <= planned.wanted.alpha
        return [one for one, found in zip(mine, significant, strict=True) if found]
    if looked.bound is None and planned.wanted.design != "always_valid":
        return []  # nothing came since the last look
    return [one for one in mine if one.low > 0 or one.high < 0]


def _harm(pipeline: Pipeline, compared: Sequence[Compared]) -> str | None:
    """What a variant certainly lost more of than a guardrail allows."""
    assert pipeline.experiments is not None
    for guardrail in pipeline.experiments.guardrails:
        metric = pipeline.experiments.metric(guardrail.metric)
        for one in compared:
            if one.metric != metric.name:
                continue
            least = -one.high if metric.better == "higher" else one.low
            if least > guardrail.loss:
                lost = format_number(guardrail.loss)
                return f"{_said(one, metric)}: more is lost than the {lost} that the guardrail allows"
    return None


def _said(one: Compared, metric: UnitMetric) -> str:
    unit = f" {metric.unit}" if metric.unit else ""
    return (
        f"{one.variant}: {metric.name} {format_number(one.treated)}{unit} against {format_number(one.control)}{unit}, "
        f"difference {format_number(one.difference)} {format_interval(one.low, one.high)}"
    )
