"""Airflow's REST API, called as the page's user."""

from __future__ import annotations

from typing import Any

from airflow.api_fastapi.auth.managers.base_auth_manager import COOKIE_NAME_JWT_TOKEN
from anyio.from_thread import run
from fastapi import Request
from httpx import ASGITransport, AsyncClient

from mlprod_airflow.page.apart import ActionRefused

UNDER_WAY = ("queued", "running")


class Airflow:
    """Airflow's REST API, called within this process as the user of a request, with that user's rights."""

    def __init__(self, request: Request) -> None:
        credentials = {"authorization", "cookie"} & set(request.headers)
        assert "authorization" in credentials or COOKIE_NAME_JWT_TOKEN in request.cookies
        self._headers = {name: request.headers[name] for name in credentials}

    def ask(self, method: str, path: str, **rest: Any) -> Any:
        return run(self._ask, method, path, rest)

    def start(self, dag: str, what: str, run_id: str, conf: dict[str, Any], note: str) -> str:
        """Start a run of a DAG that has no run under way. Returns a remark, or ''. Raises: ActionRefused."""
        query = {"state": list(UNDER_WAY), "limit": 1}
        under_way = self.ask("GET", f"dags/{dag}/dagRuns", params=query)["dag_runs"]
        if under_way:
            state, other = under_way[0]["state"], under_way[0]["dag_run_id"]
            raise ActionRefused(409, f"{what} is already {state} ({other}): wait until it ends, or stop it in Airflow")
        body = {"dag_run_id": run_id, "logical_date": None, "conf": conf, "note": note}
        paused = self.ask("GET", f"dags/{dag}")["is_paused"]
        self.ask("POST", f"dags/{dag}/dagRuns", json=body)
        return f". The DAG {dag} is paused: the run starts when the DAG is unpaused" if paused else ""

    async def _ask(self, method: str, path: str, rest: dict[str, Any]) -> Any:
        from airflow.api_fastapi.main import app

        async with AsyncClient(transport=ASGITransport(app), base_url="http://airflow", headers=self._headers) as client:
            answer = await client.request(method, f"/api/v2/{path}", **rest)
        if answer.is_error:
            raise ActionRefused(answer.status_code, f"Airflow: {answer.json().get('detail', answer.text)}")
        return answer.json()
