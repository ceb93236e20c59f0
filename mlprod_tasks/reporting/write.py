"""Report a training: pictures, one HTML file with everything that is known of the model, and the model card."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass

from mlprod_tasks import documents
from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.documents import Document, Section
from mlprod_tasks.documents.formatting import window
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.files import write_bytes, write_text
from mlprod_tasks.reporting import card, importance, report_context
from mlprod_tasks.reporting.chapters.backtest import backtest
from mlprod_tasks.reporting.chapters.change import change
from mlprod_tasks.reporting.chapters.features import features
from mlprod_tasks.reporting.chapters.origin import checks, origin
from mlprod_tasks.reporting.chapters.quality import candidates, metrics
from mlprod_tasks.reporting.chapters.ranking import ranking
from mlprod_tasks.reporting.chapters.slices import slices
from mlprod_tasks.reporting.chapters.verdict import verdict
from mlprod_tasks.reporting.report_context import ReportContext
from mlprod_tasks.training.workspace import TrainingFolder, failing

log = logging.getLogger(__name__)

REPORT = "report.html"
LOGGED, PICTURES = "report", "plots"  # folders of the MLflow run


@dataclass(frozen=True)
class Reported:
    """Where the report lies, how many pictures it holds, and how many of its parts could not be made."""

    training_id: str
    path: str
    pictures: int
    not_made: int
    seconds: float


def report(pipeline: Pipeline, training_id: str, platform: Platform) -> Reported:
    """Write report.html, model_card.md, model_card.html and plots/*.png into the training's folder and its MLflow run.

    Gates are evaluated here as `gate` will evaluate them, and nothing is recorded of it. A part that no step has left is
    named as not made. Once more with the same results it writes the same bytes.

    Raises: StepMissing before `evaluate`.
    """
    began = time.perf_counter()
    folder = TrainingFolder(platform, training_id)
    with failing(training_id, platform):
        known = report_context.read(pipeline, folder)
        made = Document(*_head(known), _sections(known, platform))
        folder.plots.mkdir(parents=True, exist_ok=True)
        for picture in made.pictures:
            write_bytes(folder.plots / f"{picture.name}.png", picture.png)
        write_text(folder.path / REPORT, documents.html(made))
        cards = card.write(pipeline, folder, known=known)
        platform.registry.log_folder(known.run_id, folder.plots, PICTURES)
        for file in (folder.path / REPORT, *cards):
            platform.registry.log_file(known.run_id, file, LOGGED)
    seconds = time.perf_counter() - began
    for part in made.not_made:
        log.info("not made: %s. %s", part.what, part.why)
    log.info("%s: %d pictures in %s, %.1f s", pipeline.name, len(made.pictures), folder.path / REPORT, seconds)
    return Reported(training_id, str(folder.path / REPORT), len(made.pictures), len(made.not_made), seconds)


def _head(known: ReportContext) -> tuple[str, str]:
    assembled = known.assembled
    tested = window(assembled.windows.test)
    kind = known.model.kind
    return (
        f"{known.pipeline.name}, as of {assembled.as_of}",
        f"{' '.join(known.pipeline.doc.split())} Model: {kind}, training {known.folder.training_id}, tested on {tested}; files "
        f"{known.digest[:12]}, code {known.made_by.code_digest[:12]}, lock {known.made_by.lock_digest[:12] or 'not known'}.",
    )


def _sections(known: ReportContext, platform: Platform) -> tuple[Section, ...]:
    champion = report_context.champion(known, platform)
    scores, value = ranking(known, champion)
    found = importance.measure(known.model, known.rows, known.pipeline)
    return (
        verdict(known),
        metrics(known),
        change(known, champion),
        backtest(known),
        slices(known),
        value,
        scores,
        features(known, found),
        candidates(known),
        checks(known),
        origin(known),
    )
