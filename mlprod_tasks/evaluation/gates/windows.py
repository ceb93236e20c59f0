"""The gate on stability: in how many windows of the backtest the model keeps what is demanded."""

from __future__ import annotations

import math
from dataclasses import dataclass

from mlprod_tasks.declaration.gate import HIGHER_IS_BETTER, Stable
from mlprod_tasks.documents.formatting import format_count, format_number
from mlprod_tasks.evaluation.gates.verdict import CannotBeEvaluated, GateVerdict, verdict
from mlprod_tasks.evaluation.results import BacktestResult, EvaluationResults, Fold


@dataclass(frozen=True)
class _JudgedFold:
    """One fold: what the model reached, what it had to reach, and whether it did. NaN where it could not be computed."""

    fold: Fold
    value: float
    bound: float
    kept: bool
    margin: float  # how far the value lies on the right side of the bound


def verdict_on_backtest(gate: Stable, results: EvaluationResults) -> GateVerdict:
    """The verdict on the backtest's windows. A window without a number has not kept it. Raises: CannotBeEvaluated."""
    backtest = results.backtest
    if backtest is None:
        raise CannotBeEvaluated("there is no backtest: declare one and run the step backtest")
    n = len(backtest.folds)
    if n < gate.windows:
        raise CannotBeEvaluated(
            f"the backtest has {format_count(n, 'window')}, fewer than the {gate.windows} that are demanded: "
            "declare more folds, or wait for more history"
        )
    if gate.than == "champion":
        _same_champion(backtest, results.evaluation.champion_version)
        if (passed := _without_other_champion(gate, backtest)) is not None:
            return passed
    evaluated = [_window(gate, fold) for fold in backtest.folds]
    kept = sum(window.kept for window in evaluated)
    worst = min(evaluated, key=lambda window: window.margin if math.isfinite(window.margin) else -math.inf)
    sentence = (
        f"{gate.metric} is {_demanded(gate, backtest)} in {kept} of {format_count(n, 'window')}; it must be in at least "
        f"{gate.windows}; worst as of {worst.fold.as_of} with {_shown(gate, worst)}"
    )
    return verdict(gate, kept >= gate.windows, float(kept), float(gate.windows), n, sentence)


def _same_champion(backtest: BacktestResult, version: int | None) -> None:
    """Raises: CannotBeEvaluated where the backtest is against another champion than the evaluation is."""
    if backtest.champion_version == version:
        return
    told_of = [f"champion version {one}" if one is not None else "no champion" for one in (backtest.champion_version, version)]
    raise CannotBeEvaluated(
        f"the backtest is against {told_of[0]}, the evaluation against {told_of[1]}: run evaluate and backtest again"
    )


def _without_other_champion(gate: Stable, backtest: BacktestResult) -> GateVerdict | None:
    """The verdict where there is no other recipe to compare with; None where there is one."""
    n, version = len(backtest.folds), backtest.champion_version
    match backtest.champion_recipe:
        case "other":
            return None
        case "none":
            sentence = f"{gate.metric} was measured in {format_count(n, 'window')}; there is no champion to beat"
            return verdict(gate, True, None, float(gate.windows), n, sentence)
        case "same":
            sentence = (
                f"champion version {version} was made by the same recipe, so {gate.metric} is the same as its own in each of "
                f"{format_count(n, 'window')}; it must be not worse in at least {gate.windows}"
            )
            return verdict(gate, True, float(n), float(gate.windows), n, sentence)
    raise CannotBeEvaluated(backtest.problem or f"the recipe of champion version {version} is not known")


def _window(gate: Stable, fold: Fold) -> _JudgedFold:
    higher, value = HIGHER_IS_BETTER[gate.metric], _value(fold.model, gate.metric)
    bound = _bound(gate, fold)
    margin = (value - bound) * (1 if higher else -1)
    # The baseline itself is not better than the baseline. A comparison with NaN is never true.
    kept = (value > bound if higher else value < bound) if gate.than == "baseline" else margin >= 0
    return _JudgedFold(fold, value, bound, kept, margin)


def _bound(gate: Stable, fold: Fold) -> float:
    if gate.than == "baseline":
        return _value(fold.baseline, gate.metric)
    if gate.than == "champion":
        return _value(fold.champion or {}, gate.metric) - (1 if HIGHER_IS_BETTER[gate.metric] else -1) * gate.tolerance
    if gate.bound is None:
        raise CannotBeEvaluated("the gate has neither a bound nor something to compare with")
    return gate.bound


def _value(metrics: dict, metric: str) -> float:
    return float(metrics[metric].value) if metric in metrics else math.nan


def _demanded(gate: Stable, backtest: BacktestResult) -> str:
    if gate.than == "baseline":
        return "better than the baseline's"
    if gate.than == "champion":
        tolerated = f" by more than {gate.tolerance:g}" if gate.tolerance else ""
        return f"not worse than that of champion version {backtest.champion_version}'s recipe{tolerated}"
    assert gate.bound is not None
    return f"{'at least' if HIGHER_IS_BETTER[gate.metric] else 'at most'} {format_number(gate.bound)}"


def _shown(gate: Stable, window: _JudgedFold) -> str:
    def number(value: float) -> str:
        return format_number(value) if math.isfinite(value) else "no number"

    if gate.than is None:
        return number(window.value)
    other = _value(window.fold.baseline if gate.than == "baseline" else window.fold.champion or {}, gate.metric)
    return f"{number(window.value)} against {number(other)}"
