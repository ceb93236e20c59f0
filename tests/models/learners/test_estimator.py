"""A team's own estimators: fitted, stored, the same bits alone and again; what cannot work is told with the candidate."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mlprod_tasks import declaration as ml
from mlprod_tasks.models import learners
from mlprod_tasks.models.learners import Columns, LearnerRows, fit_learner
from mlprod_tasks.models.learners.errors import CannotFit
from mlprod_tasks.models.learners.estimator import OwnEstimator
from mlprod_tasks.models.learners.notes import notes_of
from tests.support import learner_frames, own_estimators
from tests.support.paths import REPOSITORY

OWN = "tests.support.own_estimators"
CHANNELS = tuple(f"channel {i}" for i in range(40))
COLUMNS = Columns(("signal", "curve", "noise", "empty", "channel", "kind"), (4, 5), (CHANNELS, ("a", "b", "c")))
GOOD = ("linear", "boosted", "GroupRate", "Unstorable")
NUMBERS = ("ridge", "boosted_numbers")


def rows(n: int, seed: int = 0) -> LearnerRows:
    """Rows without a column that is always null, which scikit-learn's boosting does not take."""
    made = learner_frames.rows(n, seed)
    made.x[:, 3] = np.where(made.x[:, 0] > 2, np.nan, made.x[:, 1])
    return made


def numbers(n: int, seed: int = 0) -> LearnerRows:
    made = rows(n, seed)
    return replace(made, y=10 * np.nan_to_num(made.x[:, 0]) + np.random.default_rng(seed).normal(size=n))


def fitted(name: str, train: LearnerRows, **params: object) -> OwnEstimator:
    learner = ml.Estimator(f"{OWN}:{name}", params=params, name="own")
    made = fit_learner(learner, COLUMNS, train, train, ml.Model(candidates=(learner,), threads=1, seed=3))
    assert isinstance(made, OwnEstimator)
    return made


@pytest.mark.parametrize("name", [*GOOD, *NUMBERS])
def test_it_predicts_the_same_bits_alone_again_and_after_storing(name: str, tmp_path: Path) -> None:
    train = numbers(500) if name in NUMBERS else rows(500)
    made, x = fitted(name, train), rows(60, 2).x
    whole = made.predict(x)
    assert np.array_equal([made.predict(x[i : i + 1])[0] for i in range(len(x))], whole)
    assert np.array_equal(fitted(name, train).predict(x), whole)
    made.save(tmp_path)
    again = learners.load(tmp_path, 2)
    assert np.array_equal(again.predict(x), whole)
    assert (again.contributions(x), again.importance) == (None, None)
    assert len(made.predict(x[:0])) == 0


def test_its_predictions_are_those_of_the_estimator_itself() -> None:
    train, x = rows(500), rows(60, 2).x
    made = fitted("linear", train, c=0.3)

    def frame(values: np.ndarray) -> pd.DataFrame:
        columns = {name: values[:, i] for i, name in enumerate(COLUMNS.names)}
        for position, categories in zip(COLUMNS.categorical, COLUMNS.values, strict=True):
            texts = [None if np.isnan(code) else categories[int(code)] for code in values[:, position]]
            columns[COLUMNS.names[position]] = pd.Categorical(texts, categories=categories)
        return pd.DataFrame(columns)

    alone = own_estimators.linear(0.3).fit(frame(train.x), train.y)
    assert np.allclose(made.predict(x), alone.predict_proba(frame(x))[:, 1], rtol=1e-9)


def test_what_skops_can_store_is_no_pickle_and_the_rest_is_with_a_warning(tmp_path: Path) -> None:
    for name, file in (("linear", "estimator.skops"), ("GroupRate", "estimator.skops"), ("Unstorable", "estimator.pickle")):
        made = fitted(name, rows(500))
        made.save(tmp_path / name)
        assert {one.name for one in (tmp_path / name).iterdir()} == {"learner.json", file}
        assert any("is stored as a pickle" in note for note in notes_of(made)) == (name == "Unstorable")


def test_a_file_that_is_not_the_stored_one_is_never_loaded(tmp_path: Path) -> None:
    fitted("Unstorable", rows(500)).save(tmp_path)
    file = tmp_path / "estimator.pickle"
    file.write_bytes(file.read_bytes() + b"\0")
    with pytest.raises(ValueError, match="is not the file that was stored: nothing was loaded"):
        learners.load(tmp_path, 1)


