"""Gates: what a model must show before it may be promoted. One that cannot be evaluated has failed."""

from __future__ import annotations

from typing import Literal

from mlprod_tasks.declaration.declared import declared

Metric = Literal["roc_auc", "pr_auc", "log_loss", "brier", "calibration_error", "precision_at_k", "value_per_1000"]
HIGHER_IS_BETTER: dict[str, bool] = {
    "roc_auc": True,
    "pr_auc": True,
    "log_loss": False,
    "brier": False,
    "calibration_error": False,
    "precision_at_k": True,
    "value_per_1000": True,
}

SHARES = ("roc_auc", "pr_auc", "brier", "calibration_error", "precision_at_k")  # metrics that lie in [0, 1]


@declared
class AtLeast:
    """The metric on the test window is `bound` or more."""

    metric: Metric
    bound: float


@declared
class AtMost:
    """The metric on the test window is `bound` or less."""

    metric: Metric
    bound: float


@declared
class BetterThanBaseline:
    """The metric is better than the constant baseline's by at least the share `by` of the baseline's value."""

    metric: Metric
    by: float = 0.0


@declared
class NotWorseThanChampion:
    """The metric on the same rows is no worse than the champion's by more than `tolerance` (absolute).

    surely: not the difference itself but the worse end of its 95 % interval (paired, on the same rows) must keep the tolerance.
    Passes where there is no champion yet.
    """

    metric: Metric
    tolerance: float = 0.0
    surely: bool = False


@declared
class WorstSlice:
    """The metric keeps the bound in every measured slice of at least `least_rows` rows.

    `bound` is the least for roc_auc and value_per_1000, the most for log_loss. calibration is the mean outcome minus the mean
    score, which may be off by `bound` to either side. Slices are those that the declaration names, and the worst ones that a
    search over all features finds; passes where it finds none that is worse than the rest.
    """

    metric: Literal["roc_auc", "log_loss", "calibration", "value_per_1000"]
    bound: float
    least_rows: int = 500


@declared
class Stable:
    """In at least `windows` windows of the backtest the metric keeps what is demanded.

    Declare either `bound` or `than`. 'baseline': better than the constant baseline. 'champion': not worse than the champion's
    recipe in that window by more than `tolerance`; passes where there is no champion yet.
    """

    metric: Metric
    bound: float | None = None
    than: Literal["baseline", "champion"] | None = None
    tolerance: float = 0.0
    windows: int = 4


@declared
class AvailableAtPrediction:
    """Every feature is there when a row is scored, as it was in training.

    The features of `ticks` ticks of the test window are computed once more with every partition, and every late value, hidden
    that was not yet known at the tick: they must equal those of the training set, bit for bit. In the newest tick no feature's
    share of nulls is more than `most_nulls` above that of the training rows: what is only filled in later is null there.
    """

    most_nulls: float = 0.1
    ticks: int = 3


@declared
class NoLeakageSuspicion:
    """No feature alone has a ROC AUC above `most`, nor does the model lose more than `most_share` of its power without it.

    Alone: rates of bins or categories, learned on training rows, judged on test rows. The power is ROC AUC above 0.5; it is
    lost when the feature's values are shuffled among the test rows.
    """

    most: float = 0.95
    most_share: float = 0.9


@declared
class Latency:
    """Scoring `rows` rows at once takes at most `most_ms` milliseconds: the median, in the best of several rounds."""

    most_ms: float
    rows: int = 1


@declared
class ModelSize:
    """The saved model's files take at most `most_mb` megabytes (of 1,000,000 bytes)."""

    most_mb: float


@declared
class SamePredictions:
    """Saved and loaded again, and in a fresh process also as an MLflow package, the model answers the same, bit for bit."""


@declared
class Invariance:
    """Changing features in a way that must not matter moves no score by more than `tolerance`.

    change: for each feature a SQL expression over the features, its new value. At most the share `most_share` of rows may break
    the rule, out of a sample of test rows.
    """

    doc: str
    change: dict[str, str]
    tolerance: float = 0.0
    most_share: float = 0.0


@declared
class Monotonic:
    """Raising a numeric feature by `by` never lowers the score ('up'), or never raises it ('down').

    At most the share `most_share` of rows may break the rule, out of a sample of test rows where the feature is not null.
    """

    doc: str
    feature: str
    direction: Literal["up", "down"]
    by: float
    most_share: float = 0.0


@declared
class KpiAtLeast:
    """The pipeline's KPI is `bound` or more, had the decisions on the test window been taken.

    worst_week: what it must also reach in each whole week of the window (seven ticks, counted back from its end).
    """

    bound: float
    worst_week: float | None = None


@declared
class KpiAtMost:
    """The pipeline's KPI is `bound` or less, had the decisions on the test window been taken: for a KPI that is a cost.

    worst_week: what it may not exceed in any whole week of the window (seven ticks, counted back from its end).
    """

    bound: float
    worst_week: float | None = None


Gate = (
    AtLeast
    | AtMost
    | BetterThanBaseline
    | NotWorseThanChampion
    | WorstSlice
    | Stable
    | AvailableAtPrediction
    | NoLeakageSuspicion
    | Latency
    | ModelSize
    | SamePredictions
    | Invariance
    | Monotonic
    | KpiAtLeast
    | KpiAtMost
)
# What only a trial of the model itself can tell; the others are judged from its evaluation.
TRIED = (
    AvailableAtPrediction,
    NoLeakageSuspicion,
    Latency,
    ModelSize,
    SamePredictions,
    Invariance,
    Monotonic,
    KpiAtLeast,
    KpiAtMost,
)
