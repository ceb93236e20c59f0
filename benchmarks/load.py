"""Requests at a fixed rate, each with its status and how long it took; a process of its own, so that nobody slows it down.

`python -m benchmarks.load URL RATE SECONDS FILE SEED CONNECTIONS`. Requests are sent when their time has come, whether or not
earlier ones are answered, and how long one took counts from that time on: a service that stands still is seen to do so by all
who would have asked meanwhile. No request is tried again. CONNECTIONS are opened beforehand and used again, more where all are
busy; with -1 each request has one of its own, as of a program that was just started.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np

from benchmarks.served_shop import CUSTOMERS, MOMENT, NAME
from demo.local_airflow import die_with_parent

REPOSITORY = Path(__file__).parents[1]
PATH = f"/v1/pipelines/{NAME}/score"
PATIENCE_SECONDS = 15.0
NO_ANSWER = 0
ANEW = -1  # instead of a number of connections: one for each request
TOLD = {name: re.compile(rb'"%s":"?(\w+)' % name.encode()) for name in ("request_id", "version", "route")}


@dataclass(frozen=True, slots=True)
class Asked:
    """One request. at: when it was due, on the monotonic clock. status: 0 where the connection broke or nobody answered."""

    at: float
    seconds: float
    status: int
    retry_after: bool = False
    request_id: str = ""
    version: int = 0
    route: str = ""

    @property
    def until(self) -> float:
        return self.at + self.seconds


class Outcome:
    """All requests of a load, or those of a part of it, in the order in which they were due."""

    def __init__(self, asked: Sequence[Asked]) -> None:
        self.asked = sorted(asked, key=lambda one: one.at)

    def __len__(self) -> int:
        return len(self.asked)

    def between(self, first: float, last: float) -> Outcome:
        return Outcome([one for one in self.asked if first <= one.at < last])

    def where(self, wanted: Callable[[Asked], bool]) -> Outcome:
        return Outcome([one for one in self.asked if wanted(one)])

    @property
    def answered(self) -> Outcome:
        return self.where(lambda one: one.status == 200)

    @property
    def failed(self) -> int:
        return sum(one.status != 200 for one in self.asked)

    def statuses(self) -> dict[int, int]:
        found = [one.status for one in self.asked]
        return {status: found.count(status) for status in sorted(set(found))}

    def milliseconds(self, percentile: float) -> float:
        """That percentile of how long requests took; NaN of none."""
        return 1000 * float(np.percentile([one.seconds for one in self.asked], percentile)) if self.asked else float("nan")

    @property
    def longest_wait(self) -> float:
        """Seconds of the request that took longest."""
        return max((one.seconds for one in self.asked), default=0.0)

    @property
    def longest_silence(self) -> float:
        """The longest time, in seconds, in which nobody was answered."""
        ends = np.sort([one.until for one in self.answered.asked])
        return float(np.diff(ends).max()) if ends.size > 1 else float("inf")

    def share(self, route: str) -> float:
        """Of the answers, those of a route."""
        answered = self.answered.asked
        return sum(one.route == route for one in answered) / len(answered) if answered else float("nan")

    def recovered(self, after: float, normal_ms: float, window: float = 0.5) -> float:
        """Seconds from `after` to the first half second whose 99th percentile is normal and in which all were answered."""
        for one in self.asked:
            if one.at >= after:
                part = self.between(one.at, one.at + window)
                if not part.failed and part.milliseconds(99) <= normal_ms:
                    return one.at - after
        return float("inf")


class Load:
    """Requests that are being sent: `with Load(url, 300, file) as load: ...`, then `load.outcome`."""

    def __init__(
        self, url: str, rate: float, file: Path, *, seconds: float = 120.0, seed: int = 1, connections: int = 0
    ) -> None:
        numbers = [str(rate), str(seconds), str(file), str(seed), str(connections)]
        self._command = [sys.executable, "-m", "benchmarks.load", url, *numbers]
        self._file = file
        self._outcome: Outcome | None = None

    def __enter__(self) -> Load:
        self._process = subprocess.Popen(
            self._command, cwd=REPOSITORY, start_new_session=True, stdout=subprocess.PIPE, preexec_fn=die_with_parent()
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline(), "the load did not begin"
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(PATIENCE_SECONDS + 10)
        assert self._process.stdout is not None
        self._process.stdout.close()

    @property
    def outcome(self) -> Outcome:
        if self._outcome is None:
            lines = self._file.read_text().splitlines()
            self._outcome = Outcome([Asked(*json.loads(line)) for line in lines])
        return self._outcome


def order(number: int, chance: random.Random) -> bytes:
    """The body of one request: no two alike, so that no answer is one that was given before."""
    row = {
        "order_id": f"o-{number}",
        "placed_at": MOMENT,
        "customer": f"c-{chance.randrange(CUSTOMERS)}",
        "channel": chance.choice(["web", "app", "phone"]),
        "amount": round(chance.uniform(1, 300), 4),
        "items": chance.randint(1, 5),
    }
    return json.dumps({"rows": [row], "moment": MOMENT}).encode()


class Client:
    """Connections that are used again, in turn so that none is idle for long; one for each request under way."""

    def __init__(self, url: str, *, again: bool = True) -> None:
        parts = urlsplit(url)
        self.host, self.port, self.again = parts.hostname, parts.port, again
        self._idle: deque[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = deque()

    async def connect(self, connections: int) -> None:
        """Open some beforehand."""
        self._idle.extend([await asyncio.open_connection(self.host, self.port) for _ in range(connections)])

    @property
    def cut_off(self) -> int:
        """How many of the connections that wait to be used the other side has closed."""
        return sum(reader.at_eof() or reader.exception() is not None for reader, _ in self._idle)

    async def post(self, body: bytes) -> tuple[int, bytes, bytes]:
        """Status, headers and body of the answer. Raises: OSError, EOFError, ValueError where none came."""
        while self._idle and (self._idle[0][0].at_eof() or self._idle[0][1].is_closing()):
            self._idle.popleft()[1].close()
        reader, writer = self._idle.popleft() if self._idle else await asyncio.open_connection(self.host, self.port)
        try:
            head = f"POST {PATH} HTTP/1.1\r\nhost: {self.host}\r\ncontent-type: application/json\r\ncontent-length: {len(body)}"
            writer.write(head.encode() + b"\r\n\r\n" + body)
            headers = (await reader.readuntil(b"\r\n\r\n")).lower()
            length = re.search(rb"content-length: *(\d+)", headers)
            answer = await reader.readexactly(int(length[1])) if length else await reader.read()
        except BaseException:
            writer.close()
            raise
        if self.again and length and b"connection: close" not in headers:
            self._idle.append((reader, writer))
        else:
            writer.close()
        return int(headers.split(b" ", 2)[1]), headers, answer


async def one(client: Client, body: bytes, at: float) -> Asked:
    """Send it and wait for its answer."""
    try:
        status, headers, answer = await asyncio.wait_for(client.post(body), PATIENCE_SECONDS)
    except (OSError, EOFError, ValueError, asyncio.IncompleteReadError, TimeoutError):
        return Asked(at, time.monotonic() - at, NO_ANSWER)
    seconds = time.monotonic() - at
    found = {name: match[1].decode() if (match := known.search(answer)) else "" for name, known in TOLD.items()}
    version = int(found["version"]) if found["version"].isdigit() else 0
    return Asked(at, seconds, status, b"\nretry-after:" in headers, found["request_id"], version, found["route"])


async def run(url: str, rate: float, seconds: float, seed: int, connections: int = 0) -> list[Asked]:
    """Send until the time is over or somebody ends the process, then wait for the answers that are still to come."""
    client, chance, ended = Client(url, again=connections != ANEW), random.Random(seed), asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    await client.connect(max(0, connections))
    sent: list[asyncio.Task[Asked]] = []
    print("begun", flush=True)
    began = time.monotonic()
    while not ended.is_set() and len(sent) < rate * seconds:
        at = began + len(sent) / rate
        if (wait := at - time.monotonic()) > 0:
            with suppress(TimeoutError):
                await asyncio.wait_for(ended.wait(), wait)
                break
        sent.append(asyncio.create_task(one(client, order(seed * 10**7 + len(sent), chance), at)))
        await asyncio.sleep(0)
    return list(await asyncio.gather(*sent))


def main() -> None:
    """Send, then write what came of it, a line for each request."""
    url, rate, seconds, file, seed, connections = sys.argv[1:]
    asked = asyncio.run(run(url, float(rate), float(seconds), int(seed), int(connections)))
    fields = Asked.__slots__
    Path(file).write_text("".join(json.dumps([getattr(one, name) for name in fields]) + "\n" for one in asked))


if __name__ == "__main__":
    main()
