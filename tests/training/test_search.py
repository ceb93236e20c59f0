"""A search finds better parameters within its budget, whatever is killed, and never looks at the test window."""

import shutil
import signal
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError
from sklearn.metrics import log_loss

from mlprod_tasks import declaration as ml
from mlprod_tasks.declaration import recorded
from mlprod_tasks.declaration import search as ml_search
from mlprod_tasks.declaration.checks.search import range_problems
from mlprod_tasks.models import learners
from mlprod_tasks.models.calibration import fit_calibration as calibrated
from mlprod_tasks.models.model_facts import ModelFacts
from mlprod_tasks.training import fit_model, search
from mlprod_tasks.training.assemble import assemble
from mlprod_tasks.training.records import Assembled, SearchResult
from mlprod_tasks.training.search_study import LEAST_TO_COMPARE
from mlprod_tasks.training.search_trials import TIMES_LOST
from mlprod_tasks.training.split import HistoryTooShort
from mlprod_tasks.training.workspace import StepMissing, TrainingFolder
from tests.support.processes import PROCESSES

BAD = ml.LightGBM(learning_rate=0.02, max_trees=12, num_leaves=2, min_data_in_leaf=900)
QUICK = {"num_leaves": ml.Between(2, 15, log=True), "min_data_in_leaf": ml.Between(5, 900, log=True)}
KINDS = (
    ml.LightGBM(max_trees=5),
    ml.HistGradientBoosting(max_trees=5),
    ml.RandomForest(trees=5),
    ml.ExtraTrees(trees=5),
    ml.LogisticRegression(),
    ml.LinearSVM(),
    ml.NeuralNet(max_epochs=2),
)
# A worker in a process of its own that dies, as by kill -9, in the middle of its n-th fit; of none with 0.
WORKER = """
import os, signal
from mlprod_tasks.models import learners
from mlprod_tasks.training import search
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.settings import from_environment

fits, fit = [], learners.fit_learner

def counted(*args, **more):
    fits.append(1)
    if len(fits) == dies_in:
        os.kill(os.getpid(), signal.SIGKILL)
    return fit(*args, **more)

learners.fit_learner = counted
search.search(pipeline, "one", Platform(from_environment({"MLPROD_HOME": home, "MLPROD_PIPELINES": home})), worker)
"""


def searching(shop, *candidates, model=None, **declared):
    """The shop with a search of bad parameters, assembled as training 'one'."""
    looks = ml.Search(**{"trials": 6, "workers": 1, "space": {} if candidates else QUICK, **declared})
    shop = shop.declared(
        model=replace(shop.pipeline.model, candidates=candidates or (BAD,), search=looks, **(model or {})),
    )
    assemble(shop.pipeline, shop.tick(), "one", "a test", shop.platform)
    return shop


def searched(shop, worker=0):
    return search.search(shop.pipeline, "one", shop.platform, worker)


def folder_of(shop):
    return TrainingFolder(shop.platform, "one")


def made_in(shop):
    return search.trials_of(shop.pipeline, folder_of(shop), 0).ended()


def outcomes(made):
    """What each trial tried and what came of it, without the time it took."""
    return [(one.candidate, one.place, one.parameters, one.loss, one.state) for one in made]


def found_in(shop):
    return folder_of(shop).read(SearchResult).candidates


def started(shop, worker=0, dies_in=0):
    given = {"pipeline": shop.pipeline, "home": str(shop.platform.settings.home), "worker": worker, "dies_in": dies_in}
    process = PROCESSES.Process(target=exec, args=(WORKER, given))
    process.start()
    return process


def ended(process):
    process.join(60)
    return process.exitcode


def runs_below(shop):
    """The MLflow runs of the trials and the run that they are below."""
    registry = shop.platform.registry
    parent = registry.start_run(shop.pipeline, "one")
    experiment = registry.client.get_run(parent).info.experiment_id
    return registry.client.search_runs([experiment], f"tags.`mlflow.parentRunId` = '{parent}'"), parent


def test_where_the_declared_parameters_can_never_be_tried_the_others_are_what_is_found(shop, monkeypatch):
    shop = searching(shop, trials=3)
    fit_one = learners.fit_learner

    def failing(learner, *given, **more):
        if learner == BAD:
            raise MemoryError
        return fit_one(learner, *given, **more)

    monkeypatch.setattr(learners, "fit_learner", failing)
    for _ in range(TIMES_LOST):
        with pytest.raises(MemoryError):
            searched(shop)
    assert searched(shop).trials == {"lightgbm": 2}
    found = found_in(shop)["lightgbm"]
    assert found.declared_loss is None
    assert found.loss > 0


