"""Where a reader of the page looks further: the pipeline's DAGs, its model in MLflow."""

from __future__ import annotations

from urllib.parse import urlsplit

from airflow.configuration import conf

from mlprod_tasks import places
from mlprod_tasks.board.forms import Link
from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.platform import Platform

WORKFLOWS = ("ingest", "train", "score", "monitor")


def links(pipeline: Pipeline, platform: Platform) -> tuple[Link, ...]:
    """The pipeline's pages elsewhere."""
    root = urlsplit(conf.get("api", "base_url", fallback="")).path.rstrip("/")
    runs = tuple(Link(f"Airflow: {name}", f"{root}/dags/{pipeline.name}.{name}") for name in WORKFLOWS)
    mlflow = platform.settings.mlflow_base_url.rstrip("/")
    return (*runs, *((Link("MLflow: versions", f"{mlflow}/#/models/{places.registered_model(pipeline)}"),) if mlflow else ()))


def run_link(platform: Platform) -> str:
    """The address of an MLflow run, with {run_id} to be put in; '' where it is not known where MLflow is."""
    mlflow = platform.settings.mlflow_base_url.rstrip("/")
    return f"{mlflow}/#/experiments/0/runs/{{run_id}}" if mlflow else ""
