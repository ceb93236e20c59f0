"""What the service does while something around it breaks: two replicas behind nginx under constant load, fault by fault.

Replicas, nginx, Redis (the online store) and PostgreSQL (the ledger) are real processes on loopback; the use case is
benchmarks/shop, whose features ask the store for each of 2,000 customers. Requests of one row come at a fixed rate, and each
counts as failed that is not answered with 200. What is 'during' a fault begins with it and ends when it is over. Swaps go
round among more versions than a replica keeps loaded, so that each is loaded anew. The overload is wrk's: connections of which
each asks again as soon as it is answered, heeding no Retry-After, ten times as many as one replica may have under way; once at
one replica alone, once at nginx before both. Latency is that of other requests, sent beside it at a low rate.

`python -m benchmarks.faults [TRIAL]... [--rate N]`: all trials where none is named. Needs nginx, redis-server and wrk. About
five minutes.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import logging
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq

from benchmarks import served_shop
from benchmarks.load import PATH, Load, Outcome, order
from benchmarks.replicas import LOOPBACK, Nginx, PostgreSQL, Redis, Replica, ask, wait_for, where_is
from mlprod_tasks.online.plan import serving_of
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.ledger import Rollout
from mlprod_tasks.rollback import rollback
from mlprod_tasks.serve.app import Limits
from mlprod_tasks.serve.prediction_log import log_folder

RATE = 300.0
BEFORE = 3.0  # seconds of load before a fault
HOLD = 6.0  # seconds that something stays away
NEXT = 3.0  # seconds that nginx may take to ask a replica again that was away
SWAPS = 20
SLOW = 50
TIMES = 10  # what may be under way
OVERLOAD_SECONDS = 10
PROBES = 50.0  # requests a second that are measured beside the overload
CHANCE = random.Random(7)
SEEDS = itertools.count(1)  # so that no load asks about the orders of another


@dataclass
class Place:
    """Everything that runs, and where it writes."""

    folder: Path
    platform: Platform
    replicas: Sequence[Replica]
    nginx: Nginx
    redis: Redis
    postgres: PostgreSQL
    rate: float

    def load(self, rate: float | None = None, url: str | None = None) -> Load:
        return Load(url or self.nginx.url, rate or self.rate, self.folder / f"load-{next(SEEDS)}.jsonl", seed=next(SEEDS))


@dataclass(frozen=True)
class Trial:
    """What a fault did to requests, and what else there is to tell."""

    name: str
    before: Outcome
    during: Outcome
    whole: Outcome
    told: tuple[str, ...] = ()

    @property
    def line(self) -> str:
        return (
            f"| {self.name} | {len(self.whole):,} | {self.whole.failed} | {self.during.share('fallback'):.1%} | "
            f"{self.before.milliseconds(99):.1f} | {self.during.milliseconds(99):.1f} | {1000 * self.whole.longest_wait:.0f} |"
        )


def main() -> int:
    """Print the table, then what else was seen."""
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("trials", nargs="*", metavar="TRIAL", help=", ".join(TRIALS))
    asked.add_argument("--rate", type=float, default=RATE, help="requests a second")
    given = asked.parse_args()
    if unknown := set(given.trials) - set(TRIALS):
        asked.error(f"no trial {', '.join(unknown)}")
    if absent := [name for name in ("nginx", "redis-server", "wrk") if where_is(name) is None]:
        sys.exit(f"not installed: {', '.join(absent)}")
    logging.getLogger("mlprod_tasks").setLevel(logging.ERROR)
    told: list[str] = []
    with tempfile.TemporaryDirectory() as folder, PostgreSQL() as postgres, Redis(Path(folder) / "redis") as redis:
        home, run = Path(folder) / "home", Path(folder) / "run"
        redis.start()
        variables = served_shop.environment(home, MLPROD_ONLINE_URL=redis.url, MLPROD_LEDGER_URL=postgres.url)
        platform = served_shop.make(variables)
        replicas = [Replica(number, variables, run) for number in (1, 2)]
        with replicas[0], replicas[1], Nginx(replicas, run) as nginx:
            started = [one.start() for one in replicas]
            nginx.start()
            print(f"{given.rate:g} requests a second, two replicas; a replica is ready {max(started):.1f} s after its start\n")
            print("| fault | requests | failed | by fallback during | p99 before, ms | p99 during, ms | longest, ms |")
            print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |", flush=True)
            place = Place(run, platform, replicas, nginx, redis, postgres, given.rate)
            for name in given.trials or TRIALS:
                trial = TRIALS[name](place)
                print(trial.line, flush=True)
                told += [f"- {trial.name}: {sentence}" for sentence in trial.told]
    print("\n" + "\n".join(told))
    return 0


def under_load(
    place: Place, name: str, fault: Callable[[], object], after: Callable[[], object] = lambda: time.sleep(2)
) -> tuple[Trial, float, float]:
    """Load before, during and after a fault. The trial, and when the fault began and ended."""
    with place.load() as load:
        time.sleep(BEFORE)
        began = time.monotonic()
        fault()
        ended = time.monotonic()
        after()
    whole = load.outcome
    return Trial(name, whole.between(began - BEFORE + 1, began), whole.between(began, ended), whole), began, ended


def with_told(trial: Trial, *told: str) -> Trial:
    return Trial(trial.name, trial.before, trial.during, trial.whole, told)


def killed(place: Place) -> Trial:
    """One replica is killed under way, and started again."""
    one, moments = place.replicas[0], []

    def fault() -> None:
        one.kill()
        moments.append(time.monotonic())
        time.sleep(1)
        one.start()

    seconds = serving_of(served_shop.declared()).log_seconds
    trial, began, _ = under_load(place, "a replica killed with -9, and started again", fault)
    logged = logged_rows(place, trial.whole, seconds)
    lost = trial.whole.answered.where(lambda one: one.request_id not in logged.ids)
    oldest = max((moments[0] - one.until for one in lost.asked), default=0.0)
    return with_told(
        trial,
        f"nobody was answered for at most {1000 * trial.whole.between(began - 1, began + 3).longest_silence:.0f} ms",
        f"{len(lost)} of {len(trial.whole.answered):,} answered rows are not in the log; the oldest was answered "
        f"{oldest:.1f} s before the kill (log_seconds {seconds:g}); logged twice: {logged.twice}",
    )


@dataclass(frozen=True)
class Logged:
    """Requests of the log, and how many rows are there under two of them."""

    ids: frozenset[str]
    twice: int


def logged_rows(place: Place, whole: Outcome, seconds: float) -> Logged:
    """What the log holds once nothing can be waiting any more."""
    time.sleep(seconds + 1)
    pipeline = served_shop.declared()
    files = log_folder(pipeline, place.platform).glob("*.parquet")
    pairs = [
        pair
        for file in files
        for pair in zip(*(pq.read_table(file, columns=["request_id", "key"])[c].to_pylist() for c in ("request_id", "key")),
            strict=True)
    ]  # fmt: skip
    times = Counter(key for _, key in pairs)
    mine = {one.request_id for one in whole.asked}
    return Logged(frozenset(one for one, _ in pairs), sum(times[key] > 1 for one, key in pairs if one in mine))


def ended(place: Place) -> Trial:
    """Each replica in turn is told to end and started again, as an update does it."""

    def fault() -> None:
        for one in place.replicas:
            one.stop()
            one.start()
            time.sleep(NEXT)

    trial, _, _ = under_load(place, "replicas ended and started, one after the other", fault)
    logged = logged_rows(place, trial.whole, serving_of(served_shop.declared()).log_seconds)
    lost = trial.whole.answered.where(lambda one: one.request_id not in logged.ids)
    return with_told(trial, f"{len(lost)} answered rows are not in the log; statuses {trial.whole.statuses()}")


def swapped(place: Place) -> Trial:
    """Another version becomes champion, again and again; each time it is loaded and checked anew."""
    took: list[float] = []

    def fault() -> None:
        for _ in range(SWAPS):
            version = swap(place)
            took.append(followed(place, version))

    trial, _, _ = under_load(place, f"{SWAPS} swaps of the model", fault)
    versions = Counter(one.version for one in trial.during.answered.asked)
    told = ", ".join(f"{count:,} by version {version}" for version, count in sorted(versions.items()))
    return with_told(trial, f"answered: {told}; both replicas had swapped after {max(took):.1f} s at most")


def swap(place: Place) -> int:
    """Make the version champion that was it longest ago. Its number."""
    version = served(place.replicas[0]) % len(served_shop.TRAINED) + 1
    rollback(served_shop.declared(), place.platform, to=version, by="ada", reason="a trial", tell=False)
    return version


def followed(place: Place, version: int) -> float:
    """Seconds until all replicas answer by a version."""
    return wait_for(lambda: {served(one) for one in place.replicas} == {version}, f"version {version}", 60)


def served(replica: Replica) -> int:
    """The version that answers at a replica."""
    _, body = ask(replica.url + PATH, json.loads(order(0, CHANCE)))
    rows = json.loads(body or b"{}").get("rows") or [{}]
    return int(rows[0].get("version") or 0)


def store_stopped(place: Place) -> Trial:
    """Redis is stopped, and started again with what it held."""

    def fault() -> None:
        place.redis.stop()
        time.sleep(HOLD)
        place.redis.start()

    trial, _, over = under_load(place, "the online store stopped", fault, lambda: time.sleep(8))
    return with_told(trial, back_to_the_model(trial.whole, over))


def store_frozen(place: Place) -> Trial:
    """Redis hangs: it takes connections and answers nothing."""

    def fault() -> None:
        place.redis.signal(signal.SIGSTOP)
        time.sleep(HOLD)
        place.redis.signal(signal.SIGCONT)

    trial, _, over = under_load(place, "the online store hangs", fault, lambda: time.sleep(8))
    return with_told(trial, back_to_the_model(trial.whole, over))


def back_to_the_model(whole: Outcome, over: float) -> str:
    last = max((one.at for one in whole.asked if one.route == "fallback"), default=over)
    return f"the last answer of the fallback came {max(last - over, 0.0):.1f} s after the store was back"


def ledger_stopped(place: Place) -> Trial:
    """PostgreSQL, which holds the ledger, is stopped and started again."""
    took: list[float] = []

    def fault() -> None:
        place.postgres.stop()
        time.sleep(HOLD)
        place.postgres.start()

    def after() -> None:
        took.append(followed(place, swap(place)))

    trial, _, _ = under_load(place, "the ledger stopped", fault, after)
    return with_told(trial, f"a promotion right after it was followed within {took[0]:.1f} s")


def registry_away(place: Place) -> Trial:
    """MLflow's database and its artifacts are gone while a rollout asks for a version that is not loaded."""
    home, name = place.platform.settings.home, served_shop.NAME
    held = [home / one for one in ("mlflow.db", "mlartifacts", "models")]
    before = served(place.replicas[0])
    version = before % len(served_shop.TRAINED) + 1
    took: list[float] = []

    def rolled_out(mode: str, challenger: int | None) -> None:
        # Beside `roll_out`, which first looks into the registry.
        now = place.platform.clock.now()
        made = Rollout(
            pipeline=name, at=now, mode=mode, by="ada", reason="a trial", challenger=challenger, share=0.0, automation="full"
        )
        place.platform.ledger.put(made)

    def fault() -> None:
        for path in held:
            path.rename(path.with_name(f"away-{path.name}"))
        rolled_out("blue-green", version)
        time.sleep(HOLD)
        for path in held:
            if path.is_dir():
                shutil.rmtree(path)  # who asked meanwhile made an empty one
            path.with_name(f"away-{path.name}").replace(path)

    trial, _, _ = under_load(place, "the registry away", fault, lambda: took.append(followed(place, version)))
    versions = Counter(one.version for one in trial.during.answered.asked)
    rolled_out("champion", None)
    followed(place, before)
    return with_told(
        trial,
        f"version {before} answered {versions[before]:,} of {versions.total():,} although version {version} was rolled out; "
        f"that was followed {took[0]:.1f} s after the registry was back",
    )


