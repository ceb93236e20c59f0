"""The slices chapter: the parts of the test window in which the model is worse."""

from __future__ import annotations

import math

from mlprod_tasks.declaration import CostMatrix, ValueFunction
from mlprod_tasks.declaration.gate import HIGHER_IS_BETTER
from mlprod_tasks.documents import Block, NotMade, Paragraph, Picture, Section
from mlprod_tasks.documents.formatting import format_count, title, with_interval
from mlprod_tasks.documents.mail_content import Grid
from mlprod_tasks.documents.plot_style import png
from mlprod_tasks.evaluation.results import Slice
from mlprod_tasks.reporting.plots import slices as plots
from mlprod_tasks.reporting.report_context import ReportContext
from mlprod_tasks.reporting.task_words import outcome_cell
from mlprod_tasks.statistics.metrics import Estimate


def slices(context: ReportContext) -> Section:
    """All measured slices.

    Those worse than the whole test window are marked and come first.
    """
    result = context.results.slices
    if result is None:
        return Section("slices", "Slices", (NotMade("slices", "There is no result: run the step evaluate again."),))
    if not result.slices:
        why = (
            "None is declared, and the search found none with at least "
            f"{format_count(result.least_rows, 'row')} that is significantly worse than the rest."
        )
        return Section("slices", "Slices", (NotMade("slices", why),))
    ordered = worst_first(context)
    paragraph = Paragraph(
        f"{len(result.slices)} parts of the test window with at least {result.least_rows:,} rows; smaller parts left out: "
        f"{result.left_out}. Slices from the search were found on one half of the rows and measured on the other. Marked: "
        "significantly worse than the whole, by the 95 % interval. The intervals are not corrected for the number of slices, "
        "so some are marked by chance."
    )
    return Section("slices", "Slices", (paragraph, _picture(context, ordered), _grid(context, ordered)))


def _picture(context: ReportContext, ordered: list[Slice]) -> Block:
    metric = _metric(context)
    whole = context.results.evaluation.model[metric]
    by_metric = sorted(ordered, key=lambda one: _worst(one, metric))
    plot = plots.slices(by_metric, metric, Estimate(whole.value, whole.low, whole.high), context.unit)
    if plot is None:
        return NotMade("the picture of the slices", f"In no slice could {title(metric)} be computed.")
    other = "significantly below zero" if context.words.bounded else "significantly too low or too high"
    caption = f"With 95 % intervals; red: significantly worse than the whole, or {other}."
    return Picture("slices", png(plot), caption, wide=True)


def _metric(context: ReportContext) -> str:
    """The metric by which slices are ordered."""
    return context.pipeline.of_task.slice_metrics[0]


def _grid(context: ReportContext, ordered: list[Slice]) -> Grid:
    names = context.pipeline.of_task.slice_metrics
    rows = tuple(
        (
            f"{one.name}\n{', '.join((one.found, *remarks(context, one)))}",
            f"{one.rows:,}",
            outcome_cell(one.rows, one.positives, one.mean_outcome, one.classes),
            *(with_interval(one.metrics.get(name)) for name in names),
        )
        for one in ordered
    )
    marked = frozenset(i for i, one in enumerate(ordered) if remarks(context, one))
    unit = f"{context.unit} per 1,000".strip()
    return Grid("", ("where", "rows", context.words.outcomes, *map(title, names[:-1]), unit), rows, marked)


def worst_first(context: ReportContext) -> list[Slice]:
    """The slices with remarks, then the others; each group by AUC, or mean absolute error, worst first."""
    result, metric = context.results.slices, _metric(context)
    return sorted(result.slices if result else (), key=lambda one: (not remarks(context, one), *_worst(one, metric)))


def remarks(context: ReportContext, one: Slice) -> tuple[str, ...]:
    """In which ways a slice is significantly worse than the whole window."""
    ways = {"binary": _of_yes_or_no, "regression": _of_numbers, "multiclass": _of_classes}
    return ways[context.pipeline.task](context, one)


def _of_numbers(context: ReportContext, one: Slice) -> tuple[str, ...]:
    error, bias = one.metrics.get("mae"), one.metrics.get("bias")
    ways = []
    if error is not None and error.low > context.results.evaluation.model["mae"].value:
        ways.append("larger errors")
    overall = float(context.outcome.mean() - context.predicted.score.mean())
    if bias is not None and abs(bias.value) > abs(overall) and not _contains(bias, 0, overall):
        ways.append("predictions too low" if bias.value > 0 else "predictions too high")
    return tuple(ways)


def _of_classes(context: ReportContext, one: Slice) -> tuple[str, ...]:
    right, calibration = one.metrics.get("accuracy"), one.metrics.get("calibration")
    likeliest = context.predicted.score.likeliest
    whole = float((context.outcome == likeliest).mean())
    overall = whole - float(context.predicted.score.of(likeliest).mean())
    ways = []
    if right is not None and right.high < whole:
        ways.append("wrong more often")
    if calibration is not None and abs(calibration.value) > abs(overall) and not _contains(calibration, 0, overall):
        ways.append("probabilities too low" if calibration.value > 0 else "probabilities too high")
    return tuple(ways)


def _of_yes_or_no(context: ReportContext, one: Slice) -> tuple[str, ...]:
    whole = context.results.evaluation.model["roc_auc"].value
    ways = []
    auc, calibration, worth = (one.metrics.get(name) for name in ("roc_auc", "calibration", "value_per_1000"))
    if auc is not None and auc.high < whole:
        ways.append("ranks worse")
    overall = float(context.outcome.mean() - context.predicted.score.mean())
    if calibration is not None and abs(calibration.value) > abs(overall) and not _contains(calibration, 0, overall):
        ways.append("scores too low" if calibration.value > 0 else "scores too high")
    if worth is not None and worth.high < 0 and _waiting_is_free(context):
        ways.append("acting loses")
    return tuple(ways)


def _contains(one: Estimate, *values: float) -> bool:
    """Whether the interval of an estimate contains any of the values."""
    return any(one.low <= value <= one.high for value in values)


def _waiting_is_free(context: ReportContext) -> bool:
    """Whether not acting costs nothing.

    Only then is a value below zero a loss from acting.
    """
    declared = context.pipeline.value
    if isinstance(declared, CostMatrix):
        return declared.false_negative == 0 and declared.true_negative == 0
    return isinstance(declared, ValueFunction) and declared.wait.strip() == "0"


def _worst(one: Slice, metric: str) -> tuple[float, str]:
    """A key that sorts slices from the worst to the best, those without the metric last."""
    found = one.metrics.get(metric)
    if found is None or not math.isfinite(found.value):
        return math.inf, one.name
    return (found.value if HIGHER_IS_BETTER[metric] else -found.value), one.name
