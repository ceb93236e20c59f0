"""Where an answer of the service spends its time, in this process: one row a request, every row new, no server around it.

Each part is timed where the service calls it, among everything else that a request does: alone and over and over it would take
a fraction of that, since all of it would lie in the processor's caches. What no part takes is told as the rest. HTTP is what
a request takes at saturation beyond all this.
"""

from __future__ import annotations

import functools
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import msgspec

from benchmarks.served_home import MOMENT, NUMBER, Home
from benchmarks.size import sized
from mlprod_tasks.online import OnlineFeatures, RequestFields
from mlprod_tasks.online.plan import micros
from mlprod_tasks.rollout import routing
from mlprod_tasks.scoring.prediction_log import PredictionLog
from mlprod_tasks.serving import request_pipeline
from mlprod_tasks.serving.access_log import AccessLog
from mlprod_tasks.serving.app import Service
from mlprod_tasks.serving.keys import ValidKeys
from mlprod_tasks.serving.request_metrics import RequestMetrics
from mlprod_tasks.serving.run import build_service
from mlprod_tasks.serving.scorer import Scorer
from mlprod_tasks.serving.single_row import RowModel, SingleRow

REPEATS = sized(7, 1)
COLD = sized(500, 20)
# What is called, on what. Each is called by the service itself and by no other of these.
PARTS: tuple[tuple[str, Any, str], ...] = (
    ("API key", ValidKeys, "of_header"),
    ("body decoded", request_pipeline, "decode"),
    ("fields validated", RequestFields, "read"),
    ("features, entries held", Scorer, "features_at_hand"),
    ("route", routing, "answers"),
    ("model: codes", SingleRow, "load"),
    ("model: trees, calibration", RowModel, "predict"),
    ("answer encoded", request_pipeline, "encode_json"),
    ("noted for the prediction log", PredictionLog, "add"),
    ("noted for the access log", AccessLog, "add"),
    ("counters", RequestMetrics, "count"),
)
WHOLE = "the service's answer, without HTTP"


def parts(home: Home, bodies: Sequence[bytes]) -> dict[str, float]:
    """Microseconds a request: first the whole, then each part of it, then what is no part of it, in brackets."""
    service = build_service(home.platform, {home.pipeline.name: home.pipeline})
    scorer = service.scorers[home.pipeline.name]
    turn = iter(range(10**9))
    with open(home.folder / "access.log", "w") as stream:
        whole, written, lines, made_columns = list[float](), list[float](), list[float](), list[float]()
        found = {name: list[float]() for name, *_ in PARTS}
        for _ in range(REPEATS):
            service.access = AccessLog(stream)
            with timing(PredictionLog, "_step") as steps:
                whole += answered(home, service, bodies, next(turn))
            made_columns.append(sum(steps) / len(bodies) * 1e6)
            with ExitStack() as timed:
                taken = {name: timed.enter_context(timing(owner, attribute)) for name, owner, attribute in PARTS}
                answered(home, service, bodies, next(turn))
            for name, seconds in taken.items():
                found[name] += seconds
            working = time.process_time()  # it rests between its goes, which costs nobody anything
            scorer.log.flush()
            written.append((time.process_time() - working) / (2 * len(bodies)) * 1e6)
            service.access.start()
            lines.append(seconds_of(service.access.close) / (2 * len(bodies)) * 1e6)
    # Medians: what is interrupted while it runs, since others use the machine too, does not count.
    usual = {name: statistics.median(seconds) * 1e6 for name, seconds in found.items()}
    # One request in twenty makes columns of what was answered before: on average.
    usual["columns of the prediction log"] = statistics.median(made_columns)
    in_all = statistics.median(whole) * 1e6 + usual["columns of the prediction log"]
    return {
        WHOLE: in_all,
        **usual,
        "the rest: request id, moment, answer made, cache": in_all - sum(usual.values()),
        "(the threads that write the two logs, from the same core)": min(written) + min(lines),
        "(the same features, nothing of the store held before)": cold(home, bodies, service),
    }


@contextmanager
def timing(owner: Any, attribute: str) -> Iterator[list[float]]:
    """Collect the seconds that every call takes."""
    called, taken = getattr(owner, attribute), list[float]()

    @functools.wraps(called)
    def timed(*given: Any, **named: Any) -> Any:
        began = time.perf_counter()
        result = called(*given, **named)
        taken.append(time.perf_counter() - began)
        return result

    setattr(owner, attribute, timed)
    try:
        yield taken
    finally:
        setattr(owner, attribute, called)


def cold(home: Home, bodies: Sequence[bytes], service: Service) -> float:
    """Microseconds for the features of a row, whatever the store has of it read anew."""
    read, at = service.fields[home.pipeline.name].read, micros(home.moment)
    rows = [read(msgspec.json.decode(filled(body, 0))["rows"][0])[0] for body in bodies[:COLD]]
    taken: list[float] = []
    for _ in range(REPEATS):
        online = OnlineFeatures(home.pipeline, home.platform.online_store)
        taken += [seconds_of(functools.partial(online.of, [row], [at])) for row in rows]
    return statistics.median(taken) * 1e6


def answered(home: Home, service: Service, bodies: Sequence[bytes], turn: int) -> list[float]:
    """Seconds for each request through the service."""
    fresh = [filled(body, turn * len(bodies) + i) for i, body in enumerate(bodies)]
    name, taken = home.pipeline.name, []
    path = f"/v1/pipelines/{name}/score"
    for i, body in enumerate(fresh):
        headers = [(b"authorization", b"Bearer " + home.keys[i % len(home.keys)].encode())]
        began = time.perf_counter()
        answer = service.answer_at_once(path, name, headers, body, began)
        taken.append(time.perf_counter() - began)
        if answer is None:
            raise RuntimeError("the service refuses to answer at once")
    return taken


def filled(body: bytes, n: int) -> bytes:
    """A body whose row is like no other's: wrk's script does the same."""
    moment = f"{n // 60_000 % 60:02d}:{n // 1000 % 60:02d}.{n % 1000:03d}000+00:00"
    return body.replace(NUMBER.encode(), str(n).encode()).replace(MOMENT.encode(), moment.encode())


def seconds_of(call: Callable[[], Any]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began
