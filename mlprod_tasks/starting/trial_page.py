"""The page of a trial: what was tried, the data, the model, its gates, and what monitoring would have said."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from mlprod_tasks import documents
from mlprod_tasks.dashboard.data import detail
from mlprod_tasks.dashboard.report import NothingToReport, write_report
from mlprod_tasks.dashboard.schemas import Chart, Detail
from mlprod_tasks.dashboard.series import BY_FEATURE
from mlprod_tasks.declaration import Split
from mlprod_tasks.documents import Block, Card, Cards, Document, Links, Listing, Paragraph, Section, Tiles, small_charts
from mlprod_tasks.documents.formatting import format_count, format_number, with_interval
from mlprod_tasks.documents.mail_content import Grid
from mlprod_tasks.evaluation.results import Evaluation
from mlprod_tasks.monitoring.alarms import alarms
from mlprod_tasks.platform.files import write_text
from mlprod_tasks.profiling.lake_profile import table_profiles
from mlprod_tasks.profiling.profile_page import table_section
from mlprod_tasks.reporting import report_context
from mlprod_tasks.reporting.chapters.quality import metrics
from mlprod_tasks.reporting.chapters.verdict import verdict
from mlprod_tasks.reporting.write import REPORT
from mlprod_tasks.starting.trial import Trial
from mlprod_tasks.training.workspace import TrainingFolder

MOST_REFUSALS = 20
QUIET = "nothing"


def write_page(trial: Trial, path: Path) -> Path:
    """Write the page as one HTML file; it links the training's report and the page of the last tick beside it."""
    write_text(path, documents.html(document(trial, path.parent)))
    return path


def document(trial: Trial, folder: Path) -> Document:
    """The page's content. folder: what its links are relative to."""
    profiles = table_profiles(trial.pipeline, trial.platform)
    known = report_context.read(trial.pipeline, TrainingFolder(trial.platform, trial.training_id))
    quality = metrics(known)
    sections = (
        _summary(trial, folder),
        *map(table_section, profiles),
        Section("model", "The model", verdict(known).blocks),
        Section("metrics", quality.title, quality.blocks),
        _monitoring(trial),
        _next(trial),
    )
    return Document(f"A trial of {trial.pipeline.name}", " ".join(trial.pipeline.doc.split()), sections)


def _summary(trial: Trial, folder: Path) -> Section:
    history = trial.history
    taken = ", ".join(f"{stage} {seconds:.0f} s" for stage, seconds in trial.seconds.items())
    blocks: list[Block] = [
        Paragraph(_sentence(trial), "good" if trial.passed else "bad"),
        Tiles(tuple(_tiles(trial))),
        Paragraph(
            f"The data has {format_count(len(history.ticks), 'tick')}, {history.ticks}. A model was trained as "
            f"of {history.as_of}, from what was known by then; the {format_count(len(history.replayed), 'tick')} from then on "
            f"were scored and monitored one after the other, as they would have been on their days. ({taken}.)"
        ),
        Links(tuple(_links(trial, folder))),
        Paragraph("What a trial leaves out:"),
        Listing(tuple(_left_out(trial))),
    ]
    if trial.refusals:
        blocks.append(_refusals(trial))
    return Section("summary", "In short", tuple(blocks))


def _sentence(trial: Trial) -> str:
    told = sum(alarm.told for alarm in alarms(trial.pipeline, trial.platform))
    if trial.passed:
        heard = f"monitoring would have raised {format_count(told, 'alarm')}" if told else "monitoring would have stayed quiet"
        return f"The model passed all {len(trial.gates)} gates and would have been promoted; {heard}."
    failed = [one for one in trial.gates if not one.passed]
    more = f"{trial.stopped}" if trial.stopped else "It scored the ticks below only here, so that there is something to see."
    return (
        f"{format_count(len(failed), 'gate')} of {len(trial.gates)} would have refused this model, and no model would score. "
        f"{failed[0].sentence}. {more}"
    )


def _tiles(trial: Trial) -> Iterator[tuple[str, str, str]]:
    yield "Rows", f"{sum(trial.rows.values()):,}", f"in {format_count(len(trial.rows), 'table')}"
    yield "Features", f"{len(trial.pipeline.feature_names)}", "the model's inputs"
    evaluation = TrainingFolder(trial.platform, trial.training_id).read(Evaluation)
    best = trial.pipeline.of_task.shown[0]
    value, _, interval = with_interval(evaluation.model.get(best)).partition(" [")
    rows = "later rows" if isinstance(trial.pipeline.split, Split) else "rows that were held out"
    words = {"roc_auc": "AUC", "mae": "Mean absolute error"}.get(best, best.replace("_", " ").capitalize())
    yield words, value, f"95 % interval {interval.rstrip(']').replace(', ', ' to ')}, on {evaluation.rows:,} {rows}"
    told = sum(alarm.told for alarm in alarms(trial.pipeline, trial.platform))
    yield "Alarms", f"{told}", f"in {format_count(len(trial.history.replayed), 'replayed tick')}"


