"""What the DAG files share: how Airflow's runs, connections, waits and mails meet the steps."""

from mlprod_airflow.installation import declared, platform
from mlprod_airflow.mails import links
from mlprod_airflow.runs import TICK, as_of, daily, lake_asset, on_request, reference, tick, ticks, training_id
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
    "on_request",
    "platform",
    "reference",
    "tick",
    "ticks",
    "training_id",
    "workers",
]
