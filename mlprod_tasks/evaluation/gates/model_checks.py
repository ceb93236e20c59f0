"""Gates on the results of the checks of the model."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import assert_never

from mlprod_tasks.declaration.gate import (
    AvailableAtPrediction,
    CheckedGate,
    Invariance,
    KpiAtLeast,
    KpiAtMost,
    Latency,
    ModelSize,
    Monotonic,
    NoLeakageSuspicion,
    SamePredictions,
)
from mlprod_tasks.documents.formatting import format_exact
from mlprod_tasks.evaluation.gates import names
from mlprod_tasks.evaluation.gates.verdict import CannotBeEvaluated, GateVerdict, verdict
from mlprod_tasks.evaluation.results import CheckResult, EvaluationResults

LEFT_BY_PAST = 0.1  # of what earlier outcomes leave untold: a feature of the past that leaves less is implausible


def verdict_on_check(gate: CheckedGate, results: EvaluationResults, model_digest: str) -> GateVerdict:
    """Return the verdict on a check.

    Raises: CannotBeEvaluated if it was not made, or on another model.
    """
    checks = results.checks
    if checks is None:
        raise CannotBeEvaluated("the model was not checked: run the step run_checks")
    if checks.model_digest != model_digest:
        raise CannotBeEvaluated(
            f"the checks are of another model (its files {checks.model_digest[:12]}..., the trained files "
            f"{model_digest[:12]}...): the files changed; train again"
        )
    check_results = checks.results
    match gate:
        case AvailableAtPrediction():
            return _verdict_on_availability(gate, check_results)
        case NoLeakageSuspicion():
            return _verdict_on_leakage(gate, check_results)
        case Latency() | ModelSize():
            most = gate.most_ms if isinstance(gate, Latency) else gate.most_mb
            return _verdict_at_most(
                gate, _result_of(check_results, *names.check_of(gate)), most, " ms" if isinstance(gate, Latency) else " MB"
            )
        case SamePredictions():
            one = _result_of(check_results, *names.check_of(gate))
            return verdict(gate, _value(one) == 0, one.value, 0.0, one.n, one.sentence)
        case Invariance() | Monotonic():
            one = _result_of(check_results, *names.check_of(gate))
            passed = _value(one) <= gate.most_share
            sentence = f"{gate.doc.strip()}: {one.sentence}; at most {gate.most_share:.2%} may"
            return verdict(gate, passed, one.value, gate.most_share, one.n, sentence)
        case KpiAtLeast() | KpiAtMost():
            return _verdict_on_kpi(gate, check_results)
        case _:
            assert_never(gate)


def _verdict_at_most(gate: Latency | ModelSize, one: CheckResult, most: float, unit: str) -> GateVerdict:
    sentence = f"{one.sentence}; it must be at most {format_exact(most)}{unit}"
    return verdict(gate, _value(one) <= most, one.value, most, one.n, sentence)


def _verdict_on_availability(gate: AvailableAtPrediction, results: tuple[CheckResult, ...]) -> GateVerdict:
    same = _result_of(results, *names.check_of(gate))
    differing = _value(same)
    fresh = _result_of(results, names.NULLS_WHEN_FRESH)
    passed = differing == 0 and _value(fresh) <= gate.most_nulls
    value, bound, n = (same.value, 0.0, same.n) if differing > 0 else (fresh.value, gate.most_nulls, fresh.n)
    sentence = f"{same.sentence}; {fresh.sentence}; the share may rise by at most {gate.most_nulls:.1%}"
    return verdict(gate, passed, value, bound, n, sentence)


def _verdict_on_leakage(gate: NoLeakageSuspicion, results: tuple[CheckResult, ...]) -> GateVerdict:
    alone, lost = ([one for one in results if one.check == check] for check in (names.POWER_ALONE, names.POWER_LOST))
    past = {one.subject: one for one in results if one.check == names.POWER_OF_PAST}
    strongest, missed = (max(found, key=_value, default=None) for found in (alone, lost))
    if strongest is None or missed is None:
        raise CannotBeEvaluated("the power of single features was not checked: run the step run_checks again")
    most = {one.subject: _most_plausible(gate, past.get(one.subject)) for one in alone}
    suspects = [one for one in alone if _value(one) > most[one.subject]]
    explained = past.keys() - {one.subject for one in suspects}
    indispensable = [one for one in lost if _value(one) > gate.most_share and one.subject not in explained]
    if suspects or indispensable:
        first = (suspects or indispensable)[0]
        reasons = [f"{_beside_past(one, past)}, and more than {most[one.subject]:.4g} is implausible" for one in suspects]
        reasons += [f"{one.sentence}, and more than {gate.most_share:.0%} is implausible" for one in indispensable]
        sentence = f"{'; '.join(reasons)}: check that {first.subject!r} is known when a row is scored"
        return verdict(gate, False, first.value, most[first.subject] if suspects else gate.most_share, first.n, sentence)
    bound = most[strongest.subject]
    tells = f"{_beside_past(strongest, past)}, at most {bound:.4g} is plausible"
    if _value(missed) <= gate.most_share:
        carries = f"{missed.sentence}, at most {gate.most_share:.0%} is plausible"
    else:
        carries = f"{_beside_past(missed, past)}, so the model may rest on it"
    return verdict(gate, True, strongest.value, bound, strongest.n, f"{tells}; {carries}")


def _most_plausible(gate: NoLeakageSuspicion, past: CheckResult | None) -> float:
    """The largest power of a feature alone: what is left untold is at least a tenth of what earlier outcomes leave."""
    return gate.most if past is None else max(gate.most, 1.0 - LEFT_BY_PAST * (1.0 - _value(past)))


def _beside_past(one: CheckResult, past: Mapping[str, CheckResult]) -> str:
    return f"{one.sentence} ({past[one.subject].sentence})" if one.subject in past else one.sentence


def _verdict_on_kpi(gate: KpiAtLeast | KpiAtMost, results: tuple[CheckResult, ...]) -> GateVerdict:
    least = isinstance(gate, KpiAtLeast)
    side = "at least" if least else "at most"
    whole = _result_of(results, names.KPI)
    passed = _value(whole) >= gate.bound if least else _value(whole) <= gate.bound
    sentence = f"{whole.sentence}; it must be {side} {format_exact(gate.bound)}"
    if gate.worst_week is not None:
        weeks = [one for one in results if one.check == names.KPI_BY_WEEK]
        if not weeks:
            raise CannotBeEvaluated("the test window has no whole week")
        worst = (min if least else max)(weeks, key=_value)
        kept = _value(worst) >= gate.worst_week if least else _value(worst) <= gate.worst_week
        sentence += f"; the worst week: {worst.sentence}; it must be {side} {format_exact(gate.worst_week)}"
        if passed and not kept:
            return verdict(gate, False, worst.value, gate.worst_week, worst.n, sentence)
    return verdict(gate, passed, whole.value, gate.bound, whole.n, sentence)


def _result_of(results: tuple[CheckResult, ...], check: str, subject: str | None = None) -> CheckResult:
    """Return the result of a check. Raises: CannotBeEvaluated if it was not made."""
    matching = [one for one in results if one.check == check and subject in (None, one.subject)]
    if not matching:
        raise CannotBeEvaluated(f"{check}{f' of {subject}' if subject else ''} was not checked: run the step run_checks again")
    return matching[0]


def _value(one: CheckResult) -> float:
    """Return its value. Raises: CannotBeEvaluated, with the check's reason, if it could not be made."""
    if one.value is None or not math.isfinite(one.value):
        raise CannotBeEvaluated(one.sentence)
    return one.value
