"""The kinds of model that a declaration may use, with their parameters.

A parameter means the same in every kind: `early_stopping_rounds` counts trees, or epochs, without a better metric; `c` is the
inverse strength of the penalty; `name` tells candidates apart.
"""

from __future__ import annotations

from dataclasses import field
from typing import Literal

from mlprod_tasks.declaration.declared import declared

Objective = Literal["l2", "l1", "huber", "poisson", "tweedie", "quantile"]
DEFAULT_QUANTILE = 0.9  # LightGBM's own
Parameter = bool | int | float | str | tuple[int | float, ...] | None


@declared
class LightGBM:
    """Gradient boosted trees (Ke et al., 2017), stopped when AUC on the validation window no longer rises.

    Trees of a regression are stopped when their objective no longer falls there. Categories are split natively.

    learning_rate: the weight of each tree.
    max_trees: the largest number of trees.
    early_stopping_rounds: trees without a better validation metric after which fitting stops; None grows all of `max_trees`.
    num_leaves: the largest number of leaves of a tree.
    max_depth: the largest number of splits from root to leaf; None: no limit.
    min_data_in_leaf: the smallest number of training rows in a leaf.
    feature_fraction: the share of features that each tree may use.
    bagging_fraction: the share of training rows that each tree is fitted to.
    lambda_l2: the L2 penalty on the values of leaves.
    name: tells candidates apart.
    objective: of a regression, what the trees minimise: 'l2' predicts the mean, 'l1' the median, 'huber' a mean without much
    weight for outliers, 'poisson' and 'tweedie' the mean of counts and of amounts that are often zero, which may not be
    negative, 'quantile' a quantile. None is l2.
    alpha: for 'quantile', which one, in (0, 1); for 'huber', the error from which it is counted linearly, in the outcome's
    unit; None is 0.9.
    tweedie_power: for 'tweedie', its variance power, in [1, 2); None is 1.5.
    params: further parameters by LightGBM's names, such as {"max_bin": 63, "path_smooth": 10.0}. What is a field here or in
    Model is declared there.
    """

    learning_rate: float = 0.05
    max_trees: int = 2000
    early_stopping_rounds: int | None = 50
    num_leaves: int = 31
    max_depth: int | None = None
    min_data_in_leaf: int = 100
    feature_fraction: float = 0.8
    bagging_fraction: float = 0.8
    lambda_l2: float = 1.0
    name: str = "lightgbm"
    objective: Objective | None = None
    alpha: float | None = None
    tweedie_power: float | None = None
    params: dict[str, Parameter] = field(default_factory=dict)


def quantile_of(learner: object) -> float | None:
    """The quantile that a candidate predicts; None if it predicts something else."""
    if not isinstance(learner, LightGBM | CatBoost) or learner.objective != "quantile":
        return None
    return DEFAULT_QUANTILE if learner.alpha is None else learner.alpha


@declared
class XGBoost:
    """XGBoost's gradient boosted trees (Chen and Guestrin, 2016): `pip install 'mlprod[xgboost]'`. Stopped as LightGBM.

    Categories are split natively.

    learning_rate: the weight of each tree.
    max_trees: the largest number of trees.
    early_stopping_rounds: trees without a better validation metric after which fitting stops; None grows all of `max_trees`.
    max_depth: the largest number of splits from root to leaf; None: no limit.
    min_child_weight: the smallest sum of the loss's second derivatives in a leaf; of squared errors the number of rows.
    feature_fraction: the share of features that each tree may use.
    bagging_fraction: the share of training rows that each tree is fitted to.
    lambda_l2: the L2 penalty on the values of leaves.
    name: tells candidates apart.
    objective: of a regression, what the trees minimise, as in LightGBM; None is l2.
    params: further parameters by XGBoost's names, such as {"max_bin": 64, "gamma": 1.0}. What is a field here or in Model is
    declared there.
    """

    learning_rate: float = 0.05
    max_trees: int = 2000
    early_stopping_rounds: int | None = 50
    max_depth: int | None = 6
    min_child_weight: float = 10.0
    feature_fraction: float = 0.8
    bagging_fraction: float = 0.8
    lambda_l2: float = 1.0
    name: str = "xgboost"
    objective: Literal["l2", "l1", "poisson", "tweedie"] | None = None
    params: dict[str, Parameter] = field(default_factory=dict)


