"""Which rows train, which choose and which test: windows in time, or parts of a table that has no time."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Literal

from mlprod_tasks.declaration.declared import declared

if TYPE_CHECKING:
    from mlprod_tasks.declaration.schedule import Schedule

PROVES_LESS = (
    "Training and test rows are of the same time, so this does not show how good the model is on rows that come later: what "
    "changes with time, and columns that were filled in after the outcome, cannot show"
)


Measured = Literal["test", "validation"]  # the part that differs between folds: of a backtest, of a search
Span = tuple[float, float]


@declared
class Ticks:
    """The length of a window as a number of ticks that have rows to score, however long they take.

    For rows that come on some ticks only, such as those of campaigns, or of working days. Which ticks these are is looked up
    when a training begins, among those that were ingested by then; the windows are recorded with the model.

    count: how many ticks with rows.
    """

    count: int


@declared
class Split:
    """Windows by time: train | gap | validation | gap | test. The test window ends with the last complete labels.

    Each length is a time, such as `ml.days(14)`, or a number of ticks that have rows, such as `ml.Ticks(20)`.

    validation: length of the window that candidates are calibrated and compared on.
    test: length of the window that gates are evaluated on; training does not use it.
    gap: the time left out before each of the two; no shorter than the label's delay.
    train: length of the training window; None takes all ticks from the schedule's start.
    """

    validation: timedelta | Ticks
    test: timedelta | Ticks
    gap: timedelta
    train: timedelta | Ticks | None = None

    @property
    def is_counted(self) -> bool:
        """Whether a window is a number of ticks with rows."""
        return any(isinstance(length, Ticks) for length in (self.validation, self.test, self.train))


@declared
class SplitByColumn:
    """Parts of a scored table without a time, told by one of its columns. It proves less than a later window.

    column: the column; text, a whole number or a yes or no.
    train: the values of rows that candidates are fitted to.
    validation: the values of rows that candidates are calibrated and compared on.
    test: the values of rows that gates are evaluated on. A training with a row of any other value is refused.
    """

    column: str
    train: tuple[str | int | bool, ...]
    validation: tuple[str | int | bool, ...]
    test: tuple[str | int | bool, ...]

    @property
    def words(self) -> str:
        """How rows are split, to be read by people."""
        return f"by the column {self.column}"

    @property
    def parts(self) -> dict[str, tuple[str | int | bool, ...]]:
        """The values of each part."""
        return {"train": self.train, "validation": self.validation, "test": self.test}

    def fold(self, number: int, measured: Measured) -> SplitByColumn:
        """The split of a fold; 0 is the declared one. Others measure on values to train on, and train on those measured on."""
        if number == 0:
            return self
        length = len(self.parts[measured])
        taken = self.train[(number - 1) * length : number * length]
        train = (*(value for value in self.train if value not in taken), *self.parts[measured])
        return replace(self, train=train, test=taken) if measured == "test" else replace(self, train=train, validation=taken)

    def most_folds(self, measured: Measured) -> int:
        """How many folds there are before a value is measured on twice, or none is left to train on in all of them."""
        return 1 + (len(self.train) - 1) // len(self.parts[measured])

    def fold_words(self, number: int) -> str:
        """What a fold of a backtest is tested on."""
        return f"{self.column} {', '.join(map(str, self.fold(number, 'test').test))}"


@declared
class SplitByHash:
    """Parts of a scored table without a time, by a hash of the key. It proves less than a later window.

    A key is in the same part in every training, so that no model is tested on rows that an earlier one was fitted to.

    validation: the share of keys that candidates are calibrated and compared on.
    test: the share of keys that gates are evaluated on.
    by: the columns that are hashed, such as the household of a customer, so that rows of one are never in two parts; () is the
    table's key.
    seed: another seed gives other parts.
    """

    validation: float = 0.2
    test: float = 0.2
    by: tuple[str, ...] = ()
    seed: int = 0

    @property
    def words(self) -> str:
        """How rows are split, to be read by people."""
        return f"by a hash of {', '.join(self.by) or 'the key'} with seed {self.seed}"

    def fold(self, number: int, measured: Measured) -> tuple[Span, Span]:
        """The spans of hashes that a fold tests and validates on, from 0 to 1 and around; 0 is the declared split."""
        if measured == "test":
            last = (number + 1) * self.test
            return (number * self.test, last), (last, last + self.validation)
        first, last = (self.test + i * self.validation for i in (number, number + 1))
        return (0.0, self.test), (first, last)

    def most_folds(self, measured: Measured) -> int:
        """How many folds there are before a key is measured on twice."""
        whole, part = (1.0, self.test) if measured == "test" else (1.0 - self.test, self.validation)
        return int(whole / part + 1e-9)

    def fold_words(self, number: int) -> str:
        """What a fold of a backtest is tested on."""
        (first, last), _ = self.fold(number, "test")
        return f"keys from {first:.0%} to {last:.0%} of their hash"


RowSplit = SplitByColumn | SplitByHash


def least_ticks(length: timedelta | Ticks | None, schedule: Schedule) -> int:
    """The least number of ticks that a window takes."""
    if length is None:
        return 1
    return length.count if isinstance(length, Ticks) else schedule.ticks_in(length)
