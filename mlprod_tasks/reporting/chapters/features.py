"""The features chapter: what the model relies on."""

from __future__ import annotations

from mlprod_tasks.documents import Block, NotMade, Paragraph, Picture, Section
from mlprod_tasks.documents.formatting import change
from mlprod_tasks.documents.mail_content import Grid
from mlprod_tasks.documents.plot_style import png
from mlprod_tasks.reporting.feature_words import feature_meanings
from mlprod_tasks.reporting.importance import Importance
from mlprod_tasks.reporting.plots import importance as plots
from mlprod_tasks.reporting.report_context import ReportContext

SHOWN = 12


def features(context: ReportContext, measured: Importance) -> Section:
    """AUC lost by shuffling, contributions and partial dependence."""
    blocks: list[Block] = [
        Paragraph(
            f"Shuffling gives {measured.rows:,} test rows ({measured.positives:,} positive) the values that a feature, or all "
            "features of one declaration, have in other rows. The AUC that is lost shows how much the model relies on them. If "
            "two features carry the same information, shuffling only one of them loses little. Intervals are over these rows."
        ),
        _shuffled("groups", "AUC lost, group shuffled", measured, of_groups=True),
        _shuffled("permutation", "AUC lost, feature shuffled", measured, of_groups=False),
        _gain(measured),
        *_contributions(measured),
        _dependence(measured),
        _top_features(context, measured),
    ]
    return Section("features", "What the model relies on", tuple(blocks))


def _gain(measured: Importance) -> Block:
    if not measured.gain or not any(measured.gain.values()):
        return NotMade("importance by gain", "No feature has any.")
    caption = "As the learner measures it: trees by gain, linear models by the size of their terms, others by shuffling."
    return Picture("importance", png(plots.gain(measured.gain)), caption)


def _contributions(measured: Importance) -> list[Block]:
    exact = measured.contributions
    if exact is None:
        return [NotMade("contributions (SHAP values)", "The learner does not compute exact ones.")]
    return [
        Picture(
            "contributions",
            png(plots.contributions(exact)),
            f"The model's exact contributions over {len(exact.values):,} rows.",
        ),
        Picture(
            "contributions_by_row",
            png(plots.swarm(exact)),
            "Each point is a row, grey if the value is missing or a category. The features that move scores most are at the "
            "top. Before calibration.",
            wide=True,
        ),
    ]


def _dependence(measured: Importance) -> Block:
    with_values = [one for one in measured.dependence if one.values]
    if not with_values:
        return NotMade("partial dependence", "No feature has values in the test window.")
    return Picture(
        "dependence",
        png(plots.dependence(with_values)),
        "The mean score if every row had that value and all else stayed the same; the band covers eight tenths of the rows. "
        "Ticks at the bottom: deciles of the values.",
        wide=True,
    )


def _top_features(context: ReportContext, measured: Importance) -> Grid:
    meanings = feature_meanings(context.pipeline)
    top = measured.features[:SHOWN]
    rows = tuple(
        (one.name, f"{change(one.drop)} [{change(one.low)}, {change(one.high)}]", meanings.get(one.name, "")) for one in top
    )
    return Grid(f"The {len(top)} most important features", ("feature", "AUC lost", "meaning"), rows)


def _shuffled(name: str, title: str, measured: Importance, *, of_groups: bool) -> Picture:
    lost = measured.groups if of_groups else measured.features
    caption = "Features that belong together; the number after a name is how many." if of_groups else "Each feature by itself."
    return Picture(name, png(plots.permutation(title, lost)), caption)
