"""Rules of `params` of LightGBM, XGBoost and CatBoost, each checked against its own list."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from difflib import get_close_matches
from math import isfinite
from typing import Any, Protocol

from mlprod_tasks.declaration import catboost_parameters, lightgbm_parameters, xgboost_parameters
from mlprod_tasks.declaration.checks.tables import listed
from mlprod_tasks.declaration.learner import CatBoost, LightGBM, XGBoost
from mlprod_tasks.declaration.lightgbm_parameters import Kind

KINDS = {
    "int": "a whole number",
    "float": "a number",
    "bool": "True or False",
    "text": "a text",
    "list": "a tuple of numbers",
}


class Parameters(Protocol):
    """A library's list of parameters."""

    TAKEN: Mapping[str, Kind]
    CHOICES: Mapping[str, tuple[str, ...]]
    BY_FEATURE: tuple[str, ...]
    FIELDS: Mapping[str, str]
    REFUSED: Mapping[str, str]
    own_name: Callable[[str], str]
    every_name: Callable[[], list[str]]


LISTS: dict[type, Any] = {LightGBM: lightgbm_parameters, XGBoost: xgboost_parameters, CatBoost: catboost_parameters}


def parameter_problems(at: str, learner: LightGBM | XGBoost | CatBoost, features: int) -> Iterator[str]:
    """The rules that `params` breaks. features: the number of the model's features."""
    library = type(learner).__name__
    known: Parameters = LISTS[type(learner)]
    given: dict[str, str] = {}
    for name, value in learner.params.items():
        own = known.own_name(name)
        whose = f"{at}: params {name!r}" + (f" is {library}'s {own!r}, which" if own != name else "")
        if own in given:
            yield f"{at}: params {name!r} and {given[own]!r} are the same parameter {own!r}: give one of them"
        given[own] = name
        if own in known.FIELDS:
            yield f"{whose} is a field of its own: declare {known.FIELDS[own]}=..."
        elif own in known.REFUSED:
            yield f"{whose} cannot be declared: {known.REFUSED[own]}"
        elif own not in known.TAKEN:
            close = get_close_matches(name, known.every_name(), 1)
            meant = f"did you mean {close[0]!r}?" if close else f"there are {listed(known.TAKEN)}"
            yield f"{at}: params {name!r} is no parameter of {library}; {meant}"
        else:
            yield from _value_problems(f"{at}: params {name!r}", own, value, features, known)


def _value_problems(at: str, own: str, value: Any, features: int, known: Parameters) -> Iterator[str]:
    kind = known.TAKEN[own]
    if not _is(kind, value):
        yield f"{at} takes {KINDS[kind]}, not {value!r}"
    elif own in known.CHOICES and value not in known.CHOICES[own]:
        yield f"{at} {value!r}: there are {listed(known.CHOICES[own])}"
    elif own in known.BY_FEATURE and len(value) != features:
        yield f"{at} has {len(value)} numbers, but there are {features} features: give one for each, in declared order"


def _is(kind: str, value: Any) -> bool:
    if kind == "bool":
        return isinstance(value, bool)
    if kind == "text":
        return isinstance(value, str)
    if kind == "list":
        return isinstance(value, tuple) and all(_is("float", one) for one in value)
    whole = isinstance(value, int) and not isinstance(value, bool)
    return whole if kind == "int" else whole or (isinstance(value, float) and isfinite(value))
