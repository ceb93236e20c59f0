"""Start a training from the page, through Airflow and with the user's own login."""

from __future__ import annotations

from types import SimpleNamespace

from fastapi import Request

from mlprod_airflow.page.apart import ActionRefused
from mlprod_airflow.page.as_user import Airflow
from mlprod_airflow.runs import training_id
from mlprod_tasks.declaration import Pipeline, Tick
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.ledger import Publication, Scoring, newest
from mlprod_tasks.promotion.operator_actions import intervene


def retrain(pipeline: Pipeline, as_of: str | None, reason: str, by: str, request: Request, platform: Platform) -> str:
    """Start the train DAG as of a tick, by default the newest scored one. Returns the result as a sentence.

    Raises: ActionRefused while another training is queued or running, or with Airflow's message; ValueError for a wrong tick.
    """
    tick = pipeline.schedule.tick(as_of) if as_of else _newest_tick(pipeline, platform)
    dag, now = f"{pipeline.name}.train", platform.clock.now()
    run_id = f"page__{tick}__{now:%Y%m%dT%H%M%S%f}"
    conf = {"as_of": str(tick), "reason": reason}
    waits = Airflow(request).start(dag, f"a training of {pipeline.name}", run_id, conf, f"{reason} ({by})")
    context = {"dag_run": SimpleNamespace(run_id=run_id), "params": {"as_of": str(tick)}}
    training = training_id(pipeline, context)
    intervene(pipeline, "retrain", by, platform, subject=training, reason=reason, tick=tick.name, once=training)
    return f"A training of {pipeline.name} as of {tick} is started: run {run_id} of {dag}{waits}"


def _newest_tick(pipeline: Pipeline, platform: Platform) -> Tick:
    for kind in (Scoring, Publication):
        if (entry := newest(platform.ledger.all(kind, pipeline=pipeline.name), "tick")) is not None:
            return pipeline.schedule.tick(str(entry.tick))
    raise ActionRefused(
        409, f"no data of {pipeline.name} is ingested yet, so there is nothing to train on: run {pipeline.name}.ingest"
    )
