"""What the service answers a second, and how late, beside `mlflow models serve` and beside the least that can.

`wrk` (Debian's package) asks on loopback, one server at a time, in turns; medians over the turns, and ratios, of one run. The
service runs as in production, with everything on: API keys, fields checked, online store (SQLite), a canary between two
versions, prediction log, access log to a file. It gets the row and computes the features; the other two are given them.
MLflow's server has one worker, the others one process. Servers are compared, and goals judged, by `new`, no row twice: each
then computes every answer. Beside it the service alone is asked in the ways that its caches are for: `many`, rows drawn from
32,000 different flights, more than are kept answered; `same`, one row.

`python -m benchmarks.serving [--task regression] [--home FOLDER] [--seconds N] [--turns N]`: some eight minutes; what was made
in the folder is used again. The same flights may be asked for a number or a class instead of a yes or no; goals are for the
latter.
"""

from __future__ import annotations

import argparse
import itertools
import json
import logging
import math
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import pyarrow as pa

from benchmarks.served_home import GATES, Home, asked, features_of, home, rows_of
from benchmarks.serving_parts import parts
from benchmarks.size import sized
from mlprod_tasks.platform import names as places

REPOSITORY = Path(__file__).parents[1]
SCRIPT = REPOSITORY / "benchmarks" / "serving.lua"
DIFFERENT = sized(32_000, 3_000)
CONNECTIONS = sized((1, 8, 32), (1, 8))
WAYS = sized(("new", "many", "same"), ("new",))
OURS, PLAIN = "mlprod serve", "mlprod serve --no-fast-path"
MLFLOW, BARE = "mlflow models serve", "Starlette, msgspec, LightGBM"
WARM_SECONDS, START_SECONDS = 1, 120
FASTER_THAN_MLFLOW, SHARE_OF_BARE, P99_MILLISECONDS = 30.0, 0.5, 3.0
UNITS = {"us": 0.001, "ms": 1.0, "s": 1000.0, "m": 60_000.0}
BUSY: Mapping[str, str] = {"OMP_WAIT_POLICY": "passive", "MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}


@dataclass(frozen=True)
class Asked:
    """What wrk saw: requests a second, latencies in milliseconds."""

    rate: float
    p50: float
    p99: float


@dataclass
class Server:
    """One that answers. bodies: the file that wrk reads; memory in MB, of all its processes."""

    name: str
    url: str
    bodies: Path
    keys: tuple[str, ...]
    process: subprocess.Popen[bytes]
    start_seconds: float
    started_mb: tuple[float, float]

    def memory(self) -> tuple[float, float]:
        """Resident, and proportional: what is shared counted by share."""
        first = psutil.Process(self.process.pid)
        told = [one.memory_full_info() for one in (first, *first.children(recursive=True))]
        return sum(one.rss for one in told) / 1e6, sum(one.pss for one in told) / 1e6

    def ask(self, connections: int, seconds: float, way: str, start: int) -> Asked:
        """Load it. Raises: RuntimeError where an answer was not what it should be, or nothing was answered."""
        return read(self.load(connections, seconds, way, start))

    def load(self, connections: int, seconds: float, way: str, start: int) -> str:
        """What wrk says of it."""
        command = ["wrk", "-t1", f"-c{connections}", f"-d{math.ceil(seconds)}s", "--latency", "--timeout", "30s", "-s", SCRIPT]
        command += [self.url, "--", self.bodies, way, start, *self.keys]
        return subprocess.run([str(one) for one in command], capture_output=True, text=True, check=True).stdout


def main() -> int:
    """Print the tables. Exit status 1 where wrk is not there."""
    given = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    given.add_argument("--task", choices=tuple(GATES), default="binary", help="what the flights are asked for")
    given.add_argument("--home", type=Path, help="an installation to make, or to use again")
    given.add_argument("--seconds", type=int, default=sized(5, 1), help="of each measurement")
    given.add_argument("--turns", type=int, default=sized(3, 1), help="how often each is repeated")
    given.add_argument("--small", action="store_true", help="few rows for seconds: only to see that it runs")
    chosen = given.parse_args()
    if shutil.which("wrk") is None:
        print("wrk is not installed: apt-get install wrk", file=sys.stderr)
        return 1
    logging.basicConfig(level=logging.ERROR)
    with tempfile.TemporaryDirectory() as folder, ExitStack() as running:
        here = home(chosen.home or Path(folder) / "home", chosen.task)
        files = written(here, Path(folder))
        servers = [running.enter_context(started(name, here, files, Path(folder))) for name in (MLFLOW, BARE, PLAIN, OURS)]
        starts = itertools.count(int(time.time()) % 1_000_000 * 1000, 1_000_000)  # nothing that an earlier run asked
        compare(servers, chosen.seconds, chosen.turns, starts)
        ours = servers[-1]
        fastest = ways(ours, chosen.seconds, chosen.turns, starts)
        print_costs(servers)
        running.close()  # nothing else runs while the parts are measured
        bodies = [line.encode() for line in files[OURS].read_text().splitlines()[:3000]]
        print_parts(parts(here, bodies), 1e6 / fastest)
    return 0


def written(here: Home, folder: Path) -> dict[str, Path]:
    """What each server is sent, a body a line, for the same rows; and the trees for the bare one."""
    rows = rows_of(here, DIFFERENT)
    model = here.platform.registry.load(here.pipeline, here.champion)
    model.fitted._trees.save_model(folder / "trees.txt")
    values = features_of(here, rows)
    names = here.pipeline.feature_names
    table = pa.table({name: pa.array([one[i] for one in values]) for i, name in enumerate(names)}).select(model.feature_names)
    numbers = [[None if math.isnan(one) else one for one in row] for row in model.matrix(table).tolist()]
    split = [
        {"dataframe_split": {"columns": list(table.column_names), "data": [list(row.values())]}} for row in table.to_pylist()
    ]
    lines = {
        OURS: asked(here, rows),
        MLFLOW: [json.dumps(one) for one in split],
        BARE: [json.dumps({"numbers": row}) for row in numbers],
    }
    files = {name: folder / f"{name.split()[0].strip(',')}.jsonl" for name in lines}
    for name, file in files.items():
        file.write_text("\n".join(lines[name]) + "\n")
    return files | {PLAIN: files[OURS]}


@contextmanager
def started(name: str, here: Home, files: Mapping[str, Path], folder: Path) -> Iterator[Server]:
    """A server, from its start until it says that it is ready, ended with all its processes."""
    port, python = free_port(), Path(sys.executable).parent
    own = ["--env-manager", "local", "--workers", "1", "--port", str(port)]
    uri = f"models:/{places.registered_model(here.pipeline)}/{here.champion}"
    serve, score = (
        [f"{python}/mlprod", "serve", here.pipeline.name, "--port", str(port)],
        f"/v1/pipelines/{here.pipeline.name}/score",
    )
    told: dict[str, tuple[list[str], str, str]] = {
        OURS: (serve, "/ready", score),
        PLAIN: ([*serve, "--no-fast-path"], "/ready", score),
        MLFLOW: (
            [f"{python}/mlflow", "models", "serve", "--model-uri", uri, *own],
            "/ping",
            "/invocations",
        ),
        BARE: ([sys.executable, "-m", "benchmarks.serving_bare", str(folder / "trees.txt"), str(port)], "/ready", "/score"),
    }  # fmt: skip
    command, ready, path = told[name]
    variables = {**os.environ, **BUSY, **here.variables, "PATH": f"{python}:{os.environ['PATH']}"}
    began = time.perf_counter()
    with open(folder / f"{port}.log", "wb") as log:
        process = subprocess.Popen(
            command, cwd=REPOSITORY, env=variables, stdout=log, stderr=log, start_new_session=True
        )  # its own group
        try:
            while not answers(f"http://127.0.0.1:{port}{ready}"):
                if process.poll() is not None or time.perf_counter() - began > START_SECONDS:
                    raise RuntimeError(f"{name} did not start: {(folder / f'{port}.log').read_text()[-2000:]}")
                time.sleep(0.02)
            seconds = time.perf_counter() - began
            keys = here.keys if name in (OURS, PLAIN) else ()
            server = Server(name, f"http://127.0.0.1:{port}{path}", files[name], keys, process, seconds, (0.0, 0.0))
            server.started_mb = server.memory()
            yield server
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def compare(servers: Sequence[Server], seconds: float, turns: int, starts: Iterator[int]) -> None:
    """All servers at every number of connections, in turns whose order changes, and the goals."""
    seen: dict[tuple[str, int], list[Asked]] = {}
    warm = next(starts)
    for server in servers:
        server.load(8, 2 * WARM_SECONDS, "new", warm)
    ours = next(one for one in servers if one.name == OURS)
    before = counters(ours)
    for turn in range(turns):
        for connections in CONNECTIONS:
            warm, start = next(starts), next(starts)  # the same rows for all
            for server in (*servers[turn % len(servers) :], *servers[: turn % len(servers)]):
                server.load(connections, WARM_SECONDS, "new", warm)
                seen.setdefault((server.name, connections), []).append(server.ask(connections, seconds, "new", start))
                said(f"{server.name}, {connections} connections: {seen[server.name, connections][-1]}")
    if (kept := share(gained(ours, before), "cache")) > 0.01:
        raise RuntimeError(f"{kept:.0%} of the rows were not computed but answered from the prediction cache")
    print(f"### Answers on request, one row each, no row twice, medians of {turns} turns of {seconds:g} s\n")
    print("| server | connections | requests a second | p50, ms | p99, ms |\n| --- | ---: | ---: | ---: | ---: |")
    for server in servers:
        for connections in CONNECTIONS:
            print(f"| {server.name} | {connections} | {cells(seen[server.name, connections])} |")
    most = CONNECTIONS[-1]
    to_mlflow, to_bare, to_plain = (ratio(seen[OURS, most], seen[other, most]) for other in (MLFLOW, BARE, PLAIN))
    late = median(seen[OURS, 8], "p99")
    print(
        f"\n`{OURS}` over `{MLFLOW}` at {most} connections: {to_mlflow:.1f}x (goal: at least {FASTER_THAN_MLFLOW:g}; "
        f"{met(to_mlflow >= FASTER_THAN_MLFLOW)}); over {BARE}: {to_bare:.2f} (goal: at least {SHARE_OF_BARE:g}; "
        f"{met(to_bare >= SHARE_OF_BARE)}); over `{PLAIN}`: {to_plain:.2f}; "
        f"p99 at 8 connections: {late:.2f} ms (goal: at most {P99_MILLISECONDS:g}; "
        f"{met(late <= P99_MILLISECONDS)}).\n"
    )


def ways(server: Server, seconds: float, turns: int, starts: Iterator[int]) -> float:
    """The service asked in each way: what the caches do. Requests a second of rows that are all new, with most connections."""
    seen: dict[tuple[str, int], list[Asked]] = {}
    kept: dict[tuple[str, str], list[float]] = {}
    for _ in range(turns):
        for way in WAYS:
            server.load(8, WARM_SECONDS, way, next(starts))
            before = counters(server)
            for connections in CONNECTIONS:
                seen.setdefault((way, connections), []).append(server.ask(connections, seconds, way, next(starts)))
            new = gained(server, before)
            for what in ("cache", "store"):
                kept.setdefault((way, what), []).append(share(new, what))
            if new["fallback_rows"] or new["refused_rows"] or new["log_dropped"]:
                raise RuntimeError(f"not every row was answered by a model and logged: {new}")
    print("### The same service, by what is asked\n")
    print(
        "| rows | answered from the prediction cache | of the store's entries, those held in memory | connections | "
        "requests a second | p50, ms | p99, ms |\n| --- | ---: | ---: | ---: | ---: | ---: | ---: |"
    )
    for way in WAYS:
        cached, held = (f"{statistics.median(kept[way, what]):.0%}" for what in ("cache", "store"))
        for connections in CONNECTIONS:
            print(f"| {way} | {cached} | {held} | {connections} | {cells(seen[way, connections])} |")
    print()
    return median(seen["new", CONNECTIONS[-1]], "rate")


def print_costs(servers: Sequence[Server]) -> None:
    print(
        "### What a replica takes\n\n| server | seconds to be ready | MB resident, started | proportional | after the load | "
        "proportional |\n| --- | ---: | ---: | ---: | ---: | ---: |"
    )
    for one in servers:
        (rss, pss), (rss_after, pss_after) = one.started_mb, one.memory()
        print(f"| {one.name} | {one.start_seconds:.1f} | {rss:,.0f} | {pss:,.0f} | {rss_after:,.0f} | {pss_after:,.0f} |")
    print()


def print_parts(found: Mapping[str, float], request: float) -> None:
    """Microseconds and shares of a request at saturation, every row new."""
    whole, *rest = found.items()
    print("### Where a request goes, every row new\n\n| part | microseconds | share |\n| --- | ---: | ---: |")
    print(f"| a request at {CONNECTIONS[-1]} connections | {request:.0f} | 100% |")
    print(f"| HTTP, both logs' threads, waiting for a core | {request - whole[1]:.0f} | {1 - whole[1] / request:.0%} |")
    for name, microseconds in (whole, *rest):
        print(f"| {name} | {microseconds:.1f} | {'' if name.startswith('(') else f'{microseconds / request:.0%}'} |")
    print()


def read(told: str) -> Asked:
    """wrk's report. Raises: RuntimeError where requests failed or were refused."""
    if wrong := re.search(r"Socket errors:.*|Non-2xx.*", told):
        raise RuntimeError(f"wrk: {wrong[0]}\n{told}")
    rate = re.search(r"Requests/sec:\s+([\d.]+)", told)
    late = {
        share: float(n) * UNITS[unit]
        for share, n, unit in re.findall(r"^\s+(\d+)%\s+([\d.]+)(us|ms|s|m)\s*$", told, re.MULTILINE)
    }
    if rate is None or not {"50", "99"} <= set(late):
        raise RuntimeError(f"wrk told nothing:\n{told}")
    return Asked(float(rate[1]), late["50"], late["99"])


def counters(server: Server) -> dict[str, float]:
    """The service's own counts."""
    host = server.url.split("/v1/")[0]
    with urllib.request.urlopen(f"{host}/metrics", timeout=10) as told:
        text = told.read().decode()
    return {name: float(n) for name, n in re.findall(r"^mlprod_served_(\w+)_total\{[^}]*\} ([\d.e+-]+)$", text, re.MULTILINE)}


def gained(server: Server, before: Mapping[str, float]) -> dict[str, float]:
    """By how much the service's counts have grown."""
    return {name: n - before[name] for name, n in counters(server).items()}


def share(counts: Mapping[str, float], what: str) -> float:
    """Of what was looked for, what was there; NaN where nothing was looked for."""
    looked = counts[f"{what}_hits"] + counts[f"{what}_misses"]
    return counts[f"{what}_hits"] / looked if looked else math.nan


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as told:
            return bool(told.status == 200)
    except OSError:
        return False


def median(of: Sequence[Asked], what: str) -> float:
    return float(statistics.median(getattr(one, what) for one in of))


def cells(of: Sequence[Asked]) -> str:
    return f"{median(of, 'rate'):,.0f} | {median(of, 'p50'):.2f} | {median(of, 'p99'):.2f}"


def ratio(ours: Sequence[Asked], theirs: Sequence[Asked]) -> float:
    """Of neighbours in time, since a machine is not as fast all the time; the median."""
    return statistics.median(a.rate / b.rate for a, b in zip(ours, theirs, strict=True))


def met(reached: bool) -> str:
    return "met" if reached else "MISSED"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def said(what: str) -> None:
    print(what, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