def slow_clients(place: Place) -> Trial:
    """Senders that take their time: at a replica a byte at a time, at nginx one byte and then nothing."""
    came: list[tuple[list[tuple[int, float]], list[tuple[int, float]]]] = []

    async def both() -> None:
        direct = asyncio.gather(*(slowly(place.replicas[0].port, every=0.2) for _ in range(SLOW)))
        proxied = asyncio.gather(*(slowly(place.nginx.port, every=60) for _ in range(SLOW)))
        came.append((await direct, await proxied))

    trial, _, _ = under_load(place, f"{SLOW} slow senders at a replica, {SLOW} at nginx", lambda: asyncio.run(both()))
    direct, proxied = came[0]
    return with_told(
        trial,
        *(
            f"at {where} they got {dict(Counter(status for status, _ in one))} after {max(s for _, s in one):.1f} s"
            for where, one in (("the replica", direct), ("nginx", proxied))
        ),
    )


async def slowly(port: int, every: float) -> tuple[int, float]:
    """Send a request a byte at a time. The status that came, 0 where the connection was closed without, and after how long."""
    body, began = order(1, CHANCE), time.monotonic()
    reader, writer = await asyncio.open_connection(LOOPBACK, port)
    writer.write(f"POST {PATH} HTTP/1.1\r\nhost: {LOOPBACK}\r\ncontent-length: {len(body)}\r\n\r\n".encode())
    answer = asyncio.create_task(reader.read(100))
    for place in range(len(body)):
        with suppress(OSError):
            writer.write(body[place : place + 1])
        await asyncio.wait([answer], timeout=every)
        if answer.done():
            break
    found = re.match(rb"HTTP/1.1 (\d+)", await answer)
    writer.close()
    return int(found[1]) if found else 0, time.monotonic() - began


