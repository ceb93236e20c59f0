"""The model card: what the model predicts, from what, how good it is and for whom it is worse, for people of the business."""

from __future__ import annotations

import math
from pathlib import Path

from mlprod_tasks import documents
from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.declaration.target import AtTick, CostMatrix
from mlprod_tasks.documents import Block, Document, Listing, NotMade, Paragraph, Section
from mlprod_tasks.documents.formatting import change, length, listed, number, of_100, title, window, with_interval
from mlprod_tasks.documents.mail_content import Grid
from mlprod_tasks.models.segmented import SegmentedModel
from mlprod_tasks.platform.files import write_text
from mlprod_tasks.reporting import report_context
from mlprod_tasks.reporting.chapters.backtest import better_than_baseline
from mlprod_tasks.reporting.chapters.origin import made_by
from mlprod_tasks.reporting.chapters.slices import remarks, worst_first
from mlprod_tasks.reporting.chapters.verdict import verdict_sentence
from mlprod_tasks.reporting.feature_words import feature_meanings, source_of
from mlprod_tasks.reporting.importance import groups_of
from mlprod_tasks.reporting.report_context import ReportContext
from mlprod_tasks.training.split import TEST, TRAIN, VALIDATION
from mlprod_tasks.training.workspace import TrainingFolder

MARKDOWN, HTML = "model_card.md", "model_card.html"
SHOWN_SLICES, SHOWN_FEATURES = 8, 8


def write(
    pipeline: Pipeline, folder: TrainingFolder, version: int | None = None, known: ReportContext | None = None
) -> tuple[Path, Path]:
    """Write the card into the training's folder as Markdown and as HTML; where they lie.

    version: of the registered model, None before it is registered. known: the training's context, read where it is not given.
    The same training and version give the same bytes.

    Raises: StepMissing before `evaluate`.
    """
    made = card(known or report_context.read(pipeline, folder), version)
    written = folder.path / MARKDOWN, folder.path / HTML
    write_text(written[0], documents.markdown(made))
    write_text(written[1], documents.html(made, contents=False))
    return written


def card(known: ReportContext, version: int | None = None) -> Document:
    """The card's content."""
    called = f"version {version}" if version is not None else "not registered yet"
    return Document(
        f"Model card: {known.pipeline.name}",
        f"{called}, made as of {known.assembled.as_of}. Owner: {known.pipeline.owner}.",
        (
            Section("purpose", "What it predicts", _purpose(known)),
            Section("quality", "How good it is", _quality(known)),
            Section("worse", "For whom it is worse", _worse(known)),
            Section("sources", "What it knows", _sources(known)),
            Section("limits", "Limits", _limits(known)),
            Section("origin", "When it was made, and from what", _origin(known, version)),
            Section("gates", "What it had to show", _gates(known)),
        ),
    )


def _purpose(known: ReportContext) -> tuple[Block, ...]:
    pipeline = known.pipeline
    when = (
        "at the start of the day's run"
        if isinstance(pipeline.predict_at, AtTick)
        else f"as of {length(pipeline.predict_at.lead)} before its own time"
    )
    at = f"every day at {pipeline.schedule.at:%H:%M}, {pipeline.schedule.timezone}"
    entity = pipeline.entity_table
    return (
        Paragraph(pipeline.doc.strip()),
        Listing(
            (
                f"For: every row of {pipeline.entity}{f' ({_sentence(entity.doc)})' if entity.doc else ''}. Each gets a score "
                "from 0 to 1, the probability of a yes, and a decision.",
                f"When: {at}; each row is scored {when}, from what was known by then.",
                f"A yes is: {pipeline.label.doc or pipeline.label.sql}, as {pipeline.label.table} shows it "
                f"{length(pipeline.label.delay)} later.",
                _acts(known),
            )
        ),
    )


def _acts(known: ReportContext) -> str:
    if isinstance(known.model, SegmentedModel):
        return f"It flags a row when its score reaches the threshold of its {known.model.by}, set where acting was worth most."
    if known.model.threshold > 1:
        return "It flags no row: on the validation window acting was never worth it."
    score = f"{known.model.threshold:.3f}"
    return f"It flags a row when its score is {score} or more: from there on acting was worth most, on rows before the test."


