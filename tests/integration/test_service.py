"""Two real replicas behind a real nginx, with a real Redis: what breaks under load costs nobody an answer."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pyarrow.parquet as pq
import pytest

from benchmarks import served_shop
from benchmarks.elastic import MOST, Fleet, surge
from benchmarks.load import Client, Load, Outcome, order
from benchmarks.replicas import MOST_AT_ONCE, Nginx, Redis, Replica, allow_open_files, start_all, wait_for, where_is
from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.online.plan import serving_of
from mlprod_tasks.platform import Platform
from mlprod_tasks.promotion.rollback import rollback
from mlprod_tasks.scoring.prediction_log import log_folder

RATE = 100.0


@dataclass
class Service:
    """What runs, and where."""

    folder: Path
    variables: dict[str, str]
    platform: Platform
    pipeline: Pipeline
    replicas: tuple[Replica, Replica]
    nginx: Nginx
    redis: Redis

    def load(self, name: str, seed: int) -> Load:
        return Load(self.nginx.url, RATE, self.folder / f"{name}.jsonl", seed=seed)

    def logged(self) -> list[tuple[str, str]]:
        """Every row of the log: its request and its key."""
        files = log_folder(self.pipeline, self.platform).glob("*.parquet")
        read = [pq.read_table(file, columns=["request_id", "key"]).to_pydict() for file in files]
        return [pair for one in read for pair in zip(one["request_id"], one["key"], strict=True)]

    def wait_for_the_log(self, outcome: Outcome) -> tuple[set[str], set[str]]:
        """The requests of the log once a load's last is there, and the keys of rows that are there twice."""
        seconds = serving_of(self.pipeline).log_seconds
        wait_for(lambda: outcome.asked[-1].request_id in dict(self.logged()), "the log", 10 * seconds)
        time.sleep(seconds)  # the other replica writes at moments of its own
        logged = self.logged()
        times = Counter(key for _, key in logged)
        return {request for request, _ in logged}, {key for key, n in times.items() if n > 1}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    for program, package in (("nginx", "nginx-light"), ("redis-server", "redis-server")):
        if where_is(program) is None:
            told = f"NO {program}: the replicas' trial under load is NOT run (apt-get install {package})"
            (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(told)
    allow_open_files()
    folder = tmp_path_factory.mktemp("served")
    with Redis(folder / "redis") as redis:
        redis.start()
        variables = served_shop.environment(folder / "home", MLPROD_ONLINE_URL=redis.url)
        platform = served_shop.make(variables, versions=2)
        first, second = (Replica(number, variables, folder / "run") for number in (1, 2))
        with first, second, Nginx([first, second], folder / "run") as nginx:
            start_all([first, second])
            nginx.start()
            yield Service(folder, variables, platform, served_shop.declared(), (first, second), nginx, redis)


def test_a_replica_that_is_killed_costs_no_request_and_the_log_at_most_its_last_seconds(service: Service) -> None:
    with service.load("killed", 1) as load:
        time.sleep(1.5)
        service.replicas[0].kill()
        killed = time.monotonic()
        time.sleep(1)
        service.replicas[0].start()
        time.sleep(1)
    outcome = load.outcome
    assert len(outcome) > 3 * RATE
    assert outcome.statuses() == {200: len(outcome)}
    logged, twice = service.wait_for_the_log(outcome)
    lost = [one for one in outcome.asked if one.request_id not in logged]
    seconds = serving_of(service.pipeline).log_seconds
    assert all(killed - seconds - 1 < one.until <= killed + 0.1 for one in lost)
    # nginx asks again for what was under way, under another request's id: only such a row may be there twice.
    keys = {key_of(1, n): one for n, one in enumerate(outcome.asked)}
    assert dict(service.logged())[outcome.asked[-1].request_id] == list(keys)[-1]
    assert all(keys[key].at <= killed <= keys[key].until for key in twice)


def test_replicas_that_are_ended_one_after_the_other_cost_no_request_and_no_row_of_the_log(service: Service) -> None:
    with service.load("ended", 7) as load:
        time.sleep(1)
        for one in service.replicas:
            one.stop()
            one.start()
            time.sleep(3)  # nginx asks it again a second after it failed to
    outcome = load.outcome
    assert len(outcome) > 8 * RATE
    assert outcome.statuses() == {200: len(outcome)}
    logged, twice = service.wait_for_the_log(outcome)
    assert {one.request_id for one in outcome.asked} <= logged
    assert not twice


@pytest.mark.alone
def test_replicas_that_come_and_go_with_the_load_cost_no_request_and_no_row_of_the_log(service: Service) -> None:
    run = service.folder / "elastic"
    places = [Replica(number, service.variables, run) for number in range(11, 11 + MOST)]
    with places[0], places[1], places[2], Nginx(places, run) as nginx:
        places[0].start()
        nginx.start()
        told = surge(Fleet(places), nginx.url, run)
    assert max(told.replicas) == MOST
    assert told.replicas[-1] == 1
    for outcome in (told.warm, told.steady, told.surge):
        assert len(outcome) > 8 * RATE
        assert outcome.statuses() == {200: len(outcome)}
        logged, _ = service.wait_for_the_log(outcome)
        assert {one.request_id for one in outcome.asked} <= logged


def test_another_champion_takes_over_without_a_failed_request(service: Service) -> None:
    with service.load("swapped", 2) as load:
        time.sleep(1)
        for version in (1, 2):
            rollback(service.pipeline, service.platform, to=version, by="ada", reason="a test")
            wait_for(lambda version=version: versions(service) == {version}, f"version {version}", 30)
    outcome = load.outcome
    assert outcome.statuses() == {200: len(outcome)}
    assert {one.version for one in outcome.asked} == {1, 2}
    assert {one.route for one in outcome.asked} == {"champion"}


def test_without_its_store_the_service_goes_on_and_comes_back_to_the_model(service: Service) -> None:
    with service.load("store", 3) as load:
        time.sleep(1)
        began = time.monotonic()
        service.redis.stop()
        gone = time.monotonic()
        time.sleep(2)
        ended = time.monotonic()
        service.redis.start()
        time.sleep(8)  # at most five seconds until it is asked again
    outcome = load.outcome
    assert outcome.statuses() == {200: len(outcome)}
    assert outcome.between(0, began).share("champion") == 1
    away = outcome.between(gone, ended)
    assert away.share("fallback") > 0.3  # customers who were asked about before are still known
    assert away.share("fallback") + away.share("champion") == pytest.approx(1)
    assert last_second(outcome).share("champion") == 1


def test_what_is_too_much_at_once_is_refused_by_the_proxy_and_the_rest_is_answered(service: Service) -> None:
    # More than a thousand: nginx' own configuration would cut them off.
    too_many, chance = 600, random.Random(4)

    async def ask() -> list[tuple[int, bytes, bytes]]:
        client, crowd = Client(service.nginx.url), len(service.replicas) * MOST_AT_ONCE + too_many
        await client.connect(crowd)
        await asyncio.sleep(0.5)
        assert client.cut_off == 0
        asked = [asyncio.create_task(client.post(order(n, chance))) for n in range(crowd)]
        await asyncio.wait(asked, timeout=2.5)
        assert sum(one.done() for one in asked) == too_many
        freeze(service, signal.SIGCONT)
        return await asyncio.gather(*asked)

    wait_for(lambda: both_asked(service), "nginx to ask both", 30)
    freeze(service, signal.SIGSTOP)
    try:
        answers = asyncio.run(ask())
    finally:
        freeze(service, signal.SIGCONT)
    found = Counter(status for status, _, _ in answers)
    assert set(found) == {200, 503}
    # A kept connection may have been closed while the replica stood still: its request then finds the other one full.
    assert too_many <= found[503] <= too_many + 5
    assert all(b"\nretry-after: 1" in headers for status, headers, _ in answers if status == 503)
    assert {body for status, _, body in answers if status == 503} == {b'{"error":"too busy, or no replica answers"}'}


def test_the_proxy_shows_what_is_to_be_asked_and_notes_nothing_of_a_person(service: Service) -> None:
    replica, nginx = service.replicas[0].url, service.nginx.url
    assert httpx.get(f"{replica}/metrics").status_code == 200
    hidden = httpx.get(f"{nginx}/metrics")
    assert (hidden.status_code, hidden.headers["server"]) == (404, "nginx")
    assert httpx.get(f"{nginx}/openapi.json").json()["openapi"]
    large = httpx.post(f"{nginx}/v1/pipelines/returns/score", content=b" " * 1_000_001)
    assert (large.status_code, large.json()["error"]) == (413, "the body has more than 1,000,000 bytes")
    assert httpx.post(f"{nginx}/v1/pipelines/returns/score", content=b" " * 1_000_000).status_code == 422  # the replica's word
    asked = httpx.post(
        f"{nginx}/v1/pipelines/returns/score?who=somebody", content=order(1, random.Random(5)),
        headers={"authorization": "Bearer mlprod_secret", "user-agent": "hers"},
    )  # fmt: skip
    assert asked.status_code == 200
    made_up = ("/anna_meier", "/v1/pipelines/anna_meier/score", "/v1/pipelines/returns/score/anna_meier", "/health/anna_meier")
    assert {httpx.post(f"{nginx}{path}").status_code for path in made_up} == {404}
    assert httpx.request("ANNA-MEIER", f"{nginx}/health").status_code >= 400
    log = service.folder / "run" / "nginx.log"
    wait_for(lambda: log.read_text().rstrip().endswith("}") and '"method":"other"' in log.read_text(), "the access log")
    told = log.read_text()
    assert '"method":"POST","path":"/v1/pipelines/returns/score","status":200' in told
    assert '"path":"/v1/pipelines/*/score","status":404' in told
    assert '"path":"other","status":404' in told
    words = ("somebody", "mlprod_secret", "hers", "c-1", "phone", "anna", "meier")
    assert not [word for word in words if word in told.lower()]


def key_of(seed: int, number: int) -> str:
    """The key of a load's row, as the log has it."""
    return json.loads(order(seed * 10**7 + number, random.Random(0)))["rows"][0]["order_id"]


def both_asked(service: Service) -> bool:
    """Whether nginx leaves neither replica alone, as it does for a while after one was away."""
    httpx.get(f"{service.nginx.url}/health")
    told = "".join((service.folder / "run" / "nginx.log").read_text().splitlines()[-4:])
    return all(f":{one.port}" in told for one in service.replicas)


def freeze(service: Service, number: int) -> None:
    for one in service.replicas:
        one.signal(number)


def versions(service: Service) -> set[int]:
    """Which versions answer, asked at each replica."""
    body = order(0, random.Random(6))
    asked = [httpx.post(f"{one.url}/v1/pipelines/returns/score", content=body, timeout=10) for one in service.replicas]
    return {one.json()["rows"][0]["version"] for one in asked}


def last_second(outcome: Outcome) -> Outcome:
    return outcome.between(outcome.asked[-1].at - 1, outcome.asked[-1].at)
