"""Gates: what a model must show on the test window before it may be promoted."""

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

    Passes where there is no champion yet.
    """

    metric: Metric
    tolerance: float = 0.0


Gate = AtLeast | AtMost | BetterThanBaseline | NotWorseThanChampion
