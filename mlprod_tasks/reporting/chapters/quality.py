"""How good the model is: metrics beside baseline and champion, and what it was chosen from."""

from __future__ import annotations

from mlprod_tasks.declaration.gate import HIGHER_IS_BETTER
from mlprod_tasks.documents import Block, NotMade, Paragraph, Picture, Section
from mlprod_tasks.documents.formatting import change, in_order, listed, meaning, number, p_value, title, window, with_interval
from mlprod_tasks.documents.mail_content import Grid
from mlprod_tasks.models.segmented import SegmentedModel
from mlprod_tasks.reporting.report_context import ReportContext

SEARCH = "search"  # picture that a search left


def metrics(context: ReportContext) -> Section:
    """Every metric with its interval, beside the constant and the champion on the same rows."""
    evaluation, comparison = context.results.evaluation, context.results.comparison
    differences = comparison.differences if comparison else {}
    rows = []
    for name in in_order(evaluation.model):
        one = evaluation.model[name]
        row = [f"{title(name)}\n{meaning(name)}", with_interval(one), with_interval(evaluation.baseline.get(name))]
        if evaluation.champion is not None:
            found = differences.get(name)
            row.append(with_interval(evaluation.champion.get(name)))
            row += ["", "", ""] if found is None else [
                f"{change(found.value)} [{change(found.low)}, {change(found.high)}]",
                p_value(found.p),
                _reading(name, found.low, found.high),
            ]  # fmt: skip
        rows.append(tuple(row))
    headings = ["metric", "model", "constant"]
    if evaluation.champion is not None:
        headings += [f"champion, version {evaluation.champion_version}", "model minus champion", "p", "so it is"]
    tested = window(context.assembled.windows.test)
    blocks: list[Block] = [
        Paragraph(
            f"On {evaluation.rows:,} rows of the test window {tested}, {evaluation.positives:,} of them positive, which had "
            f"no part in making the model; {evaluation.unlabelled:,} more rows have no outcome. In brackets: 95 % intervals "
            "by bootstrap. The constant gives every row the training window's rate, and one decision to all."
        ),
        Grid("", tuple(headings), tuple(rows)),
    ]
    if evaluation.champion_version is None:
        blocks.append(NotMade("the comparison with a champion", "There was no champion yet."))
    elif evaluation.champion is None:
        blocks.append(NotMade("the comparison with the champion", evaluation.champion_problem or "It was not evaluated."))
    elif comparison is None:
        blocks.append(NotMade("differences from the champion", "The step evaluate left no comparison: run it again."))
    else:
        blocks.append(Paragraph("Differences are paired: both models on the same rows; p is of no difference, two-sided."))
    return Section("metrics", "Metrics", tuple(blocks))


def candidates(context: ReportContext) -> Section:
    """What the model was chosen from, on the validation window."""
    tried = context.model.candidates
    by = context.pipeline.model.choose_by
    blocks: list[Block] = []
    if tried:
        names = in_order({name: None for one in tried for name in one.metrics})
        rows = tuple(
            (one.name, one.kind, "taken" if one.chosen else "", *(number(one.metrics.get(name)) for name in names))
            for one in tried
        )
        blocks += [
            Paragraph(
                "Each candidate was fitted to the training window and calibrated on the validation window; the best "
                f"{title(by)} there is taken. Being the best of several flatters: the test window is what counts."
            ),
            Grid("", ("candidate", "learner", "", *map(title, names)), rows),
        ]
    else:
        blocks.append(NotMade("validation scores of candidates", "The model does not hold what its candidates scored."))
    if isinstance(context.model, SegmentedModel):
        told = listed([f"{name} ({rows_:,} training rows)" for name, rows_ in context.model.rows.items()]) or "none"
        blocks.append(
            Paragraph(f"Segments of {context.model.by} with a model of their own: {told}. The table is of the global one.")
        )
    if context.pipeline.model.search is None:
        blocks.append(NotMade("a search for parameters", "None is declared: the candidates are fitted as they are declared."))
    else:
        found = context.folder.plots / f"{SEARCH}.png"
        blocks.append(
            Picture(SEARCH, found.read_bytes(), "Each trial of the search, and the least loss so far.")
            if found.is_file()
            else NotMade("the picture of the search", "The step search left none.")
        )
    return Section("candidates", "Candidates", tuple(blocks))


def _reading(metric: str, low: float, high: float) -> str:
    """What an interval of differences says."""
    higher = HIGHER_IS_BETTER.get(metric, True)
    if low > 0:
        return "better" if higher else "worse"
    if high < 0:
        return "worse" if higher else "better"
    return "not told apart"
