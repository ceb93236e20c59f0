"""Shared code of the DAG files: runs, connections, waits, mails and approvals in Airflow.

The module of a name is imported when the name is first used: the processes that the page starts need none of Airflow's
operators, which take seconds to import.
"""

from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlprod_airflow.experiments import (
        asked_by,
        experiment_params,
        experimenting,
        or_refused,
        telling_faults,
    )
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
        tick_param,
        ticks,
        to_train,
        training_id,
        where_declared,
    )
    from mlprod_airflow.training import approved, workers
    from mlprod_airflow.waiting import Retrain, WaitUntil

MODULES = MappingProxyType(
    {
        "mlprod_airflow.experiments": (
            "asked_by",
            "experiment_params",
            "experimenting",
            "or_refused",
            "telling_faults",
        ),
        "mlprod_airflow.installation": (
            "declared",
            "platform",
            "served",
        ),
        "mlprod_airflow.mails": ("links",),
        "mlprod_airflow.ramping": (
            "PATIENT",
            "challenger",
            "each_share",
            "passed",
            "promoted",
            "requested_by",
            "telling",
            "unless_stopped",
            "why_ended",
            "with_run_params",
        ),
        "mlprod_airflow.runs": (
            "as_of",
            "decided_at",
            "each_tick",
            "each_week",
            "lake_asset",
            "nightly",
            "often",
            "on_request",
            "or_missing",
            "reference",
            "tick",
            "tick_param",
            "ticks",
            "to_train",
            "training_id",
            "where_declared",
        ),
        "mlprod_airflow.training": (
            "approved",
            "workers",
        ),
        "mlprod_airflow.waiting": (
            "Retrain",
            "WaitUntil",
        ),
    }
)

__all__ = [
    "PATIENT",
    "Retrain",
    "WaitUntil",
    "approved",
    "as_of",
    "asked_by",
    "challenger",
    "decided_at",
    "declared",
    "each_share",
    "each_tick",
    "each_week",
    "experiment_params",
    "experimenting",
    "lake_asset",
    "links",
    "nightly",
    "often",
    "on_request",
    "or_missing",
    "or_refused",
    "passed",
    "platform",
    "promoted",
    "reference",
    "requested_by",
    "served",
    "telling",
    "telling_faults",
    "tick",
    "tick_param",
    "ticks",
    "to_train",
    "training_id",
    "unless_stopped",
    "where_declared",
    "why_ended",
    "with_run_params",
    "workers",
]


def __getattr__(name: str) -> Any:
    for module, names in MODULES.items():
        if name in names:
            return getattr(import_module(module), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
