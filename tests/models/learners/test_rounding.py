"""Which estimators need no blocks: trees after preparations that give a row alone the same bits as in a batch."""

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import make_column_transformer
from sklearn.decomposition import PCA
from sklearn.ensemble import RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline, make_union
from sklearn.preprocessing import FunctionTransformer, Normalizer, QuantileTransformer, StandardScaler

from mlprod_tasks.models.learners.rounding import rounds_by_row

RANDOM = np.random.default_rng(0)
ROWS = pd.DataFrame(RANDOM.normal(size=(2000, 12)), columns=[f"x{i}" for i in range(12)])
TURN = RANDOM.normal(size=(12, 6))
SAFE = {
    "scaled": make_pipeline(SimpleImputer(), StandardScaler()),
    "ranks": QuantileTransformer(n_quantiles=50),
    "some columns": make_column_transformer((StandardScaler(), ["x0", "x1"]), remainder="passthrough"),
    "side by side": make_union(StandardScaler(), FunctionTransformer()),
}
UNSAFE = {
    "a matrix product": FunctionTransformer(lambda x: np.asarray(x) @ TURN),
    "lengths of rows": Normalizer(),
    "principal components": PCA(6),
    "in a column transformer": make_column_transformer((Normalizer(), list(ROWS.columns))),
}


def rows_that_differ(step) -> int:
    """How many rows get other bits alone than among others."""
    fitted = step.fit(ROWS)
    whole = np.asarray(fitted.transform(ROWS))
    alone = np.concatenate([np.asarray(fitted.transform(ROWS.iloc[i : i + 1])) for i in range(len(ROWS))])
    return int((whole != alone).any(axis=1).sum())


@pytest.mark.parametrize("step", SAFE.values(), ids=SAFE.keys())
def test_trees_after_preparations_of_each_value_need_no_blocks(step) -> None:
    made = make_pipeline(step, RandomForestClassifier(3, max_depth=2)).fit(ROWS, ROWS["x0"] > 0)
    assert rounds_by_row(made)
    assert rows_that_differ(step) == 0


@pytest.mark.parametrize("step", UNSAFE.values(), ids=UNSAFE.keys())
def test_trees_after_sums_over_a_row_do_although_few_predictions_show_it(step) -> None:
    made = make_pipeline(step, RandomForestClassifier(3, max_depth=2)).fit(ROWS, ROWS["x0"] > 0)
    assert not rounds_by_row(made)
    assert rows_that_differ(step) > 0, "else this would show nothing"


def test_what_is_not_made_of_trees_does() -> None:
    assert not rounds_by_row(make_pipeline(StandardScaler(), LogisticRegression()).fit(ROWS, ROWS["x0"] > 0))