def _quality(known: ReportContext) -> tuple[Block, ...]:
    evaluation, what = known.results.evaluation, known.pipeline.label.doc or known.pipeline.label.sql
    outcome, acts, entity = known.outcome, known.predicted.decision, known.pipeline.entity
    points = []
    base = of_100(float(outcome.mean()))
    if acts.any():
        points += [
            f"It flagged {_of(float(acts.mean()), entity)}. Of the flagged, {of_100(float(outcome[acts].mean()))} were a yes "
            f"({what}); of all {entity} it was {base}.",
            f"Of those that were a yes, it had flagged {of_100(float(acts[outcome].mean()))}.",
        ]
    else:
        points.append(f"It flagged no row; of all {entity} {base} were a yes ({what}).")
    value, constant = evaluation.model["value_per_1000"], evaluation.baseline["value_per_1000"]
    points.append(
        f"Acting on its flags was worth {with_interval(value)} {known.unit} per 1,000 {entity} (in brackets: 95 % interval). "
        "Without a model, with the one decision for all that had been best before, it would have been "
        f"{number(constant.value)}: a difference of {change(value.value - constant.value)} {known.unit}."
    )
    points.append(
        "Of one that became a yes and one that did not, it gives the yes the higher score in "
        f"{of_100(evaluation.model['roc_auc'].value)} pairs; tossing a coin, it would be 50 of 100."
    )
    said_share, came = float(known.predicted.score.mean()), float(outcome.mean())
    side = "too low" if came > said_share else "too high"
    apart = 100 * evaluation.model["calibration_error"].value
    points.append(
        f"On average its scores said {said_share:.1%}, and {came:.1%} came true: they were {side} by "
        f"{100 * abs(came - said_share):.1f} points. Taken in ten groups of like scores, the two lie {apart:.1f} points apart "
        "on average."
    )
    points += _champion(known)
    tested = window(known.assembled.windows.test)
    blocks: list[Block] = [
        Paragraph(
            f"Measured on {evaluation.rows:,} {entity} from {tested}, later than all it was made from; "
            f"{evaluation.positives:,} were a yes."
        ),
        Listing(tuple(points)),
    ]
    backtest = known.results.backtest
    if backtest is not None and backtest.folds:
        better, of = better_than_baseline(backtest.folds, "value_per_1000")
        values = [fold.model["value_per_1000"].value for fold in backtest.folds if "value_per_1000" in fold.model]
        values = [one for one in values if math.isfinite(one)]
        blocks.append(
            Paragraph(
                f"Made in the same way at {len(backtest.folds)} moments of the past, it was worth more than one decision for "
                f"all in {better} of {of} periods: from {number(min(values))} to {number(max(values))} {known.unit} per "
                "1,000. Expect that spread, not the one number above."
            )
            if values
            else NotMade("value over time", "No period of the backtest has one.")
        )
    else:
        blocks.append(
            NotMade("a backtest", "How much its quality moves over time was not tried: one period is one season's luck.")
        )
    names = ("roc_auc", "log_loss", "calibration_error", "precision_at_k", "value_per_1000")
    rows = tuple(
        (title(name), with_interval(evaluation.model[name]), number(evaluation.baseline[name].value))
        for name in names
        if name in evaluation.model
    )
    return (*blocks, Grid("", ("measure", "model", "without a model"), rows))


def _champion(known: ReportContext) -> list[str]:
    evaluation, comparison = known.results.evaluation, known.results.comparison
    if evaluation.champion_version is None:
        return ["It is the first: there was no model before it to compare with."]
    if evaluation.champion is None:
        return [f"It could not be compared with the model before it: {evaluation.champion_problem}"]
    worth = with_interval(evaluation.champion["value_per_1000"])
    before = f"The model before it, version {evaluation.champion_version}, was worth {worth}"
    found = comparison.differences.get("value_per_1000") if comparison else None
    if found is None or not math.isfinite(found.value):
        return [f"{before} {known.unit} on the same rows."]
    sure = "more than" if found.low > 0 else "less than" if found.high < 0 else "not surely different from"
    return [
        f"{before} {known.unit} on the same rows: the new one is worth {sure} it, by {change(found.value)} "
        f"[{change(found.low)}, {change(found.high)}]."
    ]


def _worse(known: ReportContext) -> tuple[Block, ...]:
    found = known.results.slices
    if found is None:
        return (NotMade("parts of the rows", "They were not measured by themselves."),)
    marked = [one for one in worst_first(known) if remarks(known, one)]
    told = f"{len(found.slices)} parts of at least {found.least_rows:,} rows were measured by themselves"
    if not marked:
        return (Paragraph(f"{told}; in none is it surely worse than in the whole."),)
    items = tuple(
        f"Where {one.name} ({one.rows:,} rows, {one.positives / one.rows:.0%} a yes): {listed(remarks(known, one))}; AUC "
        f"{with_interval(one.metrics.get('roc_auc'))}, {with_interval(one.metrics.get('value_per_1000'))} {known.unit} per "
        "1,000."
        for one in marked[:SHOWN_SLICES]
    )
    more = f" The {SHOWN_SLICES} that rank worst:" if len(marked) > SHOWN_SLICES else ""
    some = " Of many parts some are so by chance."
    return Paragraph(f"{told}. In {len(marked)} of them it is surely worse than in the whole.{some}{more}"), Listing(items)


