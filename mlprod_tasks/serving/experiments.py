"""Which variant of an experiment answers a request: decided by the row's unit alone, before any feature is looked up.

It is the variant that scoring gives the same unit in a batch, on every replica.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.declaration.experiment import CONTROL
from mlprod_tasks.declaration.rhythm import TickName
from mlprod_tasks.experiments.assignment import (
    SEPARATOR,
    UnitRange,
    Variant,
    column_of_unit,
    combined,
    first_hash,
    salted,
    shares_end,
    unit_columns,
    units_of_run,
)
from mlprod_tasks.experiments.plan_written import layers_of
from mlprod_tasks.online.fields import EPOCH_DAY
from mlprod_tasks.online.plan import EPOCH, MICROSECOND
from mlprod_tasks.platform import Platform

if TYPE_CHECKING:
    from mlprod_tasks.platform.experiment_entries import ExperimentRun

# A value of a request as the lake has it: internally, moments are microseconds and dates are days.
AS_IN_LAKE: dict[str, Callable[[Any], Any]] = {
    "timestamp": lambda us: EPOCH + us * MICROSECOND,
    "date": lambda day: date.fromordinal(EPOCH_DAY + day),
    "float": float,
}
UnitOf = Callable[[Mapping[str, Any]], str | None]


NO_SECOND = (None, None, None)


class Assignment(msgspec.Struct, frozen=True):
    """The variant that a row's unit has.

    experiment: None if none assigns the row. variant, name, propensity: None of a row without a unit, too. state: of a bandit,
    the version of its state; action: what it chose, if arms are actions: the rollout decides then which version answers.
    second: experiment, variant and propensity of a second experiment, with which together `variant` is what answers.
    """

    experiment: str | None
    variant: Variant | None = None
    name: str | None = None
    propensity: float | None = None
    state: int | None = None
    action: str | None = None
    second: tuple[str | None, str | None, float | None] = NO_SECOND

    @property
    def held_out(self) -> str:
        """Why the fallback answers a unit that is held out."""
        return f"experiment {self.experiment} keeps its unit from the model"


NOT_ASSIGNED = Assignment(None)


@dataclass(frozen=True)
class HashRange:
    """A `UnitRange` whose units are told by their hash alone.

    salted: the layer's hash before a unit; first: the first hash of the range; beyond: the first one after it, None if it has
    the last.
    """

    salted: Any
    first: bytes
    beyond: bytes | None

    def has(self, unit: str | None) -> bool:
        """Return whether a unit takes part; None does not."""
        if unit is None:
            return False
        hashed = self.salted.copy()
        hashed.update(unit.encode())
        at: bytes = hashed.digest()
        return self.first <= at and (self.beyond is None or at < self.beyond)


@dataclass(frozen=True)
class RequestSplit:
    """What a replica knows of an experiment that is not over.

    salted: the hash before a unit; among: which units take part, None for all; control: the version that must be champion;
    first, last: the ticks whose requests are assigned; ends: the first hash beyond the share of each variant but the last;
    assignments: of each variant; layers: what they vary of an answer.
    """

    experiment: str
    salted: Any
    control: int
    first: TickName
    last: TickName
    ends: tuple[bytes, ...]
    assignments: tuple[Assignment, ...]
    among: HashRange | None = None
    layers: frozenset[str] = frozenset()

    @cached_property
    def of(self) -> Callable[[str | None, Sequence[Any]], Assignment]:
        """Return the assignment of a unit; None has no variant. The features of its row, the second argument, do not matter.

        A unit that does not take part is not assigned.
        """
        of = by_hash(self.experiment, self.salted, self.ends, self.assignments)
        return of if self.among is None else within(self.among, of)


def within(
    among: HashRange, of: Callable[[str | None, Sequence[Any]], Assignment]
) -> Callable[[str | None, Sequence[Any]], Assignment]:
    """Return what assigns the units of a range, as `of` does, and no others."""

    def of_range(unit: str | None, values: Sequence[Any] = ()) -> Assignment:
        return of(unit, values) if among.has(unit) else NOT_ASSIGNED

    return of_range


def first_that_assigns(
    each: Sequence[Callable[[str | None, Sequence[Any]], Assignment]],
) -> Callable[[str | None, Sequence[Any]], Assignment]:
    """Return what asks several experiments in turn, of which no unit takes part in two."""

    def of(unit: str | None, values: Sequence[Any] = ()) -> Assignment:
        return next((found for one in each if (found := one(unit, values)).experiment is not None), NOT_ASSIGNED)

    return of


def both_that_assign(
    each: Sequence[Callable[[str | None, Sequence[Any]], Assignment]],
) -> Callable[[str | None, Sequence[Any]], Assignment]:
    """Return what asks several experiments, of which a unit takes part in two at most."""
    together: dict[tuple[str | None, ...], Assignment] = {}

    def of(unit: str | None, values: Sequence[Any] = ()) -> Assignment:
        found = [one for ask in each if (one := ask(unit, values)).experiment is not None]
        if len(found) < 2 or unit is None:
            return found[0] if found else NOT_ASSIGNED
        key = (found[0].experiment, found[0].name, found[1].experiment, found[1].name)
        if key not in together:
            together[key] = _together(found[0], found[1])
        return together[key]

    return of


def _together(one: Assignment, other: Assignment) -> Assignment:
    """The assignment of a unit that is in two experiments: the one that is not the control comes first, as in a batch."""
    first, second = (other, one) if one.name == CONTROL and other.name != CONTROL else (one, other)
    assert first.variant is not None
    assert second.variant is not None
    both = combined(first.variant, second.variant)
    beside = second.experiment, second.name, second.propensity
    return Assignment(first.experiment, both, first.name, first.propensity, second=beside)


class Split(Protocol):
    """What assigns units of requests. layers: what it varies of an answer."""

    @property
    def of(self) -> Callable[[str | None, Sequence[Any]], Assignment]: ...

    @property
    def layers(self) -> frozenset[str]: ...


def of_all(splits: Sequence[Split]) -> Callable[[str | None, Sequence[Any]], Assignment] | None:
    """Return what assigns units by all of some splits; None if there are none."""
    each = [one.of for one in splits]
    if len(each) < 2:
        return each[0] if each else None
    apart = frozenset.intersection(*(one.layers for one in splits))
    return first_that_assigns(each) if apart else both_that_assign(each)


def by_hash(
    experiment: str, salted: Any, ends: Sequence[bytes], assignments: Sequence[Assignment]
) -> Callable[[str | None, Sequence[Any]], Assignment]:
    """Return what gives a unit its assignment by its hash. See `RequestSplit`."""
    copy, nothing = salted.copy, Assignment(experiment)  # looked up once, and not with each request

    def of(unit: str | None, values: Sequence[Any] = ()) -> Assignment:
        if unit is None:
            return nothing
        hashed = copy()
        hashed.update(unit.encode())
        return assignments[bisect_right(ends, hashed.digest())]

    return of


def splits_of(pipeline: Pipeline, platform: Platform) -> tuple[RequestSplit, ...]:
    """Return the experiments that assign requests now or later. One that was ended assigns none from then on."""
    if pipeline.experiments is None or unit_reader(pipeline) is None:
        return ()
    from mlprod_tasks.experiments import run as experiments  # loads libraries that serving without experiments does not need

    tick = pipeline.schedule.last_at(platform.clock.now()).name
    runs = (run for run in experiments.every(pipeline, platform) if run.ended is None and run.ends >= tick)
    return tuple(split_of(run, experiments.plan_of(run).variants) for run in runs)


def split_of(run: ExperimentRun, variants: Sequence[Variant]) -> RequestSplit:
    """Return what a replica needs of an experiment."""
    # Compared as bytes, without a number in between: the last variant ends where hashes do.
    ends = [first_hash(end) for end in shares_end(variants)[:-1]]
    assignments = tuple(Assignment(run.name, one, one.name, one.share) for one in variants)
    among = _hash_range(units_of_run(run))
    return RequestSplit(
        run.name,
        salted(run.salt),
        variants[0].version,
        run.starts,
        run.ends,
        tuple(ends),
        assignments,
        among,
        layers_of(variants),
    )


def _hash_range(units: UnitRange) -> HashRange | None:
    if units.whole:
        return None
    beyond = None if units.high >= 1 else first_hash(units.high)
    return HashRange(salted(units.salt), first_hash(units.low), beyond)


def unit_reader(pipeline: Pipeline) -> UnitOf | None:
    """Return what gives the unit of a request's row as text, the same as `assignment.units_of` gives in a batch.

    Its rows are as `RequestFields.read` gives them. None if a part of the unit is looked up or computed: a row would have its
    variant only if that succeeds.
    """
    if pipeline.experiments is None:
        return None
    columns = [column_of_unit(pipeline, name) for name in unit_columns(pipeline)]
    if any(column is None for column in columns):
        return None
    parts = [(column.name, _text_of(column.kind, column.personal)) for column in columns if column is not None]
    return _one_part(*parts[0]) if len(parts) == 1 else _several_parts(parts)


def _text_of(kind: str, personal: str | None) -> Callable[[Any], str] | None:
    """What gives a value of a request as text; None if it is text."""
    if personal or kind == "text":
        return None
    as_in_lake = AS_IN_LAKE.get(kind)
    if as_in_lake is None:
        return str
    return lambda value: str(as_in_lake(value))


def _one_part(name: str, text: Callable[[Any], str] | None) -> UnitOf:
    if text is None:
        return itemgetter(name)

    def unit(row: Mapping[str, Any]) -> str | None:
        value = row[name]
        return None if value is None else text(value)

    return unit


def _several_parts(parts: Sequence[tuple[str, Callable[[Any], str] | None]]) -> UnitOf:
    def unit(row: Mapping[str, Any]) -> str | None:
        values = [row[name] for name, _ in parts]
        if None in values:
            return None
        return SEPARATOR.join([value if text is None else text(value) for value, (_, text) in zip(values, parts, strict=True)])

    return unit
