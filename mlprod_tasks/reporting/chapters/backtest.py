"""How the same recipe would have done at earlier moments."""

from __future__ import annotations

import math
from collections.abc import Sequence

from mlprod_tasks.declaration.gate import HIGHER_IS_BETTER
from mlprod_tasks.documents import Block, Listing, NotMade, Paragraph, Picture, Section
from mlprod_tasks.documents.formatting import number, title, window, with_interval
from mlprod_tasks.documents.mail_content import Grid
from mlprod_tasks.documents.plot_style import png
from mlprod_tasks.evaluation.results import BacktestResult, Fold
from mlprod_tasks.reporting.plots import backtest as plots
from mlprod_tasks.reporting.report_context import ReportContext

SHOWN = ("roc_auc", "log_loss", "calibration_error", "value_per_1000")


def backtest(context: ReportContext) -> Section:
    """The folds as a picture and as a table, and how often they were better."""
    found = context.results.backtest
    if found is None or not found.folds:
        declared = context.pipeline.backtest is not None
        why = "It is declared, but the step backtest left none: run it." if declared else "The declaration has no backtest."
        return Section("backtest", "Backtest", (NotMade("the backtest", why),))
    blocks: list[Block] = [
        Paragraph(
            "The same recipe, followed at earlier moments with what was known then, each tested on the weeks after. How far "
            "the points scatter is the honest answer to how good the next model will be: one window is one season's luck."
        ),
        Picture(
            "backtest",
            png(plots.backtest(found, context.unit)),
            "Each point at the middle of its test window, with 95 % intervals.",
            wide=True,
        ),
        Listing(tuple(_said(found, name) for name in SHOWN if name in found.folds[0].model)),
    ]
    other = any(fold.champion for fold in found.folds)
    if math.isfinite(found.correlation):
        blocks.append(
            Paragraph(
                f"Over the {len(found.folds)} windows AUC and value go together with a rank correlation of "
                f"{found.correlation:.2f} (Spearman): near 1, a better AUC has meant more value."
            )
        )
    else:
        blocks.append(NotMade("the correlation of AUC with value", "There are too few windows."))
    blocks += _champion(found)
    headings = ("as of", "rows", *map(title, SHOWN))
    rows = tuple(_row(fold, other) for fold in found.folds)
    blocks.append(Grid("", headings, rows))
    return Section("backtest", "Backtest", tuple(blocks))


def better_than_baseline(folds: Sequence[Fold], metric: str) -> tuple[int, int]:
    """In how many folds the metric is better than the constant's, of those in which both could be computed."""
    pairs = [
        (fold.model[metric].value, fold.baseline[metric].value)
        for fold in folds
        if metric in fold.model and metric in fold.baseline
    ]
    pairs = [pair for pair in pairs if all(map(math.isfinite, pair))]
    higher = HIGHER_IS_BETTER[metric]
    return sum(model > constant if higher else model < constant for model, constant in pairs), len(pairs)


def _said(found: BacktestResult, metric: str) -> str:
    values = [fold.model[metric].value for fold in found.folds if math.isfinite(fold.model[metric].value)]
    if not values:
        return f"{title(metric)}: could not be computed"
    better, of = better_than_baseline(found.folds, metric)
    middle = sum(values) / len(values)
    return (
        f"{title(metric)}: from {number(min(values))} to {number(max(values))}, mean {number(middle)}; better than the "
        f"constant in {better} of {of} windows"
    )


def _champion(found: BacktestResult) -> list[Block]:
    match found.champion_recipe:
        case "same":
            return [Paragraph(f"Champion version {found.champion_version} was made by the same recipe: its folds are these.")]
        case "none":
            return [NotMade("folds of a champion's recipe", "There was no champion yet.")]
        case "unknown":
            return [NotMade("folds of the champion's recipe", found.problem or "It is not known.")]
    return []


def _row(fold: Fold, other: bool) -> tuple[str, ...]:
    tested = f"{fold.as_of}\ntested on {window(fold.windows.test)}"
    cells = [tested, f"{fold.rows:,}\n{fold.positives / fold.rows:.1%} positive"]
    for name in SHOWN:
        beside = [f"constant {number(fold.baseline[name].value if name in fold.baseline else None)}"]
        if other:
            beside.append(f"champion's recipe {number(fold.champion[name].value if fold.champion else None)}")
        cells.append("\n".join((with_interval(fold.model.get(name)).replace(" [", "\n["), *beside)))
    return tuple(cells)
