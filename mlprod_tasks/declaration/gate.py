"""Gates: conditions that a model must meet before it may be promoted. A gate that cannot be evaluated fails."""

from __future__ import annotations

from typing import Literal

from mlprod_tasks.declaration.declared import declared

# declaration/task.py says which of them a task has.
Metric = Literal[
    "roc_auc", "pr_auc", "log_loss", "brier", "calibration_error", "precision_at_k", "precision_at_capacity", "value_per_1000",
    "mae", "rmse", "median_error", "r2", "mape", "absolute_bias", "interval_coverage", "interval_width", "pinball",
    "accuracy", "macro_f1", "weighted_f1", "macro_auc", "top_k_accuracy",
]  # fmt: skip
HIGHER_IS_BETTER: dict[str, bool] = {
    "roc_auc": True,
    "pr_auc": True,
    "log_loss": False,
    "brier": False,
    "calibration_error": False,
    "precision_at_k": True,
    "precision_at_capacity": True,
    "value_per_1000": True,
    "mae": False,
    "rmse": False,
    "median_error": False,
    "r2": True,
    "mape": False,
    "absolute_bias": False,
    "interval_coverage": True,
    "interval_width": False,
    "pinball": False,
    "accuracy": True,
    "macro_f1": True,
    "weighted_f1": True,
    "macro_auc": True,
    "top_k_accuracy": True,
}

OF_INTERVALS = ("interval_coverage", "interval_width")  # of predictions with an interval
SHARES = (  # metrics in [0, 1]
    "roc_auc", "pr_auc", "brier", "calibration_error", "precision_at_k", "precision_at_capacity", "interval_coverage",
    "accuracy", "macro_f1", "weighted_f1", "macro_auc", "top_k_accuracy",
)  # fmt: skip


@declared
class AtLeast:
    """The metric on the test window is at least a bound.

    metric: the metric.
    bound: the smallest value that passes.
    """

    metric: Metric
    bound: float


@declared
class AtMost:
    """The metric on the test window is at most a bound.

    metric: the metric.
    bound: the largest value that passes.
    """

    metric: Metric
    bound: float


@declared
class BetterThanBaseline:
    """The metric is better than the best baseline's: the constant one, and candidates that are a LastValue or a SeasonalMean.

    metric: the metric.
    by: the smallest improvement, as a share of the baseline's value.
    """

    metric: Metric
    by: float = 0.0


@declared
class NotWorseThanChampion:
    """The metric on the same rows is no worse than the champion's.

    Passes if there never was a champion. If another version becomes champion before the model is promoted, it is not promoted.

    metric: the metric.
    tolerance: how much worse it may be, as a difference.
    surely: the worse end of the difference's 95 % interval (paired, on the same rows) must stay within the tolerance.
    """

    metric: Metric
    tolerance: float = 0.0
    surely: bool = False


@declared
class WorstSlice:
    """The metric keeps the bound in every slice that is large enough.

    Slices are those that the declaration names, and the worst ones that a search over all features finds. The gate passes if no
    slice is worse than the rest.

    metric: the metric; calibration is the mean outcome minus the mean score (of classes, the share of right predictions
    minus their mean probability), bias the mean outcome minus the mean prediction.
    bound: the smallest value for roc_auc, accuracy and value_per_1000, the largest for log_loss, mae and rmse, the largest
    absolute value for calibration and bias.
    least_rows: the number of rows of a slice that is large enough.
    """

    metric: Literal["roc_auc", "log_loss", "calibration", "value_per_1000", "mae", "rmse", "bias", "accuracy"]
    bound: float
    least_rows: int = 500


@declared
class Stable:
    """The metric keeps its bound in enough windows of the backtest.

    Declare either `bound` or `than`.

    metric: the metric.
    bound: the bound that it must keep.
    than: 'baseline': better than the constant baseline; 'champion': not worse than the champion's training spec in that window,
    which passes if there is no champion yet.
    tolerance: how much worse than the champion's it may be, as a difference.
    windows: the number of windows that is enough.
    """

    metric: Metric
    bound: float | None = None
    than: Literal["baseline", "champion"] | None = None
    tolerance: float = 0.0
    windows: int = 4


