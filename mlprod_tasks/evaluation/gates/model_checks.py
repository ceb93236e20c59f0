"""Gates on what checks of the model itself showed."""

from __future__ import annotations

import math
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
from mlprod_tasks.documents.formatting import format_number
from mlprod_tasks.evaluation.gates import names
from mlprod_tasks.evaluation.gates.verdict import CannotBeEvaluated, GateVerdict, verdict
from mlprod_tasks.evaluation.results import CheckResult, EvaluationResults


def verdict_on_check(gate: CheckedGate, results: EvaluationResults, model_digest: str) -> GateVerdict:
    """The verdict on a check of the model. Raises: CannotBeEvaluated where it was not made, or of another model."""
    checks = results.checks
    if checks is None:
        raise CannotBeEvaluated("the model was not checked: run the step run_checks")
    if checks.model_digest != model_digest:
        raise CannotBeEvaluated(
            f"what was checked is another model (files {checks.model_digest[:12]}..., trained were {model_digest[:12]}...): "
            "its files changed; train again"
        )
    found = checks.results
    match gate:
        case AvailableAtPrediction():
            return _available(gate, found)
        case NoLeakageSuspicion():
            return _no_leakage(gate, found)
        case Latency() | ModelSize():
            most = gate.most_ms if isinstance(gate, Latency) else gate.most_mb
            return _at_most(gate, _the(found, *names.check_of(gate)), most, " ms" if isinstance(gate, Latency) else " MB")
        case SamePredictions():
            one = _the(found, *names.check_of(gate))
            return verdict(gate, _of(one) == 0, one.value, 0.0, one.n, one.sentence)
        case Invariance() | Monotonic():
            one = _the(found, *names.check_of(gate))
            passed = _of(one) <= gate.most_share
            sentence = f"{gate.doc.strip()}: {one.sentence}; at most {gate.most_share:.2%} may"
            return verdict(gate, passed, one.value, gate.most_share, one.n, sentence)
        case KpiAtLeast() | KpiAtMost():
            return _kpi(gate, found)
        case _:
            assert_never(gate)


def _at_most(gate: Latency | ModelSize, one: CheckResult, most: float, unit: str) -> GateVerdict:
    sentence = f"{one.sentence}; it must be at most {most:g}{unit}"
    return verdict(gate, _of(one) <= most, one.value, most, one.n, sentence)


def _available(gate: AvailableAtPrediction, found: tuple[CheckResult, ...]) -> GateVerdict:
    same = _the(found, *names.check_of(gate))
    _of(same)
    fresh = _the(found, names.NULLS_WHEN_FRESH)
    passed = _of(same) == 0 and _of(fresh) <= gate.most_nulls
    value, bound, n = (same.value, 0.0, same.n) if _of(same) > 0 else (fresh.value, gate.most_nulls, fresh.n)
    sentence = f"{same.sentence}; {fresh.sentence}; it may be at most {gate.most_nulls:.1%} more"
    return verdict(gate, passed, value, bound, n, sentence)


def _no_leakage(gate: NoLeakageSuspicion, found: tuple[CheckResult, ...]) -> GateVerdict:
    alone, lost = ([one for one in found if one.check == check] for check in (names.POWER_ALONE, names.POWER_LOST))
    strongest = max(alone, key=_of) if alone else None
    missed = max(lost, key=_of) if lost else None
    if strongest is None or missed is None:
        raise CannotBeEvaluated("the power of single features was not checked: run the step run_checks again")
    suspects = [one for one in alone if _of(one) > gate.most]
    indispensable = [one for one in lost if _of(one) > gate.most_share]
    if suspects or indispensable:
        first = (suspects or indispensable)[0]
        said = [
            f"{one.sentence}, and more than {gate.most:g} is implausible" for one in sorted(suspects, key=_of, reverse=True)
        ]
        said += [f"{one.sentence}, and more than {gate.most_share:.0%} is implausible" for one in indispensable]
        sentence = f"{'; '.join(said)}: check that {first.subject!r} is known when a row is scored"
        bound = gate.most if suspects else gate.most_share
        return verdict(gate, False, max(map(_of, suspects or indispensable)), bound, first.n, sentence)
    sentence = (
        f"{strongest.sentence}, at most {gate.most:g} is plausible; {missed.sentence}, at most {gate.most_share:.0%} is "
        "plausible"
    )
    return verdict(gate, True, strongest.value, gate.most, strongest.n, sentence)


def _kpi(gate: KpiAtLeast | KpiAtMost, found: tuple[CheckResult, ...]) -> GateVerdict:
    least = isinstance(gate, KpiAtLeast)
    side = "at least" if least else "at most"
    whole = _the(found, names.KPI)
    passed = _of(whole) >= gate.bound if least else _of(whole) <= gate.bound
    sentence = f"{whole.sentence}; it must be {side} {format_number(gate.bound)}"
    if gate.worst_week is not None:
        weeks = [one for one in found if one.check == names.KPI_BY_WEEK]
        if not weeks:
            raise CannotBeEvaluated("the test window holds no whole week")
        worst = (min if least else max)(weeks, key=_of)
        kept = _of(worst) >= gate.worst_week if least else _of(worst) <= gate.worst_week
        sentence += f"; of all weeks the worst: {worst.sentence}; it must be {side} {format_number(gate.worst_week)}"
        if passed and not kept:
            return verdict(gate, False, worst.value, gate.worst_week, worst.n, sentence)
    return verdict(gate, passed, whole.value, gate.bound, whole.n, sentence)


def _the(found: tuple[CheckResult, ...], check: str, subject: str | None = None) -> CheckResult:
    """The result of the check of that name. Raises: CannotBeEvaluated."""
    matching = [one for one in found if one.check == check and subject in (None, one.subject)]
    if not matching:
        raise CannotBeEvaluated(f"{check}{f' of {subject}' if subject else ''} was not checked: run the step run_checks again")
    return matching[0]


def _of(one: CheckResult) -> float:
    """Its value. Raises: CannotBeEvaluated where the check could not be made, with the reason that it gave."""
    if one.value is None or not math.isfinite(one.value):
        raise CannotBeEvaluated(one.sentence)
    return one.value
