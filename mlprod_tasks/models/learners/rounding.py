"""Whether an estimator of a team's own surely predicts a row alone with the same bits as in a batch."""

from __future__ import annotations

from typing import Any

TREES = ("Forest", "ExtraTrees", "GradientBoosting", "DecisionTree", "ExtraTree", "LGBM", "XGB", "CatBoost")
LIBRARIES = ("sklearn.", "lightgbm.", "xgboost.", "catboost.")
# Preparations that treat each value by itself.
BY_VALUE = ("sklearn.preprocessing.", "sklearn.impute._base", "sklearn.compose.", "sklearn.feature_selection.")
OF_ROWS = ("KernelCenterer", "Normalizer")  # they add up the values of a row


def rounds_by_row(estimator: Any) -> bool:
    """Return whether it is made of trees, after preparations of each value by itself.

    Anything else may multiply matrices, and BLAS rounds some rows alone otherwise than in a batch: so few that no trial on a
    hundred rows finds them for sure.
    """
    if type(estimator).__module__ == "sklearn.pipeline":
        *before, (_, last) = estimator.steps
        return all(_by_value(step) for _, step in before) and rounds_by_row(last)
    return _of(LIBRARIES, estimator) and any(name in type(estimator).__name__ for name in TREES)


def _by_value(step: Any) -> bool:
    if isinstance(step, str):  # 'passthrough' or 'drop'
        return True
    if type(step).__module__ == "sklearn.pipeline":
        return all(_by_value(inner) for _, inner in getattr(step, "steps", ()) or step.transformer_list)
    if hasattr(step, "transformers_"):
        return all(_by_value(inner) for _, inner, _ in step.transformers_)
    if type(step).__name__ == "FunctionTransformer":
        return step.func is None  # any other function may multiply matrices
    return _of(BY_VALUE, step) and type(step).__name__ not in OF_ROWS


def _of(modules: tuple[str, ...], value: Any) -> bool:
    return f"{type(value).__module__}.".startswith(modules)