def bad_bodies(place: Place) -> Trial:
    """What makes no sense, and what is too large, at nginx and at a replica, amid what is good."""
    came: Counter[int] = Counter()

    def fault() -> None:
        for _ in range(10):
            for port in (place.nginx.port, place.replicas[0].port):
                for name, request in bad_requests().items():
                    status = asyncio.run(sent(port, request))
                    came[status] += 1
                    if status >= 500:
                        print(f"{name}: {status}", file=sys.stderr)

    trial, _, _ = under_load(place, f"{20 * len(bad_requests())} bad requests amid good ones", fault)
    return with_told(
        trial, f"the bad ones got {dict(sorted(came.items()))}; 500 or more: {sum(came[s] for s in came if s >= 500)}"
    )


def bad_requests() -> dict[str, bytes]:
    """Requests that nobody can answer."""
    row = json.loads(order(1, CHANCE))
    bodies: dict[str, bytes] = {
        "nothing": b"",
        "no JSON": b"{rows: nothing}",
        "half of it": order(1, CHANCE)[:40],
        "not UTF-8": b'{"rows":[{"order_id":"\xff\xfe"}]}',
        "nested": b"[" * 100_000,
        "another thing": b'"rows"',
        "no rows": b'{"rows":[]}',
        "too many rows": json.dumps({"rows": row["rows"] * 2_000}).encode(),
        "another field": json.dumps({"rows": [row["rows"][0] | {"colour": "red"}]}).encode(),
        "not a number": json.dumps({"rows": [row["rows"][0] | {"amount": float("nan")}]}).encode(),
        "a number without end": b'{"rows":[{"order_id":"o","items":' + b"9" * 5000 + b"}]}",
        "a moment to come": json.dumps(row | {"moment": "2999-01-01T00:00:00Z"}).encode(),
        "too large": b" " * 1_200_000,
    }
    head = f"POST {PATH} HTTP/1.1\r\nhost: {LOOPBACK}\r\nconnection: close\r\n"
    made = {name: f"{head}content-length: {len(body)}\r\n\r\n".encode() + body for name, body in bodies.items()}
    part = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
    made["too large, length untold"] = f"{head}transfer-encoding: chunked\r\n\r\n".encode() + part * 20 + b"0\r\n\r\n"
    made["too large, as it is told"] = f"{head}content-length: 999999999\r\n\r\n".encode()
    made["another verb"] = made["no rows"].replace(b"POST", b"PUT", 1)
    made["another place"] = made["no rows"].replace(PATH.encode(), b"/v1/pipelines/nobody/score", 1)
    made["no HTTP"] = b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n"
    return made


