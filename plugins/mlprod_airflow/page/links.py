"""Links of the page: the pipeline's DAGs, its model in MLflow, the data docs."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from airflow.configuration import conf

from mlprod_tasks.dashboard.schemas import Link
from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.platform import Platform, names

WORKFLOWS = ("ingest", "train", "score", "monitor", "verify", "digest")


def links(pipeline: Pipeline, platform: Platform) -> tuple[Link, ...]:
    """The pipeline's links."""
    serving = () if pipeline.serving is None else ("online", "requests", "rollout")
    runs = tuple(Link(f"Airflow: {name}", f"{_root()}/dags/{pipeline.name}.{name}") for name in (*WORKFLOWS, *serving))
    mlflow = platform.settings.mlflow_base_url.rstrip("/")
    versions = (Link("MLflow: versions", f"{mlflow}/#/models/{names.registered_model(pipeline)}"),) if mlflow else ()
    docs = (Link("Data docs", f"{_root()}/mlprod/data-docs/index.html"),) if data_docs(platform).is_dir() else ()
    return (*runs, *versions, *docs)


def run_link(pipeline: Pipeline, platform: Platform) -> str:
    """The address of an MLflow run with the placeholder {run_id}; '' if MLflow's address is unknown."""
    base = platform.settings.mlflow_base_url
    return f"{_root()}/mlprod/api/pipelines/{pipeline.name}/runs/{{run_id}}" if base else ""


def data_docs(platform: Platform) -> Path:
    """The folder of Great Expectations' pages, once they are built."""
    return platform.settings.expectations / "uncommitted" / "data_docs" / "local_site"


def _root() -> str:
    return urlsplit(conf.get("api", "base_url", fallback="")).path.rstrip("/")
