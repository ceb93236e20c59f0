"""LightGBM's parameters: which `LightGBM.params` takes, their kinds and other names, and why it does not take the others.

The list is that of the pinned release, so that a declaration is checked without importing LightGBM; a test compares them.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Literal

Kind = Literal["int", "float", "bool", "text", "list"]

TAKEN: dict[str, Kind] = {
    "bagging_freq": "int",
    "bin_construct_sample_cnt": "int",
    "boost_from_average": "bool",
    "boosting": "text",
    "cat_l2": "float",
    "cat_smooth": "float",
    "cegb_penalty_feature_coupled": "list",
    "cegb_penalty_feature_lazy": "list",
    "cegb_penalty_split": "float",
    "cegb_tradeoff": "float",
    "data_sample_strategy": "text",
    "drop_rate": "float",
    "early_stopping_min_delta": "float",
    "enable_bundle": "bool",
    "extra_trees": "bool",
    "feature_contri": "list",
    "feature_fraction_bynode": "float",
    "feature_pre_filter": "bool",
    "histogram_pool_size": "float",
    "interaction_constraints": "text",
    "is_enable_sparse": "bool",
    "lambda_l1": "float",
    "linear_lambda": "float",
    "linear_tree": "bool",
    "max_bin": "int",
    "max_bin_by_feature": "list",
    "max_cat_threshold": "int",
    "max_cat_to_onehot": "int",
    "max_delta_step": "float",
    "max_drop": "int",
    "min_data_in_bin": "int",
    "min_data_per_group": "int",
    "min_gain_to_split": "float",
    "min_sum_hessian_in_leaf": "float",
    "monotone_constraints": "list",
    "monotone_constraints_method": "text",
    "monotone_penalty": "float",
    "neg_bagging_fraction": "float",
    "num_grad_quant_bins": "int",
    "other_rate": "float",
    "path_smooth": "float",
    "poisson_max_delta_step": "float",
    "pos_bagging_fraction": "float",
    "quant_train_renew_leaf": "bool",
    "skip_drop": "float",
    "stochastic_rounding": "bool",
    "top_rate": "float",
    "uniform_drop": "bool",
    "use_missing": "bool",
    "use_quantized_grad": "bool",
    "xgboost_dart_mode": "bool",
    "zero_as_missing": "bool",
}
# The values of texts that are one of several.
CHOICES: dict[str, tuple[str, ...]] = {
    "boosting": ("gbdt", "dart", "rf"),
    "data_sample_strategy": ("bagging", "goss"),
    "monotone_constraints_method": ("basic", "intermediate", "advanced"),
}
# Lists with one number for each feature, in declared order.
BY_FEATURE = (
    "cegb_penalty_feature_coupled", "cegb_penalty_feature_lazy", "feature_contri", "max_bin_by_feature", "monotone_constraints",
)  # fmt: skip
# Parameters that are fields of LightGBM or of Model.
FIELDS = {
    "learning_rate": "learning_rate",
    "num_iterations": "max_trees",
    "early_stopping_round": "early_stopping_rounds",
    "num_leaves": "num_leaves",
    "max_depth": "max_depth",
    "min_data_in_leaf": "min_data_in_leaf",
    "feature_fraction": "feature_fraction",
    "bagging_fraction": "bagging_fraction",
    "lambda_l2": "lambda_l2",
    "objective": "objective",
    "alpha": "alpha",
    "tweedie_variance_power": "tweedie_power",
}
_REASONS: dict[str, tuple[str, ...]] = {
    "all seeds follow from model.seed": (
        "seed", "bagging_seed", "data_random_seed", "drop_seed", "extra_seed", "feature_fraction_seed", "objective_seed",
    ),
    "the number of threads is model.threads": ("num_threads",),
    "the same rows must give the same trees again": ("deterministic", "force_col_wise", "force_row_wise"),
    "trees are stopped by the task's own metric, and candidates compared by model.choose_by": (
        "metric", "metric_freq", "first_metric_only", "is_provide_training_metric", "eval_at", "multi_error_top_k",
        "auc_mu_weights",
    ),
    "what is logged and stored is not the declaration's": ("verbosity", "snapshot_freq", "saved_feature_importance_type"),
    "rows come from the lake, and models go to the registry": (
        "config", "task", "data", "valid", "input_model", "output_model", "output_result", "save_binary", "two_round", "header",
        "label_column", "weight_column", "group_column", "ignore_column", "parser_config_file", "precise_float_parser",
        "pre_partition", "convert_model", "convert_model_language",
    ),
    "a file would not be stored with the model, which could not be trained again": (
        "forcedbins_filename", "forcedsplits_filename",
    ),
    "features that are categories are declared in model.categorical": ("categorical_feature",),
    "a model is trained on one machine": (
        "machines", "machine_list_filename", "num_machines", "local_listen_port", "time_out", "tree_learner", "top_k",
    ),
    "trees of another device differ, and could not be reproduced": (
        "device_type", "gpu_device_id", "gpu_device_id_list", "gpu_platform_id", "gpu_use_dp", "num_gpu",
    ),
    "it changes predictions, which must be the same in batch and on request": (
        "predict_contrib", "predict_disable_shape_check", "predict_leaf_index", "predict_raw_score", "pred_early_stop",
        "pred_early_stop_freq", "pred_early_stop_margin", "num_iteration_predict", "start_iteration_predict",
    ),
    "trees are not refitted; model.warm_update continues them": ("refit_decay_rate",),
    "rows are weighted by model.weights": ("is_unbalance", "scale_pos_weight"),
    "the task decides it": ("num_class",),
    "explanations and calibration rest on the objective's own scale": ("sigmoid", "reg_sqrt"),
    "it belongs to an objective that is not there": (
        "fair_c", "bagging_by_query", "label_gain", "lambdarank_norm", "lambdarank_position_bias_regularization",
        "lambdarank_truncation_level",
    ),
}  # fmt: skip
REFUSED = MappingProxyType({name: reason for reason, names in _REASONS.items() for name in names})
# Other names of parameters, by name.
OTHER_NAMES: dict[str, tuple[str, ...]] = {
    "bagging_fraction": ("bagging", "sub_row", "subsample"),
    "bagging_freq": ("subsample_freq",),
    "bagging_seed": ("bagging_fraction_seed",),
    "bin_construct_sample_cnt": ("subsample_for_bin",),
    "boosting": ("boost", "boosting_type"),
    "categorical_feature": ("cat_column", "cat_feature", "categorical_column", "categorical_features"),
    "config": ("config_file",),
    "convert_model": ("convert_model_file",),
    "data": ("data_filename", "train", "train_data", "train_data_file"),
    "data_random_seed": ("data_seed",),
    "device_type": ("device",),
    "drop_rate": ("rate_drop",),
    "early_stopping_round": ("early_stopping", "early_stopping_rounds", "n_iter_no_change"),
    "enable_bundle": ("bundle", "is_enable_bundle"),
    "eval_at": ("map_at", "map_eval_at", "ndcg_at", "ndcg_eval_at"),
    "extra_trees": ("extra_tree",),
    "feature_contri": ("fc", "feature_contrib", "feature_penalty", "fp"),
    "feature_fraction": ("colsample_bytree", "sub_feature"),
    "feature_fraction_bynode": ("colsample_bynode", "sub_feature_bynode"),
    "forcedsplits_filename": ("forced_splits", "forced_splits_file", "forced_splits_filename", "fs"),
    "group_column": ("group", "group_id", "query", "query_column", "query_id"),
    "header": ("has_header",),
    "histogram_pool_size": ("hist_pool_size",),
    "ignore_column": ("blacklist", "ignore_feature"),
    "input_model": ("model_in", "model_input"),
    "is_enable_sparse": ("enable_sparse", "is_sparse", "sparse"),
    "is_provide_training_metric": ("is_training_metric", "train_metric", "training_metric"),
    "is_unbalance": ("unbalance", "unbalanced_sets"),
    "label_column": ("label",),
    "lambda_l1": ("l1_regularization", "reg_alpha"),
    "lambda_l2": ("l2_regularization", "lambda", "reg_lambda"),
    "learning_rate": ("eta", "shrinkage_rate"),
    "linear_tree": ("linear_trees",),
    "local_listen_port": ("local_port", "port"),
    "machine_list_filename": ("machine_list", "machine_list_file", "mlist"),
    "machines": ("nodes", "workers"),
    "max_bin": ("max_bins",),
    "max_delta_step": ("max_leaf_output", "max_tree_output"),
    "metric": ("metric_types", "metrics"),
    "metric_freq": ("output_freq",),
    "min_data_in_leaf": ("min_child_samples", "min_data", "min_data_per_leaf", "min_samples_leaf"),
    "min_gain_to_split": ("min_split_gain",),
    "min_sum_hessian_in_leaf": ("min_child_weight", "min_hessian", "min_sum_hessian", "min_sum_hessian_per_leaf"),
    "monotone_constraints": ("mc", "monotone_constraint", "monotonic_cst"),
    "monotone_constraints_method": ("mc_method", "monotone_constraining_method"),
    "monotone_penalty": ("mc_penalty", "monotone_splits_penalty", "ms_penalty"),
    "neg_bagging_fraction": ("neg_bagging", "neg_sub_row", "neg_subsample"),
    "num_class": ("num_classes",),
    "num_iterations": (
        "max_iter",
        "n_estimators",
        "n_iter",
        "nrounds",
        "num_boost_round",
        "num_iteration",
        "num_round",
        "num_rounds",
        "num_tree",
        "num_trees",
    ),
    "num_leaves": ("max_leaf", "max_leaf_nodes", "max_leaves", "num_leaf"),
    "num_machines": ("num_machine",),
    "num_threads": ("n_jobs", "nthread", "nthreads", "num_thread"),
    "objective": ("app", "application", "loss", "objective_type"),
    "output_model": ("model_out", "model_output"),
    "output_result": ("name_pred", "pred_name", "predict_name", "predict_result", "prediction_name", "prediction_result"),
    "pos_bagging_fraction": ("pos_bagging", "pos_sub_row", "pos_subsample"),
    "pre_partition": ("is_pre_partition",),
    "predict_contrib": ("contrib", "is_predict_contrib"),
    "predict_leaf_index": ("is_predict_leaf_index", "leaf_index"),
    "predict_raw_score": ("is_predict_raw_score", "predict_rawscore", "raw_score"),
    "save_binary": ("is_save_binary", "is_save_binary_file"),
    "seed": ("random_seed", "random_state"),
    "snapshot_freq": ("save_period",),
    "task": ("task_type",),
    "top_k": ("topk",),
    "tree_learner": ("tree", "tree_learner_type", "tree_type"),
    "two_round": ("two_round_loading", "use_two_round_loading"),
    "valid": ("test", "test_data", "test_data_file", "valid_data", "valid_data_file", "valid_filenames"),
    "verbosity": ("verbose",),
    "weight_column": ("weight",),
}
_NAMES = {other: name for name, others in OTHER_NAMES.items() for other in others}


def own_name(name: str) -> str:
    """Return LightGBM's own name of a parameter that may be given by another one."""
    return _NAMES.get(name, name)


def every_name() -> list[str]:
    """Return all names that may be given, other names included."""
    return [*TAKEN, *FIELDS, *REFUSED, *_NAMES]
