"""Trainings, and a registered version with its model and its evaluation."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from html import escape
from typing import Any

import pyarrow as pa

from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.documents.formatting import format_number, in_order, title, with_interval
from mlprod_tasks.evaluation.results import EvaluationResults, read_results
from mlprod_tasks.models.predicted_columns import logged_columns
from mlprod_tasks.notebook.frames import Frame, arrow, frame
from mlprod_tasks.platform import Platform, names
from mlprod_tasks.platform.ledger import Training
from mlprod_tasks.platform.model_files import ModelRef
from mlprod_tasks.training.workspace import TrainingFolder


class NoChampion(LookupError):
    """No version of the use case is champion."""


def trainings(pipeline: Pipeline, platform: Platform) -> pa.Table:
    """One row for each training, newest first."""
    kept = sorted(platform.ledger.all(Training, pipeline=pipeline.name), key=lambda one: one.at, reverse=True)
    champion = platform.registry.champion(pipeline)
    columns: dict[str, Any] = {
        "training": pa.array([one.id for one in kept], pa.string()),
        "as_of": pa.array([str(one.as_of) for one in kept], pa.string()),
        "state": pa.array([one.state for one in kept], pa.string()),
        "version": pa.array([one.model_version for one in kept], pa.int64()),
        "champion": pa.array([champion is not None and one.model_version == champion.version for one in kept], pa.bool_()),
        "reason": pa.array([one.reason for one in kept], pa.string()),
        "at": pa.array([one.at for one in kept], pa.timestamp("us", "UTC")),
    }
    for name in in_order({name for one in kept for name in one.metrics}):
        columns[name] = pa.array([one.metrics.get(name) for one in kept], pa.float64())
    return pa.table(columns)


def opened_version(pipeline: Pipeline, version: int | None, platform: Platform) -> Version:
    """A registered version, or the champion. Raises: NoChampion; BrokenArtifact."""
    if version is not None:
        return Version(pipeline, platform.registry.version(names.registered_model(pipeline), version), platform)
    champion = platform.registry.champion(pipeline)
    if champion is None:
        raise NoChampion(f"{pipeline.name} has no champion: train it first, or give a version that `trainings()` lists")
    return Version(pipeline, champion, platform)


@dataclass(frozen=True)
class Version:
    """A registered version of a use case's model.

    fitted: the model itself, verified against its digest. evaluation: what its training measured; each part is None if no
    step has written it.
    """

    pipeline: Pipeline
    ref: ModelRef
    platform: Platform = field(repr=False)

    @cached_property
    def fitted(self) -> Any:
        """The model. Raises: BrokenArtifact, RegistryUnreachable."""
        return self.platform.registry.load_model(self.ref)

    @property
    def importance(self) -> dict[str, float]:
        """Each feature's share, largest first."""
        return dict(self.fitted.importance)

    @cached_property
    def evaluation(self) -> EvaluationResults:
        """The evaluation on the test window of its training. Raises: StepMissing if the training's folder is gone."""
        return read_results(TrainingFolder(self.platform, self.fitted.facts.training_id))

    def predict(self, rows: Frame) -> Frame:
        """Predictions for a frame that has the model's features, such as one of `features()`; of the same kind.

        Columns: those of the key, tick and predict_at that the frame has, then as in the table of predictions.
        Raises: ModelInputError if a feature is missing or of another type.
        """
        table, kind = arrow(rows)
        kept = [name for name in (*self.pipeline.entity_table.key, "tick", "predict_at") if name in table.column_names]
        predicted = logged_columns(self.fitted.predict(table), decides=self.pipeline.of_task.decides)
        return frame(pa.table({name: table[name] for name in kept} | predicted), kind)

    def __repr__(self) -> str:
        return f"<version {self.ref.version} of {self.pipeline.name}, {self.ref.digest[:12]}>"

    def _repr_html_(self) -> str:
        facts, found = self.fitted.facts, self.evaluation.evaluation
        head = f"{self.pipeline.name} version {self.ref.version}"
        trained = f"trained as of {facts.as_of} and tested on {found.rows:,} rows of {facts.windows.test}, {found.outcomes}"
        rows = "".join(
            f'<tr><td style="text-align:left">{escape(title(name))}</td><td>{with_interval(one)}</td>'
            f"<td>{with_interval(found.baseline.get(name))}</td></tr>"
            for name, one in ((name, found.model[name]) for name in in_order(found.model))
        )
        strongest = list(self.importance.items())[:8]
        named = ", ".join(f"{escape(name)} {format_number(share)}" for name, share in strongest)
        return (
            f'<b>{escape(head)}</b><br>{escape(trained)}<table><tr><th style="text-align:left">metric</th><th>model</th>'
            f"<th>constant</th></tr>{rows}</table>Strongest features: {named}"
        )
