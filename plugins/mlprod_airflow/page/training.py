"""A training that a person asks for on the page: Airflow itself is asked, with that person's own log-in."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from airflow.api_fastapi.auth.managers.base_auth_manager import COOKIE_NAME_JWT_TOKEN
from anyio.from_thread import run
from fastapi import Request
from httpx import ASGITransport, AsyncClient

from mlprod_airflow.page.apart import Refused
from mlprod_airflow.runs import training_id
from mlprod_tasks.declaration import Pipeline, Tick
from mlprod_tasks.interventions import intervene
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.ledger import Publication, Scoring, newest


def retrain(pipeline: Pipeline, as_of: str | None, reason: str, by: str, request: Request, platform: Platform) -> str:
    """Start the train DAG as of a tick, by default the newest that was scored. What became of it, in a sentence.

    Not while another training is queued or running. Raises: Refused with what Airflow says; ValueError.
    """
    tick = pipeline.schedule.tick(as_of) if as_of else _newest(pipeline, platform)
    dag, now = f"{pipeline.name}.train", platform.clock.now()
    run_id = f"page__{tick}__{now:%Y%m%dT%H%M%S%f}"
    body = {
        "dag_run_id": run_id,
        "logical_date": None,
        "conf": {"as_of": str(tick), "reason": reason},
        "note": f"{reason} ({by})",
    }
    airflow = _Airflow(request)
    under_way = airflow.ask("GET", f"dags/{dag}/dagRuns", params={"state": ["queued", "running"], "limit": 1})["dag_runs"]
    if under_way:
        state, other = under_way[0]["state"], under_way[0]["dag_run_id"]
        raise Refused(
            409, f"a training of {pipeline.name} is {state} already ({other}): wait for its end, or end it in Airflow"
        )
    airflow.ask("POST", f"dags/{dag}/dagRuns", json=body)
    context = {"dag_run": SimpleNamespace(run_id=run_id), "params": {"as_of": str(tick)}}
    training = training_id(pipeline, context)
    intervene(pipeline, "retrain", by, platform, subject=training, reason=reason, tick=tick.date, once=training)
    paused = airflow.ask("GET", f"dags/{dag}")["is_paused"]
    waits = f". The DAG {dag} is paused: it starts when somebody unpauses it" if paused else ""
    return f"A training of {pipeline.name} as of {tick} is asked for: run {run_id} of {dag}{waits}"


def _newest(pipeline: Pipeline, platform: Platform) -> Tick:
    for kind in (Scoring, Publication):
        if (found := newest(platform.ledger.all(kind, pipeline=pipeline.name), "tick")) is not None:
            return pipeline.schedule.tick(str(found.tick))
    raise Refused(
        409, f"nothing of {pipeline.name} is ingested yet, so there is nothing to train on: run {pipeline.name}.ingest"
    )


class _Airflow:
    """Airflow's public REST API, asked within this process as the user of a request: his rights hold, its log names him."""

    def __init__(self, request: Request) -> None:
        shown = {"authorization", "cookie"} & set(request.headers)
        assert "authorization" in shown or COOKIE_NAME_JWT_TOKEN in request.cookies
        self._headers = {name: request.headers[name] for name in shown}

    def ask(self, method: str, path: str, **rest: Any) -> Any:
        return run(self._ask, method, path, rest)

    async def _ask(self, method: str, path: str, rest: dict[str, Any]) -> Any:
        from airflow.api_fastapi.main import app

        async with AsyncClient(transport=ASGITransport(app), base_url="http://airflow", headers=self._headers) as client:
            answer = await client.request(method, f"/api/v2/{path}", **rest)
        if answer.is_error:
            raise Refused(answer.status_code, f"Airflow: {answer.json().get('detail', answer.text)}")
        return answer.json()
