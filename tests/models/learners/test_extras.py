"""Learners that are extras: without their library a message names the extra, with it they are the library's own."""

import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import pytest

from mlprod_tasks import declaration as ml
from mlprod_tasks.models.learners import Columns, fit_learner
from tests.support.learner_frames import COLUMNS, MODEL, rows
from tests.support.paths import REPOSITORY

WITHOUT = "import sys; sys.modules['xgboost'] = sys.modules['catboost'] = None\n"
TREES = "from mlprod_tasks import declaration as ml\nlearners = (ml.XGBoost(max_trees=3), ml.CatBoost(max_trees=3))\n"
FIT = """
from mlprod_tasks.models.learners import fit_learner
from mlprod_tasks.models.learners.errors import LibraryMissing
from tests.support.learner_frames import COLUMNS, rows
for learner in learners:
    try:
        fit_learner(learner, COLUMNS, rows(200), rows(100, 1), ml.Model(candidates=(learner,)))
    except LibraryMissing as error:
        print(error)
"""
HELD = "import sys; import mlprod_tasks.declaration, mlprod_tasks.models.learners"
NOT_HELD = "assert not {'xgboost', 'catboost'} & set(sys.modules)"


def run(code: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True)


def test_nothing_is_imported_without_being_asked_for():
    assert run(f"{HELD}; {NOT_HELD}").returncode == 0


def test_without_the_library_a_fit_names_the_extra():
    told = run(WITHOUT + TREES + FIT).stdout.splitlines()
    assert told == [f"{one} is not installed here: pip install 'mlprod[{one.lower()}]'" for one in ("XGBoost", "CatBoost")]


def test_without_the_library_a_declaration_is_refused_with_the_extra():
    code = "from dataclasses import replace\nfrom tests.support.shop import SHOP\n"
    code += "replace(SHOP, model=replace(SHOP.model, candidates=learners))"
    failed = run(WITHOUT + TREES + code)
    assert failed.returncode == 1
    for one in ("XGBoost", "CatBoost"):
        extra = one.lower()
        assert f"model.candidates '{extra}': {one} is not installed here: pip install 'mlprod[{extra}]'" in failed.stderr


@pytest.mark.skipif(find_spec("xgboost") is None, reason="the extra is not installed")
def test_trees_are_xgboosts_of_the_same_parameters():
    import xgboost

    learner = ml.XGBoost(max_trees=20, early_stopping_rounds=None, feature_fraction=1.0, bagging_fraction=1.0, max_depth=3)
    train, x = rows(1500), rows(300, 2).x
    ours = fit_learner(learner, COLUMNS, train, rows(500, 1), MODEL)
    given = {
        "objective": "binary:logistic", "learning_rate": 0.05, "max_depth": 3, "min_child_weight": 10.0, "reg_lambda": 1.0,
        "tree_method": "hist", "seed": 3, "nthread": 1,
    }  # fmt: skip
    kinds = ["float"] * 4 + ["c"] * 2
    data, asked = (
        xgboost.DMatrix(values, label=label, feature_types=kinds, enable_categorical=True)
        for values, label in ((train.x, train.y.astype(float)), (x, None))
    )
    theirs = xgboost.train(given, data, num_boost_round=20)
    assert np.array_equal(ours.predict(x), theirs.predict(asked).astype(np.float64))


@pytest.mark.skipif(find_spec("catboost") is None, reason="the extra is not installed")
def test_trees_are_catboosts_of_the_same_parameters():
    """The same trees from an array of objects in declared order, which CatBoost reads in another way."""
    import catboost

    learner = ml.CatBoost(max_trees=20, max_depth=3, params={"one_hot_max_size": 4})
    numbers = Columns((*COLUMNS.names[4:], *COLUMNS.names[:4]), (0, 1))
    train, validation, x = (one.x[:, [4, 5, 0, 1, 2, 3]] for one in (rows(1500), rows(500, 1), rows(300, 2)))
    ours = fit_learner(learner, numbers, replace(rows(1500), x=train), replace(rows(500, 1), x=validation), MODEL)
    given = {
        "loss_function": "Logloss", "eval_metric": "AUC", "learning_rate": 0.05, "iterations": 20, "depth": 3, "subsample": 0.8,
        "bootstrap_type": "MVS", "l2_leaf_reg": 3.0, "one_hot_max_size": 4, "random_seed": 3, "thread_count": 1,
        "allow_writing_files": False, "logging_level": "Silent",
    }  # fmt: skip

    def pool(values: np.ndarray, label: np.ndarray | None = None) -> object:
        mixed = values.astype(object)
        mixed[:, :2] = [[str(-1 if np.isnan(one) else int(one)) for one in row] for row in values[:, :2]]
        return catboost.Pool(mixed, label=label, cat_features=[0, 1])

    theirs = catboost.CatBoost(given)
    theirs.fit(pool(train, rows(1500).y.astype(float)), eval_set=pool(validation, rows(500, 1).y.astype(float)))
    assert np.array_equal(ours.predict(x), theirs.predict(pool(x), prediction_type="Probability")[:, 1])