def test_it_finds_better_parameters_than_bad_declared_ones(shop):
    shop = searching(shop)
    done = searched(shop)
    found = found_in(shop)["lightgbm"]
    assert found.loss < found.declared_loss - 0.02
    assert done.best == {"lightgbm": found.loss}
    assert done.trials == {"lightgbm": 6}


def test_the_declared_parameters_are_tried_first_and_win_where_nothing_is_better(shop):
    good = ml.LightGBM(learning_rate=0.1, max_trees=12, num_leaves=8, min_data_in_leaf=30)
    bad = {"min_data_in_leaf": ml.OneOf((30, 2300)), **{name: ml.OneOf((getattr(good, name),)) for name in ("num_leaves",)}}
    kept = ("learning_rate", "feature_fraction", "bagging_fraction", "lambda_l2")
    shop = searching(shop, good, trials=3, space=bad | {name: ml.OneOf((getattr(good, name),)) for name in kept})
    searched(shop)
    first = made_in(shop)[0]
    assert {name: getattr(good, name) for name in first.parameters} == first.parameters
    assert found_in(shop)["lightgbm"].loss == found_in(shop)["lightgbm"].declared_loss
    assert search.tuned(shop.pipeline, folder_of(shop)) == {"lightgbm": good}


@pytest.mark.parametrize("calibration", ["isotonic", "none"])
def test_the_loss_is_the_log_loss_on_validation_of_every_row_the_same(shop, calibration):
    shop = searching(shop, trials=2, model={"weights": "balanced", "half_life": ml.days(9), "calibration": calibration})
    searched(shop)
    learner = search.tuned(shop.pipeline, folder_of(shop))["lightgbm"]
    only = search.folds(shop.pipeline, folder_of(shop), shop.platform)[0]
    rows = fit_model.prepare(shop.pipeline, only.train, only.validation)
    score = learners.fit_learner(learner, rows.columns, rows.train, rows.validation, shop.pipeline.model).predict(
        rows.validation.x
    )
    if calibration != "none":
        score = calibrated("sigmoid", score, rows.validation.y)(score)
    assert found_in(shop)["lightgbm"].loss == pytest.approx(log_loss(rows.validation.y, score), rel=1e-12)


@pytest.mark.parametrize("folds", [1, 3])
def test_test_rows_change_nothing(shop, folds):
    shop = searching(shop, trials=3, folds=folds)
    searched(shop)
    before = outcomes(made_in(shop))
    folder = folder_of(shop)
    shutil.rmtree(folder.path / "search")
    rows = pq.read_table(folder.training_set)
    pq.write_table(rows.filter(pc.field("split") != "test"), folder.training_set)
    searched(shop)
    assert outcomes(made_in(shop)) == before


def test_folds_lie_one_before_the_other_with_the_gap_between_fitting_and_measuring(shop):
    shop = searching(shop, folds=3)
    folder = folder_of(shop)
    windows = folder.read(Assembled).windows
    folds = search.folds(shop.pipeline, folder, shop.platform)
    spans = [
        [(min(days), max(days)) for days in ((fold.train["tick"].to_pylist()), fold.validation["tick"].to_pylist())]
        for fold in folds
    ]
    assert spans[0][1] == windows.validation
    for (_, train_end), (begin, end) in spans:
        assert begin - train_end == timedelta(days=3)  # two whole days between
        assert (end - begin).days + 1 == 6
    for later, earlier in pairwise(spans):
        assert earlier[1][1] < later[1][0]
        assert earlier[0][0] == later[0][0]
    assert spans[1][1][1] == windows.train.last
    for fold in folds:
        assert fold.train["label"].null_count == fold.validation["label"].null_count == 0


def test_more_folds_than_history_are_refused(shop):
    shop = searching(shop, folds=9)
    with pytest.raises(HistoryTooShort, match=r"returns: fold 4 of the search .* Declare fewer folds than 9"):
        searched(shop)


def test_a_search_that_was_killed_ends_as_one_that_was_not(shop):
    shop = searching(shop)
    assert ended(started(shop, dies_in=4)) == -signal.SIGKILL
    assert [one.state for one in made_in(shop)] == ["complete"] * 3
    with pytest.raises(StepMissing, match=r"no search\.json"):
        folder_of(shop).read(SearchResult)
    assert searched(shop).trials == {"lightgbm": 6}
    resumed, found = outcomes(made_in(shop)), found_in(shop)
    claims = [name for name in search.trials_of(shop.pipeline, folder_of(shop), 0).records.read() if name.endswith(".claim")]
    assert sorted(claims) == sorted([*(f"lightgbm/{place}-0.claim" for place in range(6)), "lightgbm/3-1.claim"])
    shutil.rmtree(folder_of(shop).path / "search")
    searched(shop)
    assert outcomes(made_in(shop)) == resumed
    assert found_in(shop) == found
    assert searched(shop).trials == {"lightgbm": 6}
    assert outcomes(made_in(shop)) == resumed


