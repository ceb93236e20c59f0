"""The real year of flights as an installation has it: filled, ingested by the workflow, with a first champion."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from functools import cache
from pathlib import Path

from benchmarks.size import LAST_SMALL, SMALL
from demo.business_database import fill
from mlprod_tasks import declaration as ml
from mlprod_tasks import workflows
from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.settings import from_environment

REPOSITORY = Path(__file__).parents[1]
NAME = "flight_delays"
BEGINS = "2013-01-02"
Told = Callable[[str], None]
FIRST_SMALL = date(2013, 3, 10)  # as of which the first model is trained at the small size


def variables(home: Path) -> dict[str, str]:
    """The environment of processes that work on it."""
    return {
        "MLPROD_HOME": str(home),
        "MLPROD_PIPELINES": str(REPOSITORY / "pipelines"),
        "MLPROD_EXPECTATIONS": str(home / "great_expectations"),
        "MLPROD_CONNECTION_BUSINESS": f"sqlite:///{home.parent / 'business.db'}",
    }


def platform_of(home: Path) -> Platform:
    return Platform(from_environment(variables(home)))


def print_nothing(said: str) -> None:
    """What is being done is told to nobody."""


def begun(
    home: Path, first: date, declared: Callable[[Pipeline], Pipeline], *, last: date | None = None, told: Told = print_nothing
) -> tuple[Pipeline, Platform]:
    """Ingest the year up to `last`, or all of it, and promote a model as of `first`.

    home: a folder that is not there yet; the business database is written beside it. declared: what is changed in the shipped
    use case. At the small size both days are the same for all who ask, and one process makes it once.
    """
    if SMALL:
        made = _small()
        home.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(made.parent / "business.db", home.parent)
        shutil.copytree(made, home)
    pipeline = declared(ml.load(REPOSITORY / "pipelines" / f"{NAME}.py"))
    platform = platform_of(home)
    if not SMALL:
        _make(home, pipeline, first, last, told)
    return pipeline, platform


@cache
def _small() -> Path:
    home = Path(tempfile.mkdtemp(prefix="mlprod-small-year-")) / "home"
    atexit.register(shutil.rmtree, home.parent, ignore_errors=True)
    shipped = ml.load(REPOSITORY / "pipelines" / f"{NAME}.py")
    # So few rows pass none of the shipped gates.
    pipeline = replace(shipped, gates=(ml.AtLeast("roc_auc", 0.5),), backtest=None)
    _make(home, pipeline, FIRST_SMALL, LAST_SMALL, print_nothing)
    return home


def _make(home: Path, pipeline: Pipeline, first: date, last: date | None, told: Told) -> None:
    platform = platform_of(home)
    left_out = shutil.ignore_patterns("uncommitted")
    shutil.copytree(REPOSITORY / "great_expectations", home / "great_expectations", ignore=left_out)
    told("filling the business database")
    fill(platform.settings.connection("business"))
    told("ingesting the year")
    workflows.ingest(pipeline, pipeline.schedule.range(BEGINS, last or pipeline.schedule.ends), platform)
    told("training the first model")
    workflows.train(pipeline, pipeline.schedule.tick(first), "first model", platform)
