"""XGBoost's parameters: which `XGBoost.params` takes, their kinds and other names, and why it does not take the others.

The list is that of the pinned release, so that a declaration is checked without importing XGBoost; a test compares them.
"""

from __future__ import annotations

from mlprod_tasks.declaration.lightgbm_parameters import Kind

TAKEN: dict[str, Kind] = {
    "base_score": "float",
    "boost_from_average": "bool",
    "colsample_bylevel": "float",
    "colsample_bynode": "float",
    "gamma": "float",
    "grow_policy": "text",
    "interaction_constraints": "text",
    "max_bin": "int",
    "max_cat_threshold": "int",
    "max_cat_to_onehot": "int",
    "max_delta_step": "float",
    "max_leaves": "int",
    "monotone_constraints": "list",
    "num_parallel_tree": "int",
    "reg_alpha": "float",
    "tree_method": "text",
    "tweedie_variance_power": "float",
}
# The values of texts that are one of several.
CHOICES: dict[str, tuple[str, ...]] = {
    "grow_policy": ("depthwise", "lossguide"),
    "tree_method": ("hist", "approx"),
}
# Lists with one number for each feature, in declared order.
BY_FEATURE = ("monotone_constraints",)
# Parameters that are fields of XGBoost or of Model.
FIELDS = {
    "colsample_bytree": "feature_fraction",
    "early_stopping_rounds": "early_stopping_rounds",
    "learning_rate": "learning_rate",
    "max_depth": "max_depth",
    "min_child_weight": "min_child_weight",
    "num_boost_round": "max_trees",
    "objective": "objective",
    "reg_lambda": "lambda_l2",
    "scale_pos_weight": "model.weights",
    "seed": "model.seed",
    "subsample": "bagging_fraction",
    "nthread": "model.threads",
}
_TASK = "it follows from the task"
_ONE_WAY = "trees are always grown one after the other on this machine's cores"
REFUSED = {
    "booster": "there are trees ('gbtree'): for linear models declare LogisticRegression or LinearRegression",
    "device": _ONE_WAY,
    "disable_default_eval_metric": _TASK,
    "eval_metric": _TASK,
    "fail_on_invalid_gpu_id": _ONE_WAY,
    "multi_strategy": _TASK,
    "num_class": _TASK,
    "num_feature": "it is the number of features",
    "num_target": _TASK,
    "process_type": "trees that are there already are not changed",
    "refresh_leaf": "trees that are there already are not changed",
    "sampling_method": "rows are drawn evenly; the other way needs a graphics card",
    "seed_per_iteration": "it is for several machines",
    "sparse_threshold": "it changes how fast trees grow, not which",
    "updater": "it follows from tree_method",
    "validate_parameters": "parameters are checked when the declaration is loaded",
    "verbosity": "what is logged is decided by mlprod",
}
OTHER_NAMES: dict[str, tuple[str, ...]] = {
    "gamma": ("min_split_loss",),
    "learning_rate": ("eta",),
    "num_boost_round": ("n_estimators", "num_round"),
    "nthread": ("n_jobs",),
    "reg_alpha": ("alpha",),
    "reg_lambda": ("lambda",),
    "seed": ("random_state",),
}
_NAMES = {other: name for name, others in OTHER_NAMES.items() for other in others}


def own_name(name: str) -> str:
    """Return the name that is used here of a parameter that may be given by another one."""
    return _NAMES.get(name, name)


def every_name() -> list[str]:
    """Return all names that may be given, other names included."""
    return [*TAKEN, *FIELDS, *REFUSED, *_NAMES]
