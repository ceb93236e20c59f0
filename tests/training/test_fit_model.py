"""Candidates, weights, recency, the warm update: what becomes the model, and why."""

import json
import logging
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pyarrow as pa
import pytest
from sklearn.metrics import log_loss, roc_auc_score
from sklearn.utils.class_weight import compute_class_weight

from mlprod_tasks import declaration as ml
from mlprod_tasks.models import calibration, model
from mlprod_tasks.models.feature_frame import outcome_of
from mlprod_tasks.models.load_model import load_model
from mlprod_tasks.models.model_facts import ModelFacts
from mlprod_tasks.training import fit_model, sample_weights
from mlprod_tasks.training.sample_weights import NoTicks
from tests.support.labelled_rows import some_rows
from tests.support.paths import REPOSITORY

TREES = ml.LightGBM(learning_rate=0.1, max_trees=40, min_data_in_leaf=30)
NET = ml.NeuralNet(hidden=(8,), learning_rate=0.02, max_epochs=6, batch_rows=64)


ROWS, VALIDATION, TEST = some_rows(2500), some_rows(1200, 1, first_day=32, days=10), some_rows(4000, 2)
OUTCOME = outcome_of(TEST)


@pytest.fixture
def declared(shop_pipeline):
    """The shop with another model."""

    def make(*candidates: ml.Learner, **fields: object) -> ml.Pipeline:
        return replace(shop_pipeline, model=replace(shop_pipeline.model, candidates=candidates or (TREES,), **fields))

    return make


ALL = (
    ml.Averaging(of=("lightgbm", "logistic_regression")),
    TREES,
    ml.LogisticRegression(),
    ml.Constant(),
)


@pytest.fixture(scope="module")
def several(shop_pipeline) -> model.Model:
    pipeline = replace(shop_pipeline, model=replace(shop_pipeline.model, candidates=ALL))
    return fit_model.fit_model(pipeline, ROWS, VALIDATION, ModelFacts(training_id="t"))


def test_every_candidate_is_recorded_in_the_order_of_declaration_and_one_is_chosen(several):
    assert [one.name for one in several.candidates] == ["averaging", "lightgbm", "logistic_regression", "constant"]
    assert [one.kind for one in several.candidates] == ["Averaging", "LightGBM", "LogisticRegression", "Constant"]
    losses = [one.metrics["log_loss"] for one in several.candidates]
    assert [one.chosen for one in several.candidates] == [loss == min(losses) for loss in losses]
    assert losses[-1] == max(losses)


def test_candidates_are_measured_calibrated_on_the_validation_window(several, declared):
    alone = fit_model.fit_model(declared(TREES), ROWS, VALIDATION, ModelFacts())
    score, y = alone.predict(VALIDATION).score, outcome_of(VALIDATION)
    (_, recorded, *_) = several.candidates
    assert recorded.metrics["log_loss"] == pytest.approx(log_loss(y, score))
    assert recorded.metrics["roc_auc"] == pytest.approx(roc_auc_score(y, score))


def test_the_chosen_one_answers_as_if_it_were_the_only_candidate(several, declared):
    chosen = next(one.name for one in several.candidates if one.chosen)
    alone = fit_model.fit_model(
        declared(*(one for one in ALL if chosen in (one.name, "averaging"))), ROWS, VALIDATION, ModelFacts()
    )
    assert np.array_equal(several.predict(TEST).score, alone.predict(TEST).score)
    assert several.threshold == alone.threshold


@pytest.mark.parametrize(
    ("choose_by", "best"),
    [("log_loss", "lightgbm"), ("roc_auc", "lightgbm"), ("value_per_1000", "lightgbm"), ("brier", "lightgbm")],
)
def test_the_declared_metric_chooses(declared, choose_by, best):
    made = fit_model.fit_model(declared(ml.Constant(), TREES, choose_by=choose_by), ROWS, VALIDATION, ModelFacts())
    assert next(one.name for one in made.candidates if one.chosen) == best
    assert all(choose_by in one.metrics for one in made.candidates)
    assert made.kind == best


