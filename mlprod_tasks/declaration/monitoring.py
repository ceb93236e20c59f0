"""What is monitored in production, within which bounds, and what happens when a value leaves them."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal

from mlprod_tasks.declaration.declared import declared

# monitoring/kinds.py describes each: what it is measured on, and against what.
Watched = Literal[
    # inputs, known at the tick
    "volume",
    "freshness",
    "null_share",
    "new_categories",
    "lost_categories",
    "out_of_range",
    "type_changes",
    "join_coverage",
    "feature_psi",
    "feature_js",
    "feature_wasserstein",
    "domain_auc",
    # output, known at the tick
    "score_psi",
    "score_wasserstein",
    "decision_share",
    "fallback_share",
    # performance that calibrated scores promise, known at the tick
    "estimated_roc_auc",
    "estimated_precision",
    "estimated_recall",
    "estimated_value",
    # outcomes, known when the labels of the tick are complete
    "label_coverage",
    "label_rate",
    "roc_auc",
    "precision",
    "recall",
    "value",
    "calibration",
    "residual_drift",
    "estimate_error",
    "kpi",
    "business_metric",
    "kpi_correlation",
    # the pipeline itself
    "duration",
    "retries",
    "queue_wait",
    "rows_per_second",
    "memory",
    "data_delay",
    "label_delay",
    "cost",
    "model_age",
    "upstream",
    # checks of the model in production
    "replayed",
    "canned",
    "online_skew",
    # requests to the scoring service, known some minutes later
    "online_rows",
    "online_latency",
    "online_errors",
    "online_fallback",
    "online_refused",
    "online_stale",
    "online_missing",
    "online_nulls",
    "online_psi",
    "online_score_psi",
    "online_shadow_difference",
    "online_shadow_latency",
]
Action = Literal["note", "alert", "retrain", "fallback", "rollback"]


@declared
class Learned:
    """Bounds learned from the reference's own ticks: their mean +- `k` standard deviations.

    k: None derives it from the number of watched values and the declared false alarms per month (Monitoring).
    by_weekday: whether each day of the week has bounds of its own.
    """

    k: float | None = None
    by_weekday: bool = False


@declared
class Watch:
    """Bounds on a watched value; outside of [low, high] it is breached.

    Where both kinds are declared, the fixed bound says what would matter and the learned one what is unusual. A breach is
    outside of both.

    what: the watched value.
    low: the smallest value within the bounds; None: no lower bound.
    high: the largest value within the bounds; None: no upper bound.
    only_important: for values per feature: watch only the features that make up 80 % of the model's gain.
    learned: bounds learned from the reference, beside the fixed ones or alone.
    """

    what: Watched
    low: float | None = None
    high: float | None = None
    only_important: bool = False
    learned: Learned | None = None


@declared
class Breach:
    """A condition of a rule: a watch was breached often enough on the last ticks.

    On d ticks in a row: breaches=d, of=d.

    watch: the watched value.
    breaches: on how many ticks it must be breached.
    of: of how many last ticks that have a value.
    least: by how many features each time, where it is watched feature by feature.
    only_important: count only the features that make up 80 % of the model's gain.
    """

    watch: Watched
    breaches: int = 1
    of: int = 1
    least: int = 1
    only_important: bool = False


@declared
class Rule:
    """When a watch is breached often enough, do something.

    Actions: 'note' writes it to the ledger, 'alert' mails it, 'retrain' starts a training, 'fallback' uses the fallback model
    until a new champion is promoted or somebody switches back, 'rollback' makes the previous champion champion again. All but
    'note' send a mail; 'fallback' and 'rollback' start a training too. Of several actions the strongest allowed one is taken.

    name: the name of the alarm.
    watch: the watched value.
    action: what to do.
    breaches: on how many ticks it must be breached.
    of: of how many last ticks that have a value.
    least: by how many features each time, where it is watched feature by feature.
    only_important: count only the features that make up 80 % of the model's gain.
    also: further conditions that must hold at the same tick.
    """

    name: str
    watch: Watched
    action: Action
    breaches: int = 1
    of: int = 1
    least: int = 1
    only_important: bool = False
    also: tuple[Breach, ...] = ()

    @property
    def conditions(self) -> tuple[Breach, ...]:
        """All that must hold at a tick."""
        return (Breach(self.watch, self.breaches, self.of, self.least, self.only_important), *self.also)


@declared
class Retraining:
    """Limits on retraining.

    cooldown: the shortest time between two trainings.
    most_a_month: the most trainings in any 30 days.
    """

    cooldown: timedelta
    most_a_month: int = 4


@declared
class BusinessMetric:
    """A number that the business records for each tick, read when the tick's labels are complete.

    name: its name.
    connection: the database that has it.
    sql: a query that gives one row, one column. Its parameters `:first` and `:last` are the moments between which the tick's
    rows lie, [first, last), in UTC; `:tick` is its date.
    doc: what it means.
    unit: its unit.
    """

    name: str
    connection: str
    sql: str
    doc: str
    unit: str = ""


@declared
class Upstream:
    """Another use case whose scores are features of this one. A shift there is named as the cause here.

    pipeline: its name.
    features: the features that are its scores.
    """

    pipeline: str
    features: tuple[str, ...]


@declared
class Monitoring:
    """Settings for all watches together.

    false_alarms: the expected false alarms in a month of daily ticks, from all learned bounds together.
    metrics: the business's own measures.
    upstream: use cases whose scores are features here.
    digest_to: who gets the weekly digest; `alert_to` where empty.
    replayed_rows: how many logged predictions are computed again each night.
    """

    false_alarms: float = 0.5
    metrics: tuple[BusinessMetric, ...] = ()
    upstream: tuple[Upstream, ...] = ()
    digest_to: tuple[str, ...] = ()
    replayed_rows: int = 1000
