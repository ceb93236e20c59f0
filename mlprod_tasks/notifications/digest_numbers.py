"""The sentences of a weekly digest about a predicted number."""

from __future__ import annotations

from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.documents.formatting import number
from mlprod_tasks.documents.mail_content import Tile
from mlprod_tasks.notifications import digest_predictions
from mlprod_tasks.notifications.digest_predictions import IT_WAS_WORTH, THE_WORTH, VALUE, worth
from mlprod_tasks.notifications.week import Week

__all__ = ["IT_WAS_WORTH", "MEANS", "THE_WORTH", "VALUE", "headline", "quality", "tiles", "worth"]

NEAR = 0.05  # a mean error of fewer standard deviations of the outcomes is called right on average
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
    """How far predictions were off, and what they were worth."""
    return digest_predictions.tiles(pipeline, this, before, "off by, on average", "mae", number)


def quality(this: Week) -> str:
    """How far predictions were off, and to which side."""
    off, expected, bias = (this.mean(name) for name in ("mae", "mae_expected", "bias"))
    if off is None or bias is None:
        return f"We cannot say yet how accurate the predictions of this {this.period} were."
    against = "" if expected is None else f" ({number(expected)} in the test before its promotion)"
    verdict = "right" if abs(bias) < NEAR else f"too {'low' if bias > 0 else 'high'}"
    return f"Predictions were off by {number(off)} on average{against}. On average they were {verdict}."
