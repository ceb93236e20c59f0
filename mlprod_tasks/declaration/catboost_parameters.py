"""CatBoost's parameters: which `CatBoost.params` takes, their kinds and other names, and why it does not take the others.

The list is that of the pinned release, so that a declaration is checked without importing CatBoost; a test compares them.
"""

from __future__ import annotations

from mlprod_tasks.declaration.lightgbm_parameters import Kind

TAKEN: dict[str, Kind] = {
    "approx_on_full_history": "bool",
    "bagging_temperature": "float",
    "best_model_min_trees": "int",
    "boost_from_average": "bool",
    "boosting_type": "text",
    "bootstrap_type": "text",
    "border_count": "int",
    "combinations_ctr": "text",
    "counter_calc_method": "text",
    "ctr_leaf_count_limit": "int",
    "ctr_target_border_count": "int",
    "diffusion_temperature": "float",
    "feature_border_type": "text",
    "feature_weights": "list",
    "first_feature_use_penalties": "list",
    "fold_len_multiplier": "float",
    "fold_permutation_block": "int",
    "grow_policy": "text",
    "has_time": "bool",
    "langevin": "bool",
    "leaf_estimation_backtracking": "text",
    "leaf_estimation_iterations": "int",
    "leaf_estimation_method": "text",
    "max_ctr_complexity": "int",
    "max_leaves": "int",
    "min_data_in_leaf": "int",
    "model_shrink_mode": "text",
    "model_shrink_rate": "float",
    "model_size_reg": "float",
    "monotone_constraints": "list",
    "mvs_reg": "float",
    "nan_mode": "text",
    "one_hot_max_size": "int",
    "penalties_coefficient": "float",
    "per_object_feature_penalties": "list",
    "posterior_sampling": "bool",
    "random_score_type": "text",
    "random_strength": "float",
    "sampling_frequency": "text",
    "score_function": "text",
    "simple_ctr": "text",
    "store_all_simple_ctr": "bool",
}
# The values of texts that are one of several.
CHOICES: dict[str, tuple[str, ...]] = {
    "boosting_type": ("Ordered", "Plain"),
    "bootstrap_type": ("Bayesian", "Bernoulli", "MVS", "No"),
    "counter_calc_method": ("SkipTest", "Full"),
    "feature_border_type": (
        "GreedyLogSum", "GreedyMinEntropy", "MaxLogSum", "Median", "MinEntropy", "Uniform", "UniformAndQuantiles",
    ),
    "grow_policy": ("SymmetricTree", "Depthwise", "Lossguide"),
    "leaf_estimation_backtracking": ("No", "AnyImprovement", "Armijo"),
    "leaf_estimation_method": ("Newton", "Gradient", "Exact"),
    "model_shrink_mode": ("Constant", "Decreasing"),
    "nan_mode": ("Min", "Max"),
    "random_score_type": ("NormalWithModelSizeDecrease", "Gumbel"),
    "sampling_frequency": ("PerTree", "PerTreeLevel"),
    "score_function": ("Cosine", "L2"),
}  # fmt: skip
# Lists with one number for each feature, in declared order.
BY_FEATURE = ("feature_weights", "first_feature_use_penalties", "monotone_constraints", "per_object_feature_penalties")
# Parameters that are fields of CatBoost or of Model.
FIELDS = {
    "auto_class_weights": "model.weights",
    "cat_features": "model.categorical",
    "class_weights": "model.weights",
    "depth": "max_depth",
    "iterations": "max_trees",
    "l2_leaf_reg": "lambda_l2",
    "learning_rate": "learning_rate",
    "loss_function": "objective",
    "od_wait": "early_stopping_rounds",
    "random_seed": "model.seed",
    "rsm": "feature_fraction",
    "scale_pos_weight": "model.weights",
    "subsample": "bagging_fraction",
    "thread_count": "model.threads",
}
_TASK = "it follows from the task"
_ONE_WAY = "trees are always grown on this machine's processor"
_FILES = "a training writes no file of its own"
_TOLD = "what is logged is decided by mlprod"
_KINDS = "features are numbers and categories"
REFUSED = {
    "allow_const_label": "rows of one outcome are predicted without trees",
    "allow_writing_files": _FILES,
    "callback": "it is a function, and a declaration is stored as text",
    "class_names": _TASK,
    "classes_count": _TASK,
    "ctr_description": "declare simple_ctr and combinations_ctr",
    "ctr_history_unit": _ONE_WAY,
    "custom_metric": _TASK,
    "data_partition": _ONE_WAY,
    "dev_efb_max_buckets": "it changes how fast trees grow, not which",
    "dev_score_calc_obj_block_size": "it changes how fast trees grow, not which",
    "device_config": _ONE_WAY,
    "devices": _ONE_WAY,
    "dictionaries": _KINDS,
    "embedding_features": _KINDS,
    "eval_fraction": "the validation window decides when to stop",
    "eval_metric": _TASK,
    "feature_calcers": _KINDS,
    "final_ctr_computation_mode": "a model without its encodings cannot predict",
    "fixed_binary_splits": _ONE_WAY,
    "gpu_cat_features_storage": _ONE_WAY,
    "gpu_ram_part": _ONE_WAY,
    "ignored_features": "leave such features out of the declaration, or give them a weight of 0 in feature_weights",
    "input_borders": _FILES,
    "logging_level": _TOLD,
    "metadata": "model, data and code of a training are in its provenance",
    "metric_period": _TOLD,
    "name": "the declaration has a name of its own",
    "od_pval": "early_stopping_rounds decides when to stop",
    "od_type": "early_stopping_rounds decides when to stop",
    "output_borders": _FILES,
    "per_feature_ctr": "declare simple_ctr and combinations_ctr, for all categories",
    "per_float_feature_quantization": "declare border_count, for all numbers",
    "pinned_memory_size": _ONE_WAY,
    "sampling_unit": "rows are not grouped",
    "save_snapshot": _FILES,
    "silent": _TOLD,
    "snapshot_file": _FILES,
    "snapshot_interval": _FILES,
    "sparse_features_conflict_fraction": "features are not sparse",
    "target_border": "outcomes are those of the label",
    "task_type": _ONE_WAY,
    "text_features": _KINDS,
    "text_processing": _KINDS,
    "tokenizers": _KINDS,
    "train_dir": _FILES,
    "use_best_model": "it follows from early_stopping_rounds",
    "used_ram_limit": "whether memory is enough is checked before a fit",
    "verbose": _TOLD,
}
OTHER_NAMES: dict[str, tuple[str, ...]] = {
    "border_count": ("max_bin",),
    "custom_metric": ("custom_loss",),
    "depth": ("max_depth",),
    "iterations": ("n_estimators", "num_boost_round", "num_trees"),
    "l2_leaf_reg": ("reg_lambda",),
    "learning_rate": ("eta",),
    "loss_function": ("objective",),
    "max_leaves": ("num_leaves",),
    "min_data_in_leaf": ("min_child_samples",),
    "od_wait": ("early_stopping_rounds",),
    "random_seed": ("random_state",),
    "rsm": ("colsample_bylevel",),
}
_NAMES = {other: name for name, others in OTHER_NAMES.items() for other in others}


def own_name(name: str) -> str:
    """Return the name that is used here of a parameter that may be given by another one."""
    return _NAMES.get(name, name)


def every_name() -> list[str]:
    """Return all names that may be given, other names included."""
    return [*TAKEN, *FIELDS, *REFUSED, *_NAMES]