@declared
class CatBoost:
    """CatBoost's gradient boosted trees (Prokhorenkova et al., 2018): `pip install 'mlprod[catboost]'`. Stopped as LightGBM.

    Categories, and combinations of them, are encoded by outcomes of the rows before each row, in a random order; a missing one
    is a category of its own. Trees are symmetric: all nodes of a level have the same split.

    learning_rate: the weight of each tree.
    max_trees: the largest number of trees.
    early_stopping_rounds: trees without a better validation metric after which fitting stops; None grows all of `max_trees`.
    max_depth: the number of splits from root to leaf, at most 16.
    feature_fraction: the share of features that each split may use.
    bagging_fraction: the share of training rows that each tree is fitted to.
    lambda_l2: the L2 penalty on the values of leaves.
    name: tells candidates apart.
    objective: of a regression, what the trees minimise, as in LightGBM; None is l2.
    alpha: for 'quantile' and 'huber', as in LightGBM; None is 0.9.
    tweedie_power: for 'tweedie', its variance power, in (1, 2); None is 1.5.
    params: further parameters by CatBoost's names, such as {"one_hot_max_size": 10, "random_strength": 2.0}. What is a field
    here or in Model is declared there.
    """

    learning_rate: float = 0.05
    max_trees: int = 2000
    early_stopping_rounds: int | None = 50
    max_depth: int = 6
    feature_fraction: float = 1.0
    bagging_fraction: float = 0.8
    lambda_l2: float = 3.0
    name: str = "catboost"
    objective: Objective | None = None
    alpha: float | None = None
    tweedie_power: float | None = None
    params: dict[str, Parameter] = field(default_factory=dict)


@declared
class HistGradientBoosting:
    """scikit-learn's gradient boosted trees, stopped when log loss (of numbers the squared error) on the validation window no
    longer falls.

    Categories are split natively; if a feature has more than 255, the rarest are merged into one.

    learning_rate: the weight of each tree.
    max_trees: the largest number of trees.
    early_stopping_rounds: trees without a better validation metric after which fitting stops; None grows all of `max_trees`.
    num_leaves: the largest number of leaves of a tree.
    max_depth: the largest number of splits from root to leaf; None: no limit.
    min_data_in_leaf: the smallest number of training rows in a leaf.
    feature_fraction: the share of features that each split may use.
    lambda_l2: the L2 penalty on the values of leaves.
    name: tells candidates apart.
    """

    learning_rate: float = 0.05
    max_trees: int = 1000
    early_stopping_rounds: int | None = 30
    num_leaves: int = 31
    max_depth: int | None = None
    min_data_in_leaf: int = 100
    feature_fraction: float = 0.8
    lambda_l2: float = 1.0
    name: str = "hist_gradient_boosting"


@declared
class RandomForest:
    """Trees on bootstrap samples (Breiman, 2001); categories as cross-fitted outcome rates of the training rows.

    trees: the number of trees.
    max_depth: the largest number of splits from root to leaf; None: no limit.
    min_data_in_leaf: the smallest number of training rows in a leaf.
    feature_fraction: the share of features that is tried at each split; None tries the square root of their number.
    name: tells candidates apart.
    """

    trees: int = 100
    max_depth: int | None = None
    min_data_in_leaf: int = 50
    feature_fraction: float | None = None
    name: str = "random_forest"


@declared
class ExtraTrees:
    """Trees with random cuts on all training rows (Geurts et al., 2006); otherwise as RandomForest.

    trees: the number of trees.
    max_depth: the largest number of splits from root to leaf; None: no limit.
    min_data_in_leaf: the smallest number of training rows in a leaf.
    feature_fraction: the share of features that is tried at each split; None tries the square root of their number.
    name: tells candidates apart.
    """

    trees: int = 100
    max_depth: int | None = None
    min_data_in_leaf: int = 50
    feature_fraction: float | None = None
    name: str = "extra_trees"


@declared
class LogisticRegression:
    """Logistic regression with an L2 penalty.

    Its columns are standardised numbers, indicators of missing ones, and one-hot categories.

    c: the inverse strength of the penalty.
    least_category_rows: categories with fewer training rows share one column.
    name: tells candidates apart.
    """

    c: float = 1.0
    least_category_rows: int = 20
    name: str = "logistic_regression"


@declared
class LinearRegression:
    """Linear regression with an L2 penalty (ridge), for a regression, on the columns of LogisticRegression.

    c: the inverse strength of the penalty.
    least_category_rows: categories with fewer training rows share one column.
    name: tells candidates apart.
    """

    c: float = 1.0
    least_category_rows: int = 20
    name: str = "linear_regression"


