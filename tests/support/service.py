"""The scoring service of the small shop: asked in this process, or run in one of its own."""

import asyncio
import json
import logging
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date, timedelta
from importlib import import_module
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
from prometheus_client.parser import text_string_to_metric_families

from demo.local_airflow import free_port
from mlprod_tasks import features
from mlprod_tasks.scoring.collect import collect
from mlprod_tasks.serving.app import Service
from mlprod_tasks.serving.limits import Limits
from mlprod_tasks.serving.run import build_service, run
from tests.support.processes import PROCESSES
from tests.support.trained_shop import Shop, platform_at

TICK = "2024-02-12"
ORDER = {"order_id": "o-1", "placed_at": "2024-02-12T09:30:00Z", "channel": "web", "amount": 80.5, "items": 2}
SCORE, EXPLAIN = "/v1/pipelines/returns/score", "/v1/pipelines/returns/explain"


def request(service: Service, method: str, path: str, **rest: Any) -> httpx.Response:
    """Ask the service in this process."""

    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(app=service)  # type: ignore[arg-type]
        async with httpx.AsyncClient(transport=transport, base_url="http://served") as client:
            return await client.request(method, path, **rest)

    return asyncio.run(ask())


def post(service: Service, body: Any, *, verb: str = "score", key: str = "", raw: bytes | None = None) -> httpx.Response:
    """Ask for scores or explanations; `raw` is a body as it is."""
    headers = {"authorization": f"Bearer {key}"} if key else {}
    content = raw if raw is not None else json.dumps(body).encode()
    return request(service, "POST", f"/v1/pipelines/returns/{verb}", content=content, headers=headers)


def get(service: Service, path: str) -> httpx.Response:
    return request(service, "GET", path)


def metric(service: Service, name: str, **labels: str) -> float | None:
    """Return the value of one of the service's metrics; None if it shows none with these labels."""
    for family in text_string_to_metric_families(get(service, "/metrics").text):
        for sample in family.samples:
            if (sample.name, sample.labels) == (name, labels):
                return float(sample.value)
    return None


def orders_of(shop: Shop, tick: str) -> tuple[list[dict[str, Any]], pa.Table]:
    """Return the rows of a tick as a program would send them, and their features in batch."""
    ticks = shop.pipeline.schedule.range(tick)
    batch = features.build(shop.pipeline, ticks, shop.platform).table
    lake = shop.platform.lake.rows("returns/raw/orders", [ticks.first])
    rows = {row["order_id"]: row for row in lake.drop_columns(["tick"]).to_pylist()}
    sent = [rows[key] | {"placed_at": rows[key]["placed_at"].isoformat()} for key in batch["order_id"].to_pylist()]
    return sent, batch


def ask_orders(shop: Shop, service: Service, days: Sequence[date], keys: str = "", *, minutes: int = 1) -> None:
    """Ask for every order of these days whose key ends so, minutes after the start of its tick, and collect the log."""
    for day in days:
        tick = shop.pipeline.schedule.tick(day)
        shop.platform.clock.at = tick.start + timedelta(minutes=minutes)
        service.loader.read_ledger()
        sent, _ = orders_of(shop, str(day))
        response = post(service, {"rows": [one for one in sent if one["order_id"].endswith(keys)]})
        assert response.status_code == 200, response.text
    for scorer in service.scorers.values():
        scorer.log.flush()
    collect(shop.pipeline, shop.platform)


def serve(
    home: Path, port: int, declared: tuple[str, str], keys_needed: bool, fast_path: bool, logs: str, limits: dict[str, Any]
) -> None:
    """Run the service; what it prints goes to service.log beside the home."""
    log = os.open(home.parent / "service.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream in (1, 2):
        os.dup2(log, stream)
    if logs:
        logging.basicConfig(level=logs)
    module, name = declared
    pipeline, platform = getattr(import_module(module), name), platform_at(home)
    service = build_service(platform, {pipeline.name: pipeline}, limits=Limits(**limits), keys_needed=keys_needed)
    run(service, "127.0.0.1", port, fast_path=fast_path)


@contextmanager
def running(
    home: Path,
    declared: tuple[str, str] = ("tests.support.shop", "SHOP"),
    *,
    keys_needed: bool = False,
    fast_path: bool = True,
    logs: str = "",
    **limits: Any,
) -> Iterator[tuple[str, BaseProcess]]:
    """Run the service in a process of its own until the end; yield its address and the process.

    declared: the module and the name of the use case; logs: the level of what it logs. What the process prints is in
    service.log beside the home.
    """
    port, log = free_port(), home.parent / "service.log"
    process = PROCESSES.Process(target=serve, args=(home, port, declared, keys_needed, fast_path, logs, limits))
    process.start()
    url = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 60
        while not _ready(url):
            assert process.is_alive(), f"the service ended: {log.read_text()}"
            assert time.monotonic() < deadline, f"the service is not ready: {log.read_text()}"
            time.sleep(0.05)
        yield url, process
    finally:
        process.kill()
        process.join()


def _ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/ready", trust_env=False).status_code == 200
    except httpx.TransportError:
        return False
