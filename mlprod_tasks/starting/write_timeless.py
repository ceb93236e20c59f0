"""Write what belongs to a use case that scores the rows of a table without a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mlprod_tasks.starting.guess_features import FeatureGuess
from mlprod_tasks.starting.guess_label import LabelGuess
from mlprod_tasks.starting.guess_parts import PartGuess
from mlprod_tasks.starting.guess_tables import TableGuess
from mlprod_tasks.starting.python_text import MARK, python_span, quoted_text, said
from mlprod_tasks.starting.write_rows import TASK, look_up, own_features
from mlprod_tasks.starting.write_table import TableUse


@dataclass(frozen=True)
class RowsWithoutTime:
    """Rows of a table without a time: those with an outcome train, the others are scored."""

    label: LabelGuess
    guessed: FeatureGuess
    windows: PartGuess

    @property
    def question(self) -> str:
        label, table = self.label, self.label.table.name
        what = f"Will it be that {label.sql}" if label.kind == "yes_no" else f"What will {label.column.name} be"
        return (
            f"{what}? Asked every day for the rows of {table} that have no outcome yet.\n\n"
            f"No column of {table} tells when a row came into being. So the test is on rows of the same time as those of the\n"
            "training, and proves less than a test on later ones. If there is such a column, declare it as `time`."
        )

    @property
    def use(self) -> TableUse:
        table = self.label.table.name
        joined = frozenset(name for join in self.guessed.joins for pair in join.on for name in pair)
        return TableUse((table, self.label.column.name), "", 0, joined, table)

    @property
    def name(self) -> str:
        return f"{self.label.table.name}_{self.label.column.name}"

    def tables(self, usable: Sequence[TableGuess]) -> list[TableGuess]:
        """The scored table, and those that are looked up."""
        joined = {join.table.name for join in self.guessed.joins}
        return [self.label.table, *(table for table in usable if table.name in joined)]

    def functions(self) -> Iterator[str]:
        """Functions that the features call: none."""
        yield from ()

    def entity(self) -> Iterator[str]:
        yield f'    entity="{self.label.table.name}",'
        if self.label.kind != "yes_no":
            yield f'    task="{TASK[self.label.kind]}",'

    def features(self) -> Iterator[str]:
        yield from own_features(self.guessed)
        for join in self.guessed.joins:
            on = ", ".join(f"{mine}: {theirs}" for mine, theirs in join.on)
            mark = "" if join.how.startswith("the database") else MARK
            yield f"        # {mark}{join.table.name} joins by {on}: {join.how}"
            yield look_up(join.table, join.on, {column.name for column in self.label.table.columns})

    def outcome(self) -> Iterator[str]:
        label = self.label
        kind = "" if label.kind == "yes_no" else f', kind="{label.kind}"'
        yield said(
            f"    label=ml.Label(sql={quoted_text(label.sql)}, delay={python_span(label.delay)}{kind}),",
            f"{label.of}; {label.delay_why}",
        )

    @property
    def linear(self) -> str:
        """The plain model beside LightGBM."""
        return "LinearRegression" if self.label.kind == "number" else "LogisticRegression"
