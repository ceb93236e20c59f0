"""Run the service: one process, its models brought up to date in the background, ended without a lost answer."""

from __future__ import annotations

import gc
import logging
import signal
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from mlprod_tasks.declaration import Pipeline, load_all
from mlprod_tasks.online import OnlineFeatures
from mlprod_tasks.online.plan import serving_of
from mlprod_tasks.platform import Platform
from mlprod_tasks.scoring.log_row import log_schema
from mlprod_tasks.scoring.prediction_log import PredictionLog, log_folder
from mlprod_tasks.serving.access_log import AccessLog
from mlprod_tasks.serving.app import Service
from mlprod_tasks.serving.limits import Limits
from mlprod_tasks.serving.model_loader import ModelLoader
from mlprod_tasks.serving.scorer import Scorer

if TYPE_CHECKING:
    import uvicorn

log = logging.getLogger(__name__)
LOOK_EVERY_SECONDS = 2.0
READERS = 4  # threads that wait for the online store on another machine
GRACE_SECONDS = 20
LOOPBACK = ("127.0.0.1", "::1", "localhost")


def serve(
    platform: Platform,
    names: Sequence[str] = (),
    *,
    host: str = "127.0.0.1",
    port: int = 8090,
    keys_needed: bool = True,
    limits: Limits | None = None,
    fast_path: bool = True,
) -> None:
    """Answer requests until the process is told to end; then finish what is under way and write the log.

    names: the use cases to serve, all declared ones if empty. Raises: ValueError where anybody could ask without a key.
    """
    if not keys_needed and host not in LOOPBACK:
        raise ValueError(f"without API keys the service listens on this machine only, not on {host!r}")
    service = build_service(platform, _chosen(platform, names), keys_needed=keys_needed, limits=limits)
    run(service, host, port, fast_path=fast_path)


def build_service(
    platform: Platform, pipelines: Mapping[str, Pipeline], *, keys_needed: bool = True, limits: Limits | None = None
) -> Service:
    """Build the service with its models loaded. Nothing runs in the background yet."""
    loader = ModelLoader(pipelines, platform)
    loader.refresh()
    readers = ThreadPoolExecutor(READERS, thread_name_prefix="reader")
    scorers = {}
    for name, pipeline in pipelines.items():
        online = OnlineFeatures(pipeline, platform.online_store, pseudonym_key=platform.settings.pseudonym_key)
        seconds = serving_of(pipeline).log_seconds
        predictions = PredictionLog(log_folder(pipeline, platform), log_schema(pipeline), seconds=seconds)
        scorers[name] = Scorer(pipeline, online, loader, predictions, readers)
    return Service(pipelines, loader, scorers, platform.clock, limits or Limits(), keys_needed)


def uvicorn_config(service: Service, host: str, port: int, *, fast_path: bool = True) -> uvicorn.Config:
    """How uvicorn serves it, with the fast path or without."""
    import uvicorn

    http: Any = "httptools"
    if fast_path:
        from mlprod_tasks.serving.fast_path import FastPathProtocol

        http = FastPathProtocol
    return uvicorn.Config(
        service, host=host, port=port, loop="uvloop", http=http, ws="none", proxy_headers=False, lifespan="off",
        access_log=False, log_config=None, timeout_graceful_shutdown=GRACE_SECONDS, backlog=2048, server_header=False,
        date_header=False,
    )  # fmt: skip


def run(service: Service, host: str, port: int, *, fast_path: bool = True) -> None:
    """Serve until told to end: then /ready says so, what is under way is answered, and the log is written."""
    import uvicorn

    class Stopping(uvicorn.Server):
        def handle_exit(self, sig: int, frame: Any) -> None:
            service.stopping = True
            super().handle_exit(sig, frame)

    ended = threading.Event()
    for scorer in service.scorers.values():
        scorer.log.start()
    # What is loaded by now stays: the collector need not walk through it again and again.
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
    # The threads that load models and write logs give way to answers ten times as soon as they would.
    sys.setswitchinterval(0.0005)
    pa.set_cpu_count(1)  # writing the log takes one core at most: the others are for those who ask and answer
    service.access = AccessLog(sys.stdout)
    service.access.start()
    # Beside each other: a registry that hangs holds up no key, rollout or switch.
    for name, step in (("ledger-look", service.loader.read_ledger), ("model-loader", service.loader.load_models)):
        threading.Thread(target=_repeat, args=(step, ended), name=name, daemon=True).start()
    # uvicorn passes the signal on once it has ended; without this the process would be gone before the log is written.
    before = {number: signal.signal(number, lambda *_: None) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        Stopping(uvicorn_config(service, host, port, fast_path=fast_path)).run()
    finally:
        ended.set()
        for scorer in service.scorers.values():
            scorer.log.close()
        service.access.close()
        for number, handler in before.items():
            signal.signal(number, handler)


def _chosen(platform: Platform, names: Sequence[str]) -> Mapping[str, Pipeline]:
    known = load_all(platform.settings.pipelines)
    if unknown := [name for name in names if name not in known]:
        raise LookupError(f"no use case {', '.join(unknown)} in {platform.settings.pipelines}; there are {', '.join(known)}")
    return {name: known[name] for name in (names or known)}


def _repeat(step: Callable[[], None], ended: threading.Event) -> None:
    while not ended.wait(LOOK_EVERY_SECONDS):
        try:
            step()
        except Exception:
            log.exception("what is known and loaded stays in use")
