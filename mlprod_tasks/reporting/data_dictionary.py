"""The data dictionary of a use case, generated from its declaration."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from mlprod_tasks.declaration import AsOf, Expression, Lookup, Pipeline, Population, Table, Trailing
from mlprod_tasks.declaration.feature import Feature, kinds_of
from mlprod_tasks.declaration.table import Column, Database
from mlprod_tasks.declaration.target import AtTick
from mlprod_tasks.documents.formatting import length
from mlprod_tasks.reporting.task_words import words_of
from mlprod_tasks.reporting.window_words import aggregate_words, window_words


def dictionary(pipeline: Pipeline) -> str:
    """The dictionary in Markdown: the prediction, tables, columns and features."""
    return "\n".join(_lines(pipeline)).rstrip() + "\n"


def meanings(pipeline: Pipeline) -> dict[str, str]:
    """The meaning and the source of each feature, in one line."""
    return {name.strip("`"): meaning for feature in pipeline.features for name, _, meaning in _feature_rows(pipeline, feature)}


def _lines(pipeline: Pipeline) -> Iterator[str]:
    yield f"# {pipeline.name}"
    yield from ("", pipeline.doc.strip(), "")
    moment = (
        "at the start of its tick"
        if isinstance(pipeline.predict_at, AtTick)
        else f"{length(pipeline.predict_at.lead)} before its time"
    )
    words = words_of(pipeline)
    yield f"One {words.score} for every row of `{pipeline.entity_name}`, made {moment}"
    if pipeline.population is not None:
        yield f"({_alive(pipeline.population)})"
    yield f"({pipeline.schedule.due} {pipeline.schedule.timezone}). Owner: {pipeline.owner}."
    yield from ("", "## Label", "")
    label = pipeline.label
    yield f"{label.doc or words.label}: `{label.sql}` in `{label.table}`,"
    yield f"complete {length(pipeline.label_delay)} after the row is scored."
    for table in pipeline.tables:
        yield from _table_lines(table)
    yield from ("", "## Features", "")
    yield from _grid(
        ("feature", "type", "meaning"), (row for feature in pipeline.features for row in _feature_rows(pipeline, feature))
    )


def _alive(population: Population) -> str:
    """Which keys are in a population."""
    within = "ever" if population.within is None else f"within {length(population.within)}"
    where = f" where `{population.where}`" if population.where else ""
    return f"each {', '.join(f'`{name}`' for name in population.by)} with a row in `{population.seen_in}` {within}{where};"


def _table_lines(table: Table) -> Iterator[str]:
    yield from ("", f"## Table `{table.name}`", "")
    source = table.source
    where = (
        f"{f'table `{source.table}`' if source.table else 'a query'} of connection `{source.connection}`"
        if isinstance(source, Database)
        else f"files `{source.path}` of connection `{source.connection}`"
    )
    yield f"{table.doc} From {where}; key {', '.join(f'`{name}`' for name in table.key)}; {_availability(table)}."
    yield ""
    yield from _grid(("column", "type", "may be null", "allowed", "personal", "meaning"), map(_column_row, table.columns))


def _availability(table: Table) -> str:
    if table.time is None:
        return "a reference table, read as a whole at every tick"
    if table.snapshots:
        return "without a time: read as a whole at every tick, and kept for each"
    if table.ticks_ahead:
        return f"placed in ticks by `{table.time}`, known {table.ticks_ahead} tick{'s' * (table.ticks_ahead > 1)} ahead"
    known = f"{length(table.known_after)} after it" if table.known_after else "from then on"
    return f"placed in ticks by `{table.time}`, known {known}"


def _column_row(column: Column) -> tuple[str, ...]:
    if column.values is not None:
        allowed = ", ".join(str(value) for value in column.values)
    elif column.min is not None or column.max is not None:
        allowed = f"{'' if column.min is None else f'{column.min:g}'} to {'' if column.max is None else f'{column.max:g}'}"
    else:
        allowed = ""
    nullable = "no" if not column.nullable else "yes" if column.max_null_share is None else f"up to {column.max_null_share:.0%}"
    return (f"`{column.name}`", column.kind, nullable, allowed, column.personal or "", column.doc)


def _feature_rows(pipeline: Pipeline, feature: Feature) -> Iterator[tuple[str, ...]]:
    match feature:
        case Expression():
            yield (
                f"`{feature.name}`",
                feature.kind,
                f"{feature.doc}: `{feature.sql}`" if feature.sql != feature.name else feature.doc,
            )
        case Lookup() | AsOf():
            table = pipeline.table(feature.table)
            when = "" if isinstance(feature, Lookup) else f", latest known in the last {length(feature.max_age)}"
            for name, read in feature.columns.items():
                column = table.column(read)
                yield (f"`{name}`", column.kind, f"{column.doc} (`{feature.table}.{read}` by {_list_keys(feature.on)}{when})")
        case Trailing():
            kinds = kinds_of(feature, pipeline.table(feature.table))
            for window in feature.windows:
                for aggregate in feature.aggregates:
                    name = feature.feature(aggregate, window)
                    over = f"`{feature.table}` known in {window_words(feature, [window])}"
                    yield (f"`{name}`", kinds[name], f"{aggregate_words(aggregate)} over {over}, by {_list_keys(feature.by)}")


def _list_keys(pairs: dict[str, str]) -> str:
    return ", ".join(f"`{name}`" for name in pairs)


def _grid(headings: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    yield f"| {' | '.join(headings)} |"
    yield f"|{' --- |' * len(headings)}"
    for row in rows:
        yield f"| {' | '.join(' '.join(cell.split()).replace('|', chr(92) + '|') for cell in row)} |"
