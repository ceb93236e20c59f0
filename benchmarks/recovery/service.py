"""The HTTP service: it answers requests, is killed under them, and what it answered is looked for in the lake."""

from __future__ import annotations

import json
import random
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from benchmarks.recovery import source
from benchmarks.recovery.place import Place
from benchmarks.recovery.standing import Difference
from benchmarks.recovery.trial import Line, Trial, first_line, leaks
from benchmarks.recovery.work import declared
from benchmarks.replicas import Replica, ask
from mlprod_tasks.platform import names

PATH = "/v1/pipelines/orders/score"
MOMENT = "2024-02-12T09:00:00Z"
ANSWERS = 60  # before and after the kill
LONGEST_WAIT = 6.0  # seconds before the kill: answers of more than some two seconds ago may not be lost
WRITTEN_WITHIN = 2.0  # seconds of a write to the log
BEFORE_KILLED = "service"  # the name under which what stands is kept


@dataclass(frozen=True)
class Answer:
    """An answered request of one row."""

    request_id: str
    score: float
    at: float


def asked(replica: Replica, number: int) -> Answer:
    """Ask for one row."""
    row = {
        "order_id": f"{source.person(number)}/asked", "placed_at": "2024-02-12T10:00:00Z", "channel": "web",
        "customer": source.person(number % source.CUSTOMERS), "amount": 20.0 + number, "items": 1 + number % 5,
    }  # fmt: skip
    status, body = ask(replica.url + PATH, {"rows": [row], "moment": MOMENT})
    told: dict[str, Any] = json.loads(body)
    assert status == 200, (status, body)
    return Answer(told["request_id"], told["rows"][0]["score"], time.monotonic())


def log_requests(place: Place) -> None:
    """Let the service answer, so that there is a log to collect."""
    with Replica(1, place.variables, place.output.parent) as replica:
        replica.start()
        for number in range(ANSWERS):
            asked(replica, number)
            if number % 20 == 0:
                time.sleep(0.3)  # another file
    place.keep(BEFORE_KILLED)


def killed_services(place: Place, trials: int, seed: int, only: str = "") -> Iterator[Line]:
    """The service killed between two answers."""
    line = Line("the service under requests killed")
    if only not in line.name:
        return
    for number in range(trials):
        line.trials.append(_killed(place, random.Random(f"{seed} service {number}")))
    yield line


def _killed(place: Place, chance: random.Random) -> Trial:
    place.restore(BEFORE_KILLED)
    most, later = chance.randrange(1, ANSWERS), chance.uniform(0.0, LONGEST_WAIT)
    with Replica(1, place.variables, place.output.parent) as replica:
        replica.start()
        before = [asked(replica, 1_000 + number) for number in range(most)]
        time.sleep(later)
        killed_at = time.monotonic()
        replica.kill()
        replica.start()
        after = [asked(replica, 2_000 + number) for number in range(ANSWERS - most)]
    ended = place.run("collect")
    if not ended.succeeded:
        return Trial(leaked=leaks(place), told=(f"collect: {first_line(ended)}",))
    serving = declared().serving
    assert serving is not None
    sure = [one for one in before if one.at < killed_at - serving.log_seconds - WRITTEN_WITHIN]  # what it may lose is declared
    found = _compared(place, [*before, *after], [*sure, *after])
    leaked = leaks(place)
    what = f"killed {1000 * later:.0f} ms after answer {most}"
    return Trial(found, leaked, told=(what, *found.where) if leaked or not found.none else ())


def _compared(place: Place, answers: list[Answer], sure: list[Answer]) -> Difference:
    """The lake against what was answered. sure: what may not be lost."""
    rows = place.platform().lake.rows(names.requests(declared()), columns=["request_id", "score"]).to_pylist()
    times = Counter(row["request_id"] for row in rows)
    scores = {row["request_id"]: row["score"] for row in rows}
    lost = [one for one in sure if one.request_id not in times]
    doubled = [one for one in answers if times[one.request_id] > 1]
    altered = [one for one in answers if one.request_id in scores and scores[one.request_id] != one.score]
    kinds = (("lost", lost), ("doubled", doubled), ("altered", altered))
    where = tuple(f"{what}: request {one.request_id}" for what, some in kinds for one in some)
    return Difference(len(lost), len(doubled), len(altered), where[:3])
