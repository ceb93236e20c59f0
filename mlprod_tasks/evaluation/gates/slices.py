"""The gate on the worst slice of the test window."""

from __future__ import annotations

import math

from mlprod_tasks.declaration.gate import WorstSlice
from mlprod_tasks.documents.formatting import format_count, format_exact, format_interval, format_number
from mlprod_tasks.evaluation.gates.verdict import CannotBeEvaluated, GateVerdict, verdict
from mlprod_tasks.evaluation.results import EvaluationResults, Slice, Slices, outcomes_in_words

LOWER_IS_BETTER, ZERO_IS_BEST = ("log_loss", "mae", "rmse"), ("calibration", "bias")


def verdict_on_slices(gate: WorstSlice, results: EvaluationResults) -> GateVerdict:
    """Return the verdict on the slice with the worst value.

    Raises: CannotBeEvaluated, also if a slice has no value.
    """
    measured = _measured_slices(gate, results)
    n, rows = len(measured.slices), results.evaluation.rows
    if not n:
        sentence = (
            f"no slice of at least {gate.least_rows:,} rows was found in which the model is worse than in the rest of the "
            f"{rows:,} test rows"
        )
        return verdict(gate, True, None, gate.bound, rows, sentence)
    worst = max(measured.slices, key=lambda one: (_badness(gate, one), one.rows))
    value = worst.metrics[gate.metric]
    passed = _badness(gate, worst) <= _badness_of(gate, gate.bound)
    demand = {
        **dict.fromkeys(LOWER_IS_BETTER, f"at most {format_exact(gate.bound)}"),
        **dict.fromkeys(ZERO_IS_BEST, f"between {format_exact(-gate.bound)} and {format_exact(gate.bound)}"),
    }.get(gate.metric, f"at least {format_exact(gate.bound)}")
    sentence = (
        f"{gate.metric} is worst where {worst.name}: {format_number(value.value)} {format_interval(value.low, value.high)} on "
        f"{worst.rows:,} rows; it must be {demand} in each of {format_count(n, 'slice')} of at least {gate.least_rows:,} "
        "rows"
    )
    return verdict(gate, passed, value.value, gate.bound, worst.rows, sentence)


def _measured_slices(gate: WorstSlice, results: EvaluationResults) -> Slices:
    """Return the slices for the gate. Raises: CannotBeEvaluated if they are missing or one has no value."""
    measured, rows = results.slices, results.evaluation.rows
    if measured is None:
        raise CannotBeEvaluated("slices were not measured: declare them and run evaluate again")
    if measured.least_rows != gate.least_rows:
        raise CannotBeEvaluated(
            f"slices of at least {measured.least_rows:,} rows were measured, but the gate is on those of at least "
            f"{gate.least_rows:,} rows: run evaluate again"
        )
    if not measured.slices and rows < 2 * gate.least_rows:
        raise CannotBeEvaluated(
            f"the {rows:,} rows of the test window are too few for slices of {gate.least_rows:,}: lower least_rows"
        )
    for one in measured.slices:
        if gate.metric not in one.metrics or not math.isfinite(one.metrics[gate.metric].value):
            raise CannotBeEvaluated(
                f"the slice where {one.name} ({one.rows:,} rows, "
                f"{outcomes_in_words(one.positives, one.mean_outcome, one.classes)}) has no {gate.metric}: "
                "raise least_rows or declare other slices"
            )
    return measured


def _badness(gate: WorstSlice, one: Slice) -> float:
    return _badness_of(gate, one.metrics[gate.metric].value)


def _badness_of(gate: WorstSlice, value: float) -> float:
    match gate.metric:
        case metric if metric in LOWER_IS_BETTER:
            return value
        case metric if metric in ZERO_IS_BEST:
            return abs(value)
        case _:
            return -value
