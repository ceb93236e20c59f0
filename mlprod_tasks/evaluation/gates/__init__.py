"""Evaluate the gates of a model. An exception never lets a gate pass."""

from __future__ import annotations

from collections.abc import Sequence

from mlprod_tasks.declaration.gate import CheckedGate, Gate, Stable, WorstSlice
from mlprod_tasks.evaluation.gates import metrics, model_checks, slices, windows
from mlprod_tasks.evaluation.gates.names import name_of
from mlprod_tasks.evaluation.gates.verdict import EVALUATED, CannotBeEvaluated, GatesRefused, GateVerdict, Passed, Refused
from mlprod_tasks.evaluation.results import EvaluationResults

__all__ = ["CannotBeEvaluated", "GateVerdict", "GatesRefused", "Passed", "Refused", "evaluate_gates", "name_of"]


def evaluate_gates(gates: Sequence[Gate], results: EvaluationResults, model_digest: str) -> Passed | Refused:
    """Return the verdict on one model. A gate that cannot be evaluated has failed."""
    training_id = results.evaluation.training_id
    verdicts = tuple(_verdict_on(gate, results, model_digest) for gate in gates)
    if verdicts and all(verdict.passed for verdict in verdicts):
        return Passed(training_id, model_digest, verdicts, EVALUATED)
    return Refused(training_id, model_digest, verdicts)


def _verdict_on(gate: Gate, results: EvaluationResults, model_digest: str) -> GateVerdict:
    try:
        if results.evaluation.model_digest != model_digest:
            raise CannotBeEvaluated("the evaluation is of another model: run evaluate again")
        return _verdict_by_kind(gate, results, model_digest)
    except Exception as error:
        reason = str(error) or type(error).__name__
        name = name_of(gate)
        return GateVerdict(name, False, None, None, results.evaluation.rows, f"{name} could not be evaluated: {reason}")


def _verdict_by_kind(gate: Gate, results: EvaluationResults, model_digest: str) -> GateVerdict:
    if isinstance(gate, WorstSlice):
        return slices.verdict_on_slices(gate, results)
    if isinstance(gate, Stable):
        return windows.verdict_on_backtest(gate, results)
    if isinstance(gate, CheckedGate):
        return model_checks.verdict_on_check(gate, results, model_digest)
    return metrics.verdict_on_metric(gate, results)
