"""What the DAG files share: how Airflow's runs, connections, waits and mails meet the steps."""

from mlprod_airflow.installation import declared, platform, served
from mlprod_airflow.mails import links
from mlprod_airflow.runs import TICK, as_of, daily, lake_asset, nightly, on_request, reference, tick, ticks, training_id, weekly
from mlprod_airflow.training import approved, workers
from mlprod_airflow.waiting import Retrain, WaitUntil

__all__ = [
    "TICK",
    "Retrain",
    "WaitUntil",
    "approved",
    "as_of",
    "daily",
    "declared",
    "lake_asset",
    "links",
    "nightly",
    "on_request",
    "platform",
    "reference",
    "served",
    "tick",
    "ticks",
    "training_id",
    "weekly",
    "workers",
]
