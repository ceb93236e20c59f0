"""The watched values, their bounds, and the rules for what happens when a value leaves its bounds."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Literal

from mlprod_tasks.declaration.declared import declared

# monitoring/kinds.py describes each: what it is measured on, and what it is compared with.
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
    "known_fault",
    "feature_psi",
    "feature_psi_last_year",
    "feature_js",
    "feature_wasserstein",
    "feature_level",
    "domain_auc",
    # output, known at the tick
    "score_psi",
    "score_psi_last_year",
    "class_psi",
    "score_wasserstein",
    "decision_share",
    "adaptation",
    "fallback_share",
    # performance estimated from calibrated scores, known at the tick
    "estimated_roc_auc",
    "estimated_precision",
    "estimated_recall",
    "estimated_accuracy",
    "estimated_macro_f1",
    "estimated_log_loss",
    "estimated_value",
    # performance estimated from errors on the reference, known at the tick
    "estimated_mae",
    "estimated_rmse",
    # outcomes, known when the labels of the tick are complete
    "label_coverage",
    "label_rate",
    "label_mean",
    "label_psi",
    "unknown_classes",
    "roc_auc",
    "roc_auc_change",
    "precision",
    "recall",
    "accuracy",
    "macro_f1",
    "log_loss",
    "value",
    "calibration",
    "mae",
    "rmse",
    "bias",
    "interval_coverage",
    "residual_shift",
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
    "unscored_rows",
    "upstream",
    # checks of the model in production
    "replayed",
    "canned",
    "changed_features",
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
    "online_class_psi",
    "online_shadow_difference",
    "online_shadow_latency",
]
# Those that are measured for one task only.
WATCHED_BY_TASK: dict[str, tuple[Watched, ...]] = {
    "binary": (
        "decision_share", "estimated_roc_auc", "estimated_precision", "estimated_recall", "estimated_value", "label_rate",
        "roc_auc", "roc_auc_change", "precision", "recall", "calibration", "residual_drift", "estimate_error",
    ),
    "regression": (
        "estimated_mae", "estimated_rmse", "label_mean", "label_psi", "mae", "rmse", "bias", "interval_coverage",
        "residual_shift",
    ),
    "multiclass": (
        "class_psi", "estimated_accuracy", "estimated_macro_f1", "estimated_log_loss", "estimated_value", "label_psi",
        "unknown_classes", "accuracy", "macro_f1", "log_loss", "calibration", "residual_drift", "estimate_error",
        "online_class_psi",
    ),
}  # fmt: skip
FEWEST_OF_A_MEAN = 3  # ticks that tell how much ticks differ
Action = Literal["note", "alert", "retrain", "fallback", "rollback"]


@declared
class Learned:
    """Bounds learned from the ticks of the reference: their mean +- `k` standard deviations.

    k: the number of standard deviations; None derives it from the number of watched values and the declared false alarms per
    month (Monitoring).
    by_weekday: whether each day of the week has separate bounds; of hourly ticks, each hour of the day.
    """

    k: float | None = None
    by_weekday: bool = False


@declared
class Watch:
    """Bounds on a watched value; a value outside of [low, high] is a breach.

    If both kinds are declared, the fixed bound says what matters and the learned one what is unusual. A breach is a value
    outside of both.

    what: the watched value.
    low: the smallest value within the bounds; None: no lower bound.
    high: the largest value within the bounds; None: no upper bound.
    only_important: for values per feature: watch only the features that make up 80 % of the model's gain.
    learned: bounds learned from the reference, with or without fixed ones.
    """

    what: Watched
    low: float | None = None
    high: float | None = None
    only_important: bool = False
    learned: Learned | None = None


@declared
class Breach:
    """A condition of a rule: a watch was breached often enough on the last ticks.

    For d ticks in a row: breaches=d, of=d.

    watch: the watched value.
    breaches: the number of ticks on which it must be breached.
    of: the number of last ticks with a value that are counted.
    least: for values per feature: the number of features that must be breached at a tick.
    only_important: count only the features that make up 80 % of the model's gain.
    mean_of: the number of last ticks of which the mean is judged instead of each tick: it is breached if it is outside of the
    bounds for certain, given how much the ticks differ.
    """

    watch: Watched
    breaches: int = 1
    of: int = 1
    least: int = 1
    only_important: bool = False
    mean_of: int = 1


@declared
class Rule:
    """An action to take when a watch is breached often enough.

    Actions: 'note' writes it to the ledger, 'alert' mails it, 'retrain' starts a training, 'fallback' uses the fallback model
    until a new champion is promoted or somebody switches back, 'rollback' makes the previous champion champion again. All but
    'note' send a mail; 'fallback' and 'rollback' start a training, too. If several rules fire, the strongest allowed action is
    taken.

    name: the name of the alarm.
    watch: the watched value.
    action: what to do.
    breaches: the number of ticks on which it must be breached.
    of: the number of last ticks with a value that are counted.
    least: for values per feature: the number of features that must be breached at a tick.
    only_important: count only the features that make up 80 % of the model's gain.
    also: further conditions that must hold at the same tick.
    mean_of: the number of last ticks of which the mean is judged instead of each tick: it is breached if it is outside of the
    bounds for certain, given how much the ticks differ.
    """

    name: str
    watch: Watched
    action: Action
    breaches: int = 1
    of: int = 1
    least: int = 1
    only_important: bool = False
    also: tuple[Breach, ...] = ()
    mean_of: int = 1

    @property
    def conditions(self) -> tuple[Breach, ...]:
        """All conditions that must hold at a tick."""
        return (Breach(self.watch, self.breaches, self.of, self.least, self.only_important, self.mean_of), *self.also)


@declared
class Retraining:
    """Limits on retraining.

    cooldown: the shortest time between two trainings.
    most_a_month: the largest number of trainings in any 30 days.
    """

    cooldown: timedelta
    most_a_month: int = 4


@declared
class BusinessMetric:
    """A number that the business records for each tick, read when the tick's labels are complete.

    name: its name.
    connection: the connection of the database that has it.
    sql: a query that gives one row with one column. Its parameters `:first` and `:last` are the bounds of the tick's rows,
    [first, last), in UTC; `:tick` is the tick's date.
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
    """Another use case whose scores are features of this one. A shift there is named as the cause of a shift here.

    pipeline: the name of the other use case.
    features: the features that are its scores.
    """

    pipeline: str
    features: tuple[str, ...]


