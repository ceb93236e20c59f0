"""Rules of `LightGBM.params`."""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches
from math import isfinite
from typing import Any

from mlprod_tasks.declaration import lightgbm_parameters as known
from mlprod_tasks.declaration.checks.tables import listed
from mlprod_tasks.declaration.learner import LightGBM

KINDS = {
    "int": "a whole number",
    "float": "a number",
    "bool": "True or False",
    "text": "a text",
    "list": "a tuple of numbers",
}


def lightgbm_problems(at: str, learner: LightGBM, features: int) -> Iterator[str]:
    """The rules that `params` breaks. features: the number of the model's features."""
    given: dict[str, str] = {}
    for name, value in learner.params.items():
        own = known.own_name(name)
        whose = f"{at}: params {name!r}" + (f" is LightGBM's {own!r}, which" if own != name else "")
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
            yield f"{at}: params {name!r} is no parameter of LightGBM; {meant}"
        else:
            yield from _value_problems(f"{at}: params {name!r}", own, value, features)


def _value_problems(at: str, own: str, value: Any, features: int) -> Iterator[str]:
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