def _links(trial: Trial, folder: Path) -> Iterator[tuple[str, str, str]]:
    folder = folder.resolve()
    report = TrainingFolder(trial.platform, trial.training_id).path / REPORT
    if report.is_file():
        yield "The training's report", report.relative_to(folder).as_posix(), "slices, curves, what the model relies on"
    if trial.decisions:
        last = list(trial.history.replayed)[-1]
        try:
            page = write_report(trial.pipeline, last, trial.platform)
        except NothingToReport:
            return
        yield (
            f"The page as of {last}",
            page.relative_to(folder).as_posix(),
            "what Airflow's UI would show: drift by feature, quality",
        )


def _left_out(trial: Trial) -> Iterator[str]:
    scored, ticks = len(trial.history.replayed), len(trial.history.ticks)
    yield (
        f"Scored and monitored are the last {scored} of {ticks:,} ticks; in production, every tick is. Loading, checks, "
        "training, backtest, model checks and gates leave out nothing."
    )
    yield from trial.left_out


def _refusals(trial: Trial) -> Grid:
    shown = tuple((one.table, str(one.tick), one.reason) for one in trial.refusals[:MOST_REFUSALS])
    more = f"; the first {MOST_REFUSALS} of {len(trial.refusals)}" if len(trial.refusals) > MOST_REFUSALS else ""
    return Grid(f"Batches that the audit refused, whose rows were not used{more}", ("table", "tick", "why"), shown, prose=True)


def _monitoring(trial: Trial) -> Section:
    if not trial.decisions:
        return Section("monitoring", "What monitoring would have said", (Paragraph(trial.stopped, "bad"),))
    ticks = list(trial.history.replayed)
    shown = detail(trial.pipeline, trial.platform, (ticks[0].name, ticks[-1].name), BY_FEATURE)
    blocks: list[Block] = [_decisions(trial)]
    if trial.pipeline.label_delay_ticks >= len(ticks):
        blocks.append(
            Paragraph(
                f"No outcome of a replayed tick is complete: they take {trial.pipeline.label_delay_ticks} ticks, so quality "
                "could not be measured."
            )
        )
    blocks += _charts(shown)
    return Section("monitoring", "What monitoring would have said", tuple(blocks))


def _decisions(trial: Trial) -> Block:
    parts = [line.split(None, 2) for line in trial.decisions]
    loud = [part for part in parts if part[1] != QUIET]
    if not loud:
        return Paragraph(
            f"Nothing was to be done at any of the {len(parts)} ticks: every rule stayed within its bounds.", "good"
        )
    rows = tuple((tick, action, *(rest or [""])) for tick, action, *rest in loud)
    quiet = len(parts) - len(loud)
    marked = frozenset(i for i, row in enumerate(rows) if row[1] != "note")
    return Grid(f"Decisions ({quiet} other ticks: nothing to do)", ("tick", "action", "why"), rows, marked, prose=True)


def _charts(shown: Detail) -> Iterator[Cards]:
    ends = (shown.ticks[0], shown.ticks[-1]) if shown.ticks else ("", "")
    groups: dict[str, list[Card]] = {}
    for chart in shown.charts:
        if chart.group not in ("Requests", "Pipeline health"):
            groups.setdefault(chart.group, []).append(_chart(chart, ends))
    for group, made in groups.items():
        yield Cards(group, tuple(made))


def _chart(chart: Chart, ends: tuple[str, str]) -> Card:
    """The first line of a chart as a card; breached ticks are red."""
    column = chart.lines[0].column
    bounds = {bound for bound in (*column.low[-1:], *column.high[-1:]) if bound is not None}
    drawn = small_charts.line(column.values, *ends, marked=column.breached, bounds=sorted(bounds))
    known = [value for value in column.values if value is not None]
    facts = [("last", format_number(known[-1]))] if known else [("last", "not measured")]
    if bounds:
        facts.append(("bounds", ", ".join(format_number(bound) for bound in sorted(bounds))))
    warning = f"Out of bounds at {format_count(len(column.breached), 'tick')}." if column.breached else ""
    return Card(chart.title, chart.unit, chart.doc, tuple(facts), (("", drawn),), warning)


def _next(trial: Trial) -> Section:
    name = trial.pipeline.name
    return Section(
        "next",
        "How to go on",
        (
            Listing(
                (
                    f"Change pipelines/{name}.py, and run `mlprod try {name}` again: it starts over in the same folder.",
                    f"`mlprod pipelines {name} --full` prints what the declaration stands for, with every default.",
                    f"`mlprod features sql {name}` prints the definition of the features.",
                    "The same file runs in Airflow unchanged. Delete this folder whenever you like: nothing else refers to it.",
                )
            ),
        ),
    )