def test_two_workers_share_the_budget_exactly_even_when_one_is_killed(shop):
    shop = searching(shop, trials=12, workers=2)
    first, second = started(shop, 0, dies_in=3), started(shop, 1)
    assert ended(second) == 0
    assert ended(first) in (-signal.SIGKILL, 0)  # the other may have left it fewer than three
    searched(shop, 0)
    made = made_in(shop)
    assert [one.place for one in made] == list(range(12))
    assert len({tuple(one.parameters.items()) for one in made}) == 12
    below, _ = runs_below(shop)
    assert len(below) == 12
    assert len({run.data.tags["mlprod.trial"] for run in below}) == 12


def test_each_trial_has_one_run_below_the_training_however_often_it_is_recorded(shop):
    shop = searching(shop, trials=LEAST_TO_COMPARE + 4)
    searched(shop)
    below, parent = runs_below(shop)
    registry, first = shop.platform.registry, below[0]
    registry.client.update_run(first.info.run_id, "RUNNING")  # as if its process had been killed
    searched(shop)
    below, same = runs_below(shop)
    assert same == parent
    made = {f"{one.candidate} {one.place + 1}": one for one in made_in(shop)}
    assert {run.info.run_name for run in below} == set(made)
    assert len(below) == len(made)
    for run in below:
        one = made[run.info.run_name]
        assert run.data.params == {name: str(value) for name, value in {"candidate": "lightgbm", **one.parameters}.items()}
        assert run.data.metrics == {"log_loss": pytest.approx(one.loss)}
        assert run.info.status == {"complete": "FINISHED", "pruned": "KILLED"}[one.state]
    assert "KILLED" in {run.info.status for run in below}
    kept = {file.path for place in ("training", "plots") for file in registry.client.list_artifacts(parent, place)}
    assert kept == {"training/search.json", "plots/search.png"}


def test_a_trial_that_is_worse_than_the_median_is_cut_and_never_the_best(shop, caplog):
    shop = searching(shop, trials=LEAST_TO_COMPARE + 6)
    with caplog.at_level("INFO"):
        searched(shop)
    made = made_in(shop)
    cut = [one for one in made if one.state == "pruned"]
    assert cut
    assert {one.note for one in cut} == {"worse than the median"}
    assert all(one.place >= LEAST_TO_COMPARE for one in cut)
    assert found_in(shop)["lightgbm"].loss == min(one.loss for one in made if one.state == "complete")
    lines = [line for line in caplog.messages if " trial " in line]
    assert len(lines) == len(made)
    assert f"lightgbm trial {cut[0].place + 1} of {len(made)}: pruned, worse than the median; best 0." in lines[cut[0].place]


def test_when_the_time_is_up_only_what_is_declared_is_tried(shop):
    shop = searching(shop, BAD, replace(BAD, name="other"), trials=None, minutes=1e-9)
    assert searched(shop).trials == {"lightgbm": 1, "other": 1}
    assert set(found_in(shop)) == {"lightgbm", "other"}
    assert search.tuned(shop.pipeline, folder_of(shop)) == {"lightgbm": BAD, "other": replace(BAD, name="other")}


def test_a_time_budget_ends_the_search_and_a_rerun_adds_nothing(shop):
    shop = searching(shop, trials=None, minutes=0.005)
    searched(shop)
    made = made_in(shop)
    assert sum(one.seconds for one in made[:-1]) < 0.3
    assert search.trials_of(shop.pipeline, folder_of(shop), 0).seconds_left() <= 0
    searched(shop)
    assert outcomes(made_in(shop)) == outcomes(made)
    assert found_in(shop)["lightgbm"].trials["complete"] >= 1


def test_a_trial_under_way_is_cut_when_the_time_is_up_but_not_the_declared_one(shop):
    shop = searching(shop, minutes=1.0)
    trials = search.trials_of(shop.pipeline, folder_of(shop), 0)
    only = search.folds(shop.pipeline, folder_of(shop), shop.platform)[0]
    rows = fit_model.prepare(shop.pipeline, only.train, only.validation)
    with trials.at_work():
        first, second = trials.claim(), trials.claim()
        trials.search = replace(trials.search, minutes=1e-9)
        assert search.run_trial(shop.pipeline, first, trials, lambda _: rows)[1] == ""
        assert search.run_trial(shop.pipeline, second, trials, lambda _: rows)[1] == "time is up"


