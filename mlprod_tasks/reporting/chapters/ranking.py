"""The chapters on scores: ranking, calibration, and the value of acting on them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlprod_tasks.documents import Picture, Section
from mlprod_tasks.documents.plot_style import png
from mlprod_tasks.models import decision_value
from mlprod_tasks.models.capacity import places
from mlprod_tasks.models.decision_value import Worth
from mlprod_tasks.models.feature_frame import drawn_ticks_of
from mlprod_tasks.models.segmented import SegmentedModel
from mlprod_tasks.reporting.plots import curves, distributions
from mlprod_tasks.reporting.plots.capacity import RankedOutcomes, by_capacity
from mlprod_tasks.reporting.report_context import ReportContext, ReportedChampion

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def ranking(context: ReportContext, champion: ReportedChampion | None) -> tuple[Section, Section]:
    """The sections on scores (ranking, calibration) and on value, gain and lift."""
    scored, champion_worth = _scores_to_draw(context, champion)
    seed = context.pipeline.model.seed
    ranks = (
        _picture("scores", distributions.scores(scored), "How well the scores separate the two outcomes."),
        _picture("calibration", curves.calibration(scored), "Scores are too high below the diagonal, too low above it."),
        _picture("roc", curves.roc(scored), "The closer to the upper left, the better the ranking."),
        _picture(
            "precision_recall",
            curves.precision_recall(scored),
            "Precision: share of positives among rows acted on. Recall: share of all positives that is found.",
        ),
    )
    pays = (
        _picture(
            "value",
            curves.profit(scored, context.worth, context.unit, champion_worth, seed),
            "The value of acting on the highest scores.",
        ),
        _picture("gain", curves.gain(scored), "Share of all positives found, by share of rows acted on."),
        _picture(
            "lift", curves.lift(scored), "How many times more positives there are among the highest scores than among all rows."
        ),
    )
    capacity = context.pipeline.capacity
    if capacity is not None:
        drawn = by_capacity(_ranked(context), capacity.per_tick, context.unit)
        caption = "What a tick is worth, and how often acting is right, if more or fewer of its best rows could be acted on."
        return Section("scores", "Scores", ranks), Section(
            "value", "Value, gain and lift", (*pays, _picture("capacity", drawn, caption))
        )
    return Section("scores", "Scores", ranks), Section("value", "Value, gain and lift", pays)


def _scores_to_draw(context: ReportContext, champion: ReportedChampion | None) -> tuple[curves.ScoredOutcomes, Worth | None]:
    """The scores to draw.

    The champion's only if it was evaluated on these rows: else it may have been fitted on them.
    """
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
            drawn_ticks_of(context.rows),
        ),
        None if other is None else decision_value.worth(context.pipeline.value, context.rows, other, context.outcome),
    )


def _ranked(context: ReportContext) -> RankedOutcomes:
    place = places(context.pipeline, context.rows, context.predicted.score)
    ticks = len(context.rows["tick"].unique())
    return RankedOutcomes(place, context.outcome, context.worth, context.predicted.decision, ticks)


def _picture(name: str, plot: Figure, caption: str) -> Picture:
    return Picture(name, png(plot), caption)
