"""A complete use case in one object."""

from __future__ import annotations

import hashlib
import json
from dataclasses import fields, is_dataclass
from datetime import timedelta
from functools import cached_property
from typing import Any

from mlprod_tasks.declaration.adapt import Adapt
from mlprod_tasks.declaration.approval import Approval
from mlprod_tasks.declaration.checks.evaluation import words_of
from mlprod_tasks.declaration.checks.pipeline import check
from mlprod_tasks.declaration.declared import declared
from mlprod_tasks.declaration.defaults import FALLBACK, GATES, KPI, SPLIT, VALUE, filled, placed
from mlprod_tasks.declaration.evaluation import Backtest
from mlprod_tasks.declaration.experiment import Experiments
from mlprod_tasks.declaration.feature import Feature, names_of
from mlprod_tasks.declaration.gate import Gate
from mlprod_tasks.declaration.monitoring import Monitoring, Retraining, Rule, Watch
from mlprod_tasks.declaration.outcome import Outcome
from mlprod_tasks.declaration.population import Population
from mlprod_tasks.declaration.queues import Queues
from mlprod_tasks.declaration.schedule import Schedule
from mlprod_tasks.declaration.serving import Serving
from mlprod_tasks.declaration.split import RowSplit, Split
from mlprod_tasks.declaration.standard import RETRAINING, RULES, WATCHES
from mlprod_tasks.declaration.table import Table
from mlprod_tasks.declaration.target import AtTick, Before, Capacity, ClassValue, CostMatrix, Kpi, Label, PredictionValue, Value
from mlprod_tasks.declaration.task import TASKS, Task
from mlprod_tasks.declaration.training import MeanTable, Model, RateTable, ShareTable


@declared
class Publish:
    """A table for predictions besides the lake, in an SQLite, PostgreSQL, MariaDB or MySQL database; it is created if
    missing.

    connection: an Airflow connection, or the environment variable `MLPROD_CONNECTION_<CONNECTION>`.
    table: the table's name; a tick's rows in it are replaced when the tick is scored again.
    """

    connection: str
    table: str