def test_another_interpreter_without_the_module_says_what_is_missing(tmp_path: Path) -> None:
    (tmp_path / "our_models.py").write_text(
        "from tests.support.own_estimators import GroupRate\n\nclass Ours(GroupRate):\n    pass\n"
    )
    code = "import sys; from pathlib import Path; from mlprod_tasks.models import learners\nlearners.load(Path(sys.argv[1]), 1)"
    make = (
        "import sys; from pathlib import Path; from mlprod_tasks import declaration as ml\n"
        "from mlprod_tasks.models.learners import fit_learner; from tests.support.learner_frames import rows\n"
        "from tests.support.learner_frames import COLUMNS\n"
        "own = ml.Estimator('our_models:Ours', params={'by': 'kind'}); fit_learner(own, COLUMNS, rows(500), rows(200, 1), "
        "ml.Model(candidates=(own,))).save(Path(sys.argv[1]))"
    )
    here = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    there = here | {"PYTHONPATH": f"{REPOSITORY}{os.pathsep}{tmp_path}"}
    run = [sys.executable, "-c"]
    subprocess.run([*run, make, str(tmp_path / "model")], check=True, env=there, cwd=REPOSITORY)
    subprocess.run([*run, code, str(tmp_path / "model")], check=True, env=there, cwd=REPOSITORY)
    failed = subprocess.run([*run, code, str(tmp_path / "model")], env=here, cwd=REPOSITORY, capture_output=True, text=True)
    assert failed.returncode == 1
    assert "the estimator our_models:Ours needs the module 'our_models', which cannot be imported here" in failed.stderr


def test_weights_reach_the_estimator_or_are_refused() -> None:
    train = rows(500)
    weighted = replace(train, weight=np.where(train.y, 9.0, 1.0))
    means = [fitted("linear", one).predict_together(train.x).mean() for one in (train, weighted)]
    assert means[1] > means[0] + 0.1
    with pytest.raises(CannotFit, match=r"rows are weighted .*, but Unweighted.fit takes no sample_weight"):
        fitted("Unweighted", weighted)


@pytest.mark.parametrize(
    ("name", "of_numbers", "refusal"),
    [
        ("svm", False, "LinearSVC has no predict_proba, which is needed for a yes or no: wrap it in scikit-learn's Calibrated"),
        ("not_imputed", False, r"fit failed: ValueError: .*It was given numbers with NaN if missing, and pandas categories"),
        ("Gaps", False, r"[0-9]+ of 100 predictions are NaN or infinite"),
        ("OneColumn", False, r"predict_proba gave an array of shape \(100,\) for 100 rows, not \(100, 2\)"),
        ("TooMuch", False, "predict_proba gave numbers from .*: probabilities lie between 0 and 1"),
        ("Moody", False, "fitted twice to the same rows it predicts otherwise, by up to .*: let all its randomness come from"),
        ("Crowd", True, "predicts a row alone otherwise than among others: a row may not depend on others"),
        ("linear", True, "Pipeline has no predict|fit failed"),
        ("GroupRate", True, "GroupRate has no predict, which is needed"),
    ],
    ids=lambda value: value if isinstance(value, str) and " " not in value else "",
)
def test_what_cannot_work_is_told_in_training_with_the_candidates_name(name: str, of_numbers: bool, refusal: str) -> None:
    with pytest.raises(CannotFit, match=refusal) as error:
        fitted(name, numbers(400) if of_numbers else rows(400), **({"by": "kind"} if name == "Gaps" else {}))
    assert "candidate 'own'" in str(error.value)


def test_what_its_function_raises_is_told_with_its_params() -> None:
    with pytest.raises(CannotFit, match=r"failed with params \{'depth': 3\}: ValueError: depth 3 is too deep"):
        fitted("failing", rows(500), depth=3)


def test_a_changed_module_is_told_when_a_model_is_loaded(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    fitted("GroupRate", rows(500)).save(tmp_path)
    manifest = tmp_path / "learner.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"code": "0" * 64}))
    learners.load(tmp_path, 1)
    assert "its module has changed since the model was trained" in caplog.text
