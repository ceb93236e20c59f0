"""Log the trials of a hyperparameter search as MLflow runs below the run of their training."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from mlflow.entities import Metric, Param, Run
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from mlprod_tasks.platform.registry import LONGEST_VALUE, Registry

TRIAL_TAG = "mlprod.trial"


@dataclass(frozen=True)
class TrialRun:
    """The record of one trial.

    key: unique in its training; began: seconds since 1970; status: FINISHED, KILLED or FAILED.
    """

    key: str
    name: str
    params: Mapping[str, Any]
    metrics: Mapping[str, float]
    tags: Mapping[str, str]
    status: str
    began: float
    seconds: float


def log_trials(registry: Registry, parent: str, trials: Iterable[TrialRun]) -> None:
    """Create the runs of trials that have none yet.

    Runs that a killed process left unfinished are replaced. Only one process at a time may call this for a parent run.

    Raises: RegistryUnreachable.
    """
    with registry.reached():
        experiment = registry.client.get_run(parent).info.experiment_id
        existing = _below(registry, experiment, parent)
        for trial in trials:
            run = existing.get(trial.key)
            if run is not None and run.info.status != "RUNNING":
                continue
            if run is not None:
                registry.client.delete_run(run.info.run_id)
            _create(registry, experiment, parent, trial)


def _below(registry: Registry, experiment: str, parent: str) -> dict[str, Run]:
    """The existing runs below a parent, by the key of their trial."""
    wanted, token = f"tags.`{MLFLOW_PARENT_RUN_ID}` = '{parent}'", None
    runs: dict[str, Run] = {}
    while True:
        page = registry.client.search_runs([experiment], wanted, page_token=token)
        runs |= {run.data.tags.get(TRIAL_TAG, ""): run for run in page}
        token = page.token
        if not token:
            return runs


def _create(registry: Registry, experiment: str, parent: str, trial: TrialRun) -> None:
    began, ended = round(1000 * trial.began), round(1000 * (trial.began + trial.seconds))
    tags = {**trial.tags, MLFLOW_PARENT_RUN_ID: parent, TRIAL_TAG: trial.key}
    tags = {tag: value[:LONGEST_VALUE] for tag, value in tags.items()}
    run_id = registry.client.create_run(experiment, began, tags, trial.name).info.run_id
    registry.client.log_batch(
        run_id,
        metrics=[Metric(name, value, ended, 0) for name, value in trial.metrics.items()],
        params=[Param(name, str(value)) for name, value in trial.params.items()],
    )
    registry.client.set_terminated(run_id, trial.status, ended)
