"""Estimators as a team would write them, good ones and bad ones, named by their import path."""

import re
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.svm import LinearSVC


def _encoded() -> Any:
    numbers = make_pipeline(SimpleImputer(keep_empty_features=True), StandardScaler())
    categories = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    return make_column_transformer(
        (numbers, make_column_selector(dtype_include=np.number)), (categories, make_column_selector(dtype_include="category"))
    )


def linear(c: float = 1.0) -> Pipeline:
    return make_pipeline(_encoded(), LogisticRegression(C=c, max_iter=500))


def ridge(alpha: float = 1.0) -> Pipeline:
    return make_pipeline(_encoded(), Ridge(alpha))


def boosted(learning_rate: float = 0.1, depth: int = 3) -> HistGradientBoostingClassifier:
    given = {"learning_rate": learning_rate, "max_depth": depth}
    return HistGradientBoostingClassifier(max_iter=20, categorical_features="from_dtype", **given)


def boosted_numbers() -> HistGradientBoostingRegressor:
    return HistGradientBoostingRegressor(max_iter=20, categorical_features="from_dtype")


class GroupRate(ClassifierMixin, BaseEstimator):
    """The outcome rate by one feature, kept in a dict, and the text of its values."""

    def __init__(self, by: str = "channel") -> None:
        self.by = by

    def fit(self, x: pd.DataFrame, y: np.ndarray, sample_weight: np.ndarray | None = None) -> "GroupRate":
        self.classes_ = np.array([0, 1])
        self.overall_ = float(np.average(y, weights=sample_weight))
        groups = x[self.by].astype(object).where(x[self.by].notna(), "?")
        self.rates_ = {str(name): float(y[np.asarray(groups == name)].mean()) for name in pd.unique(groups)}
        return self

    def predict_proba(self, x: pd.DataFrame) -> np.ndarray:
        groups = x[self.by].astype(object).where(x[self.by].notna(), "?")
        yes = np.array([self.rates_.get(str(name), self.overall_) for name in groups])
        return np.column_stack((1 - yes, yes))


class Unstorable(GroupRate):
    """One that skops cannot store: it keeps a compiled expression."""

    def fit(self, x: pd.DataFrame, y: np.ndarray, sample_weight: np.ndarray | None = None) -> "Unstorable":
        super().fit(x, y, sample_weight)
        self.pattern_ = re.compile("channel")
        return self


class Gaps(GroupRate):
    """Its probabilities are NaN where the group is unknown."""

    def predict_proba(self, x: pd.DataFrame) -> np.ndarray:
        return np.where(x[[self.by]].isna(), np.nan, super().predict_proba(x))


class OneColumn(GroupRate):
    def predict_proba(self, x: pd.DataFrame) -> np.ndarray:
        return super().predict_proba(x)[:, 1]


class TooMuch(GroupRate):
    def predict_proba(self, x: pd.DataFrame) -> np.ndarray:
        return 3 * super().predict_proba(x)


class Moody(GroupRate):
    """It draws from a generator that nobody seeds."""

    def predict_proba(self, x: pd.DataFrame) -> np.ndarray:
        return super().predict_proba(x) * self.mood_

    def fit(self, x: pd.DataFrame, y: np.ndarray, sample_weight: np.ndarray | None = None) -> "Moody":
        super().fit(x, y)
        self.mood_ = float(np.random.default_rng().random())
        return self


class Crowd(RegressorMixin, BaseEstimator):
    """Its predictions of a row rest on the other rows."""

    def fit(self, x: pd.DataFrame, y: np.ndarray) -> "Crowd":
        return self

    def predict(self, x: pd.DataFrame) -> np.ndarray:
        number = x.select_dtypes("number").fillna(0).to_numpy()[:, 0]
        return number - number.mean()


class Unweighted(GroupRate):
    def fit(self, x: pd.DataFrame, y: np.ndarray) -> "Unweighted":  # type: ignore[override]
        super().fit(x, y)
        return self


def svm() -> LinearSVC:
    return LinearSVC()


def not_imputed() -> LogisticRegression:
    return LogisticRegression()


def failing(depth: int) -> Any:
    raise ValueError(f"depth {depth} is too deep")
