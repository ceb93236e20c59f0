"""Pictures of scores: how they rank, how far they can be believed, what acting on them is worth."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlprod_tasks.documents import Picture, Section
from mlprod_tasks.documents.plot_style import png
from mlprod_tasks.models import decision_value
from mlprod_tasks.models.decision_value import Worth
from mlprod_tasks.models.segmented import SegmentedModel
from mlprod_tasks.reporting.plots import curves, distributions
from mlprod_tasks.reporting.report_context import ReportContext, ReportedChampion

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def ranking(context: ReportContext, champion: ReportedChampion | None) -> tuple[Section, Section]:
    """How the scores rank and how far they can be believed; what acting on them is worth."""
    scored, champion_worth = _scored(context, champion)
    seed = context.pipeline.model.seed
    ranks = (
        _picture("scores", distributions.scores(scored), "How far the scores of both outcomes lie apart."),
        _picture("calibration", curves.calibration(scored), "Below the diagonal scores are too high, above it too low."),
        _picture("roc", curves.roc(scored), "The further to the upper left, the better the ranking."),
        _picture(
            "precision_recall",
            curves.precision_recall(scored),
            "Of those acted on, how many are positive; of the positives, how many are found.",
        ),
    )
    pays = (
        _picture(
            "value",
            curves.profit(scored, context.worth, context.unit, champion_worth, seed),
            "What acting on the highest scores was worth.",
        ),
        _picture("gain", curves.gain(scored), "How many of the positives are found by acting on so many rows."),
        _picture("lift", curves.lift(scored), "How much denser the positives are among the highest scores."),
    )
    return Section("scores", "Scores", ranks), Section("value", "Value, gain and lift", pays)


def _scored(context: ReportContext, champion: ReportedChampion | None) -> tuple[curves.ScoredOutcomes, Worth | None]:
    """What is drawn. The champion's scores only where it was evaluated on these rows: else it may have been fitted to them."""
    other = None
    if champion is not None and champion.model is not None and context.results.evaluation.champion is not None:
        other = champion.model.predict(context.rows).score
    return (
        curves.ScoredOutcomes(
            context.outcome,
            context.predicted.score,
            context.predicted.decision,
            None if isinstance(context.model, SegmentedModel) else context.model.threshold,
            other,
            f"champion, version {champion.version}" if champion else "",
        ),
        None if other is None else decision_value.worth(context.pipeline.value, context.rows, other, context.outcome),
    )


def _picture(name: str, drawn: Figure, told: str) -> Picture:
    return Picture(name, png(drawn), told)