def test_a_trial_that_fails_is_told_and_the_search_goes_on(shop, monkeypatch, caplog):
    shop = searching(shop, trials=3)
    real, calls = learners.fit_learner, []

    def failing(*args, **more):
        calls.append(1)
        if len(calls) == 2:
            raise ValueError("no such split")
        return real(*args, **more)

    monkeypatch.setattr(learners, "fit_learner", failing)
    searched(shop)
    assert [one.state for one in made_in(shop)] == ["complete", "failed", "complete"]
    assert made_in(shop)[1].note == "ValueError: no such split"
    assert "no such split" in caplog.text
    assert sorted(run.info.status for run in runs_below(shop)[0]) == ["FAILED", "FINISHED", "FINISHED"]


def test_where_what_is_declared_cannot_be_fitted_the_search_fails_and_can_be_run_again(shop, monkeypatch):
    shop = searching(shop, trials=2)
    with monkeypatch.context() as broken:
        broken.setattr(learners, "fit_learner", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError) as raised:
            searched(shop)
    assert raised.value.__notes__ == ["returns: candidate 'lightgbm' could not be fitted with its declared values"]
    searched(shop)
    assert [one.state for one in made_in(shop)] == ["complete", "complete"]


def test_every_kind_of_candidate_can_be_searched_and_fitted_with_what_was_found(shop):
    shop = searching(shop, *KINDS, ml.Constant(), ml.Averaging(of=("lightgbm", "linear_svm")), trials=2)
    done = searched(shop)
    assert done.trials == dict.fromkeys((learner.name for learner in KINDS), 2)
    tuned = search.tuned(shop.pipeline, folder_of(shop))
    assert list(tuned) == [learner.name for learner in KINDS]
    windows = search.folds(shop.pipeline, folder_of(shop), shop.platform)[0]
    model = fit_model.fit_model(shop.pipeline, windows.train, windows.validation, ModelFacts(), tuned)
    recipe = {one["name"]: one for one in model.facts.recipe["candidates"]}
    for name, one in found_in(shop).items():
        assert {field: recipe[name][field] for field in one.parameters} == one.parameters


def test_only_the_candidates_that_are_named_are_searched(shop):
    shop = searching(shop, BAD, replace(BAD, name="other"), trials=2, search_for=("other",))
    searched(shop)
    assert {one.candidate for one in made_in(shop)} == {"other"}
    assert set(search.tuned(shop.pipeline, folder_of(shop))) == {"other"}


def test_without_a_declared_search_nothing_is_done_and_it_says_so(shop, caplog):
    assemble(shop.pipeline, shop.tick(), "one", "a test", shop.platform)
    with caplog.at_level("INFO"):
        assert searched(shop).trials == {}
    assert "returns declares no search: candidates are fitted with their declared values" in caplog.messages
    assert not (folder_of(shop).path / "search").exists()
    assert search.tuned(shop.pipeline, folder_of(shop)) == {}


def test_what_was_found_for_another_declaration_or_not_at_all_is_not_taken(shop):
    shop = searching(shop, trials=1)
    with pytest.raises(StepMissing, match="run search first"):
        search.tuned(shop.pipeline, folder_of(shop))
    searched(shop)
    other = shop.declared(model=replace(shop.pipeline.model, seed=7))
    with pytest.raises(StepMissing, match="used another declaration or other data: run search first"):
        search.tuned(other.pipeline, folder_of(shop))


def test_what_a_search_found_so_far_is_taken_where_it_did_not_end(shop, caplog):
    shop = searching(shop)
    assert ended(started(shop, dies_in=3)) == -signal.SIGKILL
    best = min((one for one in made_in(shop)), key=lambda one: one.loss)
    tuned = search.tuned(shop.pipeline, folder_of(shop))
    assert tuned == {"lightgbm": replace(BAD, **best.parameters)}
    assert "did not finish" in caplog.text
    assert search.tuned(shop.pipeline, folder_of(shop)) == tuned


def test_a_search_before_the_set_is_assembled_says_what_to_run(shop):
    shop = shop.declared(model=replace(shop.pipeline.model, search=ml.Search()))
    with pytest.raises(StepMissing, match="run assemble first"):
        search.search(shop.pipeline, "none", shop.platform)


