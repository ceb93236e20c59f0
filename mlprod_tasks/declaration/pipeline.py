"""A whole use case in one object."""

from __future__ import annotations

import hashlib
import json
from dataclasses import fields, is_dataclass
from datetime import timedelta
from math import ceil
from typing import Any

from mlprod_tasks.declaration.approval import Approval
from mlprod_tasks.declaration.checks.evaluation import words_of
from mlprod_tasks.declaration.checks.pipeline import check
from mlprod_tasks.declaration.declared import declared
from mlprod_tasks.declaration.evaluation import Backtest
from mlprod_tasks.declaration.feature import Feature, names_of
from mlprod_tasks.declaration.gate import Gate
from mlprod_tasks.declaration.monitoring import Monitoring, Retraining, Rule, Watch
from mlprod_tasks.declaration.schedule import Schedule
from mlprod_tasks.declaration.serving import Serving
from mlprod_tasks.declaration.standard import REQUEST_RULES, REQUEST_WATCHES, RETRAINING, RULES, WATCHES
from mlprod_tasks.declaration.table import Table
from mlprod_tasks.declaration.target import AtTick, Before, Kpi, Label, Value, ValueFunction
from mlprod_tasks.declaration.training import Model, RateTable, Split


@declared
class Publish:
    """Where predictions go besides the lake: a table of an SQLite or PostgreSQL database, created if missing.

    connection: an Airflow connection, or the environment variable `MLPROD_CONNECTION_<CONNECTION>`.
    table: the table's name; a tick's rows in it are replaced when the tick is scored again.
    """

    connection: str
    table: str


@declared
class Pipeline:
    """One use case: its data, features, label, model, gates, and what is watched.

    A use case that answers requests and declares neither `watches` nor `rules` has the standard ones for requests too.

    name: the file's name; also part of the names of DAGs, lake tables and the registered model.
    doc: what is predicted, and for whom.
    owner: who is responsible, as Airflow shows it.
    alert_to: mail addresses for failures and alarms.
    schedule: when it runs.
    tables: the source tables.
    entity: the table whose rows are scored, one score per row.
    features: the model's inputs, in order.
    label: the outcome that is predicted.
    split: the windows in time of a training.
    model: how the model is trained.
    fallback: the model that scores where the champion cannot.
    value: what decisions are worth.
    gates: what a model must fulfil before it may be promoted.
    kpi: the business measure that is watched.
    watches: what is watched, within which bounds.
    rules: what happens when a watched value leaves its bounds.
    retraining: limits on retraining.
    monitoring: settings for all watches together.
    predict_at: the moment at which a row is scored: no feature uses anything known later.
    publish: where predictions go besides the lake.
    task: the kind of prediction.
    top_share: the share of rows that precision at k takes as its k.
    slices: features by whose values (numbers: by whose quartiles) the model is also evaluated.
    backtest: evaluates the model at earlier moments too.
    approval: whether a person must approve a model before it is promoted.
    serving: how requests are answered, if the use case answers any.
    """

    name: str
    doc: str
    owner: str
    alert_to: tuple[str, ...]
    schedule: Schedule
    tables: tuple[Table, ...]
    entity: str
    features: tuple[Feature, ...]
    label: Label
    split: Split
    model: Model
    fallback: RateTable
    value: Value
    gates: tuple[Gate, ...]
    kpi: Kpi
    watches: tuple[Watch, ...] = WATCHES
    rules: tuple[Rule, ...] = RULES
    retraining: Retraining = RETRAINING
    monitoring: Monitoring = Monitoring()
    predict_at: AtTick | Before = AtTick()
    publish: Publish | None = None
    task: str = "binary"
    top_share: float = 0.1
    slices: tuple[str, ...] = ()
    backtest: Backtest | None = None
    approval: Approval | None = None
    serving: Serving | None = None

    def __post_init__(self) -> None:
        if self.serving is not None and (self.watches, self.rules) == (WATCHES, RULES):
            object.__setattr__(self, "watches", (*WATCHES, *REQUEST_WATCHES))
            object.__setattr__(self, "rules", (*RULES, *REQUEST_RULES))
        check(self)

    def table(self, name: str) -> Table:
        """The declared table of that name; KeyError where there is none."""
        for table in self.tables:
            if table.name == name:
                return table
        raise KeyError(name)

    @property
    def entity_table(self) -> Table:
        return self.table(self.entity)

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Every feature column, in the order of declaration: the model's input."""
        return tuple(name for feature in self.features for name in names_of(feature))

    @property
    def value_features(self) -> tuple[str, ...]:
        """The features that the declared value of a decision reads."""
        if not isinstance(self.value, ValueFunction):
            return ()
        read = words_of(self.value.act) | words_of(self.value.wait)
        return tuple(name for name in self.feature_names if name in read)

    @property
    def label_delay_ticks(self) -> int:
        """Ticks after which the labels of a tick are complete."""
        return ceil(self.label.delay / timedelta(days=1))

    @property
    def digest(self) -> str:
        """SHA-256 of the declaration: the same for the same declaration, however the file is written."""
        # Keys are not sorted: the order of a look-up's columns is the order of the model's input.
        return hashlib.sha256(json.dumps(self.as_json()).encode()).hexdigest()

    def as_json(self) -> dict[str, Any]:
        """The declaration as plain JSON values, each part with the name of its type."""
        plain: dict[str, Any] = _plain(self)
        return plain


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        # Without its type, AtLeast(metric, bound) would read as AtMost(metric, bound).
        return {"type": type(value).__name__} | {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return value if isinstance(value, int | float | str | None) else str(value)
