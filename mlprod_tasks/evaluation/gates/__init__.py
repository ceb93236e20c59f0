"""Compare what is known of a model with what its gates demand. None passes through an exception."""

from __future__ import annotations

from collections.abc import Sequence

from mlprod_tasks.declaration.gate import CheckedGate, Gate, Stable, WorstSlice
from mlprod_tasks.evaluation.gates import metrics, model_checks, slices, windows
from mlprod_tasks.evaluation.gates.names import name_of
from mlprod_tasks.evaluation.gates.verdict import JUDGED, CannotBeJudged, GatesRefused, GateVerdict, Passed, Refused
from mlprod_tasks.evaluation.results import EvaluationResults

__all__ = ["CannotBeJudged", "GateVerdict", "GatesRefused", "Passed", "Refused", "judge", "name_of"]


def judge(gates: Sequence[Gate], results: EvaluationResults, model_digest: str) -> Passed | Refused:
    """The verdict on one model. What cannot be evaluated has failed."""
    training_id = results.evaluation.training_id
    verdicts = tuple(_judged(gate, results, model_digest) for gate in gates)
    if verdicts and all(verdict.passed for verdict in verdicts):
        return Passed(training_id, model_digest, verdicts, JUDGED)
    return Refused(training_id, model_digest, verdicts)


def _judged(gate: Gate, results: EvaluationResults, model_digest: str) -> GateVerdict:
    try:
        if results.evaluation.model_digest != model_digest:
            raise CannotBeJudged("the evaluation is of another model: run evaluate again")
        return _compared(gate, results, model_digest)
    except Exception as error:
        reason = str(error) or type(error).__name__
        name = name_of(gate)
        return GateVerdict(name, False, None, None, results.evaluation.rows, f"{name} could not be evaluated: {reason}")


def _compared(gate: Gate, results: EvaluationResults, model_digest: str) -> GateVerdict:
    if isinstance(gate, WorstSlice):
        return slices.worst(gate, results)
    if isinstance(gate, Stable):
        return windows.stable(gate, results)
    if isinstance(gate, CheckedGate):
        return model_checks.judged(gate, results, model_digest)
    return metrics.judged(gate, results)
