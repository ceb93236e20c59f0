"""Gates on a metric of the test window, against a bound, the baseline or the champion."""

from __future__ import annotations

import math
from typing import assert_never

from mlprod_tasks.declaration.gate import HIGHER_IS_BETTER, AtLeast, AtMost, BetterThanBaseline, NotWorseThanChampion
from mlprod_tasks.documents.formatting import change, format_compared, format_exact, format_interval, format_number
from mlprod_tasks.evaluation.gates.verdict import CannotBeEvaluated, GateVerdict, verdict
from mlprod_tasks.evaluation.results import Comparison, Estimates, Evaluation, EvaluationResults
from mlprod_tasks.statistics.metrics import Estimate

MetricGate = AtLeast | AtMost | BetterThanBaseline | NotWorseThanChampion


def verdict_on_metric(gate: MetricGate, results: EvaluationResults) -> GateVerdict:
    """Return the verdict on a metric of the test window. Raises: CannotBeEvaluated."""
    evaluation = results.evaluation
    estimate = finite(evaluation.model, gate.metric, "the model")
    value, n, higher = estimate.value, evaluation.rows, HIGHER_IS_BETTER[gate.metric]
    match gate:
        case AtLeast():
            bound, higher, against = gate.bound, True, ""
        case AtMost():
            bound, higher, against = gate.bound, False, ""
        case BetterThanBaseline():
            of_which, baseline = _best_baseline(evaluation, gate.metric)
            bound = baseline + (1 if higher else -1) * gate.by * abs(baseline)
            share = f" by {gate.by:.1%} of it" if gate.by else ""
            against = f" (better than the {of_which} baseline's {format_number(baseline)}{share})"
        case NotWorseThanChampion():
            if evaluation.champion_version is None:
                sentence = f"{gate.metric} is {format_number(value)} on {n:,} rows; there is no champion to beat"
                return verdict(gate, True, value, None, n, sentence)
            if evaluation.champion is None:
                raise CannotBeEvaluated(evaluation.champion_problem or "the champion was not evaluated")
            if gate.surely:
                return _verdict_by_interval(gate, value, evaluation, results.comparison)
            champion = finite(evaluation.champion, gate.metric, "the champion").value
            bound = champion - (1 if higher else -1) * gate.tolerance
            against = (
                f" (champion version {evaluation.champion_version} has {format_number(champion)}, "
                f"tolerance {format_exact(gate.tolerance)})"
            )
        case _:
            assert_never(gate)
    # A value equal to the baseline is not better, also if the demanded share of the baseline is 0.
    strict = isinstance(gate, BetterThanBaseline) and bound == _best_baseline(evaluation, gate.metric)[1]
    passed = (value > bound if strict else value >= bound) if higher else (value < bound if strict else value <= bound)
    side = ("more than" if strict else "at least") if higher else ("less than" if strict else "at most")
    shown, limit = format_compared(value, bound)
    limit = format_exact(bound) if isinstance(gate, AtLeast | AtMost) else limit
    is_now = f"{gate.metric} is {shown} {format_interval(estimate.low, estimate.high)} on {n:,} rows"
    return verdict(gate, passed, value, bound, n, f"{is_now}; it must be {side} {limit}{against}")


def _best_baseline(evaluation: Evaluation, metric: str) -> tuple[str, float]:
    """Return the name and the value of the best baseline. Raises: CannotBeEvaluated."""
    name, estimate = evaluation.best_baseline(metric)
    return name, finite({} if estimate is None else {metric: estimate}, metric, "the baseline").value


def _verdict_by_interval(
    gate: NotWorseThanChampion, value: float, evaluation: Evaluation, comparison: Comparison | None
) -> GateVerdict:
    """Decide by the worse end of the paired difference's interval: the whole interval must be on the right side."""
    version = evaluation.champion_version
    if comparison is None:
        raise CannotBeEvaluated(f"there is no comparison with champion version {version}: run evaluate again")
    if comparison.champion_version != version:
        raise CannotBeEvaluated(
            f"the comparison is with champion version {comparison.champion_version}, the evaluation with {version}: "
            "run evaluate again"
        )
    difference = comparison.differences.get(gate.metric)
    if difference is None or not all(map(math.isfinite, (difference.value, difference.low, difference.high))):
        raise CannotBeEvaluated(f"the difference of {gate.metric} from champion version {version} could not be computed")
    higher = HIGHER_IS_BETTER[gate.metric]
    worse, bound = (difference.low, 0.0 - gate.tolerance) if higher else (difference.high, gate.tolerance)
    passed = worse >= bound if higher else worse <= bound
    sentence = (
        f"{gate.metric} is {format_number(value)}, a difference of {change(difference.value)} [{change(difference.low)}, "
        f"{change(difference.high)}] from champion version {version} on the same {comparison.rows:,} rows, "
        f"drawn by {'row' if evaluation.ticks is None else 'tick'}; the "
        f"{'lower' if higher else 'upper'} end of the interval must be {'at least' if higher else 'at most'} "
        f"{format_number(bound)}"
    )
    return verdict(gate, passed, worse, bound, comparison.rows, sentence)


def finite(estimates: Estimates, metric: str, whose: str) -> Estimate:
    """Return the metric's estimate.

    Raises: CannotBeEvaluated if it is missing or not a number.
    """
    estimate = estimates.get(metric)
    if estimate is None or not math.isfinite(estimate.value):
        raise CannotBeEvaluated(f"{whose} has no {metric}")
    return estimate
