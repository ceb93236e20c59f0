"""CatBoost's parameters by name: the list is the installed library's, and what cannot be declared is refused with why."""

import inspect
from dataclasses import replace

import numpy as np
import pytest
from pydantic import ValidationError

from mlprod_tasks import declaration as ml
from mlprod_tasks.declaration import catboost_parameters as known
from mlprod_tasks.declaration.recorded import read, text_of
from mlprod_tasks.models.learners import fit_learner
from mlprod_tasks.models.learners.errors import CannotFit
from tests.support.learner_frames import COLUMNS, MODEL, rows
from tests.support.shop import SHOP

catboost = pytest.importorskip("catboost")


def declared(learner: ml.Learner) -> ml.Pipeline:
    return replace(SHOP, model=replace(SHOP.model, candidates=(learner,)))


def test_the_list_holds_every_parameter_of_the_installed_library():
    kinds = (catboost.CatBoostClassifier, catboost.CatBoostRegressor)
    names = {name for kind in kinds for name in inspect.signature(kind.__init__).parameters} - {"self"}
    assert len(names) > 100
    assert names == {*known.every_name()}
    assert len({*known.TAKEN, *known.FIELDS, *known.REFUSED}) == len(known.TAKEN) + len(known.FIELDS) + len(known.REFUSED)


def test_other_names_are_the_librarys():
    from catboost.core import _process_synonyms

    for own, others in known.OTHER_NAMES.items():
        for other in others:
            given = {other: 1}
            _process_synonyms(given)
            assert given == {own: 1}


@pytest.mark.parametrize("name", known.CHOICES)
def test_choices_are_those_that_the_library_names(name: str):
    pool = catboost.Pool(np.random.default_rng(0).random((50, 2)), label=np.arange(50) % 2)
    given = {
        "iterations": 1,
        "loss_function": "Logloss",
        "allow_writing_files": False,
        "logging_level": "Silent",
        name: "none such",
    }
    with pytest.raises(catboost.CatBoostError) as error:
        catboost.CatBoost(given).fit(pool)
    assert all(f"'{choice}'" in str(error.value) for choice in known.CHOICES[name])


def test_parameters_are_taken_by_any_of_their_names_and_recorded():
    params = {"max_bin": 63, "num_leaves": 8, "grow_policy": "Lossguide", "monotone_constraints": (0, 1, -1, 0)}
    pipeline = declared(ml.CatBoost(params=params))
    assert read(text_of(pipeline)) == pipeline


@pytest.mark.parametrize(
    ("params", "refusal"),
    [
        ({"max_bim": 63}, "params 'max_bim' is no parameter of CatBoost; did you mean 'max_bin'?"),
        ({"eta": 0.1}, "params 'eta' is CatBoost's 'learning_rate', which is a field of its own: declare learning_rate=..."),
        ({"scale_pos_weight": 2.0}, "params 'scale_pos_weight' is a field of its own: declare model.weights=..."),
        ({"task_type": "GPU"}, "params 'task_type' cannot be declared: trees are always grown on this machine's processor"),
        ({"border_count": 63.5}, "params 'border_count' takes a whole number, not 63.5"),
        ({"bootstrap_type": "Poisson"}, "params 'bootstrap_type' 'Poisson': there are Bayesian, Bernoulli, MVS, No"),
        ({"monotone_constraints": (1, 0)}, "params 'monotone_constraints' has 2 numbers, but there are 4 features"),
        ({"border_count": 9, "max_bin": 9}, "are the same parameter 'border_count': give one of them"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, dict) else "",
)
def test_what_cannot_be_declared_is_refused_with_the_reason(params: dict[str, object], refusal: str):
    with pytest.raises(ValidationError) as error:
        declared(ml.CatBoost(params=params))
    assert refusal in str(error.value)


@pytest.mark.parametrize(
    ("learner", "refusal"),
    [
        (ml.CatBoost(max_depth=17), "model.candidates 'catboost': max_depth 17 must be at most 16"),
        (ml.CatBoost(feature_fraction=0.0), "model.candidates 'catboost': feature_fraction 0.0 must lie in (0, 1]"),
        (ml.CatBoost(objective="poisson"), "model.candidates 'catboost': objective is for task 'regression'; leave it out"),
    ],
    ids=["depth", "share", "objective"],
)
def test_a_field_out_of_bounds_is_refused(learner: ml.CatBoost, refusal: str):
    with pytest.raises(ValidationError) as error:
        declared(learner)
    assert refusal in str(error.value)


def test_lists_by_feature_are_in_declared_order_whatever_order_the_library_reads():
    """The last two of six features are categories, here the first two: CatBoost has numbers before them."""
    turned = [4, 5, 0, 1, 2, 3]
    columns = replace(COLUMNS, names=tuple(COLUMNS.names[i] for i in turned), categorical=(0, 1))
    train, validation = (replace(one, x=one.x[:, turned]) for one in (rows(1500), rows(500, 1)))
    learner = ml.CatBoost(
        max_trees=20, max_depth=3, params={"monotone_constraints": (0, 0, -1, 0, 0, 0), "bootstrap_type": "No"}
    )
    fitted = fit_learner(learner, columns, train, validation, MODEL)
    x = np.repeat(rows(1, 3).x[:, turned], 40, axis=0)
    x[:, 2] = np.linspace(-3, 3, 40)
    assert (np.diff(fitted.predict(x)) <= 0).all(), "without the constraint it rises with the signal"
    free = fit_learner(replace(learner, params={}), columns, train, validation, MODEL)
    assert (np.diff(free.predict(x)) >= -0.05).all()
    straight = fit_learner(replace(learner, params={}), COLUMNS, rows(1500), rows(500, 1), MODEL)
    assert np.array_equal(free.predict(x), straight.predict(x[:, np.argsort(turned)]))
    assert free.importance == pytest.approx(straight.importance[turned])
    assert np.array_equal(free.contributions(x)[:, :6], straight.contributions(x[:, np.argsort(turned)])[:, turned])


def test_a_value_that_the_library_refuses_is_told_with_the_candidate():
    with pytest.raises(
        CannotFit,
        match=r"candidate 'catboost': CatBoost refuses its params .*: Can't parse parameter \"border_count\".*correct them",
    ):
        fit_learner(ml.CatBoost(max_trees=2, params={"border_count": -1}), COLUMNS, rows(300), rows(100, 1), MODEL)
