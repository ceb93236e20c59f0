"""What weekly digests about predicted numbers and about predicted classes have in common."""

from __future__ import annotations

from collections.abc import Callable

from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.documents.formatting import money
from mlprod_tasks.documents.mail_content import Tile
from mlprod_tasks.notifications.week import Week

THE_WORTH, IT_WAS_WORTH = "the predictions were worth", "they were worth"
VALUE = "declared value"


def worth(rows: int) -> str:
    """The beginning of the sentence that says what so many rows were worth."""
    return f"{rows:,} predictions, by the declared value, were worth"


def tiles(pipeline: Pipeline, this: Week, before: Week, title: str, name: str, form: Callable[[float], str]) -> list[Tile]:
    """How good predictions were, by a field of a week, and what they were worth, which is below zero if errors are costs."""
    now, value, shown = this.mean(name), this.total("value"), []
    if now is not None:
        expected, then = this.mean(f"{name}_expected"), before.mean(name)
        beside = [f"{form(expected)} when accepted"] if expected is not None else []
        beside += [f"{form(then)} the {this.period} before"] if then is not None else []
        shown.append(Tile(title, form(now), ", ".join(beside)))
    if value is not None:
        shown.append(Tile("declared value", money(value, pipeline.value.unit), f"{this.rows:,} predictions"))
    return shown
