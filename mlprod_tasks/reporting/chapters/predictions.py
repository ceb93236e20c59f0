"""The chapters on predicted numbers: how far they are off, and what that is worth."""

from __future__ import annotations

from mlprod_tasks.documents import Block, Paragraph, Picture, Section
from mlprod_tasks.documents.formatting import change, with_interval
from mlprod_tasks.documents.mail_content import Grid
from mlprod_tasks.documents.plot_style import png
from mlprod_tasks.reporting.plots import numbers as plots
from mlprod_tasks.reporting.report_context import ReportContext, ReportedChampion

MEANS = "Axes show 99 of 100 rows."


def predictions(context: ReportContext, champion: ReportedChampion | None) -> tuple[Section, Section]:
    """The sections on predictions (against outcomes, residuals) and on their value."""
    drawn = _numbers_to_draw(context, champion)
    pictures = (
        Picture(
            "predicted_real",
            png(plots.against_outcomes(drawn)),
            "Each point is a row. Black: mean outcome of tenths of the rows by prediction; on the dashed line, predictions are "
            f"right on average. {MEANS}",
        ),
        Picture(
            "predictions",
            png(plots.distributions(drawn)),
            f"A model that knows little predicts a narrower range than what comes. {MEANS}",
        ),
        Picture(
            "residuals",
            png(plots.residuals(drawn)),
            f"Left: where the median leaves zero, predictions of that size are off to one side. {MEANS}",
            wide=True,
        ),
    )
    return Section("scores", "Predictions", pictures), _value(context)


def _value(context: ReportContext) -> Section:
    """What predictions were worth: the model's, the constant's and the champion's."""
    evaluation, unit = context.results.evaluation, context.unit
    value = context.pipeline.value
    rows = [("model", with_interval(evaluation.model["value_per_1000"]))]
    rows.append(("constant", with_interval(evaluation.baseline["value_per_1000"])))
    if evaluation.champion is not None:
        rows.append((f"champion, version {evaluation.champion_version}", with_interval(evaluation.champion["value_per_1000"])))
    gained = evaluation.model["value_per_1000"].value - evaluation.baseline["value_per_1000"].value
    sql, in_unit = getattr(value, "sql", ""), f" {unit}" if unit else ""
    blocks: tuple[Block, ...] = (
        Paragraph(
            f"A prediction is worth {sql}{in_unit}, as declared; more is better. Over the constant, the model gains "
            f"{change(gained)}{in_unit} per 1,000 rows, {change(gained / 1000)} a row."
        ),
        Grid("", ("", f"{unit} per 1,000 rows".strip()), tuple(rows)),
    )
    return Section("value", "Value", blocks)


def _numbers_to_draw(context: ReportContext, champion: ReportedChampion | None) -> plots.PredictedNumbers:
    """The predictions to draw; the champion's only if it was evaluated on these rows, as it may have been fitted on them."""
    other = None
    if champion is not None and champion.model is not None and context.results.evaluation.champion is not None:
        other = champion.model.predict(context.rows).score
    name = f"champion, version {champion.version}" if champion else ""
    return plots.PredictedNumbers(context.outcome, context.predicted.score, other, name, context.predicted.interval)