def _sources(known: ReportContext) -> tuple[Block, ...]:
    pipeline = known.pipeline
    rows = []
    for feature, names in zip(pipeline.features, groups_of(pipeline).values(), strict=True):
        words, table = source_of(pipeline, feature)
        rows.append((words, table, str(len(names))))
    tables = tuple((table.name, table.doc or listed([column.doc for column in table.columns])) for table in pipeline.tables)
    blocks: list[Block] = [
        Paragraph("It uses only what was known at the moment of the score, in training as in daily use."),
        Grid("Tables", ("table", "what it holds"), tables),
        Grid("What is read from them", ("in words", "table", "features"), tuple(rows)),
    ]
    shares = [(name, share) for name, share in known.model.importance.items() if share > 0][:SHOWN_FEATURES]
    if shares:
        meanings = feature_meanings(pipeline)
        told = tuple((name, f"{share:.0%}", meanings.get(name, "")) for name, share in shares)
        blocks.append(Grid("What weighs most", ("feature", "weight", "what it is"), told))
    hidden = [f"{table.name}.{column.name}" for table in pipeline.tables for column in table.columns if column.personal]
    if hidden:
        blocks.append(Paragraph(f"Personal data is hashed or dropped before anything is stored: {listed(hidden)}."))
    return tuple(blocks)


def _limits(known: ReportContext) -> tuple[Block, ...]:
    pipeline, assembled = known.pipeline, known.assembled
    unlabelled, rows = assembled.unlabelled.test, assembled.rows.test
    by = listed([name.replace("_", " ") for name in pipeline.fallback.by])
    last = assembled.windows.test.last
    points = [
        f"Whether it was right is known {length(pipeline.label.delay)} later: a change of the world shows no sooner.",
        f"Rows without an outcome are scored, but neither learned from nor tested on: {unlabelled:,} of {rows + unlabelled:,} "
        "in the test.",
        f"When the model cannot answer, a table of past rates by {by} does. Its answers are marked, and are coarser.",
        f"It has seen nothing after {last}. What never occurred before is treated as missing.",
        "It shows what goes together, not what causes what: changing a feature need not change the outcome.",
        "Who is flagged is treated otherwise: where acting changes the outcome, later numbers look different from these.",
    ]
    if isinstance(pipeline.value, CostMatrix):
        worth = pipeline.value
        points.append(
            f"Its worth is counted in {worth.unit} for one row: {number(worth.true_positive)} for a flag that was right, "
            f"{number(worth.false_positive)} for one that was wrong, {number(worth.false_negative)} for a yes that was missed, "
            f"{number(worth.true_negative)} for a no left alone. With other figures another threshold would be best."
        )
    else:
        points.append(
            f"Its worth is counted in {pipeline.value.unit} for one row: {pipeline.value.act} when flagged, "
            f"{pipeline.value.wait} when not."
        )
    return (Listing(tuple(points)),)


def _origin(known: ReportContext, version: int | None) -> tuple[Block, ...]:
    assembled = known.assembled
    use = {TRAIN: "learned from", VALIDATION: "chosen and tuned on", TEST: "tested on"}
    windows = tuple(
        (
            said_of,
            window(ticks),
            f"{assembled.rows[name]:,}",
            f"{assembled.positives[name] / assembled.rows[name]:.1%}",
        )
        for name, said_of in use.items()
        for ticks in (assembled.windows[name],)
    )
    tables = tuple((table, str(number_)) for table, number_ in sorted(assembled.versions.items()))
    facts = (
        ("version", str(version) if version is not None else "not registered yet"),
        ("kind of model", known.model.kind.replace("_", " ")),
        ("owner", known.pipeline.owner),
        *made_by(known),
    )
    return (
        Grid("", ("rows", "days", "number", "a yes"), windows),
        Grid("Data", ("table", "version in the lake"), tables),
        Grid("", ("", ""), facts),
    )


def _gates(known: ReportContext) -> tuple[Block, ...]:
    rows = tuple(("passed" if one.passed else "FAILED", one.sentence) for one in known.gates)
    return verdict_sentence(known), Grid(
        "",
        ("verdict", "what was asked, and what it showed"),
        rows,
        frozenset(i for i, one in enumerate(known.gates) if not one.passed),
    )


def _of(share: float, what: str) -> str:
    return f"{of_100(share)} {what}"


def _sentence(doc: str) -> str:
    """A table's description inside a sentence."""
    return " ".join(doc.split()).rstrip(".")
