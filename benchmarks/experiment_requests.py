"""What an experiment or a bandit costs a request: the same rows answered with it and without, a block of each in turn.

One row a request. In this process, without HTTP around it, so that the ratio is larger than a caller sees; then from another
process over one connection. Two variants, both answered by the champion, the treated one by another threshold: what is measured
is assignment and log, not another model.
`--home FOLDER`: an installation to make, or to use again, as of `benchmarks.serving`.
"""

from __future__ import annotations

import argparse
import gc
import multiprocessing
import socket
import statistics
import tempfile
import threading
import time
from dataclasses import asdict, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import uvicorn

from benchmarks.served_home import Home, asked, home, rows_of
from benchmarks.serving_parts import answered, filled
from benchmarks.size import sized
from mlprod_tasks import declaration as ml
from mlprod_tasks.bandits.arm_rewards import ArmRewards
from mlprod_tasks.declaration.pipeline import plain
from mlprod_tasks.experiments.assignment import Variant
from mlprod_tasks.experiments.plan import Plan, Usual, Wanted
from mlprod_tasks.platform.bandit_entries import BanditRun, BanditState
from mlprod_tasks.platform.experiment_entries import ExperimentRun
from mlprod_tasks.serving.app import Service
from mlprod_tasks.serving.bandits import split_of
from mlprod_tasks.serving.run import build_service, uvicorn_config

ROUNDS, BLOCK = sized(300, 3), sized(100, 10)
GOAL = 1.03
NAME = "cost"
WAYS = ("without", "experiment", "canary", "bandit", "bandit by two features")
GOALS = ("experiment", "bandit")  # what has one; by features shares are computed for each row
CONTEXT = ("distance", "dep_hour")
HTTP_ROUNDS = sized(60, 2)
States = dict[str, dict[str, Any]]
AFTER_IN_PROCESS = 10_000  # turns, so that no row is asked for again


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
        states = ways(here, service)  # before they are changed
        print("in process\n")
        print_table(measured(here, service, bodies, states))
        print("\nover HTTP, one connection\n")
        print_table(measured_over_http(here, service, bodies, states))


def measured(here: Home, service: Service, bodies: list[bytes], states: States) -> dict[str, list[float]]:
    """Microseconds a request, by way: the lower quartile of each block, since others use the machine, too."""
    name = here.pipeline.name
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


def ways(here: Home, service: Service) -> States:
    """What is loaded in each way."""
    loaded = service.loader.loaded[here.pipeline.name]
    assert loaded.experiments, "the experiment is not in force"
    bandits = {
        "bandit": split_of(here.pipeline, *_bandit(here, ml.ThompsonSampling())),
        "bandit by two features": split_of(here.pipeline, *_bandit(here, ml.LinUCB(CONTEXT))),
    }
    return {
        "without": {"experiments": (), "rollout": None},
        "experiment": {"experiments": loaded.experiments, "rollout": None},
        "canary": {"experiments": (), "rollout": loaded.rollout},
        **{way: {"experiments": (split,), "rollout": None} for way, split in bandits.items()},
    }


def measured_over_http(here: Home, service: Service, bodies: list[bytes], states: States) -> dict[str, list[float]]:
    """The same over HTTP: a client in a process of its own asks one request after the other."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    server = uvicorn.Server(uvicorn_config(service, "127.0.0.1", port))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    client = context.Process(target=ask_in_turn, args=(port, theirs), daemon=True)
    client.start()
    found: dict[str, list[float]] = {way: [] for way in WAYS}
    turn = 0
    for i in range(HTTP_ROUNDS + 1):
        for way in (*WAYS[i % len(WAYS) :], *WAYS[: i % len(WAYS)]):
            service.loader._change(here.pipeline.name, **states[way])
            turn += 1
            ours.send(_requests(here, bodies, AFTER_IN_PROCESS + turn))
            seconds = ours.recv()
            if i:
                found[way].append(1e6 * statistics.quantiles(seconds, n=4)[0])
        service.scorers[here.pipeline.name].log.flush()
    ours.send(None)
    client.join()
    server.should_exit = True
    thread.join()
    return found


def _requests(here: Home, bodies: list[bytes], turn: int) -> list[bytes]:
    """Requests whose rows are like no others, as they are sent."""
    head = f"POST /v1/pipelines/{here.pipeline.name}/score HTTP/1.1\r\nhost: x\r\nauthorization: Bearer "
    made = []
    for i, body in enumerate(bodies):
        row = filled(body, turn * len(bodies) + i)
        made.append(f"{head}{here.keys[i % len(here.keys)]}\r\ncontent-length: {len(row)}\r\n\r\n".encode() + row)
    return made


def ask_in_turn(port: int, told: Any) -> None:
    """Ask the requests that it is told, one after the other, and tell the seconds of each."""
    for _ in range(600):
        try:
            connection = socket.create_connection(("127.0.0.1", port))
            break
        except OSError:
            time.sleep(0.05)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    while (sent := told.recv()) is not None:
        seconds = []
        for request in sent:
            began = time.perf_counter()
            connection.sendall(request)
            answer = connection.recv(65536)
            seconds.append(time.perf_counter() - began)
            assert answer.startswith(b"HTTP/1.1 200"), answer
        told.send(seconds)
    connection.close()


def print_table(found: dict[str, list[float]]) -> None:
    print("| requests | microseconds, median | to without, median of pairs | middle half |\n| --- | ---: | ---: | ---: |")
    for way in WAYS:
        ratios = [one / other for one, other in zip(found[way], found["without"], strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        missed = ": missed" if middle > GOAL else ""
        goal = f" (goal {GOAL}{missed})" if way in GOALS else ""
        print(f"| {way} | {statistics.median(found[way]):.1f} | {middle:.3f}{goal} | {low:.3f} to {high:.3f} |")


def _experiments() -> ml.Experiments:
    return ml.Experiments(metrics=(ml.UnitMetric("saved", "value", "what acting saved"),), bandit=ml.Bandit("saved"))


def _bandit(here: Home, policy: Any) -> tuple[BanditRun, list[BanditState]]:
    """A bandit of the same arms, and a version of its state that gives both of them."""
    assert here.pipeline.experiments is not None
    tick, arms = here.pipeline.schedule.tick_at(here.moment).name, ("control", "champion@0.4")
    variants = [Variant("control", here.champion, 1 / 2), Variant("champion@0.4", here.champion, 1 / 2, 0.4)]
    plan = {
        "bandit": plain(ml.Bandit("saved", policy)), "metric": plain(here.pipeline.experiments.metrics[0]), "arms": list(arms),
        "variants": [asdict(one) for one in variants],
    }  # fmt: skip
    run = BanditRun(
        pipeline=here.pipeline.name, name=NAME, at=here.moment, by="me", reason="", plan=plan, salt="1f2e3d4c5b6a7988",
        starts=tick, ends=None,
    )  # fmt: skip
    random = np.random.default_rng(1)
    by_features = hasattr(policy, "features")
    features = random.normal(0, 1, (4000, len(CONTEXT))) * [700.0, 5.0] + [1000.0, 13.0] if by_features else None
    rewards = ArmRewards.of(2, random.integers(0, 2, 4000), random.normal(0, 50, 4000), features)
    shares = {} if by_features else {"control": 0.6, "champion@0.4": 0.4}
    best = {"control": 0.6, "champion@0.4": 0.4}
    state = BanditState(
        pipeline=here.pipeline.name, name=NAME, version=1, through=tick, tick=tick, at=here.moment, rewards=rewards.as_json(),
        best=best, shares=shares,
    )  # fmt: skip
    return run, [state]


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
