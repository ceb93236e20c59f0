"""The gate on stability: in how many backtest windows the model meets the demand."""

from __future__ import annotations

import math
from dataclasses import dataclass

from mlprod_tasks.declaration.gate import HIGHER_IS_BETTER, Stable
from mlprod_tasks.documents.formatting import format_count, format_exact, format_number
from mlprod_tasks.evaluation.gates.verdict import CannotBeEvaluated, GateVerdict, verdict
from mlprod_tasks.evaluation.results import BacktestResult, EvaluationResults, Fold


@dataclass(frozen=True)
class _EvaluatedFold:
    """One fold: the model's value, its bound, and whether it met it. NaN if a value could not be computed."""

    fold: Fold
    value: float
    bound: float
    kept: bool
    margin: float  # how far the value is on the right side of the bound


def verdict_on_backtest(gate: Stable, results: EvaluationResults) -> GateVerdict:
    """Return the verdict on the backtest's windows.

    A window without a number fails. Raises: CannotBeEvaluated.
    """
    backtest = results.backtest
    if backtest is None:
        raise CannotBeEvaluated("there is no backtest: declare one and run the step backtest")
    n = len(backtest.folds)
    if n < gate.windows:
        raise CannotBeEvaluated(
            f"the backtest has {format_count(n, 'window')}, fewer than the {gate.windows} that the gate demands: "
            "declare more windows, or wait for more history"
        )
    if gate.than == "champion":
        _check_same_champion(backtest, results.evaluation.champion_version)
        if (passed := _verdict_without_other_recipe(gate, backtest)) is not None:
            return passed
    evaluated = [_evaluate_fold(gate, fold) for fold in backtest.folds]
    kept = sum(window.kept for window in evaluated)
    worst = min(evaluated, key=lambda window: window.margin if math.isfinite(window.margin) else -math.inf)
    sentence = (
        f"{gate.metric} is {_demand(gate, backtest)} in {kept} of {format_count(n, 'window')}; it must be in at least "
        f"{gate.windows}; worst {worst.fold.called} with {_format_window(gate, worst)}"
    )
    return verdict(gate, kept >= gate.windows, float(kept), float(gate.windows), n, sentence)


def _check_same_champion(backtest: BacktestResult, version: int | None) -> None:
    """Raises: CannotBeEvaluated if backtest and evaluation are against different champions."""
    if backtest.champion_version == version:
        return
    champions = [
        f"champion version {one}" if one is not None else "no champion" for one in (backtest.champion_version, version)
    ]
    raise CannotBeEvaluated(
        f"the backtest is against {champions[0]}, the evaluation against {champions[1]}: run evaluate and backtest again"
    )


def _verdict_without_other_recipe(gate: Stable, backtest: BacktestResult) -> GateVerdict | None:
    """Return the verdict if there is no other recipe to compare with; None if there is."""
    n, version = len(backtest.folds), backtest.champion_version
    match backtest.champion_recipe:
        case "other":
            return None
        case "none":
            sentence = f"{gate.metric} was measured in {format_count(n, 'window')}; there is no champion to beat"
            return verdict(gate, True, None, float(gate.windows), n, sentence)
        case "same":
            sentence = (
                f"champion version {version} was made by the same recipe, so its {gate.metric} is the same in each of "
                f"{format_count(n, 'window')}; it must be not worse in at least {gate.windows}"
            )
            return verdict(gate, True, float(n), float(gate.windows), n, sentence)
    raise CannotBeEvaluated(backtest.problem or f"the recipe of champion version {version} is unknown")


def _evaluate_fold(gate: Stable, fold: Fold) -> _EvaluatedFold:
    higher, value = HIGHER_IS_BETTER[gate.metric], _value(fold.model, gate.metric)
    bound = _bound(gate, fold)
    margin = (value - bound) * (1 if higher else -1)
    # A value equal to the baseline is not better. A comparison with NaN is never true.
    kept = (value > bound if higher else value < bound) if gate.than == "baseline" else margin >= 0
    return _EvaluatedFold(fold, value, bound, kept, margin)


def _bound(gate: Stable, fold: Fold) -> float:
    if gate.than == "baseline":
        return _value(fold.baseline, gate.metric)
    if gate.than == "champion":
        return _value(fold.champion or {}, gate.metric) - (1 if HIGHER_IS_BETTER[gate.metric] else -1) * gate.tolerance
    if gate.bound is None:
        raise CannotBeEvaluated("the gate has neither a bound nor a model to compare with")
    return gate.bound


def _value(metrics: dict, metric: str) -> float:
    return float(metrics[metric].value) if metric in metrics else math.nan


def _demand(gate: Stable, backtest: BacktestResult) -> str:
    if gate.than == "baseline":
        return "better than the baseline's"
    if gate.than == "champion":
        tolerated = f" by more than {format_exact(gate.tolerance)}" if gate.tolerance else ""
        return f"not worse than that of champion version {backtest.champion_version}'s recipe{tolerated}"
    assert gate.bound is not None
    return f"{'at least' if HIGHER_IS_BETTER[gate.metric] else 'at most'} {format_exact(gate.bound)}"


def _format_window(gate: Stable, window: _EvaluatedFold) -> str:
    def number(value: float) -> str:
        return format_number(value) if math.isfinite(value) else "no number"

    if gate.than is None:
        return number(window.value)
    other = _value(window.fold.baseline if gate.than == "baseline" else window.fold.champion or {}, gate.metric)
    return f"{number(window.value)} against {number(other)}"
