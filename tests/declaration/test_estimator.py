"""An estimator of the team's own is found and checked when the declaration is loaded, without being imported."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import ValidationError

from mlprod_tasks import declaration as ml
from mlprod_tasks.declaration.recorded import read, text_of
from tests.support.paths import REPOSITORY
from tests.support.refund_shop import REFUNDS
from tests.support.shop import SHOP

OWN = "tests.support.own_estimators"


def declared(make: str, pipeline: ml.Pipeline = SHOP, search: ml.Search | None = None, **params: object) -> ml.Pipeline:
    candidates = (ml.Estimator(make, params=params),)
    return replace(pipeline, model=replace(pipeline.model, candidates=candidates, search=search))


def test_functions_and_classes_are_taken_for_yes_or_no_and_for_numbers_and_recorded():
    for pipeline in (declared(f"{OWN}:linear", c=0.5), declared(f"{OWN}:GroupRate", by="channel")):
        assert read(text_of(pipeline)) == pipeline
    assert declared(f"{OWN}:ridge", REFUNDS).task == "regression"
    assert declared("sklearn.ensemble:ExtraTreesClassifier", n_estimators=5).model.candidates[0].params == {"n_estimators": 5}


def test_its_declared_params_can_be_searched():
    space = {"estimator.depth": ml.Between(2, 6), "learning_rate": ml.Between(0.01, 0.3, log=True)}
    search = ml.Search(trials=3, space=space)
    pipeline = declared(f"{OWN}:boosted", search=search, depth=3, learning_rate=0.1)
    from mlprod_tasks.declaration.search import space_of, with_values

    (learner,) = pipeline.model.candidates
    assert space_of(learner, search) == {"depth": ml.Between(2, 6), "learning_rate": ml.Between(0.01, 0.3, log=True)}
    assert with_values(learner, {"depth": 5}).params == {"depth": 5, "learning_rate": 0.1}
    with pytest.raises(ValidationError, match="the declared depth=9, which is tried first, is not in"):
        declared(f"{OWN}:boosted", search=search, depth=9, learning_rate=0.1)
    with pytest.raises(ValidationError, match=r"space\['make'\] of candidate 'estimator': there is no such parameter"):
        declared(f"{OWN}:boosted", search=ml.Search(space={"estimator.make": ml.OneOf(("a:b",))}))


@pytest.mark.parametrize(
    ("make", "params", "refusal"),
    [
        ("our_models.make", {}, "make 'our_models.make' is no import path: write 'module:function', such as 'our_models:make'"),
        (
            "our_models:make",
            {},
            "make 'our_models:make': there is no module 'our_models' here: install the package that",
        ),
        ("tests.support.own:make", {}, "there is no module 'tests.support.own' here"),
        (f"{OWN}:linaer", {}, f"'{OWN}' defines no 'linaer'; did you mean 'linear'?"),
        (f"{OWN}:linear", {"C": 2.0}, f"make '{OWN}:linear' takes no argument 'C' of params; "),
        (f"{OWN}:failing", {}, "needs an argument 'depth': give it in params, or give it a default"),
    ],
    ids=["no path", "no module", "no submodule", "no function", "no argument", "argument missing"],
)
def test_what_is_not_there_is_refused_with_the_remedy(make: str, params: dict[str, object], refusal: str):
    with pytest.raises(ValidationError) as error:
        declared(make, **params)
    assert refusal in str(error.value)


def test_a_module_that_is_no_python_is_refused_by_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "broken_models.py").write_text("import math\n\ndef make(:\n    pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ValidationError, match=r"broken_models.py:3: "):
        declared("broken_models:make")


def test_loading_a_declaration_imports_neither_the_module_nor_scikit_learn():
    code = (
        "import sys; from mlprod_tasks import declaration as ml; from mlprod_tasks.declaration.checks.estimator import "
        f"estimator_problems; assert not list(estimator_problems('at', ml.Estimator('{OWN}:linear'))); "
        "assert not list(estimator_problems('at', ml.Estimator('sklearn.linear_model:LogisticRegression'))); "
        f"assert not {{'sklearn', 'pandas', '{OWN}'}} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, check=True)
