"""Models of classes: by segment, continued, searched, stacked, through training, report, scoring and reproduction."""

import logging
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from sklearn.metrics import log_loss

from mlprod_tasks import declaration as ml
from mlprod_tasks.models.feature_frame import Predictions
from mlprod_tasks.models.load_model import load_model
from mlprod_tasks.models.model_facts import ModelFacts
from mlprod_tasks.models.segmented import SegmentedModel
from mlprod_tasks.promotion.reproduce import reproduce
from mlprod_tasks.reporting.write import report
from mlprod_tasks.scoring.score import score
from mlprod_tasks.serving.single_row import SingleRow
from mlprod_tasks.training import fit_model, search, segments
from mlprod_tasks.training.assemble import assemble
from mlprod_tasks.training.records import SearchResult, Segments
from mlprod_tasks.training.workspace import TrainingFolder, read_window
from tests.support.reason_shop import BROKEN, CLASSES, KEPT, REASONS, SIZE, reason_shop
from tests.support.trained_shop import Shop

TREES = ml.LightGBM(max_trees=15, min_data_in_leaf=20)


def some_rows(n: int, seed: int = 0, first_day: int = 0) -> pa.Table:
    """Labelled rows; what amount means is the opposite for 'web', where nothing breaks; few come by fax."""
    random = np.random.default_rng(seed)
    channel = random.choice(np.array(["web", "app", "fax", None], object), n, p=[0.5, 0.35, 0.1, 0.05])
    amount = random.normal(size=n)
    pull = np.stack((np.full(n, 0.5), 2 * amount * np.where(channel == "web", -1, 1), np.where(channel == "web", -99, 0.3)), 1)
    label = np.array(CLASSES, object)[(pull + random.gumbel(size=pull.shape)).argmax(axis=1)]
    return pa.table(
        {
            "tick": pa.array([date(2024, 1, 1) + timedelta(days=first_day + i * 20 // n) for i in range(n)]),
            "channel": pa.array(channel, pa.string()),
            "amount": amount,
            "items": random.integers(1, 6, n),
            "weekday": random.integers(1, 8, n),
            "label": pa.array(label, pa.string()),
        }
    )


TRAIN, VALIDATION, ROWS = some_rows(3000), some_rows(1500, 1), some_rows(500, 2)


def declared(*candidates: ml.Learner, **model: object) -> ml.Pipeline:
    return replace(REASONS, model=replace(REASONS.model, candidates=candidates or (TREES,), **model))


def of(rows: pa.Table, channel: str) -> pa.Table:
    return rows.filter(pc.equal(rows["channel"], channel))


def test_each_segment_has_a_model_of_its_rows_alone_and_all_score_the_same_classes():
    pipeline = declared(segment_by="channel", least_segment_rows=500)
    made = segments.fit_all(pipeline, TRAIN, VALIDATION, ModelFacts())
    assert isinstance(made, SegmentedModel)
    assert list(made.parts) == ["web", "app"]
    assert made.rows == {name: of(TRAIN, name).num_rows for name in ("web", "app")}
    predicted = made.predict(ROWS)
    classes = predicted.score.classes
    assert set(classes) == set(CLASSES)
    one, added = declared(), made.class_contributions(ROWS)
    for channel in ("web", "app"):
        alone = fit_model.fit_model(one, of(TRAIN, channel), of(VALIDATION, channel), ModelFacts(), classes=classes)
        at = _is(ROWS, channel)
        assert (predicted.score.shares[at] == alone.predict(of(ROWS, channel)).score.shares).all()
        logs = np.log(alone.raw(alone.matrix(of(ROWS, channel))))
        assert added[at].sum(axis=2) == pytest.approx(logs - logs.mean(axis=1, keepdims=True), abs=1e-6)
    broken = predicted.score.of(np.full(500, BROKEN, object))[_is(ROWS, "web")]
    assert broken.max() < 1e-6, "its own rows never had that class"
    single = SingleRow(made)
    for i in range(40):
        row = [ROWS[name][i].as_py() for name in made.feature_names]
        assert tuple(single(row).probabilities.values()) == tuple(predicted.score.shares[i].tolist())
        assert single(row).prediction == predicted.decision[i]
    overall = fit_model.fit_model(one, TRAIN, VALIDATION, ModelFacts())
    rest = ~_is(ROWS, "web") & ~_is(ROWS, "app")
    assert (predicted.score.shares[rest] == overall.predict(ROWS).score.shares[rest]).all()
    shuffled = np.random.default_rng(0).permutation(500)
    assert (made.predict(ROWS.take(shuffled)).score.shares == predicted.score.shares[shuffled]).all()
    assert (made.predict(ROWS.take(shuffled)).decision == predicted.decision[shuffled]).all()


def _loss(predicted: Predictions, rows: pa.Table) -> float:
    """scikit-learn's log loss, which wants the classes sorted."""
    order = np.argsort(predicted.score.classes)
    labels, shares = np.array(predicted.score.classes)[order], predicted.score.shares[:, order]
    return float(log_loss(rows["label"].to_numpy(zero_copy_only=False).astype(str), shares, labels=labels))


def _is(rows: pa.Table, channel: str) -> np.ndarray:
    return np.asarray(pc.equal(rows["channel"], channel).fill_null(False).to_numpy(zero_copy_only=False))


def test_a_segment_of_one_class_is_left_to_the_global_model(caplog):
    kept = pc.if_else(pc.equal(TRAIN["channel"], "app").fill_null(False), KEPT, TRAIN["label"])
    pipeline = declared(segment_by="channel", least_segment_rows=500)
    with caplog.at_level(logging.INFO):
        assert segments.large(pipeline, TRAIN.set_column(5, "label", kept), VALIDATION) == ["web"]
    rows = of(TRAIN, "app").num_rows
    assert f"'app' (the training window has outcomes of one class only: all {rows:,} are 'kept')" in caplog.text


def test_a_warm_update_continues_the_champions_trees_of_every_class():
    champion = fit_model.fit_model(declared(), TRAIN, VALIDATION, ModelFacts())
    newer, later = some_rows(2000, 5), some_rows(1000, 6)
    pipeline = declared(ml.Constant(), replace(TREES, max_trees=5), warm_update=True)
    made = fit_model.fit_model(pipeline, newer, later, ModelFacts(), warm=champion)
    assert [one.name for one in made.candidates] == ["constant", "lightgbm", "lightgbm_continued"]
    assert next(one for one in made.candidates if one.chosen).name == "lightgbm_continued"
    x = champion.matrix(ROWS)
    assert champion.trees < made.trees <= champion.trees + 3 * 5
    rounds = champion.trees // 3
    assert np.array_equal(made.fitted._trees.predict(x, num_iteration=rounds), champion.raw(x))


def test_a_champion_of_other_classes_is_not_continued(caplog):
    few = TRAIN.filter(pc.not_equal(TRAIN["label"], SIZE))
    champion = fit_model.fit_model(declared(), few, VALIDATION, ModelFacts())
    with caplog.at_level(logging.INFO):
        made = fit_model.fit_model(declared(warm_update=True), TRAIN, VALIDATION, ModelFacts(), warm=champion)
    assert [one.name for one in made.candidates] == ["lightgbm"]
    assert "no warm update, candidates start from scratch: the champion knows other classes" in caplog.text


@pytest.fixture
def shop(filled_home: Path, tmp_path: Path) -> Shop:
    candidates = (
        ml.LightGBM(max_trees=12, num_leaves=2, min_data_in_leaf=900),
        ml.XGBoost(max_trees=8),
        ml.Estimator("tests.support.own_estimators:linear"),
        ml.Stacking(of=("lightgbm", "xgboost"), folds=2),
    )
    looks = ml.Search(trials=4, workers=1, space={"lightgbm.min_data_in_leaf": ml.Between(5, 900, log=True)})
    pipeline = declared(*candidates, search=looks, segment_by="channel", least_segment_rows=400)
    return reason_shop(filled_home, tmp_path, pipeline=pipeline)


def test_a_search_lowers_the_log_loss_of_calibrated_probabilities(shop):
    assemble(shop.pipeline, shop.tick(), "one", "a test", shop.platform)
    search.search(shop.pipeline, "one", shop.platform)
    folder = TrainingFolder(shop.platform, "one")
    found = folder.read(SearchResult).candidates
    assert set(found) == {"lightgbm", "xgboost"}
    assert found["lightgbm"].loss < found["lightgbm"].declared_loss
    # The declared candidate's loss is that of its own probabilities, calibrated as the search says.
    rows = [read_window(folder, name) for name in ("train", "validation")]
    plain = replace(shop.pipeline.model, candidates=shop.pipeline.model.candidates[:1], calibration="sigmoid", search=None)
    alone = fit_model.fit_model(replace(shop.pipeline, model=plain), *rows, ModelFacts())
    assert found["lightgbm"].declared_loss == pytest.approx(_loss(alone.predict(rows[1]), rows[1]))


def test_segments_search_stacking_and_own_estimators_go_the_whole_way(shop):
    assemble(shop.pipeline, shop.tick(), "one", "a test", shop.platform)
    search.search(shop.pipeline, "one", shop.platform)
    promoted = shop.promoted("one")
    assert promoted.moved
    folder = TrainingFolder(shop.platform, "one")
    model = load_model(folder.model)
    assert isinstance(model, SegmentedModel)
    assert [one.segment for one in folder.read(Segments).segments] == ["*", "web", "app"]
    assert {one.name for one in model.candidates} == {"lightgbm", "xgboost", "estimator", "stacking"}
    assert report(shop.pipeline, "one", shop.platform).pictures > 5
    assert reproduce(shop.pipeline, promoted.model_version, shop.platform).identical
    score(shop.pipeline, shop.tick(), shop.platform)
