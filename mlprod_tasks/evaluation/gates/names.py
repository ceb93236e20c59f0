"""The names of gates in the ledger and in mails, and of the checks they need."""

from __future__ import annotations

from mlprod_tasks.declaration.gate import (
    AtLeast,
    AtMost,
    AvailableAtPrediction,
    BetterThanBaseline,
    Gate,
    Invariance,
    KpiAtLeast,
    KpiAtMost,
    Latency,
    ModelSize,
    Monotonic,
    NoLeakageSuspicion,
    NotWorseThanChampion,
    SamePredictions,
    Stable,
    WorstSlice,
)

# The names of checks: a check writes its result under it, and the gate looks it up.
AS_SCORED, NULLS_WHEN_FRESH = "features as scoring had them", "nulls in the newest tick"
POWER_ALONE, POWER_LOST = "power of one feature alone", "power lost without one feature"
POWER_OF_PAST = "power of earlier outcomes"
LATENCY, SIZE, SAME = "latency in ms", "model size in MB", "same predictions"
INVARIANT, MONOTONIC = "invariance", "monotonicity"
KPI, KPI_BY_WEEK, KPI_BY_TICK = "kpi", "kpi by week", "kpi by tick"

LONGEST = 200  # of a name in the ledger


def name_of(gate: Gate) -> str:
    """Return the gate's name in the ledger and in mails: its demand, in short."""
    match gate:
        case AtLeast():
            return f"{gate.metric} >= {gate.bound:g}"
        case AtMost():
            return f"{gate.metric} <= {gate.bound:g}"
        case BetterThanBaseline():
            return f"{gate.metric} better than baseline" + (f" by {gate.by:.1%}" if gate.by else "")
        case NotWorseThanChampion():
            sure = "surely " if gate.surely else ""
            return f"{gate.metric} {sure}not worse than champion" + (f" by {gate.tolerance:g}" if gate.tolerance else "")
        case WorstSlice():
            lower, within = gate.metric in ("log_loss", "mae", "rmse"), gate.metric in ("calibration", "bias")
            sign = "within" if within else "<=" if lower else ">="
            return f"{gate.metric} of the worst slice {sign} {gate.bound:g}"
        case Stable():
            return f"{gate.metric} {_stable_demand(gate)} in {gate.windows} windows"
        case AvailableAtPrediction():
            return "features available at prediction"
        case NoLeakageSuspicion():
            return "no suspicion of leakage"
        case Latency():
            return f"{gate.rows:,} {'row' if gate.rows == 1 else 'rows'} scored in {gate.most_ms:g} ms"
        case ModelSize():
            return f"model size <= {gate.most_mb:g} MB"
        case SamePredictions():
            return "same predictions after loading"
        case Invariance() | Monotonic():
            return gate.doc.strip()[:LONGEST]
        case KpiAtLeast() | KpiAtMost():
            sign = ">=" if isinstance(gate, KpiAtLeast) else "<="
            week = f", worst week {sign} {gate.worst_week:g}" if gate.worst_week is not None else ""
            return f"kpi {sign} {gate.bound:g}{week}"


def _stable_demand(gate: Stable) -> str:
    if gate.than == "baseline":
        return "better than baseline"
    if gate.than == "champion":
        return "not worse than champion" + (f" by {gate.tolerance:g}" if gate.tolerance else "")
    from mlprod_tasks.declaration.gate import HIGHER_IS_BETTER

    return f"{'>=' if HIGHER_IS_BETTER[gate.metric] else '<='} {gate.bound:g}"


def _of_class(name: str) -> str:
    return f"; of {name!r}" if name else ""


def check_of(gate: Gate) -> tuple[str, str]:
    """Return the `check` and `subject` of the result that a gate needs.

    They include the check's settings, so that a gate whose declaration changed since finds no result. Raises: TypeError for
    a gate that needs no check.
    """
    match gate:
        case AvailableAtPrediction():
            return AS_SCORED, f"{gate.ticks} ticks"
        case NoLeakageSuspicion():
            return POWER_ALONE, ""
        case Latency():
            return LATENCY, f"{gate.rows} rows"
        case ModelSize():
            return SIZE, ""
        case SamePredictions():
            return SAME, ""
        case Invariance():
            change = ", ".join(f"{name} := {sql}" for name, sql in gate.change.items())
            return INVARIANT, f"{gate.doc.strip()} ({change}; tolerance {gate.tolerance:g}{_of_class(gate.of)})"
        case Monotonic():
            return MONOTONIC, f"{gate.doc.strip()} ({gate.feature} {gate.direction} by {gate.by:g}{_of_class(gate.of)})"
        case KpiAtLeast() | KpiAtMost():
            return KPI, ""
    raise TypeError(f"gate {type(gate).__name__} needs no check of the model")
