"""More than the service can answer, offered by wrk: at one replica alone, and at nginx before both.

wrk's connections ask again as soon as they are answered, heeding no Retry-After. A replica tells a refusal a second late, so
that each refused connection asks about once a second there; nginx tells it at once. Latency is that of other requests beside
it, at a low rate: some over connections opened before, as of programs that run already, and a few of which each opens its own.
"""

from __future__ import annotations

import re
import subprocess
import threading
import time
from contextlib import AbstractContextManager
from dataclasses import dataclass

from benchmarks import served_shop
from benchmarks.load import ANEW, PATH, Outcome
from benchmarks.replicas import Replica, where_is
from benchmarks.trial import BEFORE, Place, Trial, with_told
from mlprod_tasks.serving.limits import Limits

CONNECTIONS = 20 * Limits().under_way
OVERLOAD_SECONDS = 10
PROBES, KEPT = 50.0, 200  # requests a second that are measured beside the overload, and their connections
NEW = 3.0  # of those that connect anew


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
    replica = place.replicas[0]
    normal_load = wrk(place, url, connections=16, seconds=3)
    assert not normal_load.refused, f"{normal_load} while the capacity was to be found"
    capacity = normal_load.rate
    time.sleep(1)
    kept, anew = place.load(rate=PROBES, url=url, connections=KEPT), place.load(rate=NEW, url=url, connections=ANEW)
    with Memory(replica) as memory, kept as load, anew as newcomers:
        time.sleep(BEFORE)
        began = time.monotonic()
        offered = wrk(place, url, CONNECTIONS, OVERLOAD_SECONDS)
        over = time.monotonic()
        time.sleep(5)
    whole = load.outcome
    before, during = whole.between(began - BEFORE + 1, began), whole.between(began + 1, over - 1)
    normal = max(2 * before.milliseconds(99), 20.0)
    good = offered.rate - offered.refused / OVERLOAD_SECONDS
    return with_told(
        Trial(f"{name}, {CONNECTIONS:,} connections", before, during.answered, whole),
        f"capacity {capacity:,.0f} requests a second with 16 connections; {CONNECTIONS:,}, each asking again as soon as it was "
        f"told something, asked {offered.rate:,.0f} times a second, {offered.rate / capacity:.1f} times the capacity, and "
        f"{good:,.0f} were answered with 200; {offered.broken}",
        f"beside it over {KEPT} connections opened before: {beside(during)}",
        f"each over a new connection: {beside(newcomers.outcome.between(began + 1, over - 1))}",
        f"memory {memory.before:.0f} MiB before, at most {memory.most:.0f} MiB; {replica.memory_mib:.0f} MiB afterwards",
        f"latency normal again (p99 below {normal:.0f} ms) {whole.recovered(over, normal):.1f} s after it ended",
    )


def beside(seen: Outcome) -> str:
    """What those saw who asked at a low rate."""
    shed = seen.where(lambda one: one.status == 503)
    untold = sum(not one.retry_after for one in shed.asked)
    broken = seen.where(lambda one: one.status not in (200, 503))
    return (
        f"{len(seen.answered):,} of {len(seen):,} answered, p50 {seen.answered.milliseconds(50):.0f} ms, p99 "
        f"{seen.answered.milliseconds(99):.0f} ms; {len(shed):,} shed, p99 {shed.milliseconds(99):.0f} ms, {untold} without "
        f"Retry-After; {len(broken)} broke or had no answer"
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


@dataclass(frozen=True)
class Offered:
    """What wrk saw: requests a second that were told something, how many not 200, and what happened to connections."""

    rate: float
    refused: int
    broken: str


def wrk(place: Place, url: str, connections: int, seconds: int) -> Offered:
    """Ask over so many connections at once, by two threads."""
    script = place.folder / "post.lua"
    script.write_text(SCRIPT.replace("MOMENT", served_shop.MOMENT))
    command = [
        str(where_is("wrk")),
        "-t2",
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
    broken = re.search(r"Socket errors: (.*)", said)
    assert rate is not None, said
    return Offered(float(rate[1]), int(refused[1]) if refused else 0, f"socket errors: {broken[1] if broken else 'none'}")
