"""The sentences of a weekly digest about a predicted class."""

from __future__ import annotations

from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.documents.formatting import number
from mlprod_tasks.documents.mail_content import Tile
from mlprod_tasks.notifications import digest_predictions
from mlprod_tasks.notifications.digest_predictions import IT_WAS_WORTH, THE_WORTH, VALUE, worth
from mlprod_tasks.notifications.week import Week

__all__ = ["IT_WAS_WORTH", "MEANS", "THE_WORTH", "VALUE", "headline", "quality", "tiles", "worth"]

NEAR = 0.02  # a mean probability that is off by less is called right
# The rows of the table: heading, field of a week, format, and the field of what was measured when the model was accepted.
MEANS = (
    ("right predictions", "accuracy", "{:.1%}".format, "accuracy_expected"),
    ("log loss", "log_loss", number, "log_loss_expected"),
)


def headline(pipeline: Pipeline, this: Week) -> str | None:
    """How many predictions of the week were right; None without outcomes."""
    right = this.mean("accuracy")
    return None if right is None else f"{right:.0%} of predictions were right"


def tiles(pipeline: Pipeline, this: Week, before: Week) -> list[Tile]:
    """How many predictions were right, and what they were worth."""
    return digest_predictions.tiles(pipeline, this, before, "right predictions", "accuracy", "{:.1%}".format)


def quality(this: Week) -> str:
    """How many predictions were right, and whether their probabilities said so."""
    right, expected, off = (this.mean(name) for name in ("accuracy", "accuracy_expected", "calibration"))
    if right is None or off is None:
        return f"We cannot say yet how many predictions of this {this.period} were right."
    against = "" if expected is None else f" ({expected:.1%} in the test before its promotion)"
    verdict = "right" if abs(off) < NEAR else f"too {'low' if off > 0 else 'high'}"
    return f"{right:.1%} of predictions were right{against}. Their probabilities were {verdict} on average."
