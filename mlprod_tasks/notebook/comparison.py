"""A comparison of features as a notebook shows it."""

from __future__ import annotations

import math
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from mlprod_tasks.declaration.gate import HIGHER_IS_BETTER
from mlprod_tasks.documents.formatting import change, format_count, in_order, listed, number, p_value, title
from mlprod_tasks.documents.small_charts import difference
from mlprod_tasks.evaluation.compare_features import FeatureComparison
from mlprod_tasks.notebook.frames import Frame, Kind, frame
from mlprod_tasks.statistics.metrics import Difference

if TYPE_CHECKING:
    from jinja2 import Template

TEMPLATE = Path(__file__).parent / "comparison.html"
MOST_NAMED = 6


class Comparison:
    """Changed features against the declared ones, by fold; shown as a table with intervals.

    result: all of it. metric: the one that is shown by fold, of those of the task; `by("log_loss")` shows another.
    """

    def __init__(self, result: FeatureComparison, metric: str = "") -> None:
        self.result = result
        self.metric = metric or result.pipeline.of_task.shown[0]

    def by(self, metric: str) -> Comparison:
        """The same comparison, with another metric shown by fold. Raises: KeyError."""
        if metric not in self.result.mean:
            raise KeyError(f"{metric!r} was not measured; there are {', '.join(in_order(self.result.mean))}")
        return Comparison(self.result, metric)

    @property
    def mean(self) -> Difference:
        """The mean difference of the metric over the folds: changed minus declared."""
        return self.result.mean[self.metric]

    @property
    def verdict(self) -> str:
        """'better', 'worse', or 'no difference' if the interval of the mean difference holds 0."""
        return _verdict(self.metric, self.mean)

    def frame(self, *, kind: Kind = "pandas") -> Frame:
        """One row for each fold and metric: declared, changed, difference with its interval and p."""
        rows = [
            {
                "as_of": fold.called, "rows": fold.rows, "metric": name, "declared": fold.declared[name].value,
                "changed": fold.changed[name].value, "difference": one.value, "low": one.low, "high": one.high, "p": one.p,
            }
            for fold in self.result.folds
            for name, one in fold.differences.items()
        ]  # fmt: skip
        return frame(pa.Table.from_pylist(rows), kind)

    @property
    def sentence(self) -> str:
        """What came out, in words."""
        mean, folds = self.mean, format_count(len(self.result.folds), "fold")
        said = f"{title(self.metric)} {_with_interval(mean)} on average over {folds}"
        words = {"better": "better with the change", "worse": "worse with the change"}
        return f"{said}: {words.get(self.verdict, 'no difference can be told')}"

    def __repr__(self) -> str:
        lines = [self.sentence, f"{'as of':<12}{'rows':>9}  {'declared':>9}  {'changed':>9}  difference"]
        for fold in self.result.folds:
            declared, changed = (number(of[self.metric].value) for of in (fold.declared, fold.changed))
            one = _with_interval(fold.differences[self.metric])
            lines.append(f"{fold.called:<12}{fold.rows:>9,}  {declared:>9}  {changed:>9}  {one}")
        return "\n".join([*lines, *self.result.left_out])

    def _repr_html_(self) -> str:
        names = [self.metric, *(name for name in self.result.pipeline.of_task.shown if name != self.metric)]
        shown = [fold.differences[self.metric] for fold in self.result.folds] + [self.mean]
        ends = [abs(end) for one in shown for end in (one.value, one.low, one.high) if math.isfinite(end)]
        most = max(ends, default=0.0) or 1.0
        return _template().render(
            c=self, title=title, number=number, listed=listed, most=most, named=MOST_NAMED, with_interval=_with_interval,
            p_value=p_value, verdict=_verdict, chart=lambda one: difference(one.value, one.low, one.high, most),
            others=[(name, self.result.mean[name]) for name in names[1:] if name in self.result.mean],
            higher=HIGHER_IS_BETTER[self.metric],
        )  # fmt: skip


def _verdict(metric: str, one: Difference) -> str:
    if not (one.low > 0 or one.high < 0):
        return "no difference"
    return "better" if (one.value > 0) == HIGHER_IS_BETTER[metric] else "worse"


def _with_interval(one: Difference) -> str:
    if not (math.isfinite(one.low) and math.isfinite(one.high)):
        return change(one.value)
    return f"{change(one.value)} [{change(one.low)}, {change(one.high)}]"


@cache
def _template() -> Template:
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined)
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
