"""The search for better parameters: the budget, the folds, and the space of each kind of learner."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field, fields, replace
from typing import Any

from mlprod_tasks.declaration.declared import declared

Choice = bool | int | float | str | tuple[int, ...] | None


@declared
class Between:
    """Any value between two numbers, both included; only whole numbers if the field is a whole number.

    low: the smallest.
    high: the largest.
    log: whether values are drawn evenly on the logarithmic scale.
    """

    low: int | float
    high: int | float
    log: bool = False


@declared
class OneOf:
    """One of several values: `OneOf((0.05, 0.1))`. A single value fixes the parameter.

    choices: the values.
    """

    choices: tuple[Choice, ...]


Range = Between | OneOf


@declared
class Search:
    """Search for parameters with a lower loss than the declared ones, by TPE, before the model is fitted.

    The declared parameters are always the first trial of each candidate, so the result is never worse by the search's own
    measure. A trial is stopped if half-way it is worse than the median of the others.

    The measure is the log loss, with equal weights of all rows, of the probabilities after a sigmoid calibration (without it if
    calibration is "none"); of numbers `choose_by`, if it is mae, rmse or pinball, else mae. The test window is never read.
    Calibration and early stopping use the same rows, and the best of many trials is partly luck: the measure is too optimistic,
    and only the test window shows how good the model is.

    With one worker the same data and seed give the same result, even if it was killed and run again (unless `minutes` end it).
    With several workers, the order in which trials end decides what is tried next. With segments, the search is over all rows,
    and the model of every segment uses its result.

    trials: the number of trials of each candidate, by all workers together; None is limited by `minutes` alone.
    minutes: after this time, counted while any worker is running, no trial is started and running ones are stopped; None is
    limited by `trials` alone.
    folds: 1 measures on the validation window; a larger number takes the mean over that many rolling windows within train and
    validation, each as long as the validation window, with `split.gap` between it and its training rows; of rows without a
    time, over that many validation parts of the same rows.
    workers: the number of processes that share the trials: mapped tasks, as many at once as the executor has room for.
    search_for: names of candidates; if empty, all that have parameters to search.
    space: replaces the range of single parameters: by the field's name for every candidate that has it, or by
    'candidate.field'. What a candidate declares in `params` is searched like a field.
    """

    trials: int | None = 30
    minutes: float | None = None
    folds: int = 1
    workers: int = 2
    search_for: tuple[str, ...] = ()
    space: dict[str, Range] = field(default_factory=dict)


BOOSTING: dict[str, Range] = {
    "learning_rate": Between(0.02, 0.3, log=True),
    "num_leaves": Between(7, 255, log=True),
    "min_data_in_leaf": Between(10, 1000, log=True),
    "feature_fraction": Between(0.4, 1.0),
    "lambda_l2": Between(1e-3, 100.0, log=True),
}
FOREST: dict[str, Range] = {
    "min_data_in_leaf": Between(2, 200, log=True),
    "feature_fraction": OneOf((None, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0)),
}
# By kind of learner and field. The number of trees or epochs is not searched: early stopping finds it, and forests need many.
SPACES: dict[str, dict[str, Range]] = {
    "LightGBM": BOOSTING | {"bagging_fraction": Between(0.4, 1.0)},
    "XGBoost": {
        "learning_rate": Between(0.02, 0.3, log=True),
        "max_depth": Between(3, 12),
        "min_child_weight": Between(0.5, 200.0, log=True),
        "feature_fraction": Between(0.4, 1.0),
        "bagging_fraction": Between(0.4, 1.0),
        "lambda_l2": Between(1e-3, 100.0, log=True),
    },
    "CatBoost": {
        "learning_rate": Between(0.02, 0.3, log=True),
        "max_depth": Between(3, 9),
        "feature_fraction": Between(0.4, 1.0),
        "bagging_fraction": Between(0.4, 1.0),
        "lambda_l2": Between(0.1, 100.0, log=True),
    },
    "HistGradientBoosting": BOOSTING,
    "RandomForest": FOREST,
    "ExtraTrees": FOREST,
    "LogisticRegression": {"c": Between(1e-3, 100.0, log=True), "least_category_rows": Between(5, 500, log=True)},
    "LinearRegression": {"c": Between(1e-4, 100.0, log=True), "least_category_rows": Between(5, 500, log=True)},
    "LinearSVM": {"c": Between(1e-4, 10.0, log=True), "least_category_rows": Between(5, 500, log=True)},
    "NeuralNet": {
        "hidden": OneOf(((32,), (64,), (128,), (64, 32), (128, 64), (256, 128))),
        "learning_rate": Between(1e-4, 1e-2, log=True),
        "lambda_l2": Between(1e-6, 1e-1, log=True),
        "batch_rows": OneOf((128, 256, 512, 1024)),
    },
}


def values_of(learner: Any) -> dict[str, Any]:
    """A candidate's parameters by name: its fields, and what its `params` give."""
    return {one.name: getattr(learner, one.name) for one in fields(learner)} | dict(getattr(learner, "params", {}))


def with_values(learner: Any, values: Mapping[str, Any]) -> Any:
    """The candidate with other values of parameters, by name."""
    own = {one.name for one in fields(learner)}
    changes = {name: value for name, value in values.items() if name in own}
    if params := {name: value for name, value in values.items() if name not in own}:
        changes["params"] = {**learner.params, **params}
    return replace(learner, **changes)


def space_of(learner: Any, search: Search) -> dict[str, Range]:
    """The ranges in which a candidate's parameters are searched, by name; empty if it has none.

    A default range is widened to include the candidate's declared value, which is tried first.
    """
    known = values_of(learner)
    ranges = {
        name: _widened(range_, known[name]) for name, range_ in SPACES.get(type(learner).__name__, {}).items() if name in known
    }
    ranges |= declared_ranges(learner, search)
    return {name: _as_field(range_, known[name]) for name, range_ in ranges.items() if name in known}


def declared_ranges(learner: Any, search: Search) -> dict[str, Range]:
    """The declared ranges of a candidate's parameters; those of this candidate replace those of all candidates."""
    known = values_of(learner)
    return {
        **{name: range_ for name, range_ in search.space.items() if name in known},
        **{
            name.removeprefix(f"{learner.name}."): range_
            for name, range_ in search.space.items()
            if name.startswith(f"{learner.name}.")
        },
    }


def searched(candidates: tuple[Any, ...], search: Search) -> Mapping[str, Any]:
    """The candidates that are searched, by name, in the order of declaration."""
    named = {learner.name: learner for learner in candidates if space_of(learner, search)}
    return {name: named[name] for name in named if not search.search_for or name in search.search_for}


def holds(range_: Range, value: Any) -> bool:
    """Whether a value lies in a range."""
    if isinstance(range_, OneOf):
        return any(choice == value and type(choice) is type(value) for choice in range_.choices)
    return isinstance(value, int | float) and not isinstance(value, bool) and range_.low <= value <= range_.high


def _as_field(range_: Range, value: Any) -> Range:
    """The range with ends of the field's type, so that 1 to 10 of a float field are not only whole numbers."""
    if isinstance(range_, Between) and isinstance(value, float):
        return Between(float(range_.low), float(range_.high), range_.log)
    return range_


def _widened(range_: Range, value: Any) -> Range:
    if holds(range_, value):
        return range_
    if isinstance(range_, OneOf):
        return OneOf((*range_.choices, value))
    # 0 has no logarithm, so the range is searched on the linear scale.
    return Between(min(range_.low, value), max(range_.high, value), log=range_.log and value > 0)
