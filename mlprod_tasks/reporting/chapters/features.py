"""What the model goes by."""

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


def features(context: ReportContext, found: Importance) -> Section:
    """Groups and features by the AUC that is lost without them, contributions, partial dependence."""
    meanings = feature_meanings(context.pipeline)
    blocks: list[Block] = [
        Paragraph(
            f"Shuffling takes from {found.rows:,} test rows ({found.positives:,} positive) the values of a feature, or of all "
            "features that one declaration adds, and gives them those of other rows: the AUC that is lost is what the model "
            "owes to them. What another feature tells as well is lost with neither of the two. The intervals are of these rows."
        ),
        _shuffled("groups", "AUC lost, group shuffled", found, of_groups=True),
        _shuffled("permutation", "AUC lost, feature shuffled", found, of_groups=False),
    ]
    if found.gain and any(found.gain.values()):
        blocks.append(
            Picture(
                "importance",
                png(plots.gain(found.gain)),
                "As the learner counts it: trees by gain, linear models by the size of terms, others by shuffling.",
            )
        )
    else:
        blocks.append(NotMade("importance by gain", "No feature has any."))
    if found.contributions is None:
        blocks.append(NotMade("contributions (SHAP values)", "The learner has no exact ones of its own."))
    else:
        rows = len(found.contributions.values)
        blocks += [
            Picture(
                "contributions", png(plots.contributions(found.contributions)), f"The model's own contributions, {rows:,} rows."
            ),
            Picture(
                "contributions_by_row",
                png(plots.swarm(found.contributions)),
                "Each point is a row, grey where the value is a category or missing; what moves scores most is on top. "
                "Before calibration.",
                wide=True,
            ),
        ]
    drawn = [one for one in found.dependence if one.values]
    if drawn:
        blocks.append(
            Picture(
                "dependence",
                png(plots.dependence(drawn)),
                "The mean score if every row had that value, all else as it is; the band holds eight tenths of the rows. "
                "Ticks below: deciles of the values there are.",
                wide=True,
            )
        )
    else:
        blocks.append(NotMade("partial dependence", "No feature has values on the test window."))
    top = found.features[:SHOWN]
    told = tuple(
        (one.name, f"{change(one.drop)} [{change(one.low)}, {change(one.high)}]", meanings.get(one.name, "")) for one in top
    )
    blocks.append(Grid(f"The {len(top)} features that matter most", ("feature", "AUC lost", "what it is"), told))
    return Section("features", "What it goes by", tuple(blocks))


def _shuffled(name: str, title: str, found: Importance, *, of_groups: bool) -> Picture:
    lost = found.groups if of_groups else found.features
    told = "Features come and go together; the number behind a name is how many." if of_groups else "Each feature by itself."
    return Picture(name, png(plots.permutation(title, lost)), told)
