"""The demo's scoring service: `mlprod serve` as a process, and a client with an API key of its own."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from demo.airflow_api import poll
from demo.local_airflow import LOOPBACK, die_with_parent, free_port
from mlprod_tasks.declaration import Pipeline, Tick
from mlprod_tasks.platform import Platform
from mlprod_tasks.serving.keys import make_key

Row = dict[str, Any]
Answer = dict[str, Any]
ROWS_A_REQUEST = 50
PAUSE_SECONDS = 2  # the demo's other processes need the cores, too


class ScoringService:
    """The process, in a group of its own, and its client.

    log: the file for its output. `answered` counts the answered rows.
    """

    def __init__(self, pipeline: Pipeline, platform: Platform, environment: Mapping[str, str], log: Path) -> None:
        port = free_port()
        self.url, self.answered = f"http://{LOOPBACK}:{port}", 0
        self._pipeline, self._path, self._log = pipeline.name, f"/v1/pipelines/{pipeline.name}/score", log
        self.key, _ = make_key((pipeline.name,), "the booking desk", "demo", platform)
        self._http = httpx.Client(base_url=self.url, trust_env=False, timeout=30)
        command = [str(Path(sys.executable).with_name("mlprod")), "serve", pipeline.name, "--port", str(port)]
        with log.open("ab") as printed:
            self.process = subprocess.Popen(
                command, env=dict(environment), cwd=log.parent, stdin=subprocess.DEVNULL, stdout=printed,
                stderr=subprocess.STDOUT, start_new_session=True, preexec_fn=die_with_parent(),
            )  # fmt: skip

    def wait(self, *, seconds: float = 120) -> None:
        """Return once it is ready. Raises: RuntimeError where it has ended; DeadlineExceeded."""

        def ready() -> bool | None:
            if self.process.poll() is not None:
                raise RuntimeError(f"the scoring service ended with {self.process.returncode}: {self._log} says why")
            try:
                return self._http.get("/ready").status_code == 200 or None
            except httpx.TransportError:
                return None

        poll(ready, seconds=seconds, waiting_for=lambda: f"the scoring service at {self.url}")

    def ask(self, rows: Sequence[Row], tick: Tick, *, key: str | None = None) -> httpx.Response:
        """Send one request, as of the start of the tick."""
        headers = {"authorization": f"Bearer {self.key if key is None else key}"}
        answer = self._http.post(self._path, json=_body(rows, tick), headers=headers)
        if answer.status_code == 200:
            self.answered += len(rows)
        return answer

    def score(self, flights: Mapping[Tick, Sequence[Row]]) -> list[Answer]:
        """Score all flights, each as of its tick, in several requests."""
        answers: list[Answer] = []
        for tick, rows in flights.items():
            for first in range(0, len(rows), ROWS_A_REQUEST):
                answers += self.ask(rows[first : first + ROWS_A_REQUEST], tick).raise_for_status().json()["rows"]
        return answers

    @contextmanager
    def requested_all_the_time(
        self, flights: Mapping[Tick, Sequence[Row]], until: Callable[[], bool]
    ) -> Iterator[list[Answer]]:
        """Score the flights again and again in a thread, until `until` holds or the block ends; gives the answers in order."""
        ended, answers, failed = threading.Event(), list[Answer](), list[Exception]()

        def ask() -> None:
            try:
                while not (ended.is_set() or until()):
                    answers.extend(self.score(flights))
                    ended.wait(PAUSE_SECONDS)
            except Exception as error:
                failed.append(error)

        asking = threading.Thread(target=ask, daemon=True)
        asking.start()
        try:
            yield answers
        finally:
            ended.set()
            asking.join()
        if failed:
            raise failed[0]

    def wait_for_log(self, *, seconds: float = 20) -> None:
        """Return once all answers are written to the log. Raises: DeadlineExceeded."""
        name = f'mlprod_served_log_written_total{{pipeline="{self._pipeline}"}} '

        def written() -> bool | None:
            lines = self._http.get("/metrics").text.splitlines()
            return any(line.startswith(name) and float(line.removeprefix(name)) >= self.answered for line in lines) or None

        poll(written, seconds=seconds, waiting_for=lambda: f"the log of {self.url}")

    def curl(self, row: Row, tick: Tick) -> str:
        """The shell command that sends a request."""
        body = json.dumps(_body([row], tick))
        return f"curl -s -H 'Authorization: Bearer {self.key}' {self.url}{self._path} -d '{body}'"


def _body(rows: Sequence[Row], tick: Tick) -> dict[str, Any]:
    return {"rows": rows, "moment": tick.start.isoformat()}
