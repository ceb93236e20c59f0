"""Names of a user's columns never meet those that the queries add."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pyarrow as pa
import pytest

from mlprod_tasks import declaration as ml
from mlprod_tasks import features
from mlprod_tasks.declaration import Column
from mlprod_tasks.features import sql
from mlprod_tasks.operations.doctor import read_sql
from mlprod_tasks.platform import Platform, names
from mlprod_tasks.platform.settings import from_environment
from tests.support.shop import ORDERS, RETURNS, SHOP, with_columns

DAY = date(2024, 2, 1)
MOMENT = pa.timestamp("us", "UTC")
ADDED = ("starts_at", "at", "outcome_tick", "group", "order", "events", "calendar", "scored", "labelled", "relation")
# What predictions and training sets call their own columns, or what queries did.
OF_PREDICTIONS = (
    "decision",
    "fallback",
    "features_digest",
    "label",
    "label_known_at",
    "model_version",
    "outcome",
    "score",
    "split",
)
FREE = ("value", "known_at", "known", "enters", "ends", "following", "nth", "computed", "place", "oldest", "told", "begins")


def platform(tmp_path) -> Platform:
    return Platform(from_environment({"MLPROD_HOME": str(tmp_path), "MLPROD_PIPELINES": str(tmp_path)}))


def fill(pipeline: ml.Pipeline, here: Platform, **tables: pa.Table) -> None:
    for name, table in tables.items():
        days = table["tick"].to_pylist()
        here.lake.replace_ticks(names.raw(pipeline, name), pipeline.schedule.range(min(days), max(days)), table)


@pytest.mark.parametrize("name", [*ADDED, *OF_PREDICTIONS, *FREE])
def test_every_query_works_with_a_column_of_that_name(tmp_path, name):
    orders = with_columns(ORDERS, Column(name, "text", "x"))
    returns = with_columns(RETURNS, Column(name, "text", "x"))
    taken = ml.AsOf("returns", {name: name}, {"before": name}, max_age=ml.days(5))
    window = ml.Trailing("same", "returns", {name: name}, (ml.days(5),), (ml.Count(), ml.Rate("back", "returned")))
    called = f"orders_{name}" if name in OF_PREDICTIONS else name
    passed_on = ml.Expression(called, f'"{name}"', "text", "x")
    pipeline = replace(SHOP, tables=(orders, returns), features=(*SHOP.features, passed_on, taken, window))
    here, tick = platform(tmp_path), pipeline.schedule.tick(DAY)
    one = {"order_id": ["a"], name: ["x"]}
    placed, settled = tick.start + timedelta(hours=1), datetime(2024, 1, 30, tzinfo=UTC)
    order = one | {"placed_at": pa.array([placed], MOMENT), "channel": ["web"], "amount": [1.0], "items": [1], "tick": [DAY]}
    outcome = one | {"settled_at": pa.array([settled], MOMENT), "returned": [True], "tick": [date(2024, 1, 30)]}
    later = outcome | {"settled_at": pa.array([placed + timedelta(hours=5)], MOMENT), "tick": [DAY + timedelta(days=1)]}
    outcomes = pa.concat_tables([pa.table(outcome), pa.table(later)])
    fill(pipeline, here, orders=pa.table(order), returns=outcomes)
    made = features.build(pipeline, pipeline.schedule.range(DAY), here).table
    assert made.select([called, "before"]).to_pylist() == [{called: "x", "before": "x"}]
    assert made.equals(sql.run(pipeline, pipeline.schedule.range(DAY), here))
    known = features.labels(pipeline, pipeline.schedule.range(DAY), pipeline.schedule.tick("2024-02-10"), here)
    assert known["label"].to_pylist() == [True]
    assert read_sql(pipeline)


def test_a_label_that_is_a_number_is_refused_and_not_cast(tmp_path):
    returns = with_columns(RETURNS, Column("pieces", "int", "x"))
    label = replace(SHOP.label, sql="pieces * 2")
    pipeline, here = replace(SHOP, tables=(ORDERS, returns), label=label), platform(tmp_path)
    placed = pa.array([datetime(2024, 2, 1, 10, tzinfo=UTC)], MOMENT)
    order = {"order_id": ["a"], "placed_at": placed, "channel": ["web"], "amount": [1.0], "items": [1], "tick": [DAY]}
    outcome = {"order_id": ["a"], "settled_at": placed, "returned": [True], "pieces": [2], "tick": [DAY]}
    fill(pipeline, here, orders=pa.table(order), returns=pa.table(outcome))
    with pytest.raises(Exception, match="not a condition that is true or false"):
        features.labels(pipeline, pipeline.schedule.range(DAY), pipeline.schedule.tick("2024-02-10"), here)


@pytest.mark.parametrize("name", [*ADDED, *FREE])
def test_a_population_and_a_label_may_have_keys_of_that_name(tmp_path, name):
    """The whole key, which every query selects beside its own columns."""
    returns = replace(with_columns(RETURNS, Column(name, "text", "x")), key=(name,))
    keys = ml.Population("keys", seen_in="returns", by=(name,), within=ml.days(9))
    window = ml.Trailing("same", "returns", {name: name}, (ml.days(9),), (ml.Count(), ml.Rate("back", "returned")))
    weekday = ml.Expression("weekday", "extract(isodow FROM as_of)", "int", "x")
    pipeline = replace(
        SHOP, tables=(returns,), entity=keys, features=(weekday, window), fallback=ml.RateTable(by=("weekday",)),
        label=ml.Label("returns", {name: name}, "returned", delay=ml.days(2)), model=ml.Model(),
    )  # fmt: skip
    here, tick = platform(tmp_path), pipeline.schedule.tick(DAY)
    row = {"order_id": ["a"], name: ["x"], "returned": [True]}
    before = row | {"settled_at": pa.array([datetime(2024, 1, 30, tzinfo=UTC)], MOMENT), "tick": [date(2024, 1, 30)]}
    later = row | {"settled_at": pa.array([tick.start + timedelta(hours=5)], MOMENT), "tick": [DAY + timedelta(days=1)]}
    fill(pipeline, here, returns=pa.concat_tables([pa.table(before), pa.table(later)]))
    made = features.build(pipeline, pipeline.schedule.range(DAY), here).table
    assert made.select([name, "same_count_9d"]).to_pylist() == [{name: "x", "same_count_9d": 1}]
    assert made.equals(sql.run(pipeline, pipeline.schedule.range(DAY), here))
    known = features.labels(pipeline, pipeline.schedule.range(DAY), pipeline.schedule.tick("2024-02-10"), here)
    assert known.select([name, "label"]).to_pylist() == [{name: "x", "label": True}]
    assert read_sql(pipeline)


@pytest.mark.parametrize("name", OF_PREDICTIONS)
def test_a_label_s_table_may_have_a_key_of_that_name(tmp_path, name):
    returns = replace(with_columns(RETURNS, Column(name, "text", "x")), key=(name,))
    pipeline = replace(SHOP, tables=(ORDERS, returns), label=replace(SHOP.label, on={"order_id": name}))
    here, tick = platform(tmp_path), pipeline.schedule.tick(DAY)
    placed = pa.array([tick.start + timedelta(hours=1)], MOMENT)
    order = {"order_id": ["a"], "placed_at": placed, "channel": ["web"], "amount": [1.0], "items": [1], "tick": [DAY]}
    outcome = {"order_id": ["b"], name: ["a"], "settled_at": placed, "returned": [True], "tick": [DAY + timedelta(days=1)]}
    fill(pipeline, here, orders=pa.table(order), returns=pa.table(outcome))
    known = features.labels(pipeline, pipeline.schedule.range(DAY), pipeline.schedule.tick("2024-02-10"), here)
    assert known.select(["order_id", "label"]).to_pylist() == [{"order_id": "a", "label": True}]


@pytest.mark.parametrize("name", [*OF_PREDICTIONS, "predict_at"])
def test_a_key_or_feature_that_stands_beside_a_column_of_predictions_is_refused(name):
    keyed = replace(with_columns(ORDERS, Column(name, "text", "x")), key=("order_id", name))
    with pytest.raises(ValueError, match=rf"column '{name}': .* as in Column\('orders_{name}', source='{name}'"):
        replace(SHOP, tables=(keyed, RETURNS))
    with pytest.raises(ValueError, match=rf"feature '{name}': .* give another, such as 'orders_{name}'"):
        replace(SHOP, features=(*SHOP.features, ml.Expression(name, "1", "int", "x")))


def test_a_default_feature_of_a_column_that_predictions_have_too_is_called_after_its_table():
    columns = (Column("score", "float", "x"), Column("value", "float", "x"))
    made = replace(SHOP, tables=(with_columns(ORDERS, *columns), RETURNS), features=(), fallback=ml.RateTable(by=("channel",)))
    assert {"orders_score", "value"} <= set(made.feature_names)