async def sent(port: int, request: bytes) -> int:
    """The status of the answer to these bytes; 0 where the connection was closed without one."""
    reader, writer = await asyncio.open_connection(LOOPBACK, port, limit=2**22)
    answer = b""
    with suppress(OSError):
        writer.write(request)
        answer = await asyncio.wait_for(reader.read(100), 15)
    writer.close()
    found = re.match(rb"HTTP/1.1 (\d+)", answer)
    return int(found[1]) if found else 0


class Memory(AbstractContextManager["Memory"]):
    """A replica's largest resident memory while it is looked at."""

    def __init__(self, replica: Replica) -> None:
        self.replica, self.before, self.most = replica, replica.memory_mib, 0.0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Memory:
        self._thread.start()
        return self

    def _look(self) -> None:
        while not self._ended.wait(0.1):
            self.most = max(self.most, self.replica.memory_mib)

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()


def overloaded(place: Place) -> Trial:
    """Far more than one replica can answer, and what those see who are answered."""
    return overload(place, "overload of one replica", place.replicas[0].url)


def overloaded_proxy(place: Place) -> Trial:
    """The same at nginx, before both."""
    return overload(place, "overload of nginx and two replicas", place.nginx.url)


def overload(place: Place, name: str, url: str) -> Trial:
    connections, replica = TIMES * Limits().under_way, place.replicas[0]
    capacity, refused = wrk(place, url, connections=16, seconds=3)
    assert not refused, f"{refused} of the requests that were to find the capacity were not answered"
    time.sleep(1)
    with Memory(replica) as memory, place.load(rate=PROBES, url=url) as load:
        time.sleep(BEFORE)
        began = time.monotonic()
        offered, refused = wrk(place, url, connections, OVERLOAD_SECONDS)
        over = time.monotonic()
        time.sleep(5)
    whole = load.outcome
    before, during = whole.between(began - BEFORE + 1, began), whole.between(began + 1, over - 1)
    shed = during.where(lambda one: one.status == 503)
    untold = sum(not one.retry_after for one in shed.asked)
    broken = during.where(lambda one: one.status not in (200, 503))
    normal = max(2 * before.milliseconds(99), 20.0)
    good = offered - refused / OVERLOAD_SECONDS
    return with_told(
        Trial(f"{name}, {connections:,} connections", before, during.answered, whole),
        f"capacity {capacity:,.0f} requests a second with 16 connections; {connections:,} asked {offered:,.0f} times a second "
        f"({offered / capacity:.1f} times the capacity), {good:,.0f} were answered with 200",
        f"of {len(during):,} requests measured beside it {len(during.answered):,} were answered, p50 "
        f"{during.answered.milliseconds(50):.0f} ms, p99 {during.answered.milliseconds(99):.0f} ms; {len(shed):,} were shed, "
        f"p99 {shed.milliseconds(99):.0f} ms, {untold} without Retry-After; {len(broken)} broke",
        f"memory {memory.before:.0f} MiB before, at most {memory.most:.0f} MiB; {replica.memory_mib:.0f} MiB afterwards",
        f"latency normal again (p99 below {normal:.0f} ms) {whole.recovered(over, normal):.1f} s after it ended",
    )


