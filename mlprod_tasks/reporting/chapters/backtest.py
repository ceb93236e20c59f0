"""The backtest chapter: how the same recipe would have done at earlier times."""

from __future__ import annotations

import math
from collections.abc import Sequence

from mlprod_tasks.declaration.gate import HIGHER_IS_BETTER
from mlprod_tasks.declaration.split import PROVES_LESS
from mlprod_tasks.documents import Block, Listing, NotMade, Paragraph, Picture, Section
from mlprod_tasks.documents.formatting import number, title, window, with_interval
from mlprod_tasks.documents.mail_content import Grid
from mlprod_tasks.documents.plot_style import png
from mlprod_tasks.evaluation.results import BacktestResult, Fold
from mlprod_tasks.reporting.plots import backtest as plots
from mlprod_tasks.reporting.report_context import ReportContext
from mlprod_tasks.training.records import classes_in_words


def backtest(context: ReportContext) -> Section:
    """The folds as a picture and a table, and how often the model beat the constant."""
    result = context.results.backtest
    if result is None or not result.folds:
        declared = context.pipeline.backtest is not None
        why = (
            "It is declared, but there is no result: run the step backtest." if declared else "The declaration has no backtest."
        )
        return Section("backtest", "Backtest", (NotMade("the backtest", why),))
    shown = context.pipeline.of_task.shown
    blocks: list[Block] = [
        Paragraph(_meaning(result)),
        Picture(
            "backtest",
            png(plots.backtest(result, shown, context.unit)),
            f"Each point {'is a part' if result.of_parts else 'is at the middle of its test window'}, with its 95 % interval.",
            wide=True,
        ),
        Listing(tuple(_summary(result, name) for name in shown if name in result.folds[0].model)),
    ]
    other = any(fold.champion for fold in result.folds)
    quality = title(context.pipeline.of_task.correlated)
    if math.isfinite(result.correlation):
        blocks.append(
            Paragraph(
                f"Over the {len(result.folds)} windows, the rank correlation of {quality} and value is "
                f"{result.correlation:.2f} (Spearman): near 1, a better {quality} meant more value."
            )
        )
    else:
        blocks.append(NotMade(f"the correlation of {quality} with value", "There are too few windows."))
    blocks += _champion(result)
    headings = ("tested on" if result.of_parts else "as of", "rows", *map(title, shown))
    rows = tuple(_row(fold, shown, other) for fold in result.folds)
    blocks.append(Grid("", headings, rows))
    return Section("backtest", "Backtest", tuple(blocks))


def _meaning(result: BacktestResult) -> str:
    if result.of_parts:
        return (
            "The same recipe on the same rows, split anew for each point; no row is tested on twice. The scatter of the points "
            f"shows how much chance there is in which rows are tested. {PROVES_LESS}."
        )
    return (
        "The same recipe, run at earlier times with the data known then; each model is tested on the weeks after. The "
        "scatter of the points shows how good the next model may be; a single window can be lucky."
    )


def better_than_baseline(folds: Sequence[Fold], metric: str) -> tuple[int, int]:
    """Count the folds in which the model beats the constant, and all comparable folds."""
    pairs = [
        (fold.model[metric].value, fold.baseline[metric].value)
        for fold in folds
        if metric in fold.model and metric in fold.baseline
    ]
    pairs = [pair for pair in pairs if all(map(math.isfinite, pair))]
    higher = HIGHER_IS_BETTER[metric]
    return sum(model > constant if higher else model < constant for model, constant in pairs), len(pairs)


def _summary(result: BacktestResult, metric: str) -> str:
    """The range and mean of a metric over folds, and how often it beat the constant."""
    values = [fold.model[metric].value for fold in result.folds if math.isfinite(fold.model[metric].value)]
    if not values:
        return f"{title(metric)}: could not be computed"
    better, of = better_than_baseline(result.folds, metric)
    middle = sum(values) / len(values)
    return (
        f"{title(metric)}: from {number(min(values))} to {number(max(values))}, mean {number(middle)}; better than the "
        f"constant in {better} of {of} windows"
    )


def _champion(result: BacktestResult) -> list[Block]:
    match result.champion_recipe:
        case "same":
            return [
                Paragraph(f"Champion version {result.champion_version} was made by the same recipe, so its folds are the same.")
            ]
        case "none":
            return [NotMade("folds of a champion's recipe", "There was no champion yet.")]
        case "unknown":
            return [NotMade("folds of the champion's recipe", result.problem or "The reason is unknown.")]
    return []


def _outcomes(fold: Fold) -> str:
    if fold.classes is not None:
        return classes_in_words(fold.classes)
    share = f"{fold.positives / fold.rows:.1%} positive"
    return share if fold.mean_outcome is None else f"mean outcome {number(fold.mean_outcome)}"


def _row(fold: Fold, shown: Sequence[str], other: bool) -> tuple[str, ...]:
    tested = fold.part or f"{fold.as_of}\ntested on {window(fold.windows.test)}"
    cells = [tested, f"{fold.rows:,}\n{_outcomes(fold)}"]
    for name in shown:
        beside = [f"constant {number(fold.baseline[name].value if name in fold.baseline else None)}"]
        if other:
            beside.append(f"champion's recipe {number(fold.champion[name].value if fold.champion else None)}")
        cells.append("\n".join((with_interval(fold.model.get(name)).replace(" [", "\n["), *beside)))
    return tuple(cells)
