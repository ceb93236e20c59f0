"""Rules about a search: a budget, candidates that exist, ranges that their fields may take."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from pydantic import ValidationError

from mlprod_tasks.declaration.checks.tables import listed, repeated
from mlprod_tasks.declaration.checks.training import bounds_problems
from mlprod_tasks.declaration.search import (
    Between,
    OneOf,
    Range,
    Search,
    declared_ranges,
    holds,
    searched,
    space_of,
    values_of,
    with_values,
)
from mlprod_tasks.declaration.split import Split, Ticks

if TYPE_CHECKING:
    from mlprod_tasks.declaration.learner import Learner
    from mlprod_tasks.declaration.pipeline import Pipeline

NOT_SEARCHED = {"name", "of", "params", "make"}


def search_problems(pipeline: Pipeline) -> Iterator[str]:
    """The rules of the search that the declaration breaks."""
    search = pipeline.model.search
    if search is None:
        return
    if search.trials is None and search.minutes is None:
        yield "model.search has no budget: give trials, minutes or both"
    for name in ("trials", "minutes", "folds", "workers"):
        given = getattr(search, name)
        if given is not None and (given <= 0 or (name != "minutes" and given < 1)):
            yield f"model.search: {name} {given} must be positive"
    yield from _candidates(pipeline, search)
    yield from _space(pipeline, search)
    split = pipeline.split
    if not isinstance(split, Split):
        return
    long, each = split.train, split.validation
    if isinstance(long, Ticks) or isinstance(each, Ticks):  # how long they are is known when they are there
        return
    needed = search.folds * each + split.gap
    if search.folds > 1 and long is not None and long < needed:
        yield (
            f"model.search: {search.folds} folds need a split.train of at least {needed}, but it is {long}: the earliest would "
            "be fitted to fewer ticks than it is measured on"
        )


def range_problems(at: str, learner: Learner, name: str, range_: Range) -> Iterator[str]:
    """The problems of searching a learner's field in a range."""
    yield from _shape(at, range_)
    yield from _values(at, learner, name, range_)


def _candidates(pipeline: Pipeline, search: Search) -> Iterator[str]:
    named = {learner.name: learner for learner in pipeline.model.candidates}
    yield from repeated("model.search.search_for", search.search_for)
    for name in search.search_for:
        if name not in named:
            yield f"model.search.search_for: {name!r} is no candidate; there are {listed(named)}"
        elif not space_of(named[name], search):
            yield f"model.search.search_for: {name!r} has no parameters to search"
    if not searched(pipeline.model.candidates, search):
        yield "model.search: no candidate has parameters to search; declare one that has, or no search"


def _space(pipeline: Pipeline, search: Search) -> Iterator[str]:
    candidates = searched(pipeline.model.candidates, search)
    used: set[str] = set()
    for learner in candidates.values():
        known = set(values_of(learner)) - NOT_SEARCHED
        for name, range_ in declared_ranges(learner, search).items():
            at = f"model.search.space[{name!r}] of candidate {learner.name!r}"
            used |= {name, f"{learner.name}.{name}"}
            if name not in known:
                yield f"{at}: there is no such parameter; there are {listed(known)}"
                continue
            problems = list(range_problems(at, learner, name, range_))
            yield from problems
            if not problems and not holds(range_, values_of(learner)[name]):
                yield (
                    f"{at}: the declared {name}={values_of(learner)[name]!r}, which is tried first, is not in {range_}: widen "
                    "the range, or declare another value"
                )
    for name in sorted(set(search.space) - used):
        yield f"model.search.space: no searched candidate has {name!r}; searched are {listed(candidates)}"


def _shape(at: str, range_: Range) -> Iterator[str]:
    if isinstance(range_, OneOf):
        if not range_.choices:
            yield f"{at}: OneOf names no choice"
        yield from repeated(at, map(repr, range_.choices))
    elif range_.low >= range_.high:
        yield f"{at}: low {range_.low} is not below high {range_.high}"
    elif range_.log and range_.low <= 0:
        yield f"{at}: low {range_.low} has no logarithm: give a positive one, or log=False"


def _values(at: str, learner: Learner, name: str, range_: Range) -> Iterator[str]:
    """The learner's own problems with the ends of the range, or with each choice."""
    wrong: dict[str, None] = {}
    for value in (range_.low, range_.high) if isinstance(range_, Between) else range_.choices:
        try:
            given = with_values(learner, {name: value})
        except ValidationError as error:
            wrong[f"{at}: {name} {value!r}: {error.errors()[0]['msg']}"] = None
        else:
            wrong |= dict.fromkeys(bounds_problems(at, given))
    yield from wrong
