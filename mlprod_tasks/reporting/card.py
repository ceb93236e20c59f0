"""The model card: what a model predicts and how well, for business people."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from mlprod_tasks import documents
from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.declaration.target import AtTick
from mlprod_tasks.documents import Block, Document, Listing, NotMade, Paragraph, Section
from mlprod_tasks.documents.formatting import change, format_count, length, listed, number, title, window, with_interval
from mlprod_tasks.documents.mail_content import Grid
from mlprod_tasks.platform.files import write_text
from mlprod_tasks.reporting import card_binary, card_classes, card_numbers, report_context
from mlprod_tasks.reporting.chapters.backtest import better_than_baseline
from mlprod_tasks.reporting.chapters.origin import made_by
from mlprod_tasks.reporting.chapters.slices import remarks, worst_first
from mlprod_tasks.reporting.chapters.verdict import verdict_sentence
from mlprod_tasks.reporting.feature_words import feature_meanings, source_of
from mlprod_tasks.reporting.importance import groups_of
from mlprod_tasks.reporting.report_context import ReportContext
from mlprod_tasks.reporting.split_words import caveat, tested_on
from mlprod_tasks.reporting.task_words import window_cell
from mlprod_tasks.training.split import TEST, TRAIN, VALIDATION
from mlprod_tasks.training.workspace import TrainingFolder

MARKDOWN, HTML = "model_card.md", "model_card.html"
SHOWN_SLICES, SHOWN_FEATURES = 8, 8


def write(
    pipeline: Pipeline, folder: TrainingFolder, version: int | None = None, known: ReportContext | None = None
) -> tuple[Path, Path]:
    """Write the card into the training's folder as Markdown and HTML.

    Returns: the two paths. version: that of the registered model, None before it is registered. known: the training's context,
    read if not given. The same training and version give the same bytes.

    Raises: StepMissing before `evaluate`.
    """
    document = card(known or report_context.read(pipeline, folder), version)
    markdown, html = folder.path / MARKDOWN, folder.path / HTML
    write_text(markdown, documents.markdown(document))
    write_text(html, documents.html(document, contents=False))
    return markdown, html


def card(known: ReportContext, version: int | None = None) -> Document:
    """The content of the model card."""
    state = f"version {version}" if version is not None else "not registered yet"
    return Document(
        f"Model card: {known.pipeline.name}",
        f"{state}, made as of {known.assembled.as_of}. Owner: {known.pipeline.owner}.",
        (
            Section("purpose", "What it predicts", _purpose(known)),
            Section("quality", "How good it is", _quality(known)),
            Section("worse", "Where it is worse", _worse(known)),
            Section("sources", "What it uses", _sources(known)),
            Section("limits", "Limits", _limits(known)),
            Section("origin", "When and from what it was made", _origin(known, version)),
            Section("gates", "The gates it had to pass", _gates(known)),
        ),
    )


def _sentences(known: ReportContext) -> Any:
    """The sentences about the kind of prediction: a module with the same functions for each."""
    return {"binary": card_binary, "regression": card_numbers, "multiclass": card_classes}[known.pipeline.task]


def _purpose(known: ReportContext) -> tuple[Block, ...]:
    pipeline, sentences = known.pipeline, _sentences(known)
    when = (
        "at the start of the day's run"
        if isinstance(pipeline.predict_at, AtTick)
        else f"as of {length(pipeline.predict_at.lead)} before its time"
    )
    at = f"{pipeline.schedule.due}, {pipeline.schedule.timezone}"
    entity = pipeline.entity_table
    return (
        Paragraph(pipeline.doc.strip()),
        Listing(
            (
                f"For: every row of {entity.name}{f' ({_as_phrase(entity.doc)})' if entity.doc else ''}. Each gets "
                f"{sentences.gives(known)}.",
                f"When: {at}; each row is scored {when}, from the data known by then.",
                f"{sentences.meaning(known)}: {pipeline.label.doc or pipeline.label.sql}, as {pipeline.label.table} shows it "
                f"{length(pipeline.label_delay)} later.",
                *sentences.rule(known),
            )
        ),
    )


def _quality(known: ReportContext) -> tuple[Block, ...]:
    evaluation, entity = known.results.evaluation, known.pipeline.entity_name
    sentences = _sentences(known)
    less = caveat(known.assembled)
    rows_tested = (
        f"{evaluation.rows:,} {entity} from {window(known.assembled.windows.test)}, later than all data used to make the model"
        if less is None
        else f"{evaluation.rows:,} {entity}, {tested_on(known.assembled)}, none of which was used to make the model"
    )
    measured_on = Paragraph(f"Measured on {rows_tested}; {sentences.outcomes(known)}.")
    points = Listing((*sentences.quality(known), *_champion(known)))
    rows = tuple(
        (title(name), with_interval(evaluation.model[name]), with_interval(evaluation.baseline.get(name)).split(" [")[0])
        for name in sentences.METRICS
        if name in evaluation.model
    )
    return measured_on, points, _backtest(known), Grid("", ("measure", "model", "without a model"), rows)


def _backtest(known: ReportContext) -> Block:
    """How the value of the model varies over the folds of the backtest."""
    backtest = known.results.backtest
    if backtest is None or not backtest.folds:
        return NotMade("a backtest", "How much its quality varies over time was not tested; a single period can be lucky.")
    better, of = better_than_baseline(backtest.folds, "value_per_1000")
    values = [fold.model["value_per_1000"].value for fold in backtest.folds if "value_per_1000" in fold.model]
    values = [one for one in values if math.isfinite(one)]
    if not values:
        return NotMade("value over time", "No period of the backtest has one.")
    unit = f" {known.unit}" if known.unit else ""
    n = len(backtest.folds)
    made = f"on {format_count(n, 'part')} of the rows" if backtest.of_parts else f"at {format_count(n, 'earlier time')}"
    periods = "part" if backtest.of_parts else "period"
    return Paragraph(
        f"Made in the same way {made}, it was worth more than "
        f"{_sentences(known).worth_more(known)} in {better} of {format_count(of, periods)}: from "
        f"{number(min(values))} to {number(max(values))}{unit} per 1,000. Expect this range, not the single number above."
    )


def _champion(known: ReportContext) -> list[str]:
    evaluation, comparison = known.results.evaluation, known.results.comparison
    if evaluation.champion_version is None:
        return ["It is the first model: there was no earlier one to compare it with."]
    if evaluation.champion is None:
        return [f"It could not be compared with the previous model: {evaluation.champion_problem}"]
    worth = with_interval(evaluation.champion["value_per_1000"])
    before = f"The previous model, version {evaluation.champion_version}, was worth {worth}"
    difference = comparison.differences.get("value_per_1000") if comparison else None
    if difference is None or not math.isfinite(difference.value):
        return [f"{before} {known.unit} on the same rows."]
    interval = f"[{change(difference.low)}, {change(difference.high)}]"
    verdict = "worth more" if difference.low > 0 else "worth less" if difference.high < 0 else "not clearly different"
    return [f"{before} {known.unit} on the same rows: the new one is {verdict}, by {change(difference.value)} {interval}."]


def _worse(known: ReportContext) -> tuple[Block, ...]:
    result = known.results.slices
    if result is None:
        return (NotMade("parts of the rows", "They were not measured separately."),)
    marked = [one for one in worst_first(known) if remarks(known, one)]
    measured = f"{len(result.slices)} parts with at least {result.least_rows:,} rows were measured separately"
    if not marked:
        return (Paragraph(f"{measured}; in none is the model significantly worse than overall."),)
    sentences = _sentences(known)
    items = tuple(
        f"Where {one.name} ({one.rows:,} rows, {sentences.share(one)}): {listed(remarks(known, one))}; "
        f"{sentences.slice_line(known, one)}."
        for one in marked[:SHOWN_SLICES]
    )
    worst = "ranking" if known.words.bounded else "errors"
    more = f" The {SHOWN_SLICES} with the worst {worst}:" if len(marked) > SHOWN_SLICES else ""
    chance = "With so many parts, some are worse by chance."
    sentence = f"{measured}. In {len(marked)} of them the model is significantly worse than overall. {chance}{more}"
    return Paragraph(sentence), Listing(items)


def _sources(known: ReportContext) -> tuple[Block, ...]:
    pipeline = known.pipeline
    rows = []
    for feature, names in zip(pipeline.features, groups_of(pipeline).values(), strict=True):
        words, table = source_of(pipeline, feature)
        rows.append((words, table, str(len(names))))
    tables = tuple((table.name, table.doc or listed([column.doc for column in table.columns])) for table in pipeline.tables)
    blocks: list[Block] = [
        Paragraph("It uses only data that was known at the time of the score, both in training and in use."),
        Grid("Tables", ("table", "content"), tables),
        Grid("What is read from them", ("description", "table", "features"), tuple(rows)),
    ]
    shares = [(name, share) for name, share in known.model.importance.items() if share > 0][:SHOWN_FEATURES]
    if shares:
        meanings = feature_meanings(pipeline)
        weights = tuple((name, f"{share:.0%}", meanings.get(name, "")) for name, share in shares)
        blocks.append(Grid("The most important features", ("feature", "weight", "meaning"), weights))
    personal = [f"{table.name}.{column.name}" for table in pipeline.tables for column in table.columns if column.personal]
    if personal:
        blocks.append(Paragraph(f"Personal data is hashed or dropped before anything is stored: {listed(personal)}."))
    return tuple(blocks)


def _limits(known: ReportContext) -> tuple[Block, ...]:
    pipeline, assembled = known.pipeline, known.assembled
    unlabelled, rows = assembled.unlabelled.test, assembled.rows.test
    by = listed([name.replace("_", " ") for name in pipeline.fallback.by])
    last = assembled.windows.test.last
    less = caveat(assembled)
    points = [
        *([less] if less else []),
        f"Whether it was right is known {length(pipeline.label_delay)} later: a change in the world cannot show earlier.",
        f"Rows without an outcome are scored, but not used for training or testing: {unlabelled:,} of {rows + unlabelled:,} "
        "in the test.",
        f"If the model cannot answer, {_sentences(known).fallback(by)} does. Its answers are marked and less precise.",
        f"It has seen no data after {last}. Categories that are new to it are treated as missing.",
        "It shows correlation, not causes: changing a feature need not change the outcome.",
        *_sentences(known).limits(known),
        *(f"{note}." for note in known.model.notes),
    ]
    return (Listing(tuple(points)),)


def _origin(known: ReportContext, version: int | None) -> tuple[Block, ...]:
    assembled = known.assembled
    use = {TRAIN: "trained on", VALIDATION: "chosen and tuned on", TEST: "tested on"}
    windows = tuple(
        (
            words,
            window(ticks),
            f"{assembled.rows[name]:,}",
            window_cell(assembled, name),
        )
        for name, words in use.items()
        for ticks in (assembled.windows[name],)
    )
    tables = tuple((table, str(table_version)) for table, table_version in sorted(assembled.versions.items()))
    facts = (
        ("version", str(version) if version is not None else "not registered yet"),
        ("kind of model", known.model.kind.replace("_", " ")),
        ("owner", known.pipeline.owner),
        *made_by(known),
    )
    return (
        Grid("", ("rows", "days", "number", _sentences(known).OUTCOMES), windows),
        Grid("Data", ("table", "version in the lake"), tables),
        Grid("", ("", ""), facts),
    )


def _gates(known: ReportContext) -> tuple[Block, ...]:
    rows = tuple(("passed" if one.passed else "FAILED", one.sentence) for one in known.gates)
    return verdict_sentence(known), Grid(
        "",
        ("verdict", "requirement and result"),
        rows,
        frozenset(i for i, one in enumerate(known.gates) if not one.passed),
    )


def _as_phrase(doc: str) -> str:
    """A table's description for use inside a sentence."""
    return " ".join(doc.split()).rstrip(".")
