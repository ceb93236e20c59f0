"""How a model is made: the windows in time, the learner, the fallback beside it."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal

from mlprod_tasks.declaration.declared import declared


@declared
class Split:
    """train | gap | validation | gap | test, by time only; the test window ends where labels are complete.

    `train` None takes all ticks from the schedule's start. `gap` must be no shorter than the label's delay.
    """

    validation: timedelta
    test: timedelta
    gap: timedelta
    train: timedelta | None = None


@declared
class LightGBM:
    """Gradient boosted trees with early stopping on the validation window.

    `categorical` features are coded as integers, codes learned on training rows. `threads` None takes all cores but one:
    boosting beside another busy process is slower with all of them.
    """

    learning_rate: float = 0.05
    max_trees: int = 2000
    early_stopping_rounds: int = 50
    num_leaves: int = 31
    min_data_in_leaf: int = 100
    feature_fraction: float = 0.8
    bagging_fraction: float = 0.8
    lambda_l2: float = 1.0
    categorical: tuple[str, ...] = ()
    calibration: Literal["isotonic", "sigmoid", "none"] = "isotonic"
    seed: int = 0
    threads: int | None = None


@declared
class RateTable:
    """The fallback model: the smoothed outcome rate of the training rows, per group of row-level features.

    It needs no trailing or as-of features, so it answers when those cannot be had. `smoothing` is the weight,
    in rows, of the overall rate.
    """

    by: tuple[str, ...]
    smoothing: float = 50.0
