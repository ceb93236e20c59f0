"""Where in the test window the model is worse."""

from __future__ import annotations

import math

from mlprod_tasks.declaration import CostMatrix
from mlprod_tasks.documents import Block, NotMade, Paragraph, Picture, Section
from mlprod_tasks.documents.formatting import with_interval
from mlprod_tasks.documents.mail_content import Grid
from mlprod_tasks.documents.plot_style import png
from mlprod_tasks.evaluation.results import Slice
from mlprod_tasks.reporting.plots import slices as plots
from mlprod_tasks.reporting.report_context import ReportContext
from mlprod_tasks.statistics.metrics import Estimate


def slices(context: ReportContext) -> Section:
    """Every slice that was measured, those that are worse than the whole first and marked."""
    found = context.results.slices
    if found is None:
        return Section("slices", "Slices", (NotMade("slices", "The step evaluate left none: run it again."),))
    if not found.slices:
        why = (
            f"None is declared, and a search found none that is surely worse than the rest, of those with at least "
            f"{found.least_rows:,} rows."
        )
        return Section("slices", "Slices", (NotMade("slices", why),))
    ordered = worst_first(context)
    marked = frozenset(i for i, one in enumerate(ordered) if remarks(context, one))
    blocks: list[Block] = [
        Paragraph(
            f"{len(found.slices)} parts of the test window of at least {found.least_rows:,} rows; smaller ones left out: "
            f"{found.left_out}. Slices that were searched for were found on one half of the rows and measured on the other. "
            "Marked: surely (by the 95 % interval) worse than the whole. Of many slices some are marked by chance: the "
            "intervals are not corrected for their number."
        )
    ]
    whole = context.results.evaluation.model["roc_auc"]
    drawn = plots.slices(sorted(ordered, key=_auc), Estimate(whole.value, whole.low, whole.high), context.unit)
    if drawn is not None:
        blocks.append(
            Picture(
                "slices", png(drawn), "With 95 % intervals; red: surely worse than the whole, or surely below zero.", wide=True
            )
        )
    else:
        blocks.append(NotMade("the picture of the slices", "No slice has an AUC: each holds too few of one outcome."))
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
    unit = f"{context.unit} per 1,000"
    headings = ("where", "rows", "positive", "AUC", "log loss", "outcome minus score", unit)
    blocks.append(Grid("", headings, rows, marked))
    return Section("slices", "Slices", tuple(blocks))


def worst_first(context: ReportContext) -> list[Slice]:
    """The slices that something is to be remarked of, then the others; each by AUC, worst first."""
    found = context.results.slices
    return sorted(found.slices if found else (), key=lambda one: (not remarks(context, one), *_auc(one)))


def remarks(context: ReportContext, one: Slice) -> tuple[str, ...]:
    """In which ways a slice is surely worse than the whole window."""
    whole = context.results.evaluation.model["roc_auc"].value
    said = []
    auc, off, worth = (one.metrics.get(name) for name in ("roc_auc", "calibration", "value_per_1000"))
    if auc is not None and auc.high < whole:
        said.append("ranks worse")
    overall = float(context.outcome.mean() - context.predicted.score.mean())
    if off is not None and abs(off.value) > abs(overall) and not (off.low <= 0 <= off.high or off.low <= overall <= off.high):
        said.append("scores too low" if off.value > 0 else "scores too high")
    if worth is not None and worth.high < 0 and _waiting_is_free(context):
        said.append("acting loses")
    return tuple(said)


def _waiting_is_free(context: ReportContext) -> bool:
    """Only then is a value below zero a loss from acting."""
    declared = context.pipeline.value
    if isinstance(declared, CostMatrix):
        return declared.false_negative == 0 and declared.true_negative == 0
    return declared.wait.strip() == "0"


def _auc(one: Slice) -> tuple[float, str]:
    auc = one.metrics.get("roc_auc")
    return (auc.value if auc is not None and math.isfinite(auc.value) else math.inf, one.name)