def test_the_first_of_equal_candidates_is_taken(declared):
    made = fit_model.fit_model(declared(ml.Constant(name="one"), ml.Constant(name="two")), ROWS, VALIDATION, ModelFacts())
    assert [one.chosen for one in made.candidates] == [True, False]


def test_tuned_parameters_stand_in_for_the_declared_ones_also_in_ensembles(declared):
    pipeline = declared(TREES, ml.LogisticRegression(), ml.Averaging(of=("lightgbm", "logistic_regression")))
    tuned = replace(TREES, max_trees=3)
    made = fit_model.fit_model(pipeline, ROWS, VALIDATION, ModelFacts(), tuned={"lightgbm": tuned})
    direct = fit_model.fit_model(declared(tuned, *pipeline.model.candidates[1:]), ROWS, VALIDATION, ModelFacts())
    assert made.candidates == direct.candidates
    assert made.facts.recipe["candidates"][0]["max_trees"] == 3
    assert fit_model.fit_model(pipeline, ROWS, VALIDATION, ModelFacts()).facts.recipe == pipeline.as_json()["model"]


@pytest.mark.parametrize("learner", [TREES, ml.LogisticRegression(), NET], ids=lambda one: one.name)
@pytest.mark.parametrize("weights", ["balanced", 8.0])
@pytest.mark.parametrize("way", ["isotonic", "sigmoid"])
def test_calibration_brings_the_rate_back_after_class_weights(declared, learner, weights, way):
    plain = fit_model.fit_model(declared(learner), ROWS, VALIDATION, ModelFacts())
    weighted = fit_model.fit_model(declared(learner, weights=weights, calibration=way), ROWS, VALIDATION, ModelFacts())
    raw = weighted.raw(weighted.matrix(TEST)).mean()
    assert raw > plain.raw(plain.matrix(TEST)).mean() + 0.05  # the weights do reach the learner
    assert weighted.predict(TEST).score.mean() == pytest.approx(OUTCOME.mean(), abs=0.03)
    assert roc_auc_score(OUTCOME, weighted.predict(TEST).score) > 0.65


def test_class_weights_are_scikit_learns(declared):
    y = np.random.default_rng(0).random(500) < 0.2
    negative, positive = compute_class_weight("balanced", classes=np.array([False, True]), y=y)
    assert sample_weights.class_weights("balanced", y) == pytest.approx((positive, negative))
    assert sample_weights.class_weights(3.0, y) == (3.0, 1.0)
    weight, of_validation = sample_weights.weights(declared(weights="balanced"), y, None, ~y)
    assert weight.mean() == pytest.approx(1)
    assert np.array_equal(of_validation, np.where(~y, positive, negative))
    assert sample_weights.weights(declared(), y, None, y) == (None, None)


def test_a_row_one_half_life_old_counts_half_and_the_mean_row_one():
    tick = np.repeat(np.arange(31), 4)
    weight = sample_weights.recency(tick, timedelta(days=10))
    assert weight[tick == 20] == pytest.approx(weight[tick == 30] / 2)
    assert weight[tick == 0] == pytest.approx(weight[tick == 30] / 8)
    assert weight.mean() == pytest.approx(1)


def test_recency_follows_what_changed_lately(declared):
    """Phones sent orders back for 25 days and then no more: with a short half-life the model believes the last days."""
    before, after = some_rows(2500, 3, effect=2.5, days=25), some_rows(500, 4, effect=0.0, first_day=25, days=5)
    rows = pa.concat_tables([before, after])
    phone = TEST.filter(pa.compute.equal(TEST["channel"], "phone"))
    scores = {}
    for half_life in (None, ml.days(2)):
        made = fit_model.fit_model(
            declared(half_life=half_life, calibration="none"), rows, some_rows(800, 5, effect=0.0, first_day=32), ModelFacts()
        )
        scores[half_life] = made.predict(phone).score.mean()
    assert scores[ml.days(2)] < scores[None] - 0.1


def test_recency_needs_rows_in_the_order_of_their_ticks(declared):
    for rows in (ROWS.drop_columns(["tick"]), ROWS.take(list(range(2499, -1, -1)))):
        with pytest.raises(NoTicks, match=r"returns: model.half_life 2 days.* sorted by their column 'tick'"):
            fit_model.fit_model(declared(half_life=ml.days(2)), rows, VALIDATION, ModelFacts())


