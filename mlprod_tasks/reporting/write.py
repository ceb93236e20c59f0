"""Write the report of a training: pictures, one HTML file, and the model card."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass

from mlprod_tasks import documents
from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.documents import Document, Section
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.files import write_bytes, write_text
from mlprod_tasks.reporting import card, importance, report_context
from mlprod_tasks.reporting.chapters.backtest import backtest
from mlprod_tasks.reporting.chapters.change import change
from mlprod_tasks.reporting.chapters.classes import classes
from mlprod_tasks.reporting.chapters.features import features
from mlprod_tasks.reporting.chapters.origin import checks, origin
from mlprod_tasks.reporting.chapters.predictions import predictions
from mlprod_tasks.reporting.chapters.quality import candidates, metrics
from mlprod_tasks.reporting.chapters.ranking import ranking
from mlprod_tasks.reporting.chapters.slices import slices
from mlprod_tasks.reporting.chapters.verdict import verdict
from mlprod_tasks.reporting.report_context import ReportContext
from mlprod_tasks.reporting.split_words import tested_on
from mlprod_tasks.training.workspace import TrainingFolder, failing

log = logging.getLogger(__name__)

REPORT = "report.html"
LOGGED, PICTURES = "report", "plots"  # folders of the MLflow run


@dataclass(frozen=True)
class Reported:
    """Where the report is, and how many pictures and missing parts it has."""

    training_id: str
    path: str
    pictures: int
    not_made: int
    seconds: float


def report(pipeline: Pipeline, training_id: str, platform: Platform) -> Reported:
    """Write report, model card and pictures to the training's folder and MLflow run.

    The files are report.html, model_card.md, model_card.html and plots/*.png. Gates are evaluated as in the step `gate`, but
    nothing is recorded. A part whose data is missing is listed as not made. Run again with the same results, it writes the same
    bytes.

    Raises: StepMissing before `evaluate`.
    """
    began = time.perf_counter()
    folder = TrainingFolder(platform, training_id)
    with failing(training_id, platform):
        known = report_context.read(pipeline, folder)
        document = Document(*_head(known), _sections(known, platform))
        folder.plots.mkdir(parents=True, exist_ok=True)
        for picture in document.pictures:
            write_bytes(folder.plots / f"{picture.name}.png", picture.png)
        write_text(folder.path / REPORT, documents.html(document))
        cards = card.write(pipeline, folder, known=known)
        platform.registry.log_folder(known.run_id, folder.plots, PICTURES)
        for file in (folder.path / REPORT, *cards):
            platform.registry.log_file(known.run_id, file, LOGGED)
    seconds = time.perf_counter() - began
    for part in document.not_made:
        log.info("not made: %s. %s", part.what, part.why)
    log.info("%s: %d pictures in %s, %.1f s", pipeline.name, len(document.pictures), folder.path / REPORT, seconds)
    return Reported(training_id, str(folder.path / REPORT), len(document.pictures), len(document.not_made), seconds)


def _head(known: ReportContext) -> tuple[str, str]:
    assembled = known.assembled
    tested = tested_on(assembled)
    kind = known.model.kind
    return (
        f"{known.pipeline.name}, as of {assembled.as_of}",
        f"{' '.join(known.pipeline.doc.split())} Model: {kind}, training {known.folder.training_id}, tested on {tested}; files "
        f"{known.digest[:12]}, code {known.made_by.code_digest[:12]}, lock {known.made_by.lock_digest[:12] or 'not known'}.",
    )


def _sections(known: ReportContext, platform: Platform) -> tuple[Section, ...]:
    champion = report_context.champion(known, platform)
    chapters = {"binary": ranking, "regression": predictions, "multiclass": classes}
    scores, value = chapters[known.pipeline.task](known, champion)
    measured = importance.measure(known.model, known.rows, known.pipeline)
    return (
        verdict(known),
        metrics(known),
        change(known, champion, platform),
        backtest(known),
        slices(known),
        value,
        scores,
        features(known, measured),
        candidates(known),
        checks(known),
        origin(known),
    )
