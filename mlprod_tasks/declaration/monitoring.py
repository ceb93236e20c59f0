"""What is watched in production, within which bounds, and what follows when it moves."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal

from mlprod_tasks.declaration.declared import declared

# Each is told in words, with what it is measured on and against, in monitoring/kinds.py.
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
    # what was answered on request, known some minutes later
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
    """Bounds that the reference's own ticks set: their mean +- `k` standard deviations.

    k: None follows from how many watched values there are and how many false alarms a month are declared (Monitoring).
    by_weekday: whether each day of the week has bounds of its own.
    """

    k: float | None = None
    by_weekday: bool = False


@declared
class Watch:
    """A bound on what is watched; outside of [low, high] it is breached.

    A fixed bound beside a learned one says what would matter; the learned one says what is out of the ordinary. A breach is
    outside of both.

    what: the watched value.
    low: the smallest value within the bounds; None bounds nothing.
    high: the largest value within the bounds; None bounds nothing.
    only_important: of what is watched feature by feature, only the features that make up 80 % of the model's gain.
    learned: bounds learned from the reference, beside the fixed ones or alone.
    """

    what: Watched
    low: float | None = None
    high: float | None = None
    only_important: bool = False
    learned: Learned | None = None


@declared
class Breach:
    """A condition of a rule: a watch was breached often enough lately.

    For d days running: breaches=d, of=d.

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

    Actions: 'note' keeps it in the ledger, 'alert' mails it, 'retrain' asks for a training, 'fallback' lets the fallback model
    answer until a new champion is promoted or somebody switches back, 'rollback' makes the champion before champion again. All
    but 'note' mail it; 'fallback' and 'rollback' ask for a training too. Of several the strongest that may be done is done.

    name: what the alarm is called.
    watch: the watched value.
    action: what is done.
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

    cooldown: no training is asked for again within so long of the last one.
    most_a_month: the most trainings in any 30 days.
    """

    cooldown: timedelta
    most_a_month: int = 4


@declared
class BusinessMetric:
    """A number that the business keeps about each tick, asked when the tick's labels are complete.

    name: what it is called.
    connection: the database that is asked.
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
    """Another use case whose scores are features of this one: a shift there is named as the cause here.

    pipeline: its name.
    features: the features that are its scores.
    """

    pipeline: str
    features: tuple[str, ...]


@declared
class Monitoring:
    """What holds for all watches together.

    false_alarms: rules that fire in a month of daily ticks, of all learned bounds together, while nothing has changed.
    metrics: the business's own measures.
    upstream: use cases whose scores are features here.
    digest_to: who gets the weekly digest; `alert_to` where empty.
    replayed_rows: logged predictions that are computed again each night.
    """

    false_alarms: float = 0.5
    metrics: tuple[BusinessMetric, ...] = ()
    upstream: tuple[Upstream, ...] = ()
    digest_to: tuple[str, ...] = ()
    replayed_rows: int = 1000
