"""Shared code of the DAG files: runs, connections, waits, mails and approvals in Airflow."""

from mlprod_airflow.installation import declared, platform, served
from mlprod_airflow.mails import links
from mlprod_airflow.ramping import (
    PATIENT,
    challenger,
    each_share,
    passed,
    promoted,
    requested_by,
    telling,
    unless_stopped,
    why_ended,
    with_run_params,
)
from mlprod_airflow.runs import (
    TICK,
    as_of,
    decided_at,
    each_tick,
    each_week,
    lake_asset,
    nightly,
    often,
    on_request,
    or_missing,
    reference,
    tick,
    ticks,
    training_id,
)
from mlprod_airflow.training import approved, workers
from mlprod_airflow.waiting import Retrain, WaitUntil

__all__ = [
    "PATIENT",
    "TICK",
    "Retrain",
    "WaitUntil",
    "approved",
    "as_of",
    "challenger",
    "decided_at",
    "declared",
    "each_share",
    "each_tick",
    "each_week",
    "lake_asset",
    "links",
    "nightly",
    "often",
    "on_request",
    "or_missing",
    "passed",
    "platform",
    "promoted",
    "reference",
    "requested_by",
    "served",
    "telling",
    "tick",
    "ticks",
    "training_id",
    "unless_stopped",
    "why_ended",
    "with_run_params",
    "workers",
]
