"""Write a declaration for a newcomer to read: short, in the order of the way of a row, every guess marked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from mlprod_tasks.starting.guess_parts import PartGuess
from mlprod_tasks.starting.guess_tables import TableGuess
from mlprod_tasks.starting.guess_windows import WindowGuess
from mlprod_tasks.starting.python_text import MARK, python_date, python_span, python_tuple, said
from mlprod_tasks.starting.samples import rows_in_words
from mlprod_tasks.starting.write_table import TableUse, written_table


class Asked(Protocol):
    """What is scored, and what is predicted of it. question: in one or two sentences. name: of the use case."""

    @property
    def windows(self) -> WindowGuess | PartGuess: ...

    @property
    def question(self) -> str: ...

    @property
    def name(self) -> str: ...

    @property
    def use(self) -> TableUse: ...

    @property
    def linear(self) -> str: ...

    def tables(self, usable: Sequence[TableGuess]) -> list[TableGuess]: ...

    def functions(self) -> Iterator[str]: ...

    def entity(self) -> Iterator[str]: ...

    def features(self) -> Iterator[str]: ...

    def outcome(self) -> Iterator[str]: ...


def declaration(name: str, tables: Sequence[TableGuess], asked: Asked) -> str:
    """Python source that declares the use case."""
    lines = list(_head(tables, asked))
    for table in tables:
        lines += written_table(table, asked.use, asked.windows)
    lines += asked.functions()
    lines += _pipeline(name, tables, asked)
    return "\n".join(lines) + "\n"


def _head(tables: Sequence[TableGuess], asked: Asked) -> Iterator[str]:
    yield f'"""{asked.question}'
    yield ""
    yield "Written by `mlprod init` from"
    yield from (f"- {table.sample.shown}: {rows_in_words(table.sample)}" for table in tables)
    yield ""
    yield f"Lines with `{MARK.strip()}` are guesses: read them first, and correct what is wrong."
    yield '"""'
    yield ""
    yield "from datetime import date, time"
    yield ""
    yield "from mlprod_tasks import declaration as ml"
    yield ""


def _pipeline(name: str, tables: Sequence[TableGuess], asked: Asked) -> Iterator[str]:
    yield ""
    yield "pipeline = ml.Pipeline("
    yield f'    name="{name}",'
    yield "    doc=__doc__,"
    yield '    alert_to=("you@example.com",),  # who gets mails about failures and alarms: change it'
    yield said(*_schedule(asked.windows))
    yield f"    tables=({', '.join(one.name for one in tables)}{',' * (len(tables) == 1)}),"
    yield from asked.entity()
    yield "    features=("
    yield from asked.features()
    yield "    ),"
    yield from asked.outcome()
    yield said(*_split(asked.windows))
    yield f"    model=ml.Model(candidates=(ml.LightGBM(), ml.{asked.linear}())),"
    yield f"    # Gates, fallback, value and monitoring have defaults: `mlprod pipelines {name} --full` prints them."
    yield ")"


def _schedule(windows: WindowGuess | PartGuess) -> tuple[str, str]:
    """The line of the schedule, and why it is so."""
    first = f'    schedule=ml.Schedule(at=time(0), timezone="UTC", starts={python_date(windows.starts)}'
    if isinstance(windows, PartGuess):
        return f"{first}),", "from today on, as the table is read as it is then"
    ends = f", ends={python_date(windows.ends)}" if windows.ends else ""
    every = {"day": "", "week": ', every="week", on="monday"', "hour": ', every="hour"'}[windows.every]
    why = (
        "the days of the data; without `ends` once new data arrives every day" if windows.ends else "the first day of the data"
    )
    return f"{first}{ends}{every}),", why


def _split(windows: WindowGuess | PartGuess) -> tuple[str, str]:
    """The line of the split, and why it is so."""
    if isinstance(windows, WindowGuess):
        window, why = python_span(windows.window), f"about {windows.rows_in_window:,.0f} rows in each window"
        return f"    split=ml.Split(validation={window}, test={window}, gap={python_span(windows.gap)}),", why
    if windows.column is None:
        return f"    split=ml.SplitByHash(validation={windows.share:g}, test={windows.share:g}),", "shares of the keys"
    values = ", ".join(f"{name}={python_tuple(values)}" for name, values in windows.values.items())
    return f'    split=ml.SplitByColumn("{windows.column.name}", {values}),', "its values name parts"
