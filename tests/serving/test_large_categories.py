"""Integers beyond 2^53, which floats do not tell apart: each is a category and a group of its own, in a batch and alone."""

import json
from dataclasses import replace
from datetime import date

import numpy as np
import pyarrow as pa
import pytest

from mlprod_tasks import declaration as ml
from mlprod_tasks.declaration import CostMatrix, Pipeline, RateTable
from mlprod_tasks.evaluation.model_checks import leakage
from mlprod_tasks.models import fallback
from mlprod_tasks.models.fallback import FallbackModel
from mlprod_tasks.models.load_model import load_model
from mlprod_tasks.models.model_facts import ModelFacts
from mlprod_tasks.serving.single_row import SingleRow, fallback_score
from mlprod_tasks.training.segments import fit_all

BASE = 7_000_000_000_000_000_000
SHOPS = [BASE + i for i in range(4)]


def some_rows(n: int, seed: int, shops: list[int] = SHOPS) -> pa.Table:
    """Rows whose outcome depends on the shop alone: that of the second one nearly always comes true."""
    random = np.random.default_rng(seed)
    which = random.integers(0, len(shops), n)
    return pa.table(
        {
            "channel": pa.array(random.choice(["web", "app"], n)),
            "amount": random.gamma(2, 40, n),
            "items": pa.array(np.array(shops)[which], pa.int64()),
            "weekday": pa.array(random.integers(1, 8, n), pa.int64()),
            "tick": pa.array([date(2024, 1, 1)] * n),
            "label": random.random(n) < np.where(which == 1, 0.95, 0.2),
        }
    )


@pytest.fixture
def declared(shop_pipeline: Pipeline) -> Pipeline:
    learner = ml.LightGBM(max_trees=40, min_data_in_leaf=20)
    return replace(shop_pipeline, model=replace(shop_pipeline.model, candidates=(learner,), categorical=("channel", "items")))


def of_each(rows: pa.Table, shops: list[int]) -> pa.Table:
    return rows.slice(0, len(shops)).set_column(2, "items", pa.array(shops, pa.int64()))


@pytest.mark.parametrize("segments", [None, "channel"])
def test_each_large_integer_is_a_category_of_its_own(segments, declared: Pipeline, tmp_path) -> None:
    pipeline = replace(declared, model=replace(declared.model, segment_by=segments, least_segment_rows=100))
    made = fit_all(pipeline, some_rows(3000, 0), some_rows(1000, 1), ModelFacts())
    rows = of_each(some_rows(6, 2), [*SHOPS, BASE + 4, 5])
    batch = made.predict(rows).score
    assert batch[1] > batch[[0, 2, 3]].max() + 0.4
    assert batch.tolist() == made.predict(rows.to_pandas()).score.tolist()
    one = SingleRow(made)
    alone = [one([row[name] for name in one.feature_names]).score for row in rows.to_pylist()]
    assert alone == batch.tolist()
    made.save(tmp_path / "model")
    assert load_model(tmp_path / "model").predict(rows).score.tolist() == batch.tolist()


def test_each_large_integer_is_a_group_of_the_fallback(tmp_path) -> None:
    rows = some_rows(2000, 0)
    made = fallback.fit_fallback(RateTable(by=("items", "channel")), CostMatrix(120, -40), rows, rows["label"].to_numpy())
    asked = of_each(some_rows(5, 2), [*SHOPS, BASE + 4])
    score = made.predict(asked).score
    assert score[1] > score[[0, 2, 3]].max() + 0.4
    assert score[4] == made.overall
    values = zip(asked["items"].to_pylist(), asked["channel"].to_pylist(), strict=True)
    assert [fallback_score(made, one).score for one in values] == score.tolist()
    again = FallbackModel.from_json(json.loads(json.dumps(made.as_json())))
    assert again.predict(asked).score.tolist() == score.tolist()


def test_small_integers_are_stored_as_they_have_always_been() -> None:
    rows = some_rows(500, 0, [1, 2, 3, 2**53 - 1])
    made = fallback.fit_fallback(RateTable(by=("items",)), CostMatrix(120, -40), rows, rows["label"].to_numpy())
    assert {type(group[0]) for group in made.rates} == {float}
    assert made.predict({"items": [2**53 + 1]}).score.tolist() == [made.overall]


def test_the_power_of_a_large_integer_as_a_category_is_seen() -> None:
    (result,) = leakage.alone(some_rows(2000, 0), some_rows(1000, 1), ["items"], ["items"])
    assert result.value is not None
    assert result.value > 0.7
