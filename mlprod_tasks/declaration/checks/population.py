"""Rules of a population and of an outcome from later events."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import TYPE_CHECKING

from mlprod_tasks.declaration.aggregate import First, Last, Sum
from mlprod_tasks.declaration.checks.features import NUMERIC, condition_problems, mentioned, pair_problems
from mlprod_tasks.declaration.checks.tables import IDENTIFIER, listed, repeated
from mlprod_tasks.declaration.feature import AsOf, Expression, Lookup, Trailing
from mlprod_tasks.declaration.outcome import Happens, Outcome
from mlprod_tasks.declaration.population import Population
from mlprod_tasks.declaration.reads import taken_from, words_in
from mlprod_tasks.declaration.table import AS_OF
from mlprod_tasks.declaration.target import AtTick

if TYPE_CHECKING:
    from mlprod_tasks.declaration.pipeline import Pipeline
    from mlprod_tasks.declaration.table import Table


def population_problems(pipeline: Pipeline, population: Population) -> Iterator[str]:
    """The rules that the population breaks."""
    at = f"entity: Population {population.name!r}"
    tables = {table.name: table for table in pipeline.tables}
    if not IDENTIFIER.fullmatch(population.name) or population.name in tables:
        yield f"{at}: name must be lower-case letters, digits and _, starting with a letter, and not that of a table"
    if population.seen_in not in tables:
        yield f"{at}: seen_in {population.seen_in!r} is not a declared table; declared are {listed(tables)}"
        return
    table = tables[population.seen_in]
    if table.time is None or table.ticks_ahead:
        yield f"{at}: seen_in {table.name!r} must have a `time` and no ticks_ahead: its rows show when a key was there"
    yield from repeated(f"{at}: by", population.by)
    if not population.by:
        yield f"{at}: by names no column: a row must be identifiable"
    for name in population.by:
        if name not in table.names:
            yield f"{at}: by {name!r} is not a column of {table.name!r}; it has {listed(table.names)}"
        elif table.column(name).personal == "drop" or table.column(name).known_at or name == AS_OF:
            yield f"{at}: by {name!r} may be neither dropped nor known later, nor be called {AS_OF!r}"
    if population.within is not None and (population.within <= timedelta(0) or population.within.microseconds):
        yield f"{at}: within must be positive and whole seconds; None is for ever"
    if population.where:
        yield from _condition(f"{at}: where", population.where, table)
    if not isinstance(pipeline.predict_at, AtTick):
        yield f"{at}: its rows are scored at their tick: leave predict_at out"


def outcome_problems(pipeline: Pipeline, outcome: Outcome) -> Iterator[str]:
    """The rules that an outcome breaks that is the label."""
    at = f"label: Outcome of {outcome.table!r}"
    yield from later_problems(pipeline, outcome, at)
    if outcome.kind == "number" and pipeline.task == "binary":
        yield f"{at}: {type(outcome.of).__name__} is a number, and the task 'binary' predicts a yes or no: use Any(where=...)"
    table = next((table for table in pipeline.tables if table.name == outcome.table), None)
    if isinstance(outcome.of, First | Last) and table is not None:
        yield from _class_of_events(at, outcome, table)
    elif outcome.classes or outcome.otherwise:
        yield f"{at}: classes and otherwise are for First(...) and Last(...): leave them out"


def later_problems(pipeline: Pipeline, outcome: Outcome, at: str) -> Iterator[str]:
    """The rules that any outcome of a use case's rows breaks. at: where it is declared."""
    table = next((table for table in pipeline.tables if table.name == outcome.table), None)
    if table is None:
        yield f"{at}: not a declared table; declared are {listed(t.name for t in pipeline.tables)}"
        return
    yield from pair_problems(at, outcome.by, pipeline.entity_table, table)
    if isinstance(outcome.of, Happens):
        yield from _moment(pipeline, outcome, outcome.of.column, table, at)
    elif table.time is None or table.ticks_ahead:
        yield f"{at}: the table must have a `time` and no ticks_ahead: its rows tell when something happened"
    if outcome.within <= timedelta(0) or outcome.within.microseconds:
        yield f"{at}: within must be positive and whole seconds"
    if outcome.until is not None:
        yield from _until(at, outcome.until, pipeline.entity_table)
    if outcome.of.where:
        yield from _condition(f"{at}: where", outcome.of.where, table)
    if isinstance(outcome.of, Sum):
        name = outcome.of.column
        if name not in table.names or table.column(name).personal or table.column(name).kind not in NUMERIC:
            yield f"{at}: Sum of {name!r} needs a number that the table has, and that is not personal"
        elif table.column(name).known_at:
            yield f"{at}: Sum reads {name!r}, which is known later than its row: declare its table's known_after instead"