def test_a_warm_update_continues_the_champions_trees(declared):
    champion = fit_model.fit_model(declared(TREES), ROWS, VALIDATION, ModelFacts())
    newer, later = some_rows(1500, 7, effect=0.3), some_rows(1000, 8, effect=0.3)
    pipeline = declared(replace(TREES, max_trees=5), warm_update=True)
    made = fit_model.fit_model(pipeline, newer, later, ModelFacts(), warm=champion)
    assert [one.name for one in made.candidates] == ["lightgbm", "lightgbm_continued"]
    (chosen,) = (one for one in made.candidates if one.chosen)
    assert chosen.metrics["log_loss"] == min(one.metrics["log_loss"] for one in made.candidates)
    only = replace(pipeline, model=replace(pipeline.model, candidates=(ml.Constant(), replace(TREES, max_trees=5))))
    continued = next(
        one
        for one in fit_model._fit_candidates(only, fit_model.prepare(only, newer, later), later, champion)
        if "cont" in one.learner.name
    )
    assert champion.trees < continued.fitted.trees <= champion.trees + 5
    # The champion's trees are still the first ones.
    x = champion.matrix(TEST)
    first = continued.fitted._trees.predict(x, num_iteration=champion.trees)
    assert np.array_equal(first, champion.raw(x))


def test_new_trees_correct_the_old_ones_instead_of_repeating_them(declared):
    champion = fit_model.fit_model(declared(TREES), ROWS, VALIDATION, ModelFacts())
    pipeline = declared(replace(TREES, max_trees=30), warm_update=True)
    prepared = fit_model.prepare(pipeline, ROWS, VALIDATION)
    (_, continued) = fit_model._fit_candidates(pipeline, prepared, VALIDATION, champion)
    y = outcome_of(ROWS)
    assert log_loss(y, continued.fitted.predict(prepared.train.x)) < log_loss(y, champion.raw(prepared.train.x))
    assert continued.fitted.predict(prepared.train.x).mean() == pytest.approx(y.mean(), abs=0.02)


@pytest.mark.parametrize(
    ("champion", "newer", "why"),
    [
        (None, ROWS, "there is no champion"),
        (ml.LogisticRegression(), ROWS, "the champion is a linear"),
        (TREES, ROWS.slice(0, 800).append_column("more", ROWS["amount"].slice(0, 800)), "the champion reads other features"),
        (
            TREES,
            ROWS.set_column(1, "channel", pa.compute.fill_null(ROWS["channel"], "letter")),
            "the categories of channel differ from those that the champion was trained on",
        ),
    ],
    ids=["none", "linear", "features", "categories"],
)
def test_a_warm_update_that_cannot_be_says_why_and_starts_anew(declared, caplog, champion, newer, why):
    pipeline = declared(TREES, warm_update=True)
    warm = None if champion is None else fit_model.fit_model(declared(champion), ROWS, VALIDATION, ModelFacts())
    if "more" in newer.column_names:
        pipeline = replace(pipeline, features=(*pipeline.features, ml.Expression("more", "amount", "float", "again")))
    with caplog.at_level(logging.INFO):
        made = fit_model.fit_model(
            pipeline, newer, VALIDATION.append_column("more", VALIDATION["amount"]), ModelFacts(), warm=warm
        )
    assert [one.name for one in made.candidates] == ["lightgbm"]
    assert f"returns: no warm update, candidates start from scratch: {why}" in caplog.text


def test_the_log_says_what_each_candidate_took_and_scores(declared, caplog):
    with caplog.at_level(logging.INFO, "mlprod_tasks.training.fit_model"):
        fit_model.fit_model(declared(TREES, ml.Constant()), ROWS, VALIDATION, ModelFacts())
    begun, first, _, second, last = caplog.messages
    assert begun == "lightgbm: fitting to 2500 rows of 4 features"
    assert first.startswith("lightgbm: ")
    assert " s, validation log loss 0." in first
    assert second.startswith("constant: ")
    assert second.endswith("AUC 0.5000")
    assert last == "returns: lightgbm is the best of 2 by log_loss"


