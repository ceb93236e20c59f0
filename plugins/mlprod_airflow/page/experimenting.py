"""Actions of the page about experiments and bandits: plan one, start it, end it."""

from __future__ import annotations

from typing import Any

from mlprod_airflow.experiments import variants_in
from mlprod_airflow.page.apart import apart
from mlprod_tasks.declaration import Pipeline


def plan_experiment(pipeline: Pipeline, body: Any) -> str:
    """Return what an experiment needs, in words; changes nothing. Raises: ActionRefused with what would be possible."""
    return str(apart("experiment", pipeline.name, what="plan", **_wanted(body)))


def start_experiment(pipeline: Pipeline, body: Any, by: str) -> str:
    """Plan an experiment and start it at the next tick. Raises: ActionRefused."""
    return str(
        apart("experiment", pipeline.name, what="start", **_wanted(body), name=body.experiment, by=by, reason=body.reason)
    )


def end_experiment(pipeline: Pipeline, body: Any, by: str) -> str:
    """End an experiment: the champion answers all rows from the next tick, requests within seconds. Raises: ActionRefused."""
    return str(apart("experiment", pipeline.name, what="stop", name=body.experiment, by=by, reason=body.reason))


def start_bandit(pipeline: Pipeline, body: Any, by: str) -> str:
    """Start the declared bandit at the next tick. Raises: ActionRefused."""
    given = {"name": body.experiment, "arms": variants_in(body.variants), "rows": body.rows}
    return str(apart("bandit", pipeline.name, **given, by=by, reason=body.reason))


def end_bandit(pipeline: Pipeline, body: Any, by: str) -> str:
    """End a bandit: the champion answers all rows from the next tick on, requests within seconds. Raises: ActionRefused."""
    return str(apart("end_bandit", pipeline.name, name=body.experiment, by=by, reason=body.reason))


def freeze_bandit(pipeline: Pipeline, body: Any, by: str) -> str:
    """Keep a bandit's shares as they are, of requests within seconds. Raises: ActionRefused."""
    return str(apart("freeze_bandit", pipeline.name, name=body.experiment, by=by, reason=body.reason))


def thaw_bandit(pipeline: Pipeline, body: Any, by: str) -> str:
    """Let a frozen bandit learn again; its shares change from the next tick on. Raises: ActionRefused."""
    return str(apart("thaw_bandit", pipeline.name, name=body.experiment, by=by, reason=body.reason))


def _wanted(body: Any) -> dict[str, Any]:
    return {
        "variants": variants_in(body.variants),
        "metric": body.metric,
        "difference": body.difference,
        "alpha": body.alpha,
        "power": body.power,
        "design": body.design,
        "periods": body.periods,
        "rows": body.rows,
        "then": body.then,
        "fresh": body.fresh,
        "traffic": body.traffic,
    }
