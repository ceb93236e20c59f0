"""What `LightGBM.params` says reaches LightGBM, and its trees are stored, explained and fitted again like others."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mlprod_tasks import declaration as ml
from mlprod_tasks.models import learners
from mlprod_tasks.models.learners import fit_learner
from mlprod_tasks.models.learners.errors import CannotFit
from mlprod_tasks.models.learners.lightgbm import BoostedTrees
from mlprod_tasks.models.learners.rows import expit
from tests.support.learner_frames import COLUMNS, MODEL, rows

TREES = ml.LightGBM(max_trees=20, min_data_in_leaf=20, early_stopping_rounds=None)
SETS: dict[str, dict[str, object]] = {
    "dart": {"boosting": "dart", "drop_rate": 0.3},
    "random forest": {"boosting": "rf", "bagging_freq": 1},
    "goss": {"data_sample_strategy": "goss"},
    "linear trees": {"linear_tree": True},
    "quantised gradients": {"use_quantized_grad": True},
    "extra trees": {"extra_trees": True, "max_bins": 31},
}


def fitted(**params: object) -> BoostedTrees:
    bagging = 1.0 if params.get("data_sample_strategy") == "goss" else 0.8
    learner = replace(TREES, params=params, bagging_fraction=bagging)
    made = fit_learner(learner, COLUMNS, rows(1500), rows(500, 1), MODEL)
    assert isinstance(made, BoostedTrees)
    return made


@pytest.mark.parametrize("name", SETS)
def test_trees_of_any_kind_are_the_same_again_alone_and_after_storing(name: str, tmp_path: Path):
    made = fitted(**SETS[name])
    assert made.booster == fitted(**SETS[name]).booster
    assert made.booster != fitted().booster
    x = rows(300, 2).x
    whole = made.predict(x)
    assert np.array_equal([made.predict(x[i : i + 1])[0] for i in range(50)], whole[:50])
    made.save(tmp_path)
    assert np.array_equal(learners.load(tmp_path, 1).predict(x), whole)


@pytest.mark.parametrize("name", SETS)
def test_what_features_add_sums_to_the_score_or_is_not_told(name: str):
    made, x = fitted(**SETS[name]), rows(300, 2).x
    contributions = made.contributions(x)
    if name == "linear trees":
        assert contributions is None
    else:
        assert contributions is not None
        assert np.allclose(expit(contributions.sum(axis=1)), made.predict(x), atol=1e-9)


def test_a_monotone_feature_never_lowers_the_score():
    made = fitted(monotone_constraints=(1, 0, 0, 0, 0, 0))
    x = np.repeat(rows(40, 3).x, 30, axis=0)
    x[:, 0] = np.tile(np.linspace(-3, 3, 30), 40)
    steps = np.diff(made.predict(x).reshape(40, 30), axis=1)
    assert (steps >= 0).all()
    assert (np.diff(fitted().predict(x).reshape(40, 30), axis=1) < 0).any()


def test_what_lightgbm_itself_refuses_names_the_candidate():
    with pytest.raises(
        CannotFit, match=r"candidate 'lightgbm': LightGBM refuses its params \{'max_bin': 1\}: .*correct them in"
    ):
        fitted(max_bin=1)
