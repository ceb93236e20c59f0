"""The sentences of a weekly digest about a predicted number."""

from __future__ import annotations

from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.documents.formatting import money, number
from mlprod_tasks.documents.mail_content import Tile
from mlprod_tasks.notifications.week import Week

NEAR = 0.05  # a mean error of fewer standard deviations of the outcomes is called right on average
THE_WORTH, IT_WAS_WORTH = "the predictions were worth", "they were worth"
VALUE = "declared value"
# The rows of the table: heading, field of a week, format, and the field of what was measured when the model was accepted.
MEANS = (
    ("mean absolute error", "mae", number, "mae_expected"),
    ("outcome minus prediction, standard deviations", "bias", "{:+.2f}".format, None),
)


def headline(pipeline: Pipeline, this: Week) -> str | None:
    """How far the predictions of the week were off; None without outcomes."""
    off = this.mean("mae")
    return None if off is None else f"off by {number(off)} on average"


def tiles(pipeline: Pipeline, this: Week, before: Week) -> list[Tile]:
    """How far predictions were off, and what they were worth, which is below zero if errors are costs."""
    off, value = this.mean("mae"), this.total("value")
    shown = []
    if off is not None:
        expected, then = this.mean("mae_expected"), before.mean("mae")
        beside = [f"{number(expected)} when accepted"] if expected is not None else []
        beside += [f"{number(then)} the {this.period} before"] if then is not None else []
        shown.append(Tile("off by, on average", number(off), ", ".join(beside)))
    if value is not None:
        shown.append(Tile("declared value", money(value, pipeline.value.unit), f"{this.rows:,} predictions"))
    return shown


def worth(rows: int) -> str:
    """The beginning of the sentence that says what so many rows were worth."""
    return f"{rows:,} predictions, by the declared value, were worth"


def quality(this: Week) -> str:
    """How far predictions were off, and to which side."""
    off, expected, bias = (this.mean(name) for name in ("mae", "mae_expected", "bias"))
    if off is None or bias is None:
        return f"We cannot say yet how accurate the predictions of this {this.period} were."
    against = "" if expected is None else f" ({number(expected)} in the test before its promotion)"
    verdict = "right" if abs(bias) < NEAR else f"too {'low' if bias > 0 else 'high'}"
    return f"Predictions were off by {number(off)} on average{against}. On average they were {verdict}."
