"""Write what belongs to a use case that scores the rows of a table without a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from mlprod_tasks.starting.guess_parts import PartGuess
from mlprod_tasks.starting.python_text import python_span, quoted_text, said
from mlprod_tasks.starting.write_rows import RowsWithOutcome, how_joined, look_up, own_features
from mlprod_tasks.starting.write_table import TableUse


@dataclass(frozen=True)
class RowsWithoutTime(RowsWithOutcome):
    """Rows of a table without a time: those with an outcome train, the others are scored."""

    windows: PartGuess

    @property
    def question(self) -> str:
        table = self.label.table.name
        return (
            f"{self.what}? Asked every day for the rows of {table} that have no outcome yet.\n\n"
            f"No column of {table} tells when a row came into being. So the test is on rows of the same time as those of the\n"
            "training, and proves less than a test on later ones. If there is such a column, declare it as `time`."
        )

    @property
    def use(self) -> TableUse:
        return self.use_until(0)

    def functions(self) -> Iterator[str]:
        """Functions that the features call: none."""
        yield from ()

    def features(self) -> Iterator[str]:
        yield from own_features(self.guessed)
        for join in self.guessed.joins:
            yield how_joined(join)
            yield look_up(join.table, join.on, {column.name for column in self.label.table.columns})

    def outcome(self) -> Iterator[str]:
        label = self.label
        kind = "" if label.kind == "yes_no" else f', kind="{label.kind}"'
        yield said(
            f"    label=ml.Label(sql={quoted_text(label.sql)}, delay={python_span(label.delay)}{kind}),",
            f"{label.of}; {label.delay_why}",
        )
