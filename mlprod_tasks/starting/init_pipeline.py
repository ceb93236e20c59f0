"""Declare a use case from files or database tables of which nothing is declared yet."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from mlprod_tasks.declaration import Pipeline, load
from mlprod_tasks.platform.clock import WallClock
from mlprod_tasks.platform.engine import engine
from mlprod_tasks.platform.files import write_text
from mlprod_tasks.platform.progress import tracked
from mlprod_tasks.platform.settings import PREFIX, SettingMissing, Settings
from mlprod_tasks.starting.database_samples import from_database
from mlprod_tasks.starting.guess_features import FeatureGuess, guess_features
from mlprod_tasks.starting.guess_label import LabelGuess, candidates, guess_label, time_problem
from mlprod_tasks.starting.guess_parts import guess_parts
from mlprod_tasks.starting.guess_population import guess_population
from mlprod_tasks.starting.guess_tables import TableGuess, guess_table
from mlprod_tasks.starting.guess_windows import rows_of_table, spread_of
from mlprod_tasks.starting.python_text import MARK
from mlprod_tasks.starting.samples import CannotStart, Sample, from_file, name_of, rows_in_words
from mlprod_tasks.starting.write_declaration import Asked, declaration
from mlprod_tasks.starting.write_population import KeysOfTable
from mlprod_tasks.starting.write_rows import RowsOfTable
from mlprod_tasks.starting.write_timeless import RowsWithoutTime

Choose = Callable[[list[tuple[str, str]]], str]


@dataclass(frozen=True)
class Declared:
    """The file that was written, how many guesses it has, and what else to say: samples, connections to set."""

    path: Path
    pipeline: Pipeline
    guesses: int
    notes: tuple[str, ...]


def init_pipeline(
    sources: Sequence[str],
    predict: str,
    name: str,
    settings: Settings,
    choose: Choose,
    only: tuple[str, ...] = (),
    *,
    each: str = "",
    within: int | None = None,
) -> Declared:
    """Look at files, or at the tables of a database, and write a declaration that runs. It never replaces a file.

    predict: the column, table.column, or a condition; '' lets `choose` pick one of the candidates. name: of the use case; ''
    makes one. only: tables of a database to look at. each: the column of events whose values are scored
    at each tick; '' scores the rows of a table. within: the days after a tick that `predict` is then about; None: what fits.

    Raises: CannotStart.
    """
    samples, connections = _samples(sources, only, settings)
    with engine() as connection:
        tables = [guess_table(sample, connection) for sample in tracked(samples, "look at", lambda one: one.name)]
        usable = [table for table in tables if table.can_be_declared]
        asked: Asked
        if each:
            asked = KeysOfTable(guess_population(tables, each, predict, within, choose))
        else:
            label = guess_label(tables, predict or choose(_candidates(tables)))
            features = guess_features(label, usable, connection)
            asked = _rows(label, features) if label.table.time else _rows_without_time(label, features)
    kept = asked.tables(usable)
    name = name or name_of(asked.name)
    text = declaration(name, kept, asked)
    path = _written(text, name, settings.pipelines)
    notes = [
        f"{sample.shown} was read only in part ({rows_in_words(sample)}): what holds there may not hold further on"
        for sample in samples
        if not sample.whole
    ]
    notes += [f"{table.name} is not declared: {_why_not(table)}" for table in tables if table not in kept]
    notes += _remember(connections, settings)
    return Declared(path, load(path), text.count(MARK), tuple(notes))


def _rows(label: LabelGuess, features: FeatureGuess) -> RowsOfTable:
    return RowsOfTable(label, features, rows_of_table(spread_of(label.table), label.delay))


def _rows_without_time(label: LabelGuess, features: FeatureGuess) -> RowsWithoutTime:
    if not (features.own or features.joins):
        raise CannotStart(f"{label.table.sample.shown} has no column that could tell {label.column.name} beforehand")
    return RowsWithoutTime(label, features, guess_parts(label, WallClock().now().date()))


def _samples(sources: Sequence[str], only: tuple[str, ...], settings: Settings) -> tuple[list[Sample], dict[str, str]]:
    """The samples, and the address of each connection that they name."""
    samples: list[Sample] = []
    connections: dict[str, str] = {}
    for source in sources:
        if "://" in source:
            connection = _connection(_of_url(source), source, connections, settings)
            samples += from_database(source, connection, only)
        else:
            path = Path(source).resolve()
            folder = path.parent
            samples.append(from_file(path, _connection(name_of(folder.name or "data"), str(folder), connections, settings)))
    names = [sample.name for sample in samples]
    return [
        replace(sample, name=f"{sample.name}_{i}") if sample.name in names[:i] else sample for i, sample in enumerate(samples)
    ], connections


def _of_url(source: str) -> str:
    try:
        database = make_url(source).database or "business"
    except ArgumentError:
        raise CannotStart("a database is given as sqlite:///PATH or postgresql://user@host/database") from None
    return name_of(Path(database).stem)


def _connection(name: str, address: str, connections: dict[str, str], settings: Settings) -> str:
    """A name for the address that no other one has."""
    for known, at in connections.items():
        if at == address:
            return known
    number, wanted = 2, name
    while wanted in connections or _configured(wanted, settings) not in ("", address):
        wanted, number = f"{name}{number}", number + 1
    connections[wanted] = address
    return wanted


def _configured(name: str, settings: Settings) -> str:
    """The address of a connection that is set already; '' if none is."""
    try:
        return settings.connection(name)
    except SettingMissing:
        return ""


def _candidates(tables: Sequence[TableGuess]) -> list[tuple[str, str]]:
    found = candidates(tables)
    if found:
        return found
    problems = [problem for table in tables if (problem := time_problem(table))]
    raise CannotStart(problems[0] if problems else "there is no column that could be predicted")


def _why_not(table: TableGuess) -> str:
    return "no columns tell its rows apart" if not table.can_be_declared else "it does not join the scored table"


def _written(text: str, name: str, folder: Path) -> Path:
    """Write the file if it loads and there is none of that name."""
    path = folder / f"{name}.py"
    if path.exists():
        raise CannotStart(f"{path} exists, and is not replaced: give another --name, or move it away")
    with tempfile.TemporaryDirectory() as trial:
        (Path(trial) / path.name).write_text(text, encoding="utf-8")
        load(Path(trial) / path.name)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise CannotStart(f"{path} exists, and is not replaced: give another --name, or move it away") from None
    return path


def _remember(connections: dict[str, str], settings: Settings) -> list[str]:
    """Keep addresses without a password in a file that commands read; of others, say what to set."""
    notes = []
    kept = settings.connections_file.read_text(encoding="utf-8") if settings.connections_file.is_file() else ""
    for name, address in connections.items():
        variable = f"{PREFIX}CONNECTION_{name.upper()}"
        if "://" in address and make_url(address).password:
            notes.append(f"set {variable} to the database's URL: it holds a password, so it is not written to a file")
        elif _configured(name, settings) != address:
            kept += f"{variable}={address}\n"
    if kept:
        write_text(settings.connections_file, kept)
    return notes
