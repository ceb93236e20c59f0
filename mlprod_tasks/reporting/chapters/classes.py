"""The chapters on predicted classes: which are found, which are confused, and what that is worth."""

from __future__ import annotations

import numpy as np

from mlprod_tasks.declaration.target import ClassValue
from mlprod_tasks.documents import Block, Paragraph, Picture, Section
from mlprod_tasks.documents.formatting import change, number, with_interval
from mlprod_tasks.documents.mail_content import Grid
from mlprod_tasks.documents.plot_style import png
from mlprod_tasks.reporting.plots import classes as plots
from mlprod_tasks.reporting.plots.classes import PredictedClasses
from mlprod_tasks.reporting.report_context import ReportContext, ReportedChampion
from mlprod_tasks.statistics import class_metrics
from mlprod_tasks.training.records import shortened

MOST_ROWS = 30  # of the table of classes


def classes(context: ReportContext, champion: ReportedChampion | None) -> tuple[Section, Section]:
    """The sections on classes (which are found, which are confused, whether probabilities come true) and on their value."""
    drawn = PredictedClasses(context.outcome, context.predicted.score, context.predicted.decision)
    pictures = (
        Picture(
            "confusion",
            png(plots.confusion(drawn)),
            "Of 100 rows whose outcome is that of the line, how many were predicted as the column says. Behind the name: rows.",
            wide=True,
        ),
        Picture(
            "reliability_by_class",
            png(plots.reliability(drawn)),
            "Rows in groups of similar probability of the class. Bars: 95 % intervals. Below the dashed line, the class comes "
            "less often than its probability says.",
            wide=True,
        ),
    )
    return Section("scores", "Classes", (*_by_class(context, drawn), *pictures)), _value(context)


def _by_class(context: ReportContext, drawn: PredictedClasses) -> tuple[Block, ...]:
    """Every class with its rows and how well it is found."""
    f1 = class_metrics.f1_by_class(drawn.outcome, drawn.predicted)
    auc = class_metrics.auc_by_class(drawn.outcome, drawn.score)
    frequent = drawn.frequent(MOST_ROWS)
    unknown = [name for name in frequent if name not in drawn.score.classes]
    rows = tuple(
        (
            shortened(name) + (" (unknown to the model)" if name in unknown else ""),
            f"{int((drawn.outcome == name).sum()):,}",
            f"{int((drawn.predicted == name).sum()):,}",
            f"{float(drawn.score.aligned((name,))[:, 0].mean()):.1%}",
            f"{float((drawn.outcome == name).mean()):.1%}",
            number(f1.get(name)),
            number(auc.get(name)),
        )
        for name in frequent
    )
    headings = ("class", "came", "predicted", "mean probability", "share", "F1", "AUC")
    shown = [name for name in frequent if name in auc][: plots.MOST_CLASSES]
    picture = Picture(
        "by_class",
        png(plots.by_class(shown, *(np.array([of.get(name, 0.0) for name in shown]) for of in (f1, auc)))),
        "F1 is the harmonic mean of precision and recall; an AUC of 0.5 is chance.",
    )
    more = len({*drawn.outcome}) - len(frequent)
    return (Grid("", headings, rows), *((Paragraph(f"{more} rarer classes are not listed."),) if more > 0 else ()), picture)


def _value(context: ReportContext) -> Section:
    """What predictions were worth: the model's, the constant's and the champion's."""
    evaluation, value = context.results.evaluation, context.pipeline.value
    unit = context.unit or "points"
    rows = [("model", with_interval(evaluation.model["value_per_1000"]))]
    rows.append(("constant", with_interval(evaluation.baseline["value_per_1000"])))
    if evaluation.champion is not None:
        rows.append((f"champion, version {evaluation.champion_version}", with_interval(evaluation.champion["value_per_1000"])))
    gained = evaluation.model["value_per_1000"].value - evaluation.baseline["value_per_1000"].value
    blocks: list[Block] = [
        Paragraph(f"{worth_in_words(value)} Over the constant, the model gains {change(gained)} {unit} per 1,000 rows."),
        Grid("", ("", f"{unit} per 1,000 rows"), tuple(rows)),
    ]
    if isinstance(value, ClassValue) and value.pairs:
        pairs = tuple(
            (shortened(said), shortened(real), number(worth))
            for said, by_real in value.pairs.items()
            for real, worth in by_real.items()
        )
        blocks.append(Grid("Declared pairs", ("predicted", "came", unit), pairs))
    return Section("value", "Value", tuple(blocks))


def worth_in_words(value: object) -> str:
    """What predictions of classes are worth, and how one is chosen, in sentences."""
    if not isinstance(value, ClassValue):
        return ""
    unit = value.unit or "points"
    chosen = "the likeliest class" if value.predict == "likely" else "the class with the largest expected value"
    return (
        f"A right prediction is worth {number(value.right)} {unit}, a wrong one {number(value.wrong)}; {chosen} is predicted."
    )
