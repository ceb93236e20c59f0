"""A model beside simple rules that take no model, on the test window of its training."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd

from mlprod_tasks import workflows
from mlprod_tasks.declaration import Pipeline, Tick, load
from mlprod_tasks.evaluation.gates.verdict import GatesRefused
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.ledger import Training
from mlprod_tasks.platform.settings import from_environment
from mlprod_tasks.training.workspace import TrainingFolder, read_window

PIPELINES = Path(__file__).parents[1] / "pipelines"
Scores = Mapping[str, Callable[[np.ndarray, np.ndarray], float]]
Figures = Mapping[str, Mapping[str, float]]
Comparing = Callable[[Training, pd.DataFrame, pd.DataFrame], Figures]


@dataclass(frozen=True)
class Compared:
    """A model and the simple rules beside it, on the test window of one training.

    rows: in the window. figures: by who predicts, then by metric.
    """

    first: date
    last: date
    rows: int
    figures: Figures


def compare_use_cases(
    connection: str, fill: Callable[[str], object], days: Mapping[str, Sequence[date]], comparing: Mapping[str, Comparing]
) -> None:
    """Print a table for each use case and training.

    connection, fill: the database of them all. days: by use case: it is trained as of the last tick until the end of each.
    """
    with tempfile.TemporaryDirectory() as name:
        platform = new_platform(Path(name), connection, fill)
        for use_case, find in comparing.items():
            pipeline = load(PIPELINES / f"{use_case}.py")
            moments = [pipeline.schedule.tick(pipeline.schedule.at_or_before(day)) for day in days[use_case]]
            print(f"\n{use_case}\n")
            for training in trainings(pipeline, moments, platform):
                print(table(compared(pipeline, training, platform, find)), end="\n\n", flush=True)


def compared(pipeline: Pipeline, training: Training, platform: Platform, comparing: Comparing) -> Compared:
    """The figures that `comparing` finds for a training and its rows of the test and the training window."""
    folder = TrainingFolder(platform, training.id)
    rows, trained = (read_window(folder, name).to_pandas() for name in ("test", "train"))
    days = [pipeline.schedule.day_of(name) for name in (rows["tick"].min(), rows["tick"].max())]
    return Compared(days[0], days[1], len(rows), comparing(training, rows, trained))


def scored(outcome: np.ndarray, rules: Mapping[str, np.ndarray], scores: Scores) -> Figures:
    """The metrics of each rule's predictions."""
    return {name: {of: float(score(outcome, rule)) for of, score in scores.items()} for name, rule in rules.items()}


def table(found: Compared) -> str:
    """The figures as a Markdown table."""
    metrics = list(found.figures["model"])
    lines = [
        f"| {found.first} to {found.last}, {found.rows:,} rows | {' | '.join(metrics)} |",
        "| --- |" + " ---: |" * len(metrics),
    ]
    lines += [f"| {who} | {' | '.join(f'{one[metric]:.3f}' for metric in metrics)} |" for who, one in found.figures.items()]
    return "\n".join(lines)


def new_platform(home: Path, connection: str, fill: Callable[[str], object]) -> Platform:
    """A platform below an empty folder, with a filled database as the named connection."""
    url = f"sqlite:///{home / connection}.db"
    fill(url)
    given = {
        "MLPROD_HOME": str(home / "var"),
        "MLPROD_PIPELINES": str(PIPELINES),
        "MLPROD_EXPECTATIONS": str(home / "great_expectations"),
        f"MLPROD_CONNECTION_{connection.upper()}": url,
    }
    return Platform(from_environment(given))


def trainings(pipeline: Pipeline, moments: list[Tick], platform: Platform) -> Iterator[Training]:
    """Ingest what is needed and train as of each moment; a training that its gates refuse counts too."""
    schedule = pipeline.schedule
    workflows.ingest(pipeline, schedule.range(schedule.first, max(moments).name), platform)
    for moment in moments:
        try:
            workflows.train(pipeline, moment, "benchmark", platform)
        except GatesRefused as refused:
            print(f"refused: {refused}\n")
        (training,) = platform.ledger.all(Training, pipeline=pipeline.name, as_of=moment.name)
        yield training
