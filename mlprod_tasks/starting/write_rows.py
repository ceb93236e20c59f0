"""Write what belongs to a use case that scores the rows of a table: entity, features, label."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from mlprod_tasks.platform.sql import identifier, literal
from mlprod_tasks.starting.guess_features import MOST_LOOKED_UP, FeatureGuess, Join, numbers
from mlprod_tasks.starting.guess_label import LabelGuess
from mlprod_tasks.starting.guess_tables import ColumnGuess, TableGuess
from mlprod_tasks.starting.guess_windows import Every, WindowGuess
from mlprod_tasks.starting.python_text import MARK, python_span, quoted_text, said
from mlprod_tasks.starting.samples import name_of
from mlprod_tasks.starting.write_table import TableUse

TASK = {"number": "regression", "class": "multiclass"}
TRAILING: dict[Every, tuple[int, int]] = {"hour": (6, 24), "day": (7 * 24, 28 * 24), "week": (7 * 24, 28 * 24)}
MOST_SHARES = 3


@dataclass(frozen=True)
class RowsWithOutcome:
    """Rows of a table are scored, and one of its columns, or a condition over them, is their outcome."""

    label: LabelGuess
    guessed: FeatureGuess

    @property
    def what(self) -> str:
        """What is asked of a row, without the question mark."""
        label = self.label
        return f"Will it be that {label.sql}" if label.kind == "yes_no" else f"What will {label.column.name} be"

    @property
    def name(self) -> str:
        return f"{self.label.table.name}_{self.label.column.name}"

    def tables(self, usable: Sequence[TableGuess]) -> list[TableGuess]:
        """The scored table, and those that are joined to it."""
        joined = {join.table.name for join in self.guessed.joins}
        return [self.label.table, *(table for table in usable if table.name in joined)]

    def entity(self) -> Iterator[str]:
        yield f'    entity="{self.label.table.name}",'
        if self.label.kind != "yes_no":
            yield f'    task="{TASK[self.label.kind]}",'

    def use_until(self, known_after: int) -> TableUse:
        """What is made of the tables. known_after: hours until outcomes are known."""
        label = self.label
        joined = frozenset(name for join in self.guessed.joins for pair in join.on for name in pair)
        return TableUse((label.table.name, label.column.name), label.known_at, known_after, joined, label.table.name)

    @property
    def linear(self) -> str:
        """The plain model beside LightGBM."""
        return "LinearRegression" if self.label.kind == "number" else "LogisticRegression"


@dataclass(frozen=True)
class RowsOfTable(RowsWithOutcome):
    """Each row is scored once, at the tick after its time."""

    windows: WindowGuess

    @property
    def question(self) -> str:
        every = self.windows.every
        return f"{self.what}? Asked every {every} for the rows of {self.label.table.name} of the {every} before."

    @property
    def use(self) -> TableUse:
        return self.use_until(self.windows.known_after)

    def functions(self) -> Iterator[str]:
        """Functions that the features call."""
        if self.guessed.groups:
            yield from _history(self.label, self.windows)

    def features(self) -> Iterator[str]:
        yield from _features(self.label, self.guessed, self.windows)

    def outcome(self) -> Iterator[str]:
        label = self.label
        kind = "" if label.kind == "yes_no" else f', kind="{label.kind}"'
        on = ", ".join(f'"{key}": "{key}"' for key in label.table.key)
        delay = python_span(self.windows.known_after)
        yield said(
            f'    label=ml.Label("{label.table.name}", {{{on}}}, {quoted_text(label.sql)}, delay={delay}{kind}),',
            f"{label.of}; {label.delay_why}",
        )


def own_features(features: FeatureGuess) -> Iterator[str]:
    """The lines of the features that are columns of the scored row."""
    for column in features.own:
        sql = quoted_text(identifier(column.name))
        yield f'        ml.Expression("{column.name}", {sql}, "{column.kind}", "{_words(column)}"),'
    for name, why in features.left_out:
        yield f"        # {MARK}{name} is left out: {why}, so it is likely known only afterwards"


def _features(label: LabelGuess, features: FeatureGuess, windows: WindowGuess) -> Iterator[str]:
    table = label.table
    yield from own_features(features)
    moment = identifier(table.time)
    names = {column.name for column in features.own}
    parts = [("weekday", "isodow", "1 Monday to 7 Sunday"), ("hour", "hour", "of the day")]
    if table.column(table.time).kind == "date":
        parts = [("weekday", "isodow", "1 Monday to 7 Sunday"), ("month", "month", "of the year")]
    for called, part, doc in parts:
        if called not in names and not table.has(called):
            sql = quoted_text(f"extract({part} FROM {moment})")
            yield f'        ml.Expression("{called}", {sql}, "int", "{doc}"),'
    yield from (f'        history("{column.name}"),' for column in features.groups)
    for join in features.joins:
        yield from _joined(join, label, windows)


def _history(label: LabelGuess, windows: WindowGuess) -> Iterator[str]:
    """A function of the written file, which declares the aggregates by one column of the scored table."""
    made = list(_trailing("name", label.table.name, (("name", "name"),), list(_aggregates(label)), label, windows))
    yield ""
    yield ""
    yield "def history(name: str) -> ml.Trailing:"
    yield '    """What became of earlier rows with the same value, as far as it was known."""'
    (line,) = made
    yield f"    return {line.strip().removesuffix(',').replace(chr(34) + 'name' + chr(34), 'name')}"
    yield ""


def _words(column: ColumnGuess) -> str:
    return column.name.replace("_", " ")


def _aggregates(label: LabelGuess) -> Iterator[str]:
    yield "ml.Count()"
    if label.kind == "number":
        yield f'ml.Mean("{label.column.name}")'
    elif label.kind == "class":
        # The shares of the most frequent classes: the last one follows from the others.
        for value, _ in label.column.profile.top[:MOST_SHARES]:
            yield f'ml.Rate("{name_of(value)}", {quoted_text(f"{label.sql} = {literal(value)}")})'
    else:
        yield f'ml.Rate("rate", {quoted_text(label.sql)})'


def _trailing(
    name: str,
    table: str,
    on: Sequence[tuple[str, str]],
    aggregates: Sequence[str],
    label: LabelGuess,
    windows: WindowGuess,
) -> Iterator[str]:
    by = ", ".join(f'"{mine}": "{theirs}"' for mine, theirs in on)
    # What no column dates is taken as known after the label's delay, here too.
    own = table == label.table.name
    skip = f", skip={python_span(windows.known_after)}" if own and not label.known_at else ""
    lengths = ", ".join(map(python_span, TRAILING[windows.every]))
    made = f"({', '.join(aggregates)}{',' * (len(aggregates) == 1)})"
    yield f'        ml.Trailing("{name}", "{table}", {{{by}}}, ({lengths}), {made}{skip}),'


def _joined(join: Join, label: LabelGuess, windows: WindowGuess) -> Iterator[str]:
    table = join.table
    yield how_joined(join)
    if table.time:
        sums = [f'ml.Sum("{column.name}")' for column in numbers(table)]
        yield from _trailing(table.name, table.name, join.on, ["ml.Count()", *sums], label, windows)
        return
    yield look_up(table, join.on, {column.name for column in label.table.columns})


def how_joined(join: Join) -> str:
    """A comment that says by which columns another table joins, and how sure that is."""
    on = ", ".join(f"{mine}: {theirs}" for mine, theirs in join.on)
    mark = "" if join.how.startswith("the database") else MARK
    return f"        # {mark}{join.table.name} joins by {on}: {join.how}"


def look_up(table: TableGuess, on: Sequence[tuple[str, str]], taken: Collection[str]) -> str:
    """The line that looks up columns of a table without a time. taken: names that features of it may not have."""
    by = ", ".join(f'"{mine}": "{theirs}"' for mine, theirs in on)
    may = [column for column in table.columns if column.name not in table.key and _may_be_looked_up(column)]
    names = {column.name: f"{table.name}_{column.name}" if column.name in taken else column.name for column in may}
    made = ", ".join(f'"{name}": "{column}"' for column, name in list(names.items())[:MOST_LOOKED_UP])
    if not made:
        return f"        # {table.name} has nothing to look up"
    return f'        ml.Lookup("{table.name}", {{{by}}}, {{{made}}}),'


def _may_be_looked_up(column: ColumnGuess) -> bool:
    return not column.personal and column.kind in ("int", "float", "text", "bool") and 1 < column.profile.distinct <= 1000
