"""The slices chapter: the parts of the test window in which the model is worse."""

from __future__ import annotations

import math

from mlprod_tasks.declaration import CostMatrix
from mlprod_tasks.documents import Block, NotMade, Paragraph, Picture, Section
from mlprod_tasks.documents.formatting import format_count, with_interval
from mlprod_tasks.documents.mail_content import Grid
from mlprod_tasks.documents.plot_style import png
from mlprod_tasks.evaluation.results import Slice
from mlprod_tasks.reporting.plots import slices as plots
from mlprod_tasks.reporting.report_context import ReportContext
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
    whole = context.results.evaluation.model["roc_auc"]
    plot = plots.slices(sorted(ordered, key=_auc), Estimate(whole.value, whole.low, whole.high), context.unit)
    if plot is None:
        return NotMade("the picture of the slices", "No slice has an AUC: each has too few rows of one outcome.")
    caption = "With 95 % intervals; red: significantly worse than the whole, or significantly below zero."
    return Picture("slices", png(plot), caption, wide=True)


def _grid(context: ReportContext, ordered: list[Slice]) -> Grid:
    rows = tuple(
        (
            f"{one.name}\n{', '.join((one.found, *remarks(context, one)))}",
            f"{one.rows:,}",
            f"{one.positives / one.rows:.1%}",
            with_interval(one.metrics.get("roc_auc")),
            with_interval(one.metrics.get("log_loss")),
            with_interval(one.metrics.get("calibration")),
            with_interval(one.metrics.get("value_per_1000")),
        )
        for one in ordered
    )
    marked = frozenset(i for i, one in enumerate(ordered) if remarks(context, one))
    unit = f"{context.unit} per 1,000"
    return Grid("", ("where", "rows", "positive", "AUC", "log loss", "outcome minus score", unit), rows, marked)


def worst_first(context: ReportContext) -> list[Slice]:
    """The slices with remarks, then the others; each group by AUC, worst first."""
    result = context.results.slices
    return sorted(result.slices if result else (), key=lambda one: (not remarks(context, one), *_auc(one)))


def remarks(context: ReportContext, one: Slice) -> tuple[str, ...]:
    """In which ways a slice is significantly worse than the whole window."""
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
    return declared.wait.strip() == "0"


def _auc(one: Slice) -> tuple[float, str]:
    auc = one.metrics.get("roc_auc")
    return (auc.value if auc is not None and math.isfinite(auc.value) else math.inf, one.name)
