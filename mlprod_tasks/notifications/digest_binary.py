"""The sentences of a weekly digest about a yes or no."""

from __future__ import annotations

from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.documents.formatting import money, of_100
from mlprod_tasks.documents.mail_content import Tile
from mlprod_tasks.notifications.week import Week

NEAR = 0.02  # shares that differ by less are called equal
THE_WORTH, IT_WAS_WORTH = "the scores earned", "the model earned"
VALUE = "earned"
# The rows of the table: heading, field of a week, format, and the field of what was measured when the model was accepted.
MEANS = (
    ("AUC", "roc_auc", "{:.3f}".format, "roc_auc_expected"),
    ("share of positive outcomes", "realised", "{:.1%}".format, "realised_expected"),
    ("share that the scores predicted", "promised", "{:.1%}".format, None),
)


def headline(pipeline: Pipeline, this: Week) -> str | None:
    """What the week earned; None without outcomes."""
    value = this.total("value")
    return None if value is None else f"{money(value, pipeline.value.unit)} earned"


def tiles(pipeline: Pipeline, this: Week, before: Week) -> list[Tile]:
    """What was earned, how many outcomes were positive, and the ranking."""
    value, promised, realised, auc = this.total("value"), this.mean("promised"), this.mean("realised"), this.mean("roc_auc")
    shown, unit = [], pipeline.value.unit
    if value is not None:
        shown.append(Tile("earned by acting on scores", money(value, unit), _change(this, before, unit), value < 0))
    if realised is not None and promised is not None:
        shown.append(Tile("positive outcomes", f"{realised:.0%}", f"the scores predicted {promised:.0%}"))
    if auc is not None:
        expected = this.mean("roc_auc_expected")
        shown.append(Tile("ranking (AUC)", f"{auc:.2f}", f"{expected:.2f} when accepted" if expected else ""))
    return shown


def worth(rows: int) -> str:
    """The beginning of the sentence that says what so many rows earned."""
    return f"acting on {rows:,} scores earned"


def quality(this: Week) -> str:
    """Whether as many outcomes were positive as predicted."""
    promised, realised = this.mean("promised"), this.mean("realised")
    if promised is None or realised is None:
        return f"We cannot say yet how accurate the scores of this {this.period} were."
    if abs(realised - promised) < NEAR:
        verdict = "The scores were right on average."
    else:
        verdict = f"The scores were too {'low' if realised > promised else 'high'}."
    return f"{of_100(realised)} outcomes were positive, the scores predicted {of_100(promised)}. {verdict}"


def _change(this: Week, before: Week, unit: str) -> str:
    """Compare with the week before; per row if the two weeks differ in days with outcomes."""
    now, then = this.total("value"), before.total("value")
    if now is None or then is None or not this.rows or not before.rows:
        return f"no earlier {this.period} to compare with"
    if then <= 0:
        return f"{money(then, unit)} the {this.period} before"
    alike = this.measured == before.measured
    change = (now / then if alike else now / this.rows / (then / before.rows)) - 1
    return f"{'+' if change >= 0 else '−'}{abs(change):.0%} {'' if alike else 'per row '}compared with the {this.period} before"
