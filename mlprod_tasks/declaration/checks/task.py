"""Rules of a task: label, value, fallback, candidates, gates and watches must fit the kind of prediction."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from mlprod_tasks.declaration.checks.tables import listed
from mlprod_tasks.declaration.gate import (
    OF_INTERVALS,
    AtLeast,
    AtMost,
    BetterThanBaseline,
    Invariance,
    Monotonic,
    NotWorseThanChampion,
    Stable,
    WorstSlice,
)
from mlprod_tasks.declaration.learner import CatBoost, LightGBM, XGBoost, quantile_of
from mlprod_tasks.declaration.meant import value_meant
from mlprod_tasks.declaration.monitoring import WATCHED_BY_TASK
from mlprod_tasks.declaration.outcome import Outcome
from mlprod_tasks.declaration.task import HIGH, LOW, PREDICTION, PROBABILITIES, PROBABILITY, REGRESSION, TASKS, Task

if TYPE_CHECKING:
    from mlprod_tasks.declaration.pipeline import Pipeline

OF_QUANTILE = "is the loss of a predicted quantile, and no candidate predicts one: declare LightGBM(objective='quantile')"
KINDS = {"yes_no": "a condition that is true or false", "number": "a number", "class": "one of several classes"}


def task_problems(pipeline: Pipeline) -> Iterator[str]:
    """The rules of its task that the declaration breaks."""
    task = TASKS.get(pipeline.task)
    if task is None:
        meant = value_meant(pipeline.task, TASKS)
        remedy = f"; did you mean {meant!r}?" if meant else ""
        yield f"task {pipeline.task!r} is none: there are {listed(TASKS)}{remedy}"
        return
    yield from _parts(pipeline, task)
    yield from _candidates(pipeline, task)
    yield from _gates(pipeline, task)
    yield from _watches(pipeline, task)
    yield from _coverage(pipeline, task)
    yield from {"binary": _not_for_binary, "regression": _not_for_regression, "multiclass": _not_for_classes}[task.name](
        pipeline
    )


def _parts(pipeline: Pipeline, task: Task) -> Iterator[str]:
    """Label, value and fallback."""
    label = pipeline.label
    if isinstance(label, Outcome):  # a number for a yes or no is refused with the outcome's own rules
        if (task.label_kind == "class") != (label.kind == "class"):
            remedy = 'First(...) and Last(...) of a column are classes, with task="multiclass"'
            what = type(label.of).__name__
            yield f"label: {what} is {KINDS[label.kind]}, and task {task.name!r} does not predict that: {remedy}"
        elif task.label_kind == "number" and label.kind != "number":
            what = type(label.of).__name__
            yield f"label: {what} is a yes or no, and task {task.name!r} predicts a number: use Count() or Sum(...)"
    elif label.kind != task.label_kind:
        other = next((one.name for one in TASKS.values() if one.label_kind == label.kind), None)
        yield (
            f"label: kind {label.kind!r} is {KINDS[label.kind]}, but task {task.name!r} predicts {KINDS[task.label_kind]}: "
            f"declare kind={task.label_kind!r} with such SQL, or task={other!r}"
        )
    if not isinstance(pipeline.value, task.values):
        yield (
            f"value: {type(pipeline.value).__name__} does not fit task {task.name!r}; declare "
            f"{' or '.join(one.__name__ for one in task.values)}"
        )
    if not isinstance(pipeline.fallback, task.fallback):
        yield (
            f"fallback: {type(pipeline.fallback).__name__} does not fit task {task.name!r}; declare {task.fallback.__name__}"
        )


def _candidates(pipeline: Pipeline, task: Task) -> Iterator[str]:
    model = pipeline.model
    for one in model.candidates:
        if not isinstance(one, task.learners):
            yield (
                f"model.candidates {one.name!r}: {type(one).__name__} is not there for task {task.name!r}; there are "
                f"{listed(kind.__name__ for kind in task.learners)}"
            )
        if isinstance(one, LightGBM | CatBoost):
            yield from _objective(one, task)
        if isinstance(one, XGBoost) and one.objective is not None and task is not REGRESSION:
            yield f"model.candidates {one.name!r}: objective is for task 'regression'; leave it out"
    quantiles = {quantile for quantile in map(quantile_of, model.candidates) if quantile is not None}
    if len(quantiles) > 1:
        several = listed(map(str, quantiles))
        yield f"model.candidates predict different quantiles, {several}: a use case predicts one; declare another for each"
    if model.choose_by == "pinball" and not quantiles:
        yield f"model.choose_by 'pinball' {OF_QUANTILE}"
    if model.choose_by in OF_INTERVALS:
        yield f"model.choose_by {model.choose_by!r}: candidates are compared by their errors; there are {listed(task.metrics)}"
    if model.choose_by is not None and model.choose_by not in task.metrics:
        yield f"model.choose_by {model.choose_by!r} is no metric of task {task.name!r}; there are {listed(task.metrics)}"


def _objective(one: LightGBM | CatBoost, task: Task) -> Iterator[str]:
    at = f"model.candidates {one.name!r}"
    if task is not REGRESSION:
        for name in ("objective", "alpha", "tweedie_power"):
            if getattr(one, name) is not None:
                yield f"{at}: {name} is for task 'regression'; leave it out"
        return
    if one.alpha is not None and one.objective not in ("quantile", "huber"):
        yield f"{at}: alpha is for objective 'quantile' or 'huber', not {one.objective or 'l2'!r}"
    if one.objective == "quantile" and one.alpha is not None and not 0 < one.alpha < 1:
        yield f"{at}: alpha {one.alpha} must lie between 0 and 1: it is the quantile that is predicted"
    if one.objective == "huber" and one.alpha is not None and one.alpha <= 0:
        yield f"{at}: alpha {one.alpha} must be positive: from this error on, errors count linearly"
    if one.tweedie_power is not None and one.objective != "tweedie":
        yield f"{at}: tweedie_power is for objective 'tweedie', not {one.objective or 'l2'!r}"
    if isinstance(one, CatBoost) and one.tweedie_power == 1:
        yield f"{at}: tweedie_power {one.tweedie_power} must lie in (1, 2); of 1 it is objective 'poisson'"
    if one.tweedie_power is not None and not 1 <= one.tweedie_power < 2:
        yield f"{at}: tweedie_power {one.tweedie_power} must lie in [1, 2)"


def _gates(pipeline: Pipeline, task: Task) -> Iterator[str]:
    for gate in pipeline.gates:
        if isinstance(gate, AtLeast | AtMost | BetterThanBaseline | NotWorseThanChampion | Stable):
            known = task.metrics
        elif isinstance(gate, WorstSlice):
            known = task.slice_metrics
        else:
            yield from _class_of_behaviour(gate, pipeline, task)
            continue
        if gate.metric in OF_INTERVALS and gate.metric in known:
            yield from _interval_gate(gate, pipeline)
        if gate.metric == "pinball" and pipeline.quantile is None:
            yield f"gate {type(gate).__name__}('pinball') {OF_QUANTILE}"
        if gate.metric not in known:
            kind = type(gate).__name__
            yield f"gate {kind}({gate.metric!r}): it is no metric of task {task.name!r}; {kind} has {listed(known)}"


def _class_of_behaviour(gate: Any, pipeline: Pipeline, task: Task) -> Iterator[str]:
    """The class whose probability a gate on the model's behaviour is about."""
    if not isinstance(gate, Monotonic | Invariance):
        return
    at, declared = f"gate {type(gate).__name__}({gate.doc.strip()!r})", getattr(pipeline.label, "classes", ())
    if task.label_kind != "class" and gate.of:
        yield f"{at}: of={gate.of!r} names a class, and task {task.name!r} predicts none: leave it out"
    elif task.label_kind == "class" and isinstance(gate, Monotonic) and not gate.of:
        yield f"{at}: say which class's probability must not fall or rise, with of=" + (
            repr(declared[0]) if declared else "..."
        )
    elif gate.of and declared and gate.of not in declared:
        yield f"{at}: of={gate.of!r} is no class; classes are {listed(declared)}"


