"""Write what belongs to a use case that scores keys of a table of events: population, features, outcome."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mlprod_tasks.starting.guess_features import numbers
from mlprod_tasks.starting.guess_population import PopulationGuess
from mlprod_tasks.starting.guess_tables import TableGuess
from mlprod_tasks.starting.guess_windows import WindowGuess
from mlprod_tasks.starting.python_text import MARK, python_span, quoted_text, said
from mlprod_tasks.starting.write_rows import look_up
from mlprod_tasks.starting.write_table import TableUse

MOST_TEXTS, FEW_VALUES = 2, 50
ENDINGS = ("_id", "_key", "_no", "_nr", "_number", "_code")


@dataclass(frozen=True)
class KeysOfTable:
    """Each key that was seen lately is scored at every tick, and what comes of it in the time after is its outcome."""

    guessed: PopulationGuess

    @property
    def windows(self) -> WindowGuess:
        return self.guessed.windows

    @property
    def question(self) -> str:
        one = self.guessed
        return (
            f"What comes of each {one.key.name} in the next {_days(one.within)}: {one.what}? Asked every {one.windows.every} "
            f"for those seen in the last {_days(one.seen)}."
        )

    @property
    def name(self) -> str:
        one = self.guessed
        said_of = {"ml.Any()": "again", "ml.Count()": "count"}.get(one.of) or ("sum" if one.kind == "number" else "event")
        return f"{_plural(one.key.name)}_{said_of}"

    @property
    def use(self) -> TableUse:
        return TableUse(("", ""), "", 0, frozenset({self.guessed.key.name}), "")

    def tables(self, usable: Sequence[TableGuess]) -> list[TableGuess]:
        """The events, and what else is known of their keys."""
        named = {one.name for one in (*self.guessed.looked_up, *self.guessed.others)}
        return [self.guessed.table, *(table for table in usable if table.name in named)]

    def functions(self) -> Iterator[str]:
        """Functions that the features call: none."""
        yield from ()

    def entity(self) -> Iterator[str]:
        one, key = self.guessed, self.guessed.key.name
        taken = {one.table.name, *(other.name for other in (*one.looked_up, *one.others))}
        name = _plural(key) if _plural(key) not in taken else f"{_plural(key)}_seen"
        yield said(
            f'    entity=ml.Population("{name}", seen_in="{one.table.name}", by=("{key}",), within=ml.days({one.seen})),',
            f"who has no row for {_days(one.seen)} is no longer scored",
        )
        if one.kind == "number":
            yield '    task="regression",'

    def features(self) -> Iterator[str]:
        one = self.guessed
        yield '        ml.Expression("month", "extract(month FROM as_of)", "int", "of the year"),'
        yield from _history(one.table, one)
        texts = [
            column
            for column in one.table.columns
            if column.kind == "text" and not column.personal and not column.is_id and column.name != one.key.name
            and column.name not in one.table.key and 1 < column.profile.distinct <= FEW_VALUES
        ]  # fmt: skip
        last = [f'ml.Last("{column.name}")' for column in texts[:MOST_TEXTS]]
        since = ", ".join(["ml.SinceLast()", "ml.SinceFirst()", "ml.MeanGap()", *last])
        yield f'        ml.Trailing("seen", "{one.table.name}", {_by(one)}, (ml.days({one.seen}),), ({since})),'
        for other in one.others:
            yield f"        # {MARK}{other.name} joins by {one.key.name}"
            yield from _history(other, one)
        for other in one.looked_up:
            yield f"        # {MARK}{other.name} joins by {one.key.name}"
            yield look_up(other, ((one.key.name, one.key.name),), taken={one.key.name})

    def outcome(self) -> Iterator[str]:
        one = self.guessed
        yield said(
            f'    label=ml.Outcome("{one.table.name}", {_by(one)}, {one.of}, within=ml.days({one.within})),',
            f"what is looked for in the {_days(one.within)} after a tick; no row is {'no' if one.kind == 'yes_no' else '0'}",
        )

    @property
    def linear(self) -> str:
        """The plain model beside LightGBM."""
        return "LinearRegression" if self.guessed.kind == "number" else "LogisticRegression"


def _history(table: TableGuess, guessed: PopulationGuess) -> Iterator[str]:
    aggregates = ["ml.Count()", *(f'ml.Sum("{column.name}")' for column in numbers(table))]
    made = f"({', '.join(aggregates)}{',' * (len(aggregates) == 1)})"
    lengths = ", ".join(python_span(24 * days) for days in (7, 28, 91) if days <= guessed.seen)
    comma = "," if guessed.seen <= 7 else ""
    yield f'        ml.Trailing("{table.name}", "{table.name}", {_by(guessed)}, ({lengths}{comma}), {made}),'


def _by(guessed: PopulationGuess) -> str:
    name = quoted_text(guessed.key.name)
    return f"{{{name}: {name}}}"


def _plural(key: str) -> str:
    for ending in ENDINGS:
        key = key.removesuffix(ending)
    return key if key.endswith("s") else f"{key}s"


def _days(days: int) -> str:
    return "day" if days == 1 else f"{days} days"