SCRIPT = """
wrk.method = "POST"
wrk.headers["content-type"] = "application/json"
local n = 0
local id = tostring({}):sub(8)
request = function()
  n = n + 1
  return wrk.format(nil, nil, nil, '{"rows":[{"order_id":"w-' .. id .. n .. '","placed_at":"MOMENT","customer":"c-'
    .. (n % 2000) .. '","channel":"web","amount":' .. (n % 30000) / 100 .. ',"items":2}],"moment":"MOMENT"}')
end
"""


def wrk(place: Place, url: str, connections: int, seconds: int) -> tuple[float, int]:
    """Requests answered in a second, with whatever status, and how many were not answered with 200."""
    script = place.folder / "post.lua"
    script.write_text(SCRIPT.replace("MOMENT", served_shop.MOMENT))
    command = [
        str(where_is("wrk")),
        "-t1",
        f"-c{connections}",
        f"-d{seconds}",
        "--timeout",
        "10",
        "-s",
        str(script),
        url + PATH,
    ]
    said = subprocess.run(command, check=True, capture_output=True, text=True, timeout=seconds + 60).stdout
    rate = re.search(r"Requests/sec: +([\d.]+)", said)
    refused = re.search(r"Non-2xx or 3xx responses: (\d+)", said)
    assert rate is not None, said
    return float(rate[1]), int(refused[1]) if refused else 0


TRIALS: dict[str, Callable[[Place], Trial]] = {
    "killed": killed,
    "ended": ended,
    "swapped": swapped,
    "store-stopped": store_stopped,
    "store-hangs": store_frozen,
    "ledger": ledger_stopped,
    "registry": registry_away,
    "slow": slow_clients,
    "bad": bad_bodies,
    "overload": overloaded,
    "overload-proxy": overloaded_proxy,
}


if __name__ == "__main__":
    sys.exit(main())
