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
from mlprod_tasks.reporting.task_words import TaskWords
from mlprod_tasks.training.records import shortened

SHOWN = 12


def features(context: ReportContext, measured: Importance) -> Section:
    """What is lost by shuffling, contributions and partial dependence."""
    words = context.words
    positive = "" if measured.positives is None else f" ({measured.positives:,} positive)"
    lost = f"The {words.lost.removesuffix(' lost')} that is lost" if words.bounded else f"The {words.lost}"
    title = words.lost[0].upper() + words.lost[1:]
    blocks: list[Block] = [
        Paragraph(
            f"Shuffling gives {measured.rows:,} test rows{positive} the values that a feature, or all "
            f"features of one declaration, have in other rows. {lost} shows how much the model relies on them. If "
            "two features carry the same information, shuffling only one of them loses little. Intervals are over these rows."
        ),
        _shuffled("groups", f"{title}, group shuffled", measured, words, of_groups=True),
        _shuffled("permutation", f"{title}, feature shuffled", measured, words, of_groups=False),
        _gain(measured),
        *_contributions(measured, words),
        _dependence(measured, words),
        _top_features(context, measured),
    ]
    return Section("features", "What the model relies on", tuple(blocks))


def _gain(measured: Importance) -> Block:
    if not measured.gain or not any(measured.gain.values()):
        return NotMade("importance by gain", "No feature has any.")
    caption = "As the learner measures it: trees by gain, linear models by the size of their terms, others by shuffling."
    return Picture("importance", png(plots.gain(measured.gain)), caption)


def _contributions(measured: Importance, words: TaskWords) -> list[Block]:
    exact = measured.contributions
    if exact is None:
        return [NotMade("contributions (SHAP values)", "The learner does not compute exact ones.")]
    score = f"probability of {shortened(measured.shown)!r}" if measured.shown else words.score
    whose, moved = (f" to the {score}", f"the {score}") if measured.shown else ("", f"{score}s")
    return [
        Picture(
            "contributions",
            png(plots.contributions(exact)),
            f"The model's exact contributions{whose} over {len(exact.values):,} rows.",
        ),
        Picture(
            "contributions_by_row",
            png(plots.swarm(exact, score)),
            f"Each point is a row, grey if the value is missing or a category. The features that move {moved} most are "
            f"at the top.{' Before calibration.' if words.bounded else ''}",
            wide=True,
        ),
    ]


def _dependence(measured: Importance, words: TaskWords) -> Block:
    with_values = [one for one in measured.dependence if one.values]
    if not with_values:
        return NotMade("partial dependence", "No feature has values in the test window.")
    score = f"probability of {shortened(measured.shown)!r}" if measured.shown else words.score
    return Picture(
        "dependence",
        png(plots.dependence(with_values, score, bounded=words.bounded)),
        f"The mean {score} if every row had that value and all else stayed the same; the band covers eight tenths of the "
        "rows. Ticks at the bottom: deciles of the values.",
        wide=True,
    )


def _top_features(context: ReportContext, measured: Importance) -> Grid:
    meanings = feature_meanings(context.pipeline)
    top = measured.features[:SHOWN]
    rows = tuple(
        (one.name, f"{change(one.drop)} [{change(one.low)}, {change(one.high)}]", meanings.get(one.name, "")) for one in top
    )
    return Grid(f"The {len(top)} most important features", ("feature", context.words.lost, "meaning"), rows)


def _shuffled(name: str, title: str, measured: Importance, words: TaskWords, *, of_groups: bool) -> Picture:
    lost = measured.groups if of_groups else measured.features
    caption = "Features that belong together; the number after a name is how many." if of_groups else "Each feature by itself."
    return Picture(name, png(plots.permutation(title, lost, words.lost)), caption)