@declared
class Holidays:
    """Days that are not like others, such as public holidays.

    Volume, distributions and outcomes of a tick on such a day are compared with those of other such ticks if the reference has
    enough of them, and otherwise not judged, which is said; ordinary ticks are compared with ordinary ones. A tick is on the
    day on which it starts; one of a week is on all of its days.

    dates: the days, those to come too. A library that knows them is called in the declaration, so that they are recorded in it.
    before: the number of days before each that are not like others either.
    after: the same of days after each.
    """

    dates: tuple[date, ...]
    before: int = 0
    after: int = 0


@declared
class Monitoring:
    """Settings for all watches together.

    false_alarms: the expected false alarms in 30 days, or in 30 ticks if these are longer, from all learned bounds together.
    metrics: measures that the business records itself.
    upstream: use cases whose scores are features of this one.
    digest_to: mail addresses for the weekly digest; if empty, `alert_to`.
    replayed_rows: the number of logged predictions that are computed again each night.
    holidays: days that are not like others; None: every day is.
    """

    false_alarms: float = 0.5
    metrics: tuple[BusinessMetric, ...] = ()
    upstream: tuple[Upstream, ...] = ()
    digest_to: tuple[str, ...] = ()
    replayed_rows: int = 1000
    holidays: Holidays | None = None