@declared
class LinearSVM:
    """A linear support vector machine (squared hinge) on the columns of LogisticRegression.

    A sigmoid turns its margins into probabilities (Platt, 1999). It is fitted out of time: to the last fifth of the training
    window, with margins of a machine that was fitted without it.

    c: the inverse strength of the penalty.
    least_category_rows: categories with fewer training rows share one column.
    name: tells candidates apart.
    """

    c: float = 0.1
    least_category_rows: int = 20
    name: str = "linear_svm"


@declared
class NeuralNet:
    """A feed-forward net (ReLU, Adam) on the columns of LogisticRegression.

    The epoch with the lowest validation log loss, of numbers squared error, is kept.

    hidden: the number of units of each hidden layer.
    learning_rate: the step size of Adam.
    lambda_l2: the L2 penalty on the weights.
    batch_rows: rows per step.
    max_epochs: the largest number of passes over the training rows.
    early_stopping_rounds: epochs without a better validation loss after which fitting stops; None runs all of `max_epochs`.
    least_category_rows: categories with fewer training rows share one column.
    name: tells candidates apart.
    """

    hidden: tuple[int, ...] = (64, 32)
    learning_rate: float = 0.001
    lambda_l2: float = 0.0001
    batch_rows: int = 256
    max_epochs: int = 60
    early_stopping_rounds: int | None = 6
    least_category_rows: int = 20
    name: str = "neural_net"


@declared
class Constant:
    """The outcome rate, or mean, of the training rows for every row: the baseline of the other candidates.

    name: tells candidates apart.
    """

    name: str = "constant"


@declared
class Estimator:
    """An estimator of your own: any scikit-learn compatible estimator or Pipeline, by its import path.

    It is fitted to the training rows as a pandas DataFrame of the features, numbers as float64 with NaN if missing, categories
    as pandas' `category` with their values, and to outcomes of 0 and 1, numbers, or codes of classes from 0 on. It needs `fit`
    and, for a yes or no or classes, `predict_proba`, for a number `predict`. A `random_state` that it leaves at None is set to
    `model.seed`.

    make: 'module:name' of a function or class that returns an unfitted estimator.
    params: its keyword arguments; a search may try others.
    name: tells candidates apart.
    """

    make: str
    params: dict[str, Parameter] = field(default_factory=dict)
    name: str = "estimator"


@declared
class LastValue:
    """The value of one feature, for a regression: the baseline that tomorrow is as the last time, as in ml.Last of a Trailing.

    Where the feature is missing, the mean of the training rows, or the quantile that other candidates predict.

    feature: a feature that is a number, in the outcome's unit.
    name: tells candidates apart.
    """

    feature: str
    name: str = "last_value"


@declared
class SeasonalMean:
    """The mean outcome of the training rows by some features, for a regression: the baseline of a season, such as a weekday.

    Where other candidates predict a quantile, it is that quantile of the rows, not their mean.

    by: the features whose values, together, tell groups apart.
    smoothing: so many rows with the overall mean are added to each group.
    name: tells candidates apart.
    """

    by: tuple[str, ...]
    smoothing: float = 10.0
    name: str = "seasonal_mean"


@declared
class Averaging:
    """The mean of the probabilities of other candidates.

    of: their names.
    name: tells candidates apart.
    """

    of: tuple[str, ...]
    name: str = "averaging"


@declared
class Stacking:
    """A logistic regression, with weights of zero or more, on the log-odds of other candidates (Breiman, 1996).

    Of numbers, a linear regression on their predictions; of classes, one weight for each candidate, and an intercept for each
    class, on logarithms of their probabilities.

    It learns from out-of-time predictions. The training window is cut into `folds` + 2 blocks of time. To predict a block,
    members are fitted to the blocks before it, the last of which is used for early stopping. Finally members are fitted to all
    training rows.

    of: the names of the other candidates.
    folds: the number of blocks that are predicted out of time.
    name: tells candidates apart.
    """

    of: tuple[str, ...]
    folds: int = 3
    name: str = "stacking"


Ensemble = Averaging | Stacking
Learner = (
    LightGBM
    | XGBoost
    | CatBoost
    | HistGradientBoosting
    | RandomForest
    | ExtraTrees
    | LogisticRegression
    | LinearRegression
    | LinearSVM
    | NeuralNet
    | Estimator
    | Constant
    | LastValue
    | SeasonalMean
    | Averaging
    | Stacking
)