def test_a_candidate_that_cannot_be_fitted_is_named(declared, monkeypatch):
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("no")

    monkeypatch.setattr(fit_model, "fit_learner", fail)
    with pytest.raises(RuntimeError) as raised:
        fit_model.fit_model(declared(TREES), ROWS, VALIDATION, ModelFacts())
    assert raised.value.__notes__ == ["returns: candidate 'lightgbm' could not be fitted"]


def test_a_learner_without_importance_of_its_own_gets_it_from_shuffling(declared):
    made = fit_model.fit_model(declared(NET), ROWS, VALIDATION, ModelFacts())
    assert sum(made.importance.values()) == pytest.approx(1)
    assert list(made.importance)[:2] in (["channel", "amount"], ["amount", "channel"])
    assert made.importance["weekday"] < 0.1
    assert made.shares is not None
    assert made.contributions(TEST) is None


@pytest.mark.parametrize(
    "learner", [ml.RandomForest(trees=5), ml.HistGradientBoosting(max_trees=10), ml.LogisticRegression(), ml.Constant()],
    ids=lambda one: one.name,
)  # fmt: skip
def test_a_model_of_any_kind_is_stored_whole(declared, learner, tmp_path):
    made = fit_model.fit_model(declared(learner), ROWS, VALIDATION, ModelFacts(training_id="t"))
    digest = made.save(tmp_path / "one")
    again = load_model(tmp_path / "one")
    assert np.array_equal(again.predict(TEST).score, made.predict(TEST).score)
    assert again.candidates == made.candidates
    assert again.importance == made.importance
    assert again.facts == made.facts
    assert again.save(tmp_path / "two") == digest


def test_a_model_written_before_there_were_other_learners_still_answers_the_same():
    folder = REPOSITORY / "tests" / "models" / "earlier_model"
    expected = json.loads((folder / "predictions.json").read_text())
    earlier = load_model(folder)
    assert earlier.kind == "lightgbm"
    assert earlier.trees == 4
    assert earlier.candidates == ()
    assert set(earlier.importance) == {"channel", "amount", "items", "weekday"}
    assert [earlier.predict(row).score[0] for row in expected["rows"]] == expected["score"]


def test_contributions_of_a_model_sum_to_its_log_odds_before_calibration(declared):
    for learner in (TREES, ml.LogisticRegression()):
        made = fit_model.fit_model(declared(learner), ROWS, VALIDATION, ModelFacts())
        raw = made.raw(made.matrix(TEST))
        assert made.contributions(TEST).shape == (4000, 5)
        assert made.contributions(TEST).sum(axis=1) == pytest.approx(np.log(raw / (1 - raw)), abs=1e-9)


def test_the_validation_window_decides_nothing_but_choice_stopping_calibration_and_threshold(declared):
    """With a learner that does not stop early, another validation window leaves raw scores as they are."""
    pipeline = declared(ml.LogisticRegression())
    made = [fit_model.fit_model(pipeline, ROWS, rows, ModelFacts()) for rows in (VALIDATION, some_rows(700, 12))]
    raw = [one.raw(one.matrix(TEST)) for one in made]
    assert np.array_equal(*raw)
    assert made[0].calibration != made[1].calibration
    assert made[0].calibration == calibration.fit_calibration(
        "isotonic", made[0].raw(made[0].matrix(VALIDATION)), outcome_of(VALIDATION)
    )


def test_ticks_are_numbered_and_given_up_where_rows_are_in_no_order(declared):
    prepared = fit_model.prepare(declared(), ROWS, VALIDATION)
    assert prepared.train.tick[0] == 0, "the first tick of the schedule"
    assert set(np.diff(prepared.train.tick)) == {0, 1}
    assert fit_model.prepare(declared(), ROWS.take([2000, 1, 5, 9, 100, 3]), VALIDATION).train.tick is None


@pytest.mark.parametrize(("gap", "ticks"), [(ml.days(2), 2), (ml.hours(49), 3), (ml.hours(48), 2)])
def test_a_gap_is_rounded_up_to_whole_ticks(shop_pipeline, gap, ticks):
    assert fit_model.gap_ticks(replace(shop_pipeline, split=replace(shop_pipeline.split, gap=gap))) == ticks