@declared
class AvailableAtPrediction:
    """Every feature is available when a row is scored, as it was in training.

    The features of some ticks of the test window are computed again without the partitions and late values that were not yet
    known at the tick. They must be equal to those of the training set, bit for bit.

    most_nulls: how much larger a feature's share of nulls may be in the newest tick than in the training rows; values that are
    filled in later are still null there.
    ticks: the number of ticks that are computed again.
    """

    most_nulls: float = 0.1
    ticks: int = 3


@declared
class NoLeakageSuspicion:
    """No single feature is suspiciously strong, and the model does not depend on one feature alone.

    Of a regression, Spearman's rank correlation stands in place of ROC AUC, and 0 in place of 0.5.

    Features that are made only of rows known before predict_at (trailing and as-of ones, and expressions over these alone) may
    be strong because outcomes repeat: births in a state tomorrow are much like those of last week. They are compared with what
    earlier outcomes of the same keys tell. Where these tell a lot too, such a feature may exceed `most`, unless it leaves less
    than a tenth of what they leave untold, and a model may rest on it alone. A column of the row itself and a look-up
    may not: nothing tells since when they hold.

    most: the largest ROC AUC of one feature alone: rates of bins or categories, from training rows, evaluated on test rows.
    most_share: the largest share of the model's power (ROC AUC above 0.5) that is lost when the values of one feature are
    shuffled among the test rows. A model with a power of less than 0.05 rests on nothing.
    """

    most: float = 0.95
    most_share: float = 0.9


@declared
class Latency:
    """Scoring some rows at once is fast enough: the median time in the best of several rounds.

    most_ms: the largest number of milliseconds that passes.
    rows: the number of rows that are scored at once.
    """

    most_ms: float
    rows: int = 1


@declared
class ModelSize:
    """The saved model's files are small enough.

    most_mb: the largest number of megabytes (1,000,000 bytes) that passes.
    """

    most_mb: float


@declared
class SamePredictions:
    """The model gives the same scores, bit for bit, after it is saved and loaded again.

    It is loaded in the same process, and in a new process as an MLflow package.
    """


@declared
class Invariance:
    """Changing features in a way that must not matter does not change scores.

    Checked on a sample of test rows.

    doc: what must not matter, in one sentence; it names the gate.
    change: the new value of each changed feature, as a SQL expression over the features.
    tolerance: how much a score may change.
    most_share: the share of rows that may break the rule.
    of: of predicted classes, the one whose probability is meant; '' means the probabilities of all.
    """

    doc: str
    change: dict[str, str]
    tolerance: float = 0.0
    most_share: float = 0.0
    of: str = ""


@declared
class Monotonic:
    """Raising a numeric feature never lowers the score, or never raises it.

    Checked on a sample of test rows in which the feature is not null.

    doc: what must hold, in one sentence; it names the gate.
    feature: the feature.
    direction: 'up': the score never falls; 'down': it never rises.
    by: how much the feature is raised.
    most_share: the share of rows that may break the rule.
    of: of predicted classes, the one whose probability is the score that is meant.
    """

    doc: str
    feature: str
    direction: Literal["up", "down"]
    by: float
    most_share: float = 0.0
    of: str = ""


@declared
class KpiAtLeast:
    """The pipeline's KPI is at least a bound.

    It is computed as if the decisions on the test window had been taken.

    bound: the smallest value that passes.
    worst_week: the smallest value that passes in each whole week of the window (the ticks of seven days, counted from its end).
    """

    bound: float
    worst_week: float | None = None


@declared
class KpiAtMost:
    """The pipeline's KPI, which is a cost, is at most a bound.

    It is computed as if the decisions on the test window had been taken.

    bound: the largest value that passes.
    worst_week: the largest value that passes in each whole week of the window (the ticks of seven days, counted from its end).
    """

    bound: float
    worst_week: float | None = None


# Gates that need checks of the model itself; the others use its evaluation.
CheckedGate = (
    AvailableAtPrediction
    | NoLeakageSuspicion
    | Latency
    | ModelSize
    | SamePredictions
    | Invariance
    | Monotonic
    | KpiAtLeast
    | KpiAtMost
)
Gate = AtLeast | AtMost | BetterThanBaseline | NotWorseThanChampion | WorstSlice | Stable | CheckedGate
