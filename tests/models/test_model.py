"""The model object: the same answer from every kind of frame, before and after it is stored."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from mlprod_tasks.declaration import CatBoost, RandomForest, XGBoost
from mlprod_tasks.models import mlflow_flavor, model
from mlprod_tasks.models.load_model import load_model
from mlprod_tasks.models.model import ModelInputError
from mlprod_tasks.models.model_facts import ModelFacts
from mlprod_tasks.training import fit_model

RANDOM = np.random.default_rng(5)


def some_rows(n: int) -> pa.Table:
    """Labelled feature rows of the shop, without a lake."""
    channel = RANDOM.choice(["web", "app", "phone", None], n)
    amount, items = RANDOM.gamma(2, 40, n), RANDOM.integers(1, 6, n)
    label = RANDOM.random(n) < 1 / (1 + np.exp(1.5 - 1.5 * (channel == "phone") - 0.01 * amount))
    return pa.table(
        {
            "channel": pa.array(channel, pa.string()),
            "amount": pa.array(amount, mask=RANDOM.random(n) < 0.05),
            "items": pa.array(items, pa.int64(), mask=RANDOM.random(n) < 0.05),
            "weekday": pa.array(RANDOM.integers(1, 8, n), pa.int64()),
            "label": label,
        }
    )


@pytest.fixture(scope="module")
def fitted(shop_pipeline) -> model.Model:
    return fit_model.fit_model(shop_pipeline, some_rows(2000), some_rows(800), ModelFacts(training_id="t"))


ROWS = some_rows(300)


def same(ours: model.Predictions, theirs: model.Predictions) -> bool:
    return np.array_equal(ours.score, theirs.score) and np.array_equal(ours.decision, theirs.decision)


def test_arrow_pandas_and_plain_values_score_bit_for_bit_the_same(fitted):
    expected = fitted.predict(ROWS)
    assert same(fitted.predict(ROWS.to_pandas()), expected)
    assert same(fitted.predict(ROWS.to_pandas(types_mapper=pd.ArrowDtype)), expected)
    assert same(fitted.predict(ROWS.to_pydict()), expected)
    assert same(fitted.predict(ROWS.set_column(0, "channel", ROWS["channel"].dictionary_encode())), expected)
    one_by_one = [fitted.predict(row).score[0] for row in ROWS.slice(0, 20).to_pylist()]
    assert one_by_one == expected.score[:20].tolist()


def test_columns_may_come_in_any_order_with_others_among_them(fitted):
    shuffled = ROWS.select(["label", "weekday", "amount", "channel", "items"])
    assert same(fitted.predict(shuffled), fitted.predict(ROWS))


def test_a_stored_model_answers_bit_for_bit_the_same_and_has_the_same_digest(fitted, tmp_path):
    digest = fitted.save(tmp_path / "one")
    again = load_model(tmp_path / "one")
    assert same(again.predict(ROWS), fitted.predict(ROWS))
    assert again.save(tmp_path / "two") == digest
    assert not [path for path in (tmp_path / "one").rglob("*") if path.is_file() and path.suffix not in (".json", ".txt")]


def test_another_threshold_is_another_model(fitted, tmp_path):
    assert replace(fitted, threshold=0.9).save(tmp_path / "one") != fitted.save(tmp_path / "two")


def test_the_same_rows_and_seed_fit_the_same_model_bit_for_bit(shop_pipeline, tmp_path):
    rows, validation = some_rows(1000), some_rows(500)
    digests = {fit_model.fit_model(shop_pipeline, rows, validation, ModelFacts()).save(tmp_path / str(i)) for i in range(2)}
    assert len(digests) == 1


def test_scores_are_calibrated_probabilities_and_decisions_follow_the_threshold(fitted):
    answer = fitted.predict(ROWS)
    assert ((answer.score > 0) & (answer.score < 1)).all()
    assert np.array_equal(answer.decision, answer.score >= fitted.threshold)
    raw = fitted.raw(fitted.matrix(ROWS))
    assert np.array_equal(answer.score, fitted.calibration(raw))


def test_an_unseen_category_is_a_missing_one(fitted):
    row = ROWS.slice(0, 1).to_pylist()[0]
    assert fitted.predict({**row, "channel": "fax"}).score == fitted.predict({**row, "channel": None}).score
    assert fitted.predict({**row, "channel": "phone"}).score != fitted.predict({**row, "channel": None}).score


def test_category_codes_come_from_training_rows_alone(fitted):
    assert fitted.codes == {"channel": ("app", "phone", "web")}


def test_nan_and_null_are_both_missing(fitted):
    row = ROWS.slice(0, 1).to_pylist()[0]
    assert fitted.predict({**row, "amount": float("nan")}).score == fitted.predict({**row, "amount": None}).score


def test_no_rows_give_no_predictions(fitted):
    assert len(fitted.predict(ROWS.slice(0, 0)).score) == 0


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"amount": "much"}, "feature 'amount' should be number, but is string .*'much'"),
        ({"channel": 3}, "feature 'channel' should be text, but is int64"),
        ({"amount": float("inf")}, "feature 'amount' is inf in row 0"),
        ({"amount": [1.0, "x"]}, "feature 'amount' mixes types"),
    ],
)
def test_what_is_no_feature_value_is_refused_by_name(fitted, changes, said):
    row = ROWS.slice(0, 1).to_pylist()[0]
    with pytest.raises(ModelInputError, match=said):
        fitted.predict({**row, **changes})


def test_a_missing_column_is_refused_by_name_from_every_kind_of_frame(fitted):
    without = ROWS.drop_columns(["items"])
    for frame in (without, without.to_pandas(), without.to_pydict()):
        with pytest.raises(ModelInputError, match="feature 'items' is missing; the frame has channel, amount, weekday, label"):
            fitted.predict(frame)


def test_importance_is_shares_of_gain_of_every_feature(fitted):
    assert set(fitted.importance) == {"channel", "amount", "items", "weekday"}
    assert sum(fitted.importance.values()) == pytest.approx(1)
    assert list(fitted.importance)[-1] in {"items", "weekday"}


def test_mlflow_serves_the_same_answers_through_its_signature(fitted, tmp_path):
    import mlflow.pyfunc

    fitted.save(tmp_path / "data")
    mlflow_flavor.save(fitted, tmp_path / "data", tmp_path / "artifact")
    served = mlflow.pyfunc.load_model(str(tmp_path / "artifact"))
    expected = fitted.predict(ROWS)
    for frame in (ROWS.to_pandas(), ROWS.slice(0, 50).drop_columns(["label"]).to_pandas()):
        answer = served.predict(frame)
        assert np.array_equal(answer["score"], expected.score[: len(frame)])
        assert np.array_equal(answer["decision"], expected.decision[: len(frame)])
    assert not list((tmp_path / "artifact").rglob("*.pkl"))
    with pytest.raises(ModelInputError, match="feature 'amount' should be number"):
        served.predict(ROWS.to_pandas().assign(amount="much"))


def test_a_served_model_asks_for_the_library_of_its_trees(shop_pipeline, fitted, tmp_path):
    made = {"lightgbm": fitted}
    for learner in (RandomForest(trees=3), XGBoost(max_trees=3), CatBoost(max_trees=3)):
        wanted = replace(shop_pipeline, model=replace(shop_pipeline.model, candidates=(learner,)))
        made[learner.name] = fit_model.fit_model(wanted, some_rows(500), some_rows(300), ModelFacts())
    asked = {}
    for name, one in made.items():
        one.save(tmp_path / name)
        mlflow_flavor.save(one, tmp_path / name, tmp_path / "served" / name)
        lines = (tmp_path / "served" / name / "requirements.txt").read_text().split()
        asked[name] = {line.split("==")[0] for line in lines}
    assert asked["random_forest"] - asked["lightgbm"] == {"scikit-learn", "skops"}
    assert asked["xgboost"] - asked["lightgbm"] == {"xgboost-cpu"}
    assert asked["catboost"] - asked["lightgbm"] == {"catboost"}


def test_the_stored_model_says_where_it_comes_from(fitted, tmp_path):
    fitted.save(tmp_path)
    facts = json.loads((tmp_path / "model.json").read_text())["facts"]
    assert facts["training_id"] == "t"
    assert 0 < facts["training_rate"] < 1
