"""What an experiment costs a request: the same rows answered with one in force and without, a block of each in turn.

One row a request, in this process, without HTTP around it, so that the ratio is larger than a caller sees. Two variants, both
answered by the champion, the treated one by another threshold: what is measured is assignment and log, not another model.
`--home FOLDER`: an installation to make, or to use again, as of `benchmarks.serving`.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import tempfile
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from benchmarks.served_home import Home, asked, home, rows_of
from benchmarks.serving_parts import answered
from benchmarks.size import sized
from mlprod_tasks import declaration as ml
from mlprod_tasks.experiments.assignment import Variant
from mlprod_tasks.experiments.plan import Plan, Usual, Wanted
from mlprod_tasks.platform.experiment_entries import ExperimentRun
from mlprod_tasks.serving.app import Service
from mlprod_tasks.serving.run import build_service

ROUNDS, BLOCK = sized(300, 3), sized(100, 10)
GOAL = 1.03
NAME = "cost"
WAYS = ("without", "experiment", "canary")


def main() -> None:
    """Print the table."""
    given = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    given.add_argument("--home", type=Path, help="an installation to make, or to use again")
    given.add_argument("--small", action="store_true", help="few rows: only to see that it runs")
    chosen = given.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        here = home(chosen.home or Path(folder) / "home")
        here = replace(here, pipeline=replace(here.pipeline, experiments=_experiments()))
        _start(here)
        service = build_service(here.platform, {here.pipeline.name: here.pipeline})
        bodies = [body.encode() for body in asked(here, rows_of(here, BLOCK))]
        print_table(measured(here, service, bodies))


def measured(here: Home, service: Service, bodies: list[bytes]) -> dict[str, list[float]]:
    """Microseconds a request, by way: the lower quartile of each block, since others use the machine, too."""
    loaded, name = service.loader.loaded[here.pipeline.name], here.pipeline.name
    assert loaded.experiments, "the experiment is not in force"
    states = {
        "without": {"experiments": (), "rollout": None},
        "experiment": {"experiments": loaded.experiments, "rollout": None},
        "canary": {"experiments": (), "rollout": loaded.rollout},
    }
    found: dict[str, list[float]] = {way: [] for way in WAYS}
    log = service.scorers[name].log
    turn = 0
    gc.collect()
    gc.freeze()
    for i in range(ROUNDS + 1):
        for way in (*WAYS[i % len(WAYS) :], *WAYS[: i % len(WAYS)]):
            service.loader._change(name, **states[way])
            seconds = answered(here, service, bodies, turn)
            turn += 1
            split = {row.experiment for row in list(log._waiting)[-5:]} if log.waiting else {None}
            assert way != "experiment" or split != {None}, "no row was assigned"
            if i:  # the first round warms up
                found[way].append(1e6 * statistics.quantiles(seconds, n=4)[0])
        log.flush()
    return found


def print_table(found: dict[str, list[float]]) -> None:
    print("| requests | microseconds, median | to without, median of pairs | middle half |\n| --- | ---: | ---: | ---: |")
    for way in WAYS:
        ratios = [one / other for one, other in zip(found[way], found["without"], strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        missed = ": missed" if middle > GOAL else ""
        goal = f" (goal {GOAL}{missed})" if way == "experiment" else ""
        print(f"| {way} | {statistics.median(found[way]):.1f} | {middle:.3f}{goal} | {low:.3f} to {high:.3f} |")


def _experiments() -> ml.Experiments:
    return ml.Experiments(metrics=(ml.UnitMetric("saved", "value", "what acting saved"),))


def _start(here: Home) -> None:
    """Write an experiment whose ticks are those of the requests: it could not be started in their past."""
    platform, schedule = here.platform, here.pipeline.schedule
    tick = schedule.tick_at(here.moment).name
    variants = (Variant("control", here.champion, 0.5), Variant("champion@0.4", here.champion, 0.5, 0.4))
    plan = Plan(Wanted("saved", 1.0, rows="requests"), variants, 1, 1, 1, 1.0, Usual(tick, tick, 1, 1.0, 1.0))
    last = schedule.last_at(platform.clock.now()).name
    if platform.ledger.get(ExperimentRun, here.pipeline.name, NAME) is None:
        platform.ledger.put(
            ExperimentRun(
                pipeline=here.pipeline.name, name=NAME, at=platform.clock.now() - timedelta(days=1), by="me", reason="",
                plan=plan.as_json(), salt="1f2e3d4c5b6a7988", starts=tick, ends=last,
            )
        )  # fmt: skip


if __name__ == "__main__":
    main()
