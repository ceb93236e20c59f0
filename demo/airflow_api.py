"""Use a running Airflow through its REST API, as a person does through its UI."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from datetime import date, datetime
from typing import Any, TypeVar

import httpx

Answer = dict[str, Any]
T = TypeVar("T")

FINISHED = frozenset({"success", "failed"})
POLL_SECONDS = 0.25
PAGE = 100


class ApiError(RuntimeError):
    """Airflow refused a request; the message holds its reason."""


class DeadlineExceeded(TimeoutError):
    """Something did not happen in time; the message holds the last known state."""


def poll(look: Callable[[], T | None], *, seconds: float, waiting_for: Callable[[], str]) -> T:
    """Return the first answer of `look` that is not None.

    Raises: DeadlineExceeded after `seconds`, with the text of `waiting_for()`.
    """
    deadline = time.monotonic() + seconds
    while (answer := look()) is None:
        if time.monotonic() > deadline:
            raise DeadlineExceeded(f"waited {seconds:g} s for {waiting_for()}")
        time.sleep(POLL_SECONDS)
    return answer


class AirflowApi:
    """Call Airflow's REST API v2 as the one admin that SimpleAuthManager knows, or as whoever logs in.

    Without `log_in` it needs `simple_auth_manager_all_admins`, where anybody gets a token.
    Times are ISO texts in UTC, as the API gives them.
    """

    def __init__(self, url: str, *, timeout_seconds: float = 30) -> None:
        self.url = url.rstrip("/")
        # trust_env off: a proxy of the user's must not be asked for 127.0.0.1.
        self._http = httpx.Client(base_url=self.url, timeout=timeout_seconds, trust_env=False)

    def close(self) -> None:
        self._http.close()

    def log_in(self, user: str, password: str) -> str:
        """Be that user from now on; gives the user's token."""
        answer = self._http.post("/auth/token", json={"username": user, "password": password})
        token = str(answer.raise_for_status().json()["access_token"])
        self._http.headers["authorization"] = f"Bearer {token}"
        return token

    def health(self) -> dict[str, str]:
        """Return each component's status; empty while the server does not answer."""
        try:
            answer = self._http.get("/api/v2/monitor/health", timeout=5)
            answer.raise_for_status()
        except httpx.HTTPError:
            return {}
        return {name: part.get("status") or "absent" for name, part in answer.json().items() if part}

    def get(self, path: str, **query: Any) -> Answer:
        return self._request("GET", path, params=query)

    def post(self, path: str, body: Answer) -> Answer:
        return self._request("POST", path, json=body)

    def patch(self, path: str, body: Answer) -> Answer:
        return self._request("PATCH", path, json=body)

    def dag_ids(self) -> set[str]:
        """Return the DAGs that the DAG processor has read so far, paused ones too."""
        return {dag["dag_id"] for dag in self._pages("dags", "dags")}

    def import_errors(self) -> dict[str, str]:
        """Return, per DAG file that could not be read, the traceback."""
        return {error["filename"]: error["stack_trace"] for error in self._pages("importErrors", "import_errors")}

    def wait_for_dags(self, dag_ids: Iterable[str], *, seconds: float = 60) -> None:
        """Return once every DAG has been read.

        Raises: ApiError at once when a DAG file cannot be imported; DeadlineExceeded.
        """
        wanted = set(dag_ids)

        def all_there() -> bool | None:
            if errors := self.import_errors():
                raise ApiError("\n".join(f"{file}:\n{trace}" for file, trace in errors.items()))
            return True if wanted <= self.dag_ids() else None

        poll(all_there, seconds=seconds, waiting_for=lambda: f"the DAGs {sorted(wanted - self.dag_ids())}")

    def unpause(self, dag_id: str) -> None:
        self.patch(f"dags/{dag_id}", {"is_paused": False})

    def pause(self, dag_id: str) -> None:
        self.patch(f"dags/{dag_id}", {"is_paused": True})

    def trigger(
        self,
        dag_id: str,
        *,
        conf: Answer | None = None,
        note: str | None = None,
        partition_key: str | None = None,
        logical_date: datetime | None = None,
        run_id: str | None = None,
    ) -> str:
        """Start a run now and return its run id.

        A DAG with a partition timetable takes a `partition_key`, and no logical date.
        """
        body = {
            "logical_date": logical_date.isoformat() if logical_date else None,
            "conf": conf or {},
            "note": note,
            "partition_key": partition_key,
            "dag_run_id": run_id,
        }
        return str(self.post(f"dags/{dag_id}/dagRuns", body)["dag_run_id"])

    def runs(self, dag_id: str) -> list[Answer]:
        """Return every run of a DAG, oldest first."""
        return self._pages(f"dags/{dag_id}/dagRuns", "dag_runs", order_by="id")

    def run(self, dag_id: str, run_id: str) -> Answer:
        return self.get(f"dags/{dag_id}/dagRuns/{run_id}")

    def task_instances(self, dag_id: str, run_id: str) -> list[Answer]:
        return self._pages(f"dags/{dag_id}/dagRuns/{run_id}/taskInstances", "task_instances")

    def task_states(self, dag_id: str, run_id: str) -> dict[str, str | None]:
        """Return the state of each task of a run, for tasks that are not mapped."""
        return {task["task_id"]: task["state"] for task in self.task_instances(dag_id, run_id)}

    def task_log(self, dag_id: str, run_id: str, task_id: str, *, attempt: int = 1, map_index: int = -1) -> str:
        """Return the log of one attempt, a line per event, with its further fields behind it."""
        path = f"dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/logs/{attempt}"
        events = self.get(path, map_index=map_index, full_content=True)["content"]
        return "\n".join(_log_line(event) for event in events)

    def wait_for_run(self, dag_id: str, run_id: str, *, seconds: float = 120) -> Answer:
        """Return the run once it has ended, well or badly: look at its `state`."""
        last: Answer = {}

        def ended() -> Answer | None:
            last.update(self.run(dag_id, run_id))
            return last if last["state"] in FINISHED else None

        def unfinished() -> str:
            return f"{dag_id} {run_id}, now {last.get('state')}: {self.task_states(dag_id, run_id)}"

        return poll(ended, seconds=seconds, waiting_for=unfinished)

    def mapped_states(self, dag_id: str, run_id: str, task_id: str) -> dict[str, str | None]:
        """Return the state of each instance of a mapped task, by the name that the UI shows for it."""
        found = [task for task in self.task_instances(dag_id, run_id) if task["task_id"] == task_id]
        return {task["rendered_map_index"] or str(task["map_index"]): task["state"] for task in found}

    def question(self, dag_id: str, run_id: str, task_id: str) -> Answer | None:
        """Return what a task asks a person: subject, body, options; None while no question is open."""
        found = self.get(f"dags/{dag_id}/dagRuns/{run_id}/hitlDetails", task_id=task_id, response_received=False)
        asked: list[Answer] = found["hitl_details"]
        waiting = [one for one in asked if one["task_instance"]["state"] == "awaiting_input"]
        return waiting[0] if waiting else None

    def answer(self, dag_id: str, run_id: str, task_id: str, option: str) -> None:
        """Answer what a task asks, with one of its options."""
        path = f"dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/-1/hitlDetails"
        self.patch(path, {"chosen_options": [option], "params_input": {}})

    def clear(self, dag_id: str, run_id: str, task_ids: Iterable[str], *, downstream: bool = True) -> None:
        """Run these tasks of a run again, and by default all that follow from them."""
        body = {
            "dry_run": False,
            "dag_run_id": run_id,
            "task_ids": list(task_ids),
            "only_failed": False,
            "include_downstream": downstream,
            "reset_dag_runs": True,
        }
        self.post(f"dags/{dag_id}/clearTaskInstances", body)

    def backfills(self, dag_id: str) -> list[Answer]:
        return self._pages("backfills", "backfills", dag_id=dag_id)

    def backfill(
        self, dag_id: str, first: date, last: date, *, max_active_runs: int = 2, reprocess_behavior: str = "none"
    ) -> int:
        """Run every tick from `first` to `last`, both included, and return the backfill's id.

        reprocess_behavior: 'none' leaves ticks alone that have a run, 'failed' runs the failed ones
        again, 'completed' all that have ended, each as a further run. The DAG must not be paused.
        Waits for an earlier backfill of the DAG: Airflow allows one at a time.
        """
        self._wait_until_no_backfill_is_open(dag_id)
        body = {
            "dag_id": dag_id,
            "from_date": f"{first:%Y-%m-%d}T00:00:00Z",
            # Airflow reads the wall-clock of both bounds in the DAG's zone, and includes them.
            "to_date": f"{last:%Y-%m-%d}T23:59:59Z",
            "max_active_runs": max_active_runs,
            "reprocess_behavior": reprocess_behavior,
        }
        return int(self.post("backfills", body)["id"])

    def wait_for_backfill(self, backfill_id: int, *, seconds: float = 600) -> Answer:
        """Return the backfill once all its runs have ended, well or badly: look at `runs`.

        Its `completed_at` may still be empty: Airflow writes that only every 30 s.
        """
        backfill = self.get(f"backfills/{backfill_id}")
        dag_id = backfill["dag_id"]
        unfinished: list[Answer] = []

        def ended() -> Answer | None:
            # A DAG has one open backfill at most, so these runs are of this one.
            unfinished[:] = self._pages(f"dags/{dag_id}/dagRuns", "dag_runs", run_type="backfill", state=["queued", "running"])
            return None if unfinished else backfill

        def still_open() -> str:
            return f"backfill {backfill_id} of {dag_id}: " + str(
                {run["dag_run_id"]: self.task_states(dag_id, run["dag_run_id"]) or run["state"] for run in unfinished}
            )

        return poll(ended, seconds=seconds, waiting_for=still_open)

    def _wait_until_no_backfill_is_open(self, dag_id: str, *, seconds: float = 60) -> None:
        def still_open() -> list[Answer]:
            return [backfill for backfill in self.backfills(dag_id) if not backfill["completed_at"]]

        poll(
            lambda: None if still_open() else True,
            seconds=seconds,
            waiting_for=lambda: f"earlier backfills of {dag_id}: {[backfill['id'] for backfill in still_open()]}",
        )

    def _pages(self, path: str, name: str, **query: Any) -> list[Answer]:
        found: list[Answer] = []
        while page := self.get(path, limit=PAGE, offset=len(found), **query)[name]:
            found += page
            if len(page) < PAGE:
                break
        return found

    def _request(self, method: str, path: str, **arguments: Any) -> Answer:
        if "authorization" not in self._http.headers:
            token = self._http.get("/auth/token").raise_for_status().json()["access_token"]
            self._http.headers["authorization"] = f"Bearer {token}"
        answer = self._http.request(method, f"/api/v2/{path}", **arguments)
        if answer.is_error:
            raise ApiError(f"{method} {path}: {answer.status_code} {answer.text}")
        return answer.json() if answer.content else {}


def _log_line(event: Answer | str) -> str:
    if isinstance(event, str):
        return event
    head = " ".join(str(event[field]) for field in ("timestamp", "level", "event") if event.get(field))
    rest = {field: value for field, value in event.items() if field not in ("timestamp", "level", "event")}
    return f"{head} {rest}" if rest else head
