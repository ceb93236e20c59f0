"""Gates on a metric of the test window: against a bound, the constant baseline, the champion on the same rows."""

from __future__ import annotations

import math
from typing import assert_never

from mlprod_tasks.declaration.gate import HIGHER_IS_BETTER, AtLeast, AtMost, BetterThanBaseline, NotWorseThanChampion
from mlprod_tasks.documents.formatting import format_interval, format_number
from mlprod_tasks.evaluation.gates.verdict import CannotBeEvaluated, GateVerdict, verdict
from mlprod_tasks.evaluation.results import Comparison, Estimates, Evaluation, EvaluationResults
from mlprod_tasks.statistics.metrics import Estimate

MetricGate = AtLeast | AtMost | BetterThanBaseline | NotWorseThanChampion


def verdict_on_metric(gate: MetricGate, results: EvaluationResults) -> GateVerdict:
    """The verdict on a metric of the test window. Raises: CannotBeEvaluated."""
    evaluation = results.evaluation
    estimate = finite(evaluation.model, gate.metric, "the model")
    value, n, higher = estimate.value, evaluation.rows, HIGHER_IS_BETTER[gate.metric]
    is_now = f"{gate.metric} is {format_number(value)} {format_interval(estimate.low, estimate.high)} on {n:,} rows"
    match gate:
        case AtLeast():
            bound, higher, against = gate.bound, True, ""
        case AtMost():
            bound, higher, against = gate.bound, False, ""
        case BetterThanBaseline():
            baseline = finite(evaluation.baseline, gate.metric, "the baseline").value
            bound = baseline + (1 if higher else -1) * gate.by * abs(baseline)
            share = f" by {gate.by:.1%} of it" if gate.by else ""
            against = f" (better than the constant baseline's {format_number(baseline)}{share})"
        case NotWorseThanChampion():
            if evaluation.champion_version is None:
                sentence = f"{gate.metric} is {format_number(value)} on {n:,} rows; there is no champion to beat"
                return verdict(gate, True, value, None, n, sentence)
            if evaluation.champion is None:
                raise CannotBeEvaluated(evaluation.champion_problem or "the champion was not evaluated")
            if gate.surely:
                return _surely(gate, value, evaluation, results.comparison)
            champion = finite(evaluation.champion, gate.metric, "the champion").value
            bound = champion - (1 if higher else -1) * gate.tolerance
            against = (
                f" (champion version {evaluation.champion_version} has {format_number(champion)}, tolerance {gate.tolerance:g})"
            )
        case _:
            assert_never(gate)
    # The baseline itself is not better than the baseline, also where a share of it is nothing.
    strict = isinstance(gate, BetterThanBaseline) and bound == finite(evaluation.baseline, gate.metric, "the baseline").value
    passed = (value > bound if strict else value >= bound) if higher else (value < bound if strict else value <= bound)
    side = ("more than" if strict else "at least") if higher else ("less than" if strict else "at most")
    return verdict(gate, passed, value, bound, n, f"{is_now}; it must be {side} {format_number(bound)}{against}")


def _surely(gate: NotWorseThanChampion, value: float, evaluation: Evaluation, comparison: Comparison | None) -> GateVerdict:
    """By the worse end of the paired difference's interval: the whole interval must lie on the right side."""
    version = evaluation.champion_version
    if comparison is None:
        raise CannotBeEvaluated(f"there is no comparison with champion version {version}: run evaluate again")
    if comparison.champion_version != version:
        raise CannotBeEvaluated(
            f"the comparison is with champion version {comparison.champion_version}, the evaluation with {version}: "
            "run evaluate again"
        )
    found = comparison.differences.get(gate.metric)
    if found is None or not all(map(math.isfinite, (found.value, found.low, found.high))):
        raise CannotBeEvaluated(f"the difference of {gate.metric} from champion version {version} could not be computed")
    higher = HIGHER_IS_BETTER[gate.metric]
    worse, bound = (found.low, -gate.tolerance) if higher else (found.high, gate.tolerance)
    passed = worse >= bound if higher else worse <= bound
    sentence = (
        f"{gate.metric} is {format_number(value)}, which is {found.value:+.4g} [{found.low:+.4g}, {found.high:+.4g}] from "
        f"champion version {version} on the same {comparison.rows:,} rows; the {'lower' if higher else 'upper'} end of the "
        f"interval must be {'at least' if higher else 'at most'} {bound:g}"
    )
    return verdict(gate, passed, worse, bound, comparison.rows, sentence)


def finite(estimates: Estimates, metric: str, whose: str) -> Estimate:
    """The metric's estimate. Raises: CannotBeEvaluated where there is none, or no number."""
    estimate = estimates.get(metric)
    if estimate is None or not math.isfinite(estimate.value):
        raise CannotBeEvaluated(f"{whose} has no {metric}")
    return estimate
