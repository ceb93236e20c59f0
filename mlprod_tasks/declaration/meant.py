"""What a name most likely means that a declaration does not know, from other libraries or a typing error."""

from __future__ import annotations

from collections.abc import Collection
from difflib import get_close_matches

from mlprod_tasks.declaration.rhythm import WEEKDAYS

# Values, fields and classes as they are called elsewhere. Only what is there is suggested.
VALUES = {
    "string": "text", "str": "text", "varchar": "text", "object": "text", "category": "text", "categorical": "text",
    "integer": "int", "int64": "int", "bigint": "int", "long": "int", "double": "float", "float64": "float", "numeric": "float",
    "decimal": "float", "number": "float", "real": "float", "boolean": "bool", "datetime": "timestamp",
    "datetime64": "timestamp", "timestamptz": "timestamp", "time": "timestamp", "auc": "roc_auc", "auroc": "roc_auc",
    "roc": "roc_auc", "aucpr": "pr_auc", "average_precision": "pr_auc", "prauc": "pr_auc", "logloss": "log_loss",
    "cross_entropy": "log_loss", "binary_logloss": "log_loss", "brier_score": "brier", "ece": "calibration_error",
    "calibration": "calibration_error", "precision": "precision_at_k", "profit": "value_per_1000", "value": "value_per_1000",
    "mean_absolute_error": "mae", "root_mean_squared_error": "rmse", "r_squared": "r2", "mse": "rmse",
    "classification": "binary", "classifier": "binary", "binary_classification": "binary", "numeric_regression": "regression",
    "regressor": "regression", "multi_class": "multiclass", "psi": "feature_psi", "drift": "feature_psi", "nulls": "null_share",
    "daily": "day", "weekly": "week", "monthly": "month", "hourly": "hour",
    "missing": "null_share", "email": "alert", "mail": "alert", "notify": "alert", "warn": "alert", "train": "retrain",
    "json": "jsonl", "ndjson": "jsonl", "tsv": "csv", "mask": "hash", "hashed": "hash", "remove": "drop",
}  # fmt: skip
FIELDS_MEANT = {
    "n_estimators": ("max_trees", "trees"), "num_iterations": ("max_trees",), "num_boost_round": ("max_trees",),
    "num_trees": ("max_trees", "trees"), "eta": ("learning_rate",), "shrinkage": ("learning_rate",),
    "max_leaf_nodes": ("num_leaves",), "min_child_samples": ("min_data_in_leaf",), "min_samples_leaf": ("min_data_in_leaf",),
    "colsample_bytree": ("feature_fraction",), "subsample": ("bagging_fraction",), "reg_lambda": ("lambda_l2",),
    "random_state": ("seed",), "n_jobs": ("threads",), "type": ("kind",), "dtype": ("kind",), "null": ("nullable",),
    "required": ("nullable",), "optional": ("nullable",), "description": ("doc",), "comment": ("doc",), "help": ("doc",),
    "primary_key": ("key",), "index": ("key",), "timestamp": ("time",), "time_column": ("time",), "date_column": ("time",),
    "horizon": ("within", "delay"), "window": ("windows", "within"), "lookback": ("windows", "within"), "join": ("on", "by"),
    "group_by": ("by",), "keys": ("by", "key"), "target": ("label",), "y": ("label",), "cron": ("every", "at"), "hour": ("at",),
    "tz": ("timezone",), "start": ("starts",), "start_date": ("starts",), "end": ("ends",), "end_date": ("ends",),
    "emails": ("alert_to",), "email": ("alert_to",), "delimiter": ("separator",), "sep": ("separator",),
    "file": ("path",), "expression": ("sql",), "condition": ("where", "sql"), "filter": ("where",), "threshold": ("bound",),
    "minimum": ("min",), "maximum": ("max",), "models": ("candidates",), "learners": ("candidates",), "metric": ("choose_by",),
}  # fmt: skip
CLASSES_MEANT = {
    "average": ("Mean",), "avg": ("Mean",), "total": ("Sum",), "nunique": ("CountDistinct",), "median": ("Quantile",),
    "percentile": ("Quantile",), "stddev": ("Std",), "share": ("Rate",), "ratio": ("Rate",), "trend": ("Slope",),
    "recency": ("SinceLast",), "xgb": ("XGBoost", "LightGBM"), "xgboost": ("XGBoost", "LightGBM"),
    "xgbclassifier": ("XGBoost", "LightGBM"), "xgbregressor": ("XGBoost", "LightGBM"), "catboost": ("CatBoost", "LightGBM"),
    "catboostclassifier": ("CatBoost", "LightGBM"), "catboostregressor": ("CatBoost", "LightGBM"), "lgbm": ("LightGBM",),
    "lgbmclassifier": ("LightGBM",), "lgbmregressor": ("LightGBM",), "lgb": ("LightGBM",), "gradientboosting": ("LightGBM",),
    "randomforestclassifier": ("RandomForest",), "randomforestregressor": ("RandomForest",), "forest": ("RandomForest",),
    "svm": ("LinearSVM",), "svc": ("LinearSVM",), "mlp": ("NeuralNet",), "mlpclassifier": ("NeuralNet",),
    "logit": ("LogisticRegression",), "ridge": ("LinearRegression",), "lasso": ("LinearRegression",),
    "dummy": ("Constant",), "feature": ("Expression",), "window": ("Trailing",), "rolling": ("Trailing",),
    "aggregate": ("Trailing",), "aggregation": ("Trailing",), "join": ("Lookup",), "target": ("Label",),
    "csv": ("Files",), "file": ("Files",), "parquet": ("Files",), "postgres": ("Database",), "sql": ("Query", "Database"),
    "source": ("Database",), "drift": ("Watch",), "field": ("Column",), "cron": ("Schedule",), "gate": ("AtLeast",),
    "alert": ("Rule",), "monitor": ("Watch",),
    "maximum": ("AtMost",), "minimum": ("AtLeast",), "day": ("days",), "hour": ("hours",), "weeks": ("days",),
    "months": ("days",), "years": ("days",),
    "minutes": ("hours",),
}  # fmt: skip


def value_meant(given: object, known: Collection[str]) -> str | None:
    """Which of the known values is likely meant."""
    if not isinstance(given, str):
        return None
    plain = given.strip().lower().replace(" ", "_").replace("-", "_")
    return _first_known((VALUES.get(plain, plain),), known) or _close(plain, known)


def field_meant(given: str, known: Collection[str]) -> str | None:
    """Which of a class's fields is likely meant."""
    return _first_known(FIELDS_MEANT.get(given.lower(), ()), known) or _close(given, known)


def class_meant(given: str, known: Collection[str]) -> str | None:
    """Which of the exported names is likely meant."""
    return _first_known(CLASSES_MEANT.get(given.lower(), ()), known) or _close(given, known)


def _first_known(names: Collection[str], known: Collection[str]) -> str | None:
    return next((name for name in names if name in known), None)


def _close(given: str, known: Collection[str]) -> str | None:
    by_lower = {name.lower(): name for name in known}
    near = get_close_matches(given.lower(), by_lower, 1)
    return by_lower[near[0]] if near else None


def weekday_meant(given: object) -> str:
    """The day that was likely meant, or all."""
    near = [day for day in WEEKDAYS if isinstance(given, str) and given and day.startswith(given.lower()[:3])]
    return f"did you mean {near[0]!r}?" if near else f"one of {', '.join(WEEKDAYS)}"