def _interval_gate(gate: Any, pipeline: Pipeline) -> Iterator[str]:
    at = f"gate {type(gate).__name__}({gate.metric!r})"
    if pipeline.model.coverage is None:
        yield f"{at}: predictions have no interval; declare model.coverage, such as coverage=0.9"
    if isinstance(gate, BetterThanBaseline) or (isinstance(gate, Stable) and gate.than == "baseline"):
        yield f"{at}: the constant baseline has no interval to compare with; declare a bound"


def _watches(pipeline: Pipeline, task: Task) -> Iterator[str]:
    of_others = {what for name, names in WATCHED_BY_TASK.items() if name != task.name for what in names}
    for watch in pipeline.watches:
        if watch.what in of_others - set(WATCHED_BY_TASK[task.name]):
            yield (
                f"watch {watch.what!r} is not measured for task {task.name!r}; besides those of every task there are "
                f"{listed(WATCHED_BY_TASK[task.name])}"
            )


def _coverage(pipeline: Pipeline, task: Task) -> Iterator[str]:
    """Prediction intervals."""
    model = pipeline.model
    if model.coverage is None:
        if any(watch.what == "interval_coverage" for watch in pipeline.watches) and task is REGRESSION:
            yield "watch 'interval_coverage': predictions have no interval; declare model.coverage, such as coverage=0.9"
        return
    if task is not REGRESSION:
        yield f"model.coverage {model.coverage} is of predicted numbers, and task {task.name!r} has none: leave it out"
    if not 0 < model.coverage < 1:
        yield f"model.coverage {model.coverage} must lie between 0 and 1: it is the share of outcomes that intervals hold"


def _not_for_binary(pipeline: Pipeline) -> Iterator[str]:
    """Nothing is missing."""
    return iter(())


def _not_for_classes(pipeline: Pipeline) -> Iterator[str]:
    """What has no meaning for several classes."""
    model = pipeline.model
    if not isinstance(model.weights, str):
        yield f"model.weights {model.weights!r} weights a positive: for task 'multiclass' declare 'balanced' or 'none'"
    yield from _names_of_predictions(pipeline, (PREDICTION, PROBABILITY, PROBABILITIES))


def _names_of_predictions(pipeline: Pipeline, names: Iterable[str]) -> Iterator[str]:
    for name in names:
        if name in (*pipeline.feature_names, *pipeline.entity_table.names):
            whose = f"a feature or column of {pipeline.entity_name!r}"
            yield f"{whose} is named {name!r}, the name of what is predicted: give another"


def _not_for_regression(pipeline: Pipeline) -> Iterator[str]:
    """What has no meaning for numbers."""
    model = pipeline.model
    if model.weights != "none":
        yield f"model.weights {model.weights!r} weights two classes, and task 'regression' has none: leave it out"
    if model.calibration == "sigmoid":
        yield "model.calibration 'sigmoid' makes probabilities, and task 'regression' predicts numbers: leave it out"
    yield from _names_of_predictions(pipeline, (PREDICTION, LOW, HIGH))
