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


def platform(tmp_path) -> Platform:
    return Platform(from_environment({"MLPROD_HOME": str(tmp_path), "MLPROD_PIPELINES": str(tmp_path)}))


def fill(pipeline: ml.Pipeline, here: Platform, **tables: pa.Table) -> None:
    for name, table in tables.items():
        days = table["tick"].to_pylist()
        here.lake.replace_ticks(names.raw(pipeline, name), pipeline.schedule.range(min(days), max(days)), table)


@pytest.mark.parametrize("name", ADDED)
def test_every_query_works_with_a_column_of_that_name(tmp_path, name):
    orders = with_columns(ORDERS, Column(name, "text", "x"))
    returns = with_columns(RETURNS, Column(name, "text", "x"))
    taken = ml.AsOf("returns", {name: name}, {"before": name}, max_age=ml.days(5))
    window = ml.Trailing("same", "returns", {name: name}, (ml.days(5),), (ml.Count(), ml.Rate("back", "returned")))
    passed_on = ml.Expression(name, f'"{name}"', "text", "x")
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
    assert made.select([name, "before"]).to_pylist() == [{name: "x", "before": "x"}]
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
