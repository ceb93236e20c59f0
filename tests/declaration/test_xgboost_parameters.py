"""XGBoost's parameters by name: the list is the installed library's, and what cannot be declared is refused with why."""

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from mlprod_tasks import declaration as ml
from mlprod_tasks.declaration import xgboost_parameters as known
from mlprod_tasks.declaration.recorded import read, text_of
from mlprod_tasks.models.learners import fit_learner
from mlprod_tasks.models.learners.errors import CannotFit
from tests.support.learner_frames import COLUMNS, MODEL, rows
from tests.support.shop import SHOP

xgboost = pytest.importorskip("xgboost")
# Parts of the library's own configuration that hold parameters of hist trees and of the learner around them.
PARTS = (
    "generic_param",
    "tree_train_param",
    "gbtree_model_param",
    "gbtree_train_param",
    "learner_train_param",
    "learner_model_param",
)
INNER = {"num_trees", "updater_seq", "debug_synchronize", "max_cached_hist_node"}  # counts and caches of its own


def declared(**params: object) -> ml.Pipeline:
    return replace(SHOP, model=replace(SHOP.model, candidates=(ml.XGBoost(params=params),)))


def installed(config: dict[str, Any], inside: bool = False) -> Iterator[str]:
    for name, value in config.items():
        if isinstance(value, dict):
            yield from installed(value, name in PARTS or name.endswith("_loss_param"))
        elif inside:
            yield name


def test_the_list_holds_every_parameter_of_the_installed_library():
    data = xgboost.DMatrix(np.random.default_rng(0).random((50, 3)), label=np.arange(50) % 2)
    names = set()
    for objective in ("binary:logistic", "reg:tweedie"):
        booster = xgboost.train({"objective": objective, "tree_method": "hist"}, data, 1)
        names |= set(installed(json.loads(booster.save_config())))
    names |= set(xgboost.XGBModel().get_xgb_params())
    assert len(names) > 40
    assert names - INNER <= set(known.every_name())
    assert {*known.TAKEN} <= names | {"tweedie_variance_power"}
    assert len({*known.TAKEN, *known.FIELDS, *known.REFUSED}) == len(known.TAKEN) + len(known.FIELDS) + len(known.REFUSED)


def test_parameters_are_taken_by_any_of_their_names_and_recorded():
    pipeline = declared(max_bin=63, alpha=0.5, min_split_loss=0.1, monotone_constraints=(0, 1, -1, 0))
    assert read(text_of(pipeline)) == pipeline


@pytest.mark.parametrize(
    ("params", "refusal"),
    [
        ({"max_bim": 63}, "params 'max_bim' is no parameter of XGBoost; did you mean 'max_bin'?"),
        ({"eta": 0.1}, "params 'eta' is XGBoost's 'learning_rate', which is a field of its own: declare learning_rate=..."),
        ({"scale_pos_weight": 2.0}, "params 'scale_pos_weight' is a field of its own: declare model.weights=..."),
        ({"booster": "dart"}, "params 'booster' cannot be declared: there are trees ('gbtree')"),
        ({"max_bin": 63.5}, "params 'max_bin' takes a whole number, not 63.5"),
        ({"tree_method": "gpu_hist"}, "params 'tree_method' 'gpu_hist': there are approx, hist"),
        ({"monotone_constraints": (1, 0)}, "params 'monotone_constraints' has 2 numbers, but there are 4 features"),
        ({"gamma": 1.0, "min_split_loss": 1.0}, "are the same parameter 'gamma': give one of them"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, dict) else "",
)
def test_what_cannot_be_declared_is_refused_with_the_reason(params: dict[str, object], refusal: str):
    with pytest.raises(ValidationError) as error:
        declared(**params)
    assert refusal in str(error.value)


def test_parameters_reach_the_trees():
    learner = ml.XGBoost(max_trees=15, params={"monotone_constraints": (-1, 0, 0, 0, 0, 0), "max_bin": 16})
    fitted = fit_learner(learner, COLUMNS, rows(1500), rows(500, 1), MODEL)
    x = np.repeat(rows(1, 3).x, 40, axis=0)
    x[:, 0] = np.linspace(-3, 3, 40)
    assert (np.diff(fitted.predict(x)) <= 0).all(), "without the constraint it rises with the signal"


def test_a_value_that_the_library_refuses_is_told_with_the_candidate():
    with pytest.raises(CannotFit, match=r"candidate 'xgboost': XGBoost refuses its params \{'max_bin': 0\}: .*correct them"):
        fit_learner(ml.XGBoost(max_trees=2, params={"max_bin": 0}), COLUMNS, rows(300), rows(100, 1), MODEL)
