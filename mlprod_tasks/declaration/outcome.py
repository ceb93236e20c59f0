"""Outcomes that come from what happens later: whether a customer buys again, how often, for how much."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal

from mlprod_tasks.declaration.aggregate import Count, First, Last, Sum
from mlprod_tasks.declaration.declared import declared


@declared
class Any:
    """Whether there is a row at all.

    where: a SQL condition over the table's columns: only rows that meet it count.
    """

    where: str = ""


@declared
class Happens:
    """Whether something happens whose moment a column holds, such as 'churned_at' of a customer or 'paid_at' of an invoice.

    The key has one row in the table; null, or no row, means not yet. A moment after the window is a no; a row for which it
    happened before predict_at has no outcome. A date counts if its whole day lies in the window, and as before if its day began
    before predict_at, in the schedule's time zone.

    A table with a `time` is read again until windows are over (`refresh_ticks`); one without is read as a whole at every tick.
    No feature may read the column, unless it is declared with `known_at`.

    column: a timestamp or date of the table that may be null, and is filled in when it happens. If it is entered later than it
    happens, declare its `known_at`: what is entered after the window corrects the outcome, as it does for any label.
    """

    column: str

    @property
    def where(self) -> str:
        """There is no condition: a key has one moment."""
        return ""


@declared
class Outcome:
    """The outcome that is predicted: what happens to the row's key in the time after predict_at. Without events: no, or 0.

    It is made of the rows of `table` with a time in [predict_at, predict_at + within), where whole days are days of the
    calendar, of 23 to 25 hours; of `Happens`, of the moment in a column. With predict_at=Before(...), each row has a window of
    its own. It is complete when this window and the table's
    `known_after` have passed and the table's partitions up to then are ingested. Rows that arrive or are corrected later change
    it in later trainings. A row for which the condition of `of` cannot be computed (a failed cast, an overflow, a division by
    zero) does not count; a warning says how many there are.

    table: the table with the events.
    by: pairs columns of the scored row with columns of `table`.
    of: what is computed: `Any()` and `Happens("churned_at")` are a yes or no, `Count()` and `Sum("amount")` are numbers,
    `First("product")` and `Last("status")` a class: a text, or a whole number, whose digits are its name.
    within: the length of the window after predict_at; with `until` the longest one.
    doc: what it means.
    until: the timestamp or date column of the scored row at which its window ends, if that is earlier: 'end_date' of a
    campaign. A date ends with its day, in the schedule's time zone. A row without this value has the longest window, and one
    that ends before it is scored has no outcome. Trainings wait for the longest window.
    classes: as of a Label, where `of` is a class.
    otherwise: the class of a row without such an event; '' means that it has no outcome, and is not trained on.
    """

    table: str
    by: dict[str, str]
    of: Any | Happens | Count | Sum | First | Last
    within: timedelta
    doc: str = ""
    until: str | None = None
    classes: tuple[str, ...] = ()
    otherwise: str = ""

    @property
    def days(self) -> int:
        """The whole days of the window."""
        return self.within // timedelta(days=1)

    @property
    def rest(self) -> timedelta:
        """What the window has besides whole days."""
        return self.within % timedelta(days=1)

    @property
    def on(self) -> dict[str, str]:
        """As `Label.on`."""
        return self.by

    @property
    def kind(self) -> Literal["yes_no", "number", "class"]:
        if isinstance(self.of, First | Last):
            return "class"
        return "yes_no" if isinstance(self.of, Any | Happens) else "number"

    @property
    def sql(self) -> str:
        """What is computed, to be read by people."""
        of, column = type(self.of).__name__, getattr(self.of, "column", "")
        what = {"Any": "any row", "Count": "count", "Happens": column}.get(
            of
        ) or f"{of.lower()} {'of ' if of == 'Sum' else ''}{column}"
        where = f" where {self.of.where}" if self.of.where else ""
        until = "within" if self.until is None else f"until {self.until}, at most"
        return f"{what}{where} {until} {self.within.total_seconds() / 86_400:g} days"
