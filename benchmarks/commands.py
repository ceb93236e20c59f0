"""How long `mlprod` takes from a shell, in a cold process each time, and the steps of a tick in a warm process."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path

from benchmarks.flights_year import NAME, begun, variables
from benchmarks.size import SMALL, sized
from mlprod_tasks import steps
from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.platform import Platform

LAST, FIRST_MODEL = date(2013, 6, 16), date(2013, 5, 24)  # of the history, half a year of real flights
# The first tick of several each.
WARM, COLD = sized((date(2013, 6, 17), date(2013, 6, 24)), (date(2013, 3, 13), date(2013, 3, 15)))
TICKS = sized(7, 2)
ROUNDS = sized(5, 1)
IMPORT = "import great_expectations"


def main() -> int:
    """Print both tables. Exit status 0: a missed goal is printed, not failed."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "var"
        pipeline, platform = begun(home, FIRST_MODEL, lambda shipped: shipped, last=LAST)
        warm = _warm_steps(pipeline, platform)
        _print_cold({**os.environ, **variables(home)})
        print("\n### Steps of a tick in a warm process, seconds (median of ticks)")
        print("\n| step | seconds | goal |\n| --- | --- | --- |")
        for step, seconds in warm.items():
            goal = " ≤ 0.8 |" if step == "measure" else " |"
            print(f"| {step} | {seconds:.2f} |{goal}")
    return 0


def _warm_steps(pipeline: Pipeline, platform: Platform) -> dict[str, float]:
    """The median seconds of each step over some ticks; the first tick, which imports, is left out."""
    seconds: dict[str, list[float]] = {}
    for n in range(TICKS):
        tick = pipeline.schedule.tick(WARM + timedelta(days=n))
        ticks = pipeline.schedule.range(tick.name)
        work: dict[str, Callable[[], object]] = {
            "extract": lambda ticks=ticks: steps.extract(pipeline, ticks, platform),
            "audit": lambda ticks=ticks: steps.audit(pipeline, ticks, platform),
            "publish": lambda ticks=ticks: steps.publish(pipeline, ticks, platform),
            "score": lambda tick=tick: steps.score(pipeline, tick, platform),
            "measure": lambda tick=tick: steps.measure(pipeline, tick, platform),
            "decide": lambda tick=tick: steps.decide_and_act(pipeline, tick, platform),
        }
        for step, call in work.items():
            began = time.perf_counter()
            call()
            seconds.setdefault(step, []).append(time.perf_counter() - began)
    return {step: statistics.median(taken[1:]) for step, taken in seconds.items()}


def _print_cold(environment: dict[str, str]) -> None:
    """Each command several times, of a new tick each time where it is about one."""
    mlprod = str(Path(sys.executable).with_name("mlprod"))
    importing = _median([[sys.executable, "-c", IMPORT]] * ROUNDS, environment)
    goals = {
        ("--help",): 1.0,
        ("pipelines",): 1.0,
        ("status", NAME): 1.0,
        ("alarms", NAME): 1.0,
        ("why", NAME, str(WARM)): 1.0,
        ("ingest", NAME, "--from"): importing + 2,
        ("score", NAME, "--from"): 4.0,
        ("monitor", NAME, "--from"): 4.0,
    }
    print("\n### Commands in a cold process, seconds (median)\n\n| command | seconds | goal | |\n| --- | --- | --- | --- |")
    print(f"| `{IMPORT}` | {importing:.2f} | | |")
    for arguments, goal in list(goals.items())[-2:] if SMALL else goals.items():  # each is a process that imports anew
        of_ticks = arguments[-1] == "--from"
        calls = [[mlprod, *arguments, *([str(COLD + timedelta(days=n))] if of_ticks else [])] for n in range(ROUNDS)]
        seconds = _median(calls, environment)
        shown = " ".join(arguments).replace(" --from", "") + (" (one tick)" if of_ticks else "")
        print(f"| `mlprod {shown}` | {seconds:.2f} | ≤ {goal:.1f} | {'met' if seconds <= goal else '**missed**'} |", flush=True)


def _median(calls: list[list[str]], environment: dict[str, str]) -> float:
    taken = []
    for call in calls:
        began = time.perf_counter()
        subprocess.run(call, env=environment, check=True, capture_output=True)
        taken.append(time.perf_counter() - began)
    return statistics.median(taken)


if __name__ == "__main__":
    sys.exit(main())