def _moment(pipeline: Pipeline, outcome: Outcome, name: str, table: Table, at: str) -> Iterator[str]:
    """The rules of an outcome that a column tells."""
    what = f"{at}: Happens {name!r}"
    if set(outcome.by.values()) != set(table.key):
        yield f"{what}: `by` must match the whole key {table.key} of {table.name!r}: a key has one moment"
    if name not in table.names:
        yield f"{what}: not a column of {table.name!r}; it has {listed(table.names)}"
        return
    column = table.column(name)
    if column.kind not in ("timestamp", "date") or column.personal:
        found = "personal" if column.personal else column.kind
        yield f"{what}: must be the timestamp or date at which it happens, and not personal, but is {found}"
    if not column.nullable:
        yield f"{what}: is missing until it happens: declare it with nullable=True"
    if table.time is not None and outcome.within > timedelta(0):
        needed = pipeline.outcome_delay_ticks(outcome)
        if table.refresh_ticks < needed:
            yield (
                f"{what}: a row of {table.name!r} is read again for {table.refresh_ticks} ticks, but its window is over after "
                f"{needed}, and what happens until then would be missed: declare refresh_ticks={needed} of the table"
            )
    if column.known_at is None:
        for feature in _reading(pipeline, name, table):
            yield (
                f"feature {feature!r} reads {name!r} of {table.name!r}, which is the outcome: leave it out, or declare "
                "known_at of the column"
            )


def _reading(pipeline: Pipeline, name: str, table: Table) -> Iterator[str]:
    """The features that read a column of a table."""
    for feature in pipeline.features:
        match feature:
            case Expression() if table.name == pipeline.entity_name and name in words_in(feature.sql):
                yield feature.name
            case Lookup() | AsOf() if feature.table == table.name and name in feature.columns.values():
                yield from (mine for mine, theirs in feature.columns.items() if theirs == name)
            case Trailing() if feature.table == table.name and name in words_in(*map(taken_from, feature.aggregates)):
                yield feature.name


def _class_of_events(at: str, outcome: Outcome, table: Table) -> Iterator[str]:
    assert isinstance(outcome.of, First | Last)
    what, name = type(outcome.of).__name__, outcome.of.column
    if name not in table.names:
        yield f"{at}: {what} of {name!r}: {table.name!r} has {listed(table.names)}"
    elif table.column(name).kind not in ("text", "int") or table.column(name).personal:
        yield f"{at}: {what} of {name!r} needs a text or a whole number that is not personal: its values are the classes"
    elif table.column(name).known_at:
        yield f"{at}: {what} reads {name!r}, which is known later than its row: declare its table's known_after instead"
    if outcome.otherwise and outcome.classes and outcome.otherwise not in outcome.classes:
        yield f"{at}: otherwise {outcome.otherwise!r} is no class; classes are {listed(outcome.classes)}"
    if len(outcome.classes) == 1:
        yield f"{at}: classes has only {outcome.classes[0]!r}: declare at least two, or none to take those of the training"
    yield from repeated(f"{at}: classes", outcome.classes)


def _until(at: str, name: str, entity: Table) -> Iterator[str]:
    if name not in entity.names:
        yield f"{at}: until {name!r} is not a column of {entity.name!r}; it has {listed(entity.names)}"
        return
    column = entity.column(name)
    if column.kind not in ("timestamp", "date"):
        yield f"{at}: until {name!r} is {column.kind}: name the timestamp or date at which the row's window ends"
    if column.known_at or column.personal:
        yield f"{at}: until {name!r} must be known when the row is scored, and not be personal"


def _condition(at: str, sql: str, table: Table) -> Iterator[str]:
    yield from condition_problems(at, sql, table)
    if late := [column.name for column in mentioned(sql, table) if column.known_at]:
        yield f"{at}: reads {listed(late)}, which is known later than its row"
