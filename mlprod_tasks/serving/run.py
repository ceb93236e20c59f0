"""Run the service in one process that updates its models in the background."""

from __future__ import annotations

import gc
import logging
import signal
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from sqlalchemy.exc import SQLAlchemyError

from mlprod_tasks.declaration import Pipeline, load_all
from mlprod_tasks.online import OnlineFeatures
from mlprod_tasks.online.fields import hashed_fields
from mlprod_tasks.online.plan import serving_of
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.pseudonym_key import pseudonym_key, strong_key
from mlprod_tasks.scoring.log_row import log_schema
from mlprod_tasks.scoring.prediction_log import PredictionLog, log_name
from mlprod_tasks.serving.access_log import AccessLog
from mlprod_tasks.serving.app import Service
from mlprod_tasks.serving.limits import Limits
from mlprod_tasks.serving.model_loader import ModelLoader
from mlprod_tasks.serving.scorer import Scorer

if TYPE_CHECKING:
    import uvicorn

log = logging.getLogger(__name__)
LOOK_EVERY_SECONDS = 2.0
READERS = 4  # threads that wait for a remote online store
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
    """Answer requests until the process is stopped.

    Then finish those under way and write the log.
    names: the use cases to serve; if empty, all. Raises: ValueError if other machines could send requests without a key.
    """
    if not keys_needed and host not in LOOPBACK:
        raise ValueError(f"without API keys the service listens on this machine only, not on {host!r}")
    service = build_service(platform, _selected(platform, names), keys_needed=keys_needed, limits=limits)
    run(service, host, port, fast_path=fast_path)


def build_service(
    platform: Platform, pipelines: Mapping[str, Pipeline], *, keys_needed: bool = True, limits: Limits | None = None
) -> Service:
    """Build the service with its models loaded. Nothing runs in the background yet.

    Raises: SettingMissing, PseudonymKeyWeak or PseudonymKeyChanged if fields must be hashed and there is no key for them.
    """
    loader = ModelLoader(pipelines, platform)
    loader.refresh()
    readers = ThreadPoolExecutor(READERS, thread_name_prefix="reader")
    scorers = {}
    for name, pipeline in pipelines.items():
        online = OnlineFeatures(pipeline, platform.online_store, pseudonym_key=_key(pipeline, platform))
        seconds = serving_of(pipeline).log_seconds
        folder = log_name(pipeline)
        send = partial(platform.shared.send, folder)
        predictions = PredictionLog(platform.shared.outbox(folder), log_schema(pipeline), seconds=seconds, send=send)
        scorers[name] = Scorer(pipeline, online, loader, predictions, readers)
    return Service(pipelines, loader, scorers, platform.clock, limits or Limits(), keys_needed)


def _key(pipeline: Pipeline, platform: Platform) -> str:
    """Return the key of hashed fields, '' if there are none. If the ledger is away, the loader compares the key later."""
    if not hashed_fields(pipeline):
        return ""
    try:
        return pseudonym_key(platform)
    except SQLAlchemyError as error:
        log.error("%s: the pseudonym key cannot be compared yet: %s", pipeline.name, type(error).__name__)
        return strong_key(platform)


def uvicorn_config(service: Service, host: str, port: int, *, fast_path: bool = True) -> uvicorn.Config:
    """Return the uvicorn configuration, with or without the fast path."""
    import uvicorn

    from mlprod_tasks.serving.fast_path import FastPathProtocol
    from mlprod_tasks.serving.protocol import ServiceProtocol

    http: Any = FastPathProtocol if fast_path else ServiceProtocol
    return uvicorn.Config(
        service, host=host, port=port, loop="uvloop", http=http, ws="none", proxy_headers=False, lifespan="off",
        access_log=False, log_config=None, timeout_graceful_shutdown=GRACE_SECONDS, backlog=2048, server_header=False,
        date_header=False,
    )  # fmt: skip


def run(service: Service, host: str, port: int, *, fast_path: bool = True) -> None:
    """Serve until stopped, then answer requests under way and write the log."""
    import uvicorn

    class Stopping(uvicorn.Server):
        def handle_exit(self, sig: int, frame: Any) -> None:
            service.stopping = True
            super().handle_exit(sig, frame)

    ended = threading.Event()
    for scorer in service.scorers.values():
        scorer.log.start()
    # What is loaded now stays loaded: keep the garbage collector from scanning it again and again.
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
    # Threads that load models and write logs yield to answers ten times sooner than by default.
    sys.setswitchinterval(0.0005)
    pa.set_cpu_count(1)  # the log takes one core at most; the others are for requests
    service.access = AccessLog(sys.stdout)
    service.access.start()
    # Two threads: if the registry hangs, keys, rollouts and switches are still updated.
    for name, step in (("ledger-look", service.loader.read_ledger), ("model-loader", service.loader.load_models)):
        threading.Thread(target=_repeat, args=(step, ended), name=name, daemon=True).start()
    # uvicorn raises the signal again after it has stopped; without this the process would end before the log is written.
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


def _selected(platform: Platform, names: Sequence[str]) -> Mapping[str, Pipeline]:
    known = load_all(platform.settings.pipelines)
    if unknown := [name for name in names if name not in known]:
        raise LookupError(f"no use case {', '.join(unknown)} in {platform.settings.pipelines}; known: {', '.join(known)}")
    return {name: known[name] for name in (names or known)}


def _repeat(step: Callable[[], None], ended: threading.Event) -> None:
    while not ended.wait(LOOK_EVERY_SECONDS):
        try:
            step()
        except Exception:
            log.exception("cannot be updated, the last state stays in use")