@pytest.mark.parametrize("learner", KINDS, ids=lambda learner: learner.name)
def test_what_is_searched_by_default_is_what_each_learner_takes(learner):
    assert ml_search.SPACES[type(learner).__name__]
    for name, range_ in ml_search.SPACES[type(learner).__name__].items():
        assert list(range_problems("", learner, name, range_)) == []


@pytest.mark.parametrize(
    ("declared", "told"),
    [
        ({"trials": None}, "model.search has no budget: give trials, minutes or both"),
        ({"trials": 0}, "model.search: trials 0 must be positive"),
        ({"minutes": -1.0}, "model.search: minutes -1.0 must be positive"),
        ({"folds": 0}, "model.search: folds 0 must be positive"),
        ({"workers": 0}, "model.search: workers 0 must be positive"),
        ({"search_for": ("forest",)}, "search_for: 'forest' is no candidate; there are constant, lightgbm"),
        ({"search_for": ("constant",)}, "search_for: 'constant' has no parameters to search"),
        ({"space": {"leaves": ml.Between(2, 4)}}, "no searched candidate has 'leaves'; searched are lightgbm"),
        ({"space": {"lightgbm.leaves": ml.Between(2, 4)}}, "there is no such parameter; there are"),
        ({"space": {"num_leaves": ml.Between(1, 40)}}, "num_leaves 1 must be at least 2"),
        ({"space": {"num_leaves": ml.Between(2.5, 40)}}, "num_leaves 2.5: Input should be a valid integer"),
        ({"space": {"feature_fraction": ml.Between(0.5, 1.5)}}, r"feature_fraction 1.5 must lie in \(0, 1\]"),
        ({"space": {"lambda_l2": ml.Between(0.0, 4.0, log=True)}}, "low 0.0 has no logarithm: give a positive"),
        ({"space": {"num_leaves": ml.Between(40, 40)}}, "low 40 is not below high 40"),
        ({"space": {"num_leaves": ml.Between(40, 60)}}, "declared num_leaves=31, which is tried first, is not in Between"),
        ({"space": {"num_leaves": ml.OneOf((15, 63))}}, "declared num_leaves=31, which is tried first, is not in OneOf"),
        ({"space": {"num_leaves": ml.OneOf(())}}, "OneOf names no choice"),
        ({"space": {"num_leaves": ml.OneOf((31, "many"))}}, "num_leaves 'many': Input should be a valid integer"),
        ({"folds": 5}, "5 folds need a split.train of at least 32 days, 0:00:00, but it is 20 days"),
    ],
)  # fmt: skip
def test_a_search_that_cannot_work_is_refused_when_it_is_declared(shop_pipeline, declared, told):
    model = replace(
        shop_pipeline.model, candidates=(ml.LightGBM(), ml.Constant()), search=ml.Search(**{"trials": 5, **declared})
    )
    with pytest.raises(ValidationError, match=told):
        replace(shop_pipeline, model=model, split=replace(shop_pipeline.split, train=ml.days(20)))


def test_a_declared_search_is_read_again_from_what_is_recorded_with_a_model(shop_pipeline):
    space = {"num_leaves": ml.Between(2, 40, log=True), "lambda_l2": ml.OneOf((1.0, 2.0)), "hidden": ml.OneOf(((64, 32), (8,)))}
    model = replace(shop_pipeline.model, candidates=(ml.LightGBM(), ml.NeuralNet(lambda_l2=1.0)), search=ml.Search(space=space))
    declared = replace(shop_pipeline, model=model)
    assert recorded.read(recorded.text_of(declared)) == declared


def test_a_candidate_s_own_range_goes_before_the_one_for_all(shop_pipeline):
    candidates = (ml.LightGBM(), ml.HistGradientBoosting())
    looks = ml.Search(
        space={"num_leaves": ml.Between(4, 50), "lightgbm.num_leaves": ml.OneOf((31,)), "lambda_l2": ml.Between(0, 9)}
    )
    assert replace(shop_pipeline, model=replace(shop_pipeline.model, candidates=candidates, search=looks))
    spaces = [ml_search.space_of(learner, looks) for learner in candidates]
    assert [space["num_leaves"] for space in spaces] == [ml.OneOf((31,)), ml.Between(4, 50)]
    assert [type(space["lambda_l2"].high) for space in spaces] == [float, float]


def test_a_default_range_is_widened_to_the_declared_value():
    learner = ml.LightGBM(num_leaves=1000, lambda_l2=0.0)
    space = ml_search.space_of(learner, ml.Search())
    assert (space["num_leaves"], space["lambda_l2"]) == (ml.Between(7, 1000, log=True), ml.Between(0.0, 100.0))
