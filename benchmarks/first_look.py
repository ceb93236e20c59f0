"""What `mlprod try` of a shipped use case costs: a year is ingested, a model trained and judged, the last ticks are monitored.

`python -m benchmarks.first_look [--use household_spend]`: processor seconds of each phase, with those of child processes, in
which other work on the machine does not count; and what the steps took, by the clock.
"""

from __future__ import annotations

import argparse
import itertools
import logging
import resource
import sys
import tempfile
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

from sqlalchemy import select

from benchmarks.size import SMALL
from demo import business_database, grocery_database
from mlprod_tasks import declaration as ml
from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.ledger import StepRun
from mlprod_tasks.platform.settings import from_environment
from mlprod_tasks.starting.try_pipeline import try_pipeline

REPOSITORY = Path(__file__).parents[1]
SOURCES = {"flight_delays": ("business", business_database.fill), "household_spend": ("grocery", grocery_database.fill)}
GOAL = 120  # seconds, by the clock of an idle machine


@dataclass(frozen=True)
class Moment:
    """phase: what begins then; seconds so far, of a processor and by the clock."""

    phase: str
    processor: float
    clock: float


def main() -> int:
    """Print a line for each phase and step, and the sum."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--use", choices=SOURCES, default="flight_delays")
    use = parser.parse_known_args()[0].use
    connection, fill = SOURCES[use]
    logging.basicConfig(level=logging.ERROR)
    for library in ("great_expectations", "mlflow", "alembic"):
        logging.getLogger(library).setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory(prefix="first-look-") as folder:
        settings = from_environment(
            {
                "MLPROD_HOME": f"{folder}/home",
                "MLPROD_PIPELINES": str(REPOSITORY / "pipelines"),
                f"MLPROD_CONNECTION_{connection.upper()}": f"sqlite:///{folder}/source.db",
            }
        )
        fill(settings.connection(connection))
        pipeline = tried(ml.load(REPOSITORY / "pipelines" / f"{use}.py"))
        moments = [moment("look for the history")]
        trial, _ = try_pipeline(
            pipeline,
            settings,
            Path(folder) / "trial",
            lambda said: moments.append(moment(said)),
            most_ticks=2 if SMALL else None,
        )
        moments.append(moment(""))
        print(f"{sum(trial.rows.values()):,} rows of {len(trial.history.ticks)} ticks;")
        print(f"{len(trial.history.replayed)} ticks are scored and monitored\n")
        print("| phase | processor seconds | seconds |\n| --- | ---: | ---: |")
        for begun, ended in itertools.pairwise(moments):
            print(f"| {name_of(begun.phase)} | {ended.processor - begun.processor:.1f} | {ended.clock - begun.clock:.1f} |")
        first, last = moments[0], moments[-1]
        print(f"| **all** (goal {GOAL}) | {last.processor - first.processor:.1f} | {last.clock - first.clock:.1f} |\n")
        print_steps(trial.platform)
    return 0


def tried(pipeline: Pipeline) -> Pipeline:
    """The shipped use case; at the small size over a few weeks."""
    if not SMALL:
        return pipeline
    weeks = ml.Split(validation=ml.days(7), test=ml.days(7), gap=ml.days(2))
    gates = tuple(gate for gate in pipeline.gates if isinstance(gate, ml.AtMost))
    schedule = replace(pipeline.schedule, ends=date(2013, 2, 10))
    return replace(pipeline, schedule=schedule, split=weeks, gates=gates, backtest=None)


def moment(phase: str) -> Moment:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return Moment(phase, sum(one.ru_utime + one.ru_stime for one in used), time.perf_counter())


def name_of(said: str) -> str:
    """The phase in what is said when it begins: '2 of 4: training as of ...' is training."""
    return said.partition(": ")[2].split(" as of ")[0].partition(",")[0] or said


def print_steps(platform: Platform) -> None:
    seconds, runs = defaultdict[str, float](float), Counter[str]()
    with platform.ledger.session() as session:
        for run in session.scalars(select(StepRun).order_by(StepRun.at)):
            seconds[run.step] += run.seconds
            runs[run.step] += 1
    print("| step | runs | seconds |\n| --- | ---: | ---: |")
    for step, taken in seconds.items():
        print(f"| {step} | {runs[step]} | {taken:.1f} |")


if __name__ == "__main__":
    sys.exit(main())
