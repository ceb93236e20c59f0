"""LightGBM's parameters by name: the list is the installed library's, and what cannot be declared is refused with why."""

from dataclasses import replace

import lightgbm
import numpy as np
import pytest
from lightgbm.basic import _ConfigAliases
from pydantic import ValidationError

from mlprod_tasks import declaration as ml
from mlprod_tasks.declaration import lightgbm_parameters as known
from mlprod_tasks.declaration.recorded import read, text_of
from tests.support.shop import SHOP

# What LightGBM says of a value that is of another kind.
SAYS = {"int": "should be of type int", "float": "Unknown token", "bool": '"true"/"+" or "false"'}


def declared(**params: object) -> ml.Pipeline:
    return replace(SHOP, model=replace(SHOP.model, candidates=(ml.LightGBM(params=params),)))


def test_the_list_is_that_of_the_installed_library():
    installed = _ConfigAliases._get_all_param_aliases()
    assert {*known.TAKEN, *known.FIELDS, *known.REFUSED} == set(installed)
    assert len(known.TAKEN) + len(known.FIELDS) + len(known.REFUSED) == len(installed)
    others = {name: set(names) - {name} for name, names in installed.items()}
    assert {name: set(names) for name, names in known.OTHER_NAMES.items()} == {
        name: some for name, some in others.items() if some
    }


@pytest.mark.parametrize("name", [name for name, kind in known.TAKEN.items() if kind in SAYS])
def test_kinds_are_those_that_the_library_asks_for(name: str):
    with pytest.raises(lightgbm.basic.LightGBMError) as error:
        lightgbm.Dataset(np.ones((9, 1)), np.arange(9), params={name: "abc", "verbosity": -1}).construct()
    assert SAYS[known.TAKEN[name]] in str(error.value)


def test_parameters_are_taken_by_any_of_their_names_and_recorded():
    pipeline = declared(max_bin=63, reg_alpha=0.5, boosting="dart", linear_tree=False, monotone_constraints=(0, 1, -1, 0))
    assert read(text_of(pipeline)) == pipeline


@pytest.mark.parametrize(
    ("params", "refusal"),
    [
        ({"max_bims": 63}, "params 'max_bims' is no parameter of LightGBM; did you mean 'max_bins'?"),
        ({"zzz": 63}, "params 'zzz' is no parameter of LightGBM; there are bagging_freq"),
        (
            {"n_estimators": 100},
            "params 'n_estimators' is LightGBM's 'num_iterations', which is a field of its own: declare max_trees=...",
        ),
        ({"learning_rate": 0.1}, "params 'learning_rate' is a field of its own: declare learning_rate=..."),
        (
            {"random_state": 3},
            "params 'random_state' is LightGBM's 'seed', which cannot be declared: all seeds follow from model.seed",
        ),
        ({"num_threads": 3}, "params 'num_threads' cannot be declared: the number of threads is model.threads"),
        ({"scale_pos_weight": 3.0}, "cannot be declared: rows are weighted by model.weights"),
        (
            {"device": "gpu"},
            "params 'device' is LightGBM's 'device_type', which cannot be declared: trees of another device differ",
        ),
        ({"max_bin": 63, "max_bins": 63}, "params 'max_bins' and 'max_bin' are the same parameter 'max_bin': give one of them"),
        ({"max_bin": 63.0}, "params 'max_bin' takes a whole number, not 63.0"),
        ({"path_smooth": True}, "params 'path_smooth' takes a number, not True"),
        ({"extra_trees": 1}, "params 'extra_trees' takes True or False, not 1"),
        ({"boosting": "goss"}, "params 'boosting' 'goss': there are dart, gbdt, rf"),
        (
            {"monotone_constraints": (1, 0)},
            "params 'monotone_constraints' has 2 numbers, but there are 4 features: give one for each",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, dict) else "",
)
def test_what_cannot_be_declared_is_refused_with_the_reason(params: dict[str, object], refusal: str):
    with pytest.raises(ValidationError) as error:
        declared(**params)
    assert refusal in str(error.value)
    assert "model.candidates 'lightgbm': params" in str(error.value)
