"""Rows whose features no model takes, infinite or not computable: they alone are answered by the fallback."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from mlprod_tasks import declaration as ml
from mlprod_tasks.evaluation.evaluate import evaluate
from mlprod_tasks.features import build, write
from mlprod_tasks.monitoring.measure import measure
from mlprod_tasks.monitoring.verify import verify
from mlprod_tasks.platform import names
from mlprod_tasks.platform.ledger import FallbackCause, Scoring
from mlprod_tasks.scoring.score import score
from mlprod_tasks.training.assemble import NotTrainable, assemble

DAY = "2024-02-11"
INFINITE = ml.Expression("unit_price", "amount / items", "float", "infinite without items")
LOGARITHM = ml.Expression("logarithm", "ln(items)", "float", "minus infinite without items")
MODULO = ml.Expression("rest", "7 % items", "int", "fails without items")
CAST = ml.Expression("code", "CAST(CASE WHEN items = 0 THEN 'none' ELSE CAST(items AS VARCHAR) END AS BIGINT)", "int", "fails")
OVERFLOW = ml.Expression("large", "9223372036854775807 - 1 + CASE WHEN items = 0 THEN 2 ELSE 1 END", "int", "overflows")
ON_ANOTHER = ml.Expression("twice", "2 * rest", "int", "reads an expression that fails")
SHARED = ml.Expression("shared", "7 % items + 1", "int", "has a part in common with another that fails")
EVERY = [(INFINITE,), (LOGARITHM,), (MODULO,), (CAST,), (OVERFLOW,), (MODULO, ON_ANOTHER), (MODULO, SHARED)]


def declared(shop, *added: ml.Expression, **model):
    pipeline = shop.pipeline
    return replace(pipeline, features=(*pipeline.features, *added), model=replace(pipeline.model, **model))


def without_items(shop, *rows: int) -> list[str]:
    """Set the items of some rows to 0, and of all others from null to 1. Returns the keys of the rows."""
    name = names.raw(shop.pipeline, "orders")
    orders = shop.platform.lake.rows(name).sort_by([("tick", "ascending"), ("order_id", "ascending")])
    items = [0 if i in rows else n or 1 for i, n in enumerate(orders["items"].to_pylist())]
    orders = orders.set_column(orders.column_names.index("items"), "items", pa.array(items, pa.int64()))
    days = orders["tick"].to_pylist()
    shop.platform.lake.replace_ticks(name, shop.pipeline.schedule.range(min(days), max(days)), orders)
    return [orders["order_id"][i].as_py() for i in rows]


def place(day: date, nth: int = 0) -> int:
    """The position of an order among all: 120 a day."""
    return (day - date(2024, 1, 1)).days * 120 + nth


def champion(shop, pipeline) -> None:
    from mlprod_tasks import steps

    assemble(pipeline, shop.tick(), "one", "a test", shop.platform)
    steps.train(pipeline, "one", shop.platform)
    evaluate(pipeline, "one", shop.platform)
    verdict = steps.gate(pipeline, "one", shop.platform)
    assert steps.promote(pipeline, steps.register(pipeline, "one", shop.platform), verdict, shop.platform).moved


@pytest.mark.parametrize("added", EVERY, ids=lambda added: added[-1].name)
def test_a_row_alone_fails_and_every_other_row_is_computed_as_without_it(shop, added, tmp_path) -> None:
    without_items(shop)
    pipeline = declared(shop, *added)
    ticks = pipeline.schedule.range(DAY)
    good = build(pipeline, ticks, shop.platform)
    assert not good.failed
    without_items(shop, place(ticks.first, 7))
    made = build(pipeline, ticks, shop.platform)
    others = pa.array([i for i in range(120) if i != 7])
    assert made.table.take(others).equals(good.table.take(others))
    assert made.table.schema.equals(good.table.schema)
    fails = added[0] not in (INFINITE, LOGARITHM)
    assert made.failed == ({7: added[0].name} if fails else {})
    in_chunks = build(pipeline, pipeline.schedule.range("2024-02-10", DAY), shop.platform, chunk_rows=100)
    assert in_chunks.failed == ({127: added[0].name} if fails else {})
    files = write(pipeline, ticks, tmp_path / "features", shop.platform)
    assert (files.rows, files.failed) == ((119, 1) if fails else (120, 0))


def test_an_error_that_is_no_rows_fault_is_still_raised(shop) -> None:
    import duckdb

    wrong = ml.Expression("wrong", "CASE WHEN items = 0 THEN error('stop') ELSE 1 END", "int", "x")
    without_items(shop, place(date(2024, 2, 11)))
    pipeline = declared(shop, wrong)
    with pytest.raises(duckdb.InvalidInputException, match="stop"):
        build(pipeline, pipeline.schedule.range(DAY), shop.platform)


@pytest.mark.parametrize("added", [(INFINITE,), (MODULO,)], ids=["infinite", "fails"])
def test_the_fallback_answers_that_row_and_the_champion_the_others(shop, added) -> None:
    without_items(shop)
    pipeline = declared(shop, *added)
    champion(shop, pipeline)
    tick = shop.tick(DAY)
    score(pipeline, tick, shop.platform)
    by_champion = shop.platform.lake.rows(names.predictions(pipeline)).sort_by("order_id")
    (key,) = without_items(shop, place(tick.name, 7))
    done = score(pipeline, tick, shop.platform)
    rows = shop.platform.lake.rows(names.predictions(pipeline)).sort_by("order_id")
    marked = rows["order_id"].filter(rows["fallback"]).to_pylist()
    assert marked == [key]
    others = pc.not_equal(rows["order_id"], key)
    assert rows.filter(others)["score"].equals(by_champion.filter(others)["score"])
    what = "is infinite" if added == (INFINITE,) else "cannot be computed"
    assert done.fallback_reason == f"feature {added[0].name!r} {what} for order_id {key}"
    entry = shop.platform.ledger.get(Scoring, "returns", tick.name)
    assert (entry.fallback_rows, entry.rows, entry.fallback_cause) == (1, 120, FallbackCause.ROWS)
    assert verify(pipeline, tick, shop.platform).replayed == 0.0
    assert measure(pipeline, tick, shop.platform)


def test_many_rows_are_counted_and_a_personal_key_is_not_named(shop) -> None:
    without_items(shop)
    pipeline = declared(shop, INFINITE)
    champion(shop, pipeline)
    tick = shop.tick(DAY)
    without_items(shop, *(place(tick.name, nth) for nth in range(8)))
    assert score(pipeline, tick, shop.platform).fallback_reason.endswith("; and 3 more rows")
    hashed = [
        replace(table, columns=(replace(table.columns[0], personal="hash"), *table.columns[1:])) for table in pipeline.tables
    ]
    private = replace(pipeline, tables=tuple(hashed))
    reason = score(private, tick, shop.platform).fallback_reason
    assert reason == "feature 'unit_price' is infinite; and 3 more rows"


def test_a_training_leaves_such_rows_out_and_counts_them(shop) -> None:
    keys = without_items(shop, place(date(2024, 1, 5)), place(date(2024, 1, 6)), place(date(2024, 2, 5)))
    pipeline = declared(shop, INFINITE, MODULO)
    told = assemble(pipeline, shop.tick(), "t", "a test", shop.platform)
    assert (told.unusable.train, told.unusable.validation, told.unusable.test) == (2, 0, 1)
    whole = assemble(shop.pipeline, shop.tick(), "whole", "a test", shop.platform)
    assert sum(one for _, one in whole.rows.named()) + sum(one for _, one in whole.unlabelled.named()) == sum(
        one + told.unlabelled[name] + told.unusable[name] for name, one in told.rows.named()
    )
    from mlprod_tasks.training.workspace import TrainingFolder

    kept = pq.read_table(TrainingFolder(shop.platform, "t").training_set)["order_id"].to_pylist()
    assert not set(keys) & set(kept)


def failing_outcomes(shop, *rows: int):
    """The use case with a label that fails for these orders, by their place among all."""
    orders = shop.platform.lake.rows(names.raw(shop.pipeline, "orders")).sort_by(
        [("tick", "ascending"), ("order_id", "ascending")]
    )
    keys = ", ".join(f"'{key}'" for key in orders["order_id"].take(pa.array(rows)).to_pylist())
    label = f"CAST(CASE WHEN order_id IN ({keys}) THEN 'lost' ELSE returned::VARCHAR END AS BOOLEAN)"
    return replace(shop.pipeline, label=replace(shop.pipeline.label, sql=label))


def test_a_training_leaves_out_rows_whose_label_cannot_be_computed_and_counts_them(shop) -> None:
    whole = assemble(shop.pipeline, shop.tick(), "whole", "a test", shop.platform)
    pipeline = failing_outcomes(shop, place(date(2024, 1, 5)), place(date(2024, 2, 5)), place(date(2024, 2, 5), 1))
    told = assemble(pipeline, shop.tick(), "t", "a test", shop.platform)
    left_out = [told.unusable.train, told.unusable.validation, told.unusable.test]
    assert left_out == [1, 0, 2]
    rows = [whole.rows.train, whole.rows.validation, whole.rows.test]
    assert [told.rows.train, told.rows.validation, told.rows.test] == [a - b for a, b in zip(rows, left_out, strict=True)]
    assert told.unlabelled == whole.unlabelled
    many = failing_outcomes(shop, *(place(date(2024, 2, 5), nth) for nth in range(9)))
    with pytest.raises(NotTrainable, match=r"9 of 840 rows .*'label\.sql' in 9.*max_unusable_share 0\.01.*try_cast"):
        assemble(many, shop.tick(), "many", "a test", shop.platform)


def test_more_than_the_declared_share_is_not_trainable_and_the_message_says_what_to_do(shop) -> None:
    first = date(2024, 2, 2)
    without_items(shop, *(place(first + timedelta(days=day), nth) for day in range(7) for nth in range(2)))
    strict = declared(shop, INFINITE)
    with pytest.raises(
        NotTrainable, match=r"test window .* 14 of 840 rows .*'unit_price' in 14.*max_unusable_share 0\.01.*null"
    ):
        assemble(strict, shop.tick(), "t", "a test", shop.platform)
    told = assemble(declared(shop, INFINITE, max_unusable_share=0.02), shop.tick(), "t", "a test", shop.platform)
    assert told.unusable.test == 14


@pytest.mark.parametrize("share", [-0.1, 1.5])
def test_a_share_outside_0_and_1_is_refused_when_loaded(shop_pipeline, share: float) -> None:
    with pytest.raises(ValueError, match="max_unusable_share"):
        replace(shop_pipeline, model=replace(shop_pipeline.model, max_unusable_share=share))
