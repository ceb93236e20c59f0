"""The chapters on quality: the model's metrics, and its candidates."""

from __future__ import annotations

from mlprod_tasks.declaration.gate import HIGHER_IS_BETTER
from mlprod_tasks.documents import Block, NotMade, Paragraph, Picture, Section
from mlprod_tasks.documents.formatting import change, in_order, listed, meaning, number, p_value, title, with_interval
from mlprod_tasks.documents.mail_content import Grid
from mlprod_tasks.evaluation.results import Evaluation
from mlprod_tasks.models.segmented import SegmentedModel
from mlprod_tasks.reporting.report_context import ReportContext
from mlprod_tasks.reporting.split_words import tested_on
from mlprod_tasks.statistics.resamples import FEWEST_TICKS

SEARCH = "search"  # the picture made by the step search


def metrics(context: ReportContext) -> Section:
    """Every metric of the model, the constant and the champion, with intervals."""
    evaluation, comparison = context.results.evaluation, context.results.comparison
    differences = comparison.differences if comparison else {}
    rows = []
    for name in in_order(evaluation.model):
        one = evaluation.model[name]
        row = [f"{title(name)}\n{meaning(name)}", with_interval(one), with_interval(evaluation.baseline.get(name))]
        row += [with_interval(of.get(name)) for of in evaluation.simple.values()]
        if evaluation.champion is not None:
            difference = differences.get(name)
            row.append(with_interval(evaluation.champion.get(name)))
            row += ["", "", ""] if difference is None else [
                f"{change(difference.value)} [{change(difference.low)}, {change(difference.high)}]",
                p_value(difference.p),
                _verdict(name, difference.low, difference.high),
            ]  # fmt: skip
        rows.append(tuple(row))
    headings = ["metric", "model", "constant", *evaluation.simple]
    if evaluation.champion is not None:
        headings += [f"champion, version {evaluation.champion_version}", "model minus champion", "p", "verdict"]
    tested = tested_on(context.assembled)
    blocks: list[Block] = [
        Paragraph(
            f"On {evaluation.rows:,} rows of {tested}, {evaluation.outcomes}; none was "
            f"used to make the model. {evaluation.unlabelled:,} more rows have no outcome. In brackets: 95 % bootstrap "
            f"intervals, {_drawn(evaluation)}. {context.words.constant}"
        ),
        Grid("", tuple(headings), tuple(rows)),
    ]
    if evaluation.champion_version is None:
        blocks.append(NotMade("the comparison with a champion", "There was no champion yet."))
    elif evaluation.champion is None:
        blocks.append(NotMade("the comparison with the champion", evaluation.champion_problem or "It was not evaluated."))
    elif comparison is None:
        blocks.append(NotMade("differences from the champion", "There is no comparison: run the step evaluate again."))
    else:
        blocks.append(Paragraph("Differences are paired: both models score the same rows. p is two-sided, for no difference."))
    return Section("metrics", "Metrics", tuple(blocks))


def _drawn(evaluation: Evaluation) -> str:
    """What resamples drew, in words."""
    if evaluation.ticks is not None:
        return f"whose resamples draw its {evaluation.ticks} ticks with all their rows, since rows of one tick are alike"
    return (
        "whose resamples draw rows, as though rows of one tick were not alike, so that they may be too narrow: ticks are drawn "
        f"if there are {FEWEST_TICKS} or more"
    )


def candidates(context: ReportContext) -> Section:
    """The candidates, with their metrics on the validation window."""
    tried = context.model.candidates
    by = context.pipeline.choose_by
    blocks: list[Block] = []
    bounded = context.words.bounded
    calibrated = " and calibrated on the validation window" if bounded else ""
    where = "there" if bounded else "on the validation window"
    if tried:
        names = in_order({name: None for one in tried for name in one.metrics})
        rows = tuple(
            (one.name, one.kind, "chosen" if one.chosen else "", *(number(one.metrics.get(name)) for name in names))
            for one in tried
        )
        blocks += [
            Paragraph(
                f"Each candidate was fitted on the training window{calibrated}; the one with the best {title(by)} {where} was "
                f"chosen. The best of several looks better than it is: only the test window counts."
            ),
            Grid("", ("candidate", "learner", "", *map(title, names)), rows),
        ]
    else:
        blocks.append(NotMade("validation scores of candidates", "The model has no record of its candidates' scores."))
    if isinstance(context.model, SegmentedModel):
        segments = listed([f"{name} ({rows_:,} training rows)" for name, rows_ in context.model.rows.items()]) or "none"
        blocks.append(
            Paragraph(f"Segments of {context.model.by} with their own model: {segments}. The table is about the global model.")
        )
    blocks += [Paragraph(f"{note}.") for note in context.model.notes]
    if context.pipeline.model.search is None:
        blocks.append(
            NotMade("a search for parameters", "None is declared: candidates are fitted with their declared parameters.")
        )
    else:
        picture = context.folder.plots / f"{SEARCH}.png"
        blocks.append(
            Picture(SEARCH, picture.read_bytes(), "Each trial of the search, and the lowest loss so far.")
            if picture.is_file()
            else NotMade("the picture of the search", "The step search made none.")
        )
    return Section("candidates", "Candidates", tuple(blocks))


def _verdict(metric: str, low: float, high: float) -> str:
    """Whether the model is better or worse than the champion, by an interval."""
    higher = HIGHER_IS_BETTER.get(metric, True)
    if low > 0:
        return "better" if higher else "worse"
    if high < 0:
        return "worse" if higher else "better"
    return "no clear difference"
