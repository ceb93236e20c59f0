"""Learners that are extras: without their library a message names the extra, with it they are the library's own."""

import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import pytest

from mlprod_tasks import declaration as ml
from mlprod_tasks.models.learners import fit_learner
from tests.support.learner_frames import COLUMNS, MODEL, rows
from tests.support.paths import REPOSITORY

WITHOUT = "import sys; sys.modules['xgboost'] = None\n"
TREES = "from mlprod_tasks import declaration as ml\nml.XGBoost()\n"
FIT = """
from mlprod_tasks.models.learners import fit_learner
from tests.support.learner_frames import COLUMNS, rows
learner = ml.XGBoost(max_trees=3)
fit_learner(learner, COLUMNS, rows(200), rows(100, 1), ml.Model(candidates=(learner,)))
"""
HELD = "import sys; import mlprod_tasks.declaration, mlprod_tasks.models.learners; assert 'xgboost' not in sys.modules"


def run(code: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True)


def test_nothing_is_imported_without_being_asked_for():
    assert run(HELD).returncode == 0


def test_without_the_library_a_fit_names_the_extra():
    failed = run(WITHOUT + TREES + FIT)
    assert failed.returncode == 1
    assert "XGBoost is not installed here: pip install 'mlprod[xgboost]'" in failed.stderr


def test_without_the_library_a_declaration_is_refused_with_the_extra():
    code = "from dataclasses import replace\nfrom tests.support.shop import SHOP\n"
    code += "replace(SHOP, model=replace(SHOP.model, candidates=(ml.XGBoost(),)))"
    failed = run(WITHOUT + TREES + code)
    assert failed.returncode == 1
    assert "model.candidates 'xgboost': XGBoost is not installed here: pip install 'mlprod[xgboost]'" in failed.stderr


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