@declared
class Pipeline:
    """One use case: its data, features, label, model, gates and monitoring.

    What is not declared gets a default for this use case; `mlprod pipelines NAME --full` prints all of them. By default
    `watches` are WATCHES; of a regression REGRESSION_WATCHES, and with `model.coverage` also INTERVAL_WATCHES; of several
    classes MULTICLASS_WATCHES; with `serving` also those for requests, with `adapt` also ADAPTATION_WATCHES. By default `rules`
    are the rules of the same names, as far as they are about what is watched.

    name: the file's name; also part of the names of DAGs, lake tables and the registered model.
    alert_to: mail addresses for failures and alarms.
    schedule: when it runs.
    tables: the source tables.
    entity: what is scored, one score per row: the name of a table, or a `Population` of keys.
    label: the outcome that is predicted.
    doc: what is predicted, and for whom; by default the label's text.
    owner: who is responsible; shown in Airflow.
    features: the model's inputs, in order. By default the columns of the scored row that are known in time, its weekday and
    hour; of a population, what `seen_in` has of the key in the last 7, 28 and 91 days.
    split: the time windows of a training; by default two weeks each, with gaps of the label's delay. Of a scored table without
    a time its parts, by default by a hash of the key.
    model: how the model is trained.
    fallback: the model that scores when the champion cannot; by default a table by the first text of the row, else by the first
    whole number or yes or no, else of one group.
    value: what decisions, or predicted numbers or classes, are worth; by default a point for acting rightly, minus one for
    wrongly; of numbers minus the error; of classes a point for a right one.
    gates: conditions that a model must meet before it may be promoted; by default it must be better than the baseline, not
    worse than the champion, and no feature may tell the label.
    kpi: the business measure that is watched; by default the value of a thousand predictions, or the mean outcome.
    watches: the watched values and their bounds.
    rules: what happens when a watched value leaves its bounds.
    retraining: limits on retraining.
    monitoring: settings for all watches together.
    predict_at: the moment at which a row is scored; features use nothing that becomes known later.
    publish: a database table for predictions besides the lake.
    task: the kind of prediction: 'binary', a yes or no with its probability, 'regression', a number, or 'multiclass', one of
    several classes with the probabilities of all.
    top_share: the k of precision at k, as a share of rows.
    top_k: the k of top_k_accuracy: of classes, how many of the likeliest may hold the one that comes.
    slices: features whose values (quartiles of numbers) define slices for the evaluation.
    backtest: also evaluates the model at earlier moments.
    approval: whether a person must approve a model before it is promoted.
    serving: how requests are answered, if the use case answers any.
    experiments: what versions are compared by in experiments, if there are any.
    capacity: how many rows of a tick may be acted on; None: as many as reach the threshold.
    adapt: how scores are kept right between trainings, if they are.
    queues: on which workers tasks run, where Airflow has several.
    """

    name: str
    alert_to: tuple[str, ...]
    schedule: Schedule
    tables: tuple[Table, ...]
    entity: str | Population
    label: Label | Outcome
    doc: str = ""
    owner: str = "data science"
    features: tuple[Feature, ...] = ()
    split: Split | RowSplit = SPLIT
    model: Model = Model()
    fallback: RateTable | MeanTable | ShareTable = FALLBACK
    value: Value = VALUE
    gates: tuple[Gate, ...] = GATES
    kpi: Kpi = KPI
    watches: tuple[Watch, ...] = WATCHES
    rules: tuple[Rule, ...] = RULES
    retraining: Retraining = RETRAINING
    monitoring: Monitoring = Monitoring()
    predict_at: AtTick | Before = AtTick()
    publish: Publish | None = None
    task: str = "binary"
    top_share: float = 0.1
    top_k: int = 2
    slices: tuple[str, ...] = ()
    backtest: Backtest | None = None
    approval: Approval | None = None
    serving: Serving | None = None
    experiments: Experiments | None = None
    capacity: Capacity | None = None
    adapt: Adapt | None = None
    queues: Queues = Queues()

    def __post_init__(self) -> None:
        for defaults in (placed, filled):
            for name, value in defaults(self).items():
                object.__setattr__(self, name, value)
        check(self)

    def table(self, name: str) -> Table:
        """The declared table of that name. Raises: KeyError."""
        for table in self.tables:
            if table.name == name:
                return table
        raise KeyError(name)

    @property
    def population(self) -> Population | None:
        """The population that is scored; None if rows of a table are."""
        return self.entity if isinstance(self.entity, Population) else None

    @property
    def entity_name(self) -> str:
        return self.entity.name if isinstance(self.entity, Population) else self.entity

    @cached_property
    def entity_table(self) -> Table:
        """The table whose rows are scored; of a population, what its rows would be as a table."""
        if isinstance(self.entity, Population):
            return self.entity.as_table(self.table(self.entity.seen_in))
        return self.table(self.entity)

    @property
    def label_delay(self) -> timedelta:
        """How long after predict_at an outcome is complete."""
        return self._delay(self.label) if isinstance(self.label, Outcome) else self.label.delay

    @property
    def feature_names(self) -> tuple[str, ...]:
        """All feature columns in the order of declaration: the model's input."""
        return tuple(name for feature in self.features for name in names_of(feature))

    @property
    def of_task(self) -> Task:
        """What belongs to the task in a declaration."""
        return TASKS[self.task]

    @property
    def choose_by(self) -> str:
        """The metric by which candidates are compared."""
        return self.model.choose_by or ("pinball" if self.quantile is not None else self.of_task.choose_by)

    @property
    def quantile(self) -> float | None:
        """The quantile of outcomes that is predicted, if a candidate's objective is one; else None."""
        return self.model.quantile

    @property
    def value_features(self) -> tuple[str, ...]:
        """The features that the declared value of a decision, or of a predicted number, reads."""
        if isinstance(self.value, CostMatrix | ClassValue):
            return ()
        value = self.value
        written = (value.sql,) if isinstance(value, PredictionValue) else (value.act, value.wait)
        read = {word for sql in written for word in words_of(sql)}
        return tuple(name for name in self.feature_names if name in read)

    @property
    def acts(self) -> bool:
        """Whether rows may be given a declared action besides their score, by a bandit."""
        return self.experiments is not None and self.experiments.bandit is not None and bool(self.experiments.bandit.actions)

    @property
    def windows(self) -> Split:
        """The split by time of a use case that has one: rows of a table without a time are split by themselves."""
        assert isinstance(self.split, Split)
        return self.split

    @property
    def label_delay_ticks(self) -> int:
        """The number of ticks after which the labels of a tick are complete."""
        if isinstance(self.label, Outcome):
            return self.outcome_delay_ticks(self.label)
        return self.schedule.ticks_until(self.label_delay)

    def outcome_delay_ticks(self, outcome: Outcome) -> int:
        """The number of ticks after which an outcome of a tick's rows is complete."""
        days = outcome.days
        return self.schedule.ticks_until(self._delay(outcome) - timedelta(days=days), calendar_days=days)

    def _delay(self, outcome: Outcome) -> timedelta:
        # A table that is not declared is refused where the outcome is checked.
        known_after = (table.known_after for table in self.tables if table.name == outcome.table)
        return outcome.within + next(known_after, timedelta(0))

    @property
    def digest(self) -> str:
        """SHA-256 of the declaration, which does not depend on how the file is written."""
        # Keys are not sorted: the order of a look-up's columns is the order of the model's input.
        return hashlib.sha256(json.dumps(self.as_json()).encode()).hexdigest()

    def as_json(self) -> dict[str, Any]:
        """The declaration as plain JSON values, each part with the name of its type."""
        written: dict[str, Any] = plain(self)
        return written


def plain(value: Any) -> Any:
    """A declared part as plain JSON values, with the name of its type."""
    if is_dataclass(value):
        # Without its type, AtLeast(metric, bound) would look like AtMost(metric, bound).
        return {"type": type(value).__name__} | {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, tuple):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return value if isinstance(value, int | float | str | None) else str(value)
