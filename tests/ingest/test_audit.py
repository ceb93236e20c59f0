import json
import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest

from mlprod_tasks import declaration as ml
from mlprod_tasks.ingest.audit import Audited, StagingMissing, audit
from mlprod_tasks.ingest.batch_verdict import BatchRefused
from mlprod_tasks.ingest.data_docs import KEPT, VALIDATIONS, build_data_docs, delete_old
from mlprod_tasks.ingest.expectations import suite
from mlprod_tasks.ingest.extract import extract
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.lake import listed
from mlprod_tasks.platform.ledger import Audit
from tests.support.paths import REPOSITORY
from tests.support.shop import order

TICK = "2024-03-15"


def audited(pipeline: ml.Pipeline, platform: Platform, first: str = TICK, last: str | None = None) -> Audited:
    ticks = pipeline.schedule.range(first, last)
    extract(pipeline, "orders", ticks, platform)
    return audit(pipeline, "orders", ticks, platform)


def quarantined(platform: Platform) -> list[dict[str, object]]:
    if not platform.lake.exists("shop/quarantine/orders"):
        return []
    files = platform.lake.files("shop/quarantine/orders")
    if not files:
        return []
    rows = duckdb.sql(f"SELECT * FROM read_parquet({listed(files)}, hive_partitioning=true) ORDER BY order_id, reason")
    return [dict(zip(rows.columns, row, strict=True)) for row in rows.fetchall()]


@pytest.fixture
def of_orders(orders_pipeline, orders_in, make_platform) -> Callable[..., tuple[ml.Pipeline, Platform]]:
    def make(rows: list[dict[str, object]], **table: object) -> tuple[ml.Pipeline, Platform]:
        return orders_pipeline(**table), make_platform(shop=orders_in(rows))

    return make


def test_good_rows_pass_and_the_ledger_says_so(of_orders) -> None:
    pipeline, platform = of_orders([order(1), order(2, items=None, state=None, customer=None)])
    done = audited(pipeline, platform)
    assert (done.read, done.accepted, done.refused) == (2, 2, 0)
    entry = platform.ledger.get(Audit, "shop", "orders", done.verdicts[0].tick)
    assert (entry.passed, entry.rows_read, entry.failures) == (True, 2, [])
    assert quarantined(platform) == []


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ({"amount": -1.0}, "amount must be between 0 and 10,000"),
        ({"amount": 10_001.0}, "amount must be between 0 and 10,000"),
        ({"amount": None}, "amount must not be missing"),
        ({"items": 0}, "items must be at least 1"),
        ({"state": "lost"}, "state must be one of 'paid', 'open'"),
    ],
)
def test_a_row_that_breaks_a_rule_is_quarantined_with_its_reason_and_the_rest_passes(of_orders, bad, reason: str) -> None:
    pipeline, platform = of_orders([*(order(i) for i in range(1, 10)), order(10, **bad)], max_refused_share=0.1)
    done = audited(pipeline, platform)
    assert (done.read, done.accepted, done.refused) == (10, 9, 1)
    (row,) = quarantined(platform)
    assert (row["order_id"], row["reason"], str(row["tick"])) == ("10", reason, TICK)
    assert row["items"] == ("2" if "items" not in bad else str(bad["items"]))
    (failure,) = platform.ledger.get(Audit, "shop", "orders", done.verdicts[0].tick).failures
    assert (failure["count"], failure["refuses"], failure["sample"][0]["order_id"]) == (1, "rows", "10")


@pytest.mark.parametrize("ledger", ["sqlite", "postgresql"])
def test_text_with_a_nul_is_refused_by_row_and_the_rest_passes(
    orders_pipeline, make_platform, tmp_path: Path, ledger: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    columns = [replace(c, values=None) if c.name == "state" else c for c in orders_pipeline().tables[0].columns]
    pipeline = orders_pipeline(source=ml.Files("shop", "*.csv", "csv"), columns=tuple(columns), max_refused_share=0.5)
    lines = [f"{i},2024-03-14 12:00,1,1,{state},Zo\0,," for i, state in enumerate(["paid", "a\0b", "Zoë", ""])]
    (tmp_path / "orders.csv").write_text("\n".join(["order_id,ordered_at,amount,items,state,customer,email,", *lines, ""]))
    platform = make_platform(shop=str(tmp_path))
    if ledger == "postgresql":
        platform = Platform(replace(platform.settings, ledger_url=request.getfixturevalue("postgres_database")))
    done = audited(pipeline, platform)
    assert (done.read, done.accepted, done.refused) == (4, 3, 1)
    (row,) = quarantined(platform)
    reason = "state must not contain the character U+0000, which not every database stores"
    assert (row["order_id"], row["state"], row["reason"]) == ("1", "a\0b", reason)
    (failure,) = platform.ledger.get(Audit, "shop", "orders", done.verdicts[0].tick).failures
    assert (failure["count"], failure["refuses"], failure["column"]) == (1, "rows", "state")


@pytest.mark.parametrize("number", ["nan", "inf", "-inf"])
def test_a_number_that_is_not_finite_is_refused_and_not_taken_for_a_missing_one(
    number: str, orders_pipeline, make_platform, tmp_path: Path
) -> None:
    columns = [
        replace(c, min=None, max=None, nullable=True) if c.name == "amount" else c for c in orders_pipeline().tables[0].columns
    ]
    pipeline = orders_pipeline(source=ml.Files("shop", "*.csv", "csv"), columns=tuple(columns), max_refused_share=0.5)
    lines = [f"1,2024-03-14 12:00,{number},1,paid,,", "2,2024-03-14 12:00,,1,paid,,", "3,2024-03-14 12:00,1,1,paid,,"]
    (tmp_path / "orders.csv").write_text("\n".join(["order_id,ordered_at,amount,items,state,customer,email", *lines]))
    platform = make_platform(shop=str(tmp_path))
    assert audited(pipeline, platform).refused == 1
    (row,) = quarantined(platform)
    assert (row["order_id"], row["amount"], row["reason"]) == ("1", number, "amount must be finite")


def test_more_refused_rows_than_allowed_refuse_the_whole_batch(of_orders) -> None:
    pipeline, platform = of_orders(
        [*(order(i) for i in range(8)), order(8, amount=-1.0), order(9, amount=-2.0)], max_refused_share=0.1
    )
    with pytest.raises(BatchRefused, match=r"at most 0.1 of the rows may be refused; found 0.2 \(2 of 10\)"):
        audited(pipeline, platform)
    assert len(quarantined(platform)) == 10


def test_every_copy_of_a_duplicated_key_is_refused(of_orders) -> None:
    pipeline, platform = of_orders([order(1), order(2), order(2, amount=7.0)], max_refused_share=0.9)
    assert audited(pipeline, platform).accepted == 1
    assert [(r["order_id"], r["reason"]) for r in quarantined(platform)] == [
        ("2", "order_id must be unique within the tick")
    ] * 2


def test_a_key_that_comes_again_in_another_tick_is_no_duplicate_in_a_backfill_either(of_orders) -> None:
    pipeline, platform = of_orders([order(1), order(1, "2024-03-15 12:00:00")])
    assert audited(pipeline, platform, "2024-03-15", "2024-03-16").accepted == 2


def test_text_where_a_number_is_due_refuses_the_batch_and_shows_the_rows(of_orders) -> None:
    pipeline, platform = of_orders([order(1), order(2, items="many"), order(3)], max_refused_share=0.5)
    with pytest.raises(BatchRefused) as error:
        audited(pipeline, platform)
    told = str(error.value)
    for part in (
        "'shop'",
        "'orders'",
        TICK,
        "items must be int; found 1 values that are not int",
        '"many"',
        "Correct the source",
    ):
        assert part in told
    assert [r["items"] for r in quarantined(platform)] == ["2", "many", "2"]
    failure = error.value.refused[0].failures[0]
    assert (failure.column, failure.count, failure.refuses, failure.sample[0]["items"]) == ("items", 1, "batch", "many")


def test_a_time_that_is_no_time_refuses_the_batch(orders_pipeline, make_platform, tmp_path: Path) -> None:
    pipeline = orders_pipeline(source=ml.Files("shop", "*.csv", "csv"))
    lines = ["1,2024-03-14 12:00,1,1,paid,,", "2,soon,1,1,paid,,"]
    (tmp_path / "orders.csv").write_text("\n".join(["order_id,ordered_at,amount,items,state,customer,email", *lines]))
    with pytest.raises(BatchRefused, match="ordered_at must be timestamp; found 1 values"):
        audited(pipeline, make_platform(shop=str(tmp_path)))


def test_an_empty_partition_says_so_and_how_old_the_newest_row_of_the_source_is(of_orders) -> None:
    pipeline, platform = of_orders([order(1, "2024-03-10 08:00:00")])
    told = "at least 1 rows; found no rows: the partition is empty; the newest ordered_at in the source is 2024-03-10 08:00:00"
    with pytest.raises(BatchRefused, match=told):
        audited(pipeline, platform)


def test_a_partition_with_too_many_rows_is_refused_naming_count_and_bound(of_orders) -> None:
    pipeline, platform = of_orders([order(i) for i in range(5)], min_rows=2, max_rows=4)
    with pytest.raises(BatchRefused, match="between 2 and 4 rows; found 5 rows"):
        audited(pipeline, platform)


def test_a_bad_tick_is_refused_alone_but_the_audit_of_the_range_fails(of_orders) -> None:
    rows = [order(i, f"2024-03-{14 + i % 3} 12:00:00") for i in range(30)]
    rows[1]["items"] = "many"  # belongs to the 16th
    pipeline, platform = of_orders(rows)
    with pytest.raises(BatchRefused, match="of 1 tick") as error:
        audited(pipeline, platform, "2024-03-15", "2024-03-17")
    assert [str(v.tick) for v in error.value.refused] == ["2024-03-16"]
    assert [a.passed for a in platform.ledger.all(Audit)] == [True, False, True]
    assert {str(r["tick"]) for r in quarantined(platform)} == {"2024-03-16"}


def test_the_share_of_missing_values_is_judged_tick_by_tick(orders_pipeline, orders_in, make_platform) -> None:
    columns = [replace(c, max_null_share=0.5) if c.name == "items" else c for c in orders_pipeline().tables[0].columns]
    rows = [order(i, f"2024-03-{14 + i % 2} 12:00:00", items=None if i % 2 and i < 13 else 1) for i in range(20)]
    with pytest.raises(BatchRefused, match=r"items must not be missing in more than 0.5 of the rows; found 6 of 10") as error:
        audited(orders_pipeline(columns=tuple(columns)), make_platform(shop=orders_in(rows)), "2024-03-15", "2024-03-16")
    assert [str(v.tick) for v in error.value.refused] == ["2024-03-16"]


def test_a_row_in_the_file_of_another_tick_is_refused(orders_pipeline, make_platform, tmp_path: Path) -> None:
    pipeline = orders_pipeline(source=ml.Files("shop", "{tick}.csv", "csv"), max_refused_share=0.5)
    lines = ["1,2024-03-14 12:00,1,1,paid,,", "2,2024-03-13 22:59:59,1,1,paid,,", "3,2024-03-14 23:00,1,1,paid,,"]
    lines += [f"{i},2024-03-13 23:00,1,1,paid,," for i in range(4, 8)]
    (tmp_path / f"{TICK}.csv").write_text("\n".join(["order_id,ordered_at,amount,items,state,customer,email", *lines]))
    platform = make_platform(shop=str(tmp_path))
    assert audited(pipeline, platform).refused == 2
    reasons = {r["order_id"]: r["reason"] for r in quarantined(platform)}
    assert reasons == {
        "2": "ordered_at must not be before the tick's partition",
        "3": "ordered_at must be before the end of the tick's partition",
    }


def test_auditing_twice_leaves_the_same_quarantine_and_mending_the_source_empties_it(of_orders, orders_in) -> None:
    rows = [*(order(i) for i in range(1, 10)), order(10, amount=-1.0)]
    pipeline, platform = of_orders(rows, max_refused_share=0.1)
    audited(pipeline, platform)
    before = quarantined(platform)
    audited(pipeline, platform)
    assert quarantined(platform) == before != []
    orders_in([*rows[:-1], order(10)])
    assert audited(pipeline, platform).refused == 0
    assert quarantined(platform) == []
    assert [(a.passed, a.rows_refused) for a in platform.ledger.all(Audit)] == [(True, 0)]


def test_what_somebody_wrote_by_hand_is_checked_too(of_orders) -> None:
    pipeline, platform = of_orders([order(1, state="paid"), order(2, state="open")])
    folder = platform.settings.expectations / "handwritten"
    folder.mkdir(parents=True)
    lengths = {"type": "expect_column_value_lengths_to_equal", "kwargs": {"column": "customer", "value": 64}}
    (folder / "shop_orders.json").write_text(json.dumps({"expectations": [lengths]}))
    assert audited(pipeline, platform).accepted == 2
    mean = {"type": "expect_column_mean_to_be_between", "kwargs": {"column": "amount", "min_value": 50}}
    (folder / "shop_orders.json").write_text(json.dumps({"expectations": [lengths, mean]}))
    with pytest.raises(BatchRefused, match=r"expect_column_mean_to_be_between\(column='amount', min_value=50.*found 9.5"):
        audited(pipeline, platform)
    kept = json.loads((platform.settings.expectations / "expectations" / "shop_orders.json").read_text())
    assert {lengths["type"], mean["type"]} < {entry["type"] for entry in kept["expectations"]}


def test_each_tick_of_a_range_gets_the_verdict_that_it_gets_alone(of_orders, tmp_path: Path) -> None:
    sizes = {"2024-03-11": 2, "2024-03-12": 0, "2024-03-13": 3, "2024-03-14": 2, "2024-03-15": 1, "2024-03-16": 3}
    rows = [
        order(10 * i + n, ordered_at=f"{date.fromisoformat(tick) - timedelta(days=1)} 12:00", amount=float(10 * i + n))
        for i, (tick, size) in enumerate(sizes.items(), 1)
        for n in range(size)
    ]
    pipeline, platform = of_orders(rows, min_rows=1, max_rows=2)
    folder = platform.settings.expectations / "handwritten"
    folder.mkdir(parents=True)
    by_hand = [
        {"type": "expect_column_mean_to_be_between", "kwargs": {"column": "amount", "max_value": 45}},  # of rows, not of sizes
        {"type": "expect_table_row_count_to_equal", "kwargs": {"value": 2}},
        {
            "type": "expect_table_row_count_to_be_between",
            "kwargs": {"max_value": 1, "row_condition": "amount > 30", "condition_parser": "pandas"},
        },
    ]
    (folder / "shop_orders.json").write_text(json.dumps({"expectations": by_hand}))

    def verdicts(first: str, last: str | None = None) -> dict[str, list[tuple[str, str]]]:
        with pytest.raises(BatchRefused):
            audited(pipeline, platform, first, last)
        found = {str(one.tick): one.failures for one in platform.ledger.all(Audit)}
        return {tick: sorted((one["sentence"], one["observed"]) for one in failed) for tick, failed in found.items()}

    together = verdicts(min(sizes), max(sizes))
    assert [len(together[tick]) for tick in sizes] == [0, 3, 3, 1, 2, 4]
    for tick in sizes:
        if together[tick]:
            assert verdicts(tick)[tick] == together[tick]


@pytest.mark.parametrize(("least", "most"), [(3, 6), (4, 4), (1, 9), (9, 9)])
def test_the_ticks_outside_of_the_bounds_are_refused_wherever_the_bounds_lie(of_orders, least: int, most: int) -> None:
    sizes = {f"2024-03-{10 + i}": size for i, size in enumerate((5, 1, 9, 2, 8, 3, 7, 4, 6), 1)}
    rows = [
        order(10 * i + n, ordered_at=f"{date.fromisoformat(tick) - timedelta(days=1)} 12:00")
        for i, (tick, size) in enumerate(sizes.items(), 1)
        for n in range(size)
    ]
    pipeline, platform = of_orders(rows, min_rows=least, max_rows=most)
    with suppress(BatchRefused):
        audited(pipeline, platform, min(sizes), max(sizes))
    found = {
        str(one.tick): [int(failed["observed"].split()[0]) for failed in one.failures] for one in platform.ledger.all(Audit)
    }
    assert found == {tick: [] if least <= size <= most else [size] for tick, size in sizes.items()}


def test_an_expectation_that_cannot_be_evaluated_has_failed(of_orders) -> None:
    pipeline, platform = of_orders([order(1)])
    folder = platform.settings.expectations / "handwritten"
    folder.mkdir(parents=True)
    wrong = {"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "no_such_column"}}
    (folder / "shop_orders.json").write_text(json.dumps({"expectations": [wrong]}))
    with pytest.raises(BatchRefused, match=r"no_such_column.*could not be evaluated"):
        audited(pipeline, platform)


def test_nothing_staged_says_what_to_run(orders_pipeline, make_platform) -> None:
    pipeline = orders_pipeline()
    with pytest.raises(StagingMissing, match="run extract first"):
        audit(pipeline, "orders", pipeline.schedule.range(TICK), make_platform())


def test_the_real_year_passes_but_for_one_impossible_wind(flights_pipeline, flights_db, make_platform) -> None:
    platform = make_platform(business=f"sqlite:///{flights_db}")
    refused = {}
    year = flights_pipeline.schedule.range("2013-01-02", "2013-12-31")
    snow = flights_pipeline.schedule.range("2013-02-06", "2013-02-12")
    for table, ticks in (("weather", year), ("planes", year), ("flights", snow), ("arrivals", snow)):
        extract(flights_pipeline, table, ticks, platform)
        refused[table] = audit(flights_pipeline, table, ticks, platform).refused
    assert refused == {"weather": 1, "planes": 0, "flights": 0, "arrivals": 0}
    with sqlite3.connect(flights_db) as connection:
        ((wind,),) = connection.execute("SELECT wind_speed FROM weather WHERE wind_speed > 150").fetchall()
    rows = duckdb.sql(f"SELECT wind_speed FROM read_parquet({listed(platform.lake.files('flight_delays/quarantine/weather'))})")
    assert [float(row[0]) for row in rows.fetchall()] == [wind]


def test_the_suites_that_are_checked_in_are_those_of_the_declaration(flights_pipeline, tmp_path: Path) -> None:
    shutil.copytree(REPOSITORY / "great_expectations" / "handwritten", tmp_path / "handwritten")
    for table in flights_pipeline.tables:
        suite(flights_pipeline, table.name, tmp_path)
        name = Path("expectations") / f"flight_delays_{table.name}.json"
        assert (tmp_path / name).read_text() == (REPOSITORY / "great_expectations" / name).read_text(), (
            "run an audit and commit"
        )


def test_the_data_docs_show_the_audit(of_orders, tmp_path: Path) -> None:
    pipeline, platform = of_orders([order(1), order(2, items="many")])
    platform.settings.expectations.mkdir(parents=True)
    shutil.copy(REPOSITORY / "great_expectations" / "great_expectations.yml", platform.settings.expectations)
    with pytest.raises(BatchRefused):
        audited(pipeline, platform)
    index = build_data_docs(platform)
    assert "shop_orders" in index.read_text()
    (page,) = (index.parent / "validations" / "shop_orders").rglob("*.html")
    assert "expect" in page.read_text()
    configured = (platform.settings.expectations / "great_expectations.yml").read_text()
    assert configured == (REPOSITORY / "great_expectations" / "great_expectations.yml").read_text()


def test_staged_files_are_left_as_they_were_extracted(of_orders) -> None:
    pipeline, platform = of_orders([*(order(i) for i in range(1, 10)), order(10, amount=-1.0)], max_refused_share=0.1)
    done = extract(pipeline, "orders", pipeline.schedule.range(TICK), platform)
    before = done.path.read_bytes()
    audit(pipeline, "orders", pipeline.schedule.range(TICK), platform)
    assert done.path.read_bytes() == before
    assert pq.read_table(done.path.with_suffix(".accepted.parquet")).num_rows == 9


def test_what_a_source_sends_is_text_on_the_pages_and_never_runs(of_orders, tmp_path: Path) -> None:
    script = "<script>alert('planted')</script>"
    rows = [order(1), order(2, state=script), order(3, state=f'"><img src=x onerror={script}>')]
    pipeline, platform = of_orders(rows)
    platform.settings.expectations.mkdir(parents=True)
    shutil.copy(REPOSITORY / "great_expectations" / "great_expectations.yml", platform.settings.expectations)
    with pytest.raises(BatchRefused):
        audited(pipeline, platform)
    pages = list(build_data_docs(platform).parent.rglob("*.html"))
    texts = [page.read_text(encoding="utf-8") for page in pages]
    assert any("planted" in text for text in texts), "the value is shown"
    for text in texts:
        assert "<script>alert" not in text
        assert "<img src=x" not in text


def test_only_the_newest_audits_are_kept_for_the_data_docs_however_often_old_ones_are_deleted(tmp_path: Path) -> None:
    suite_folder = tmp_path / VALIDATIONS / "shop_orders"
    for number in range(KEPT + 5):
        file = suite_folder / f"{number:03d}" / "moment" / "staging-rows.json"
        file.parent.mkdir(parents=True)
        file.touch()
        os.utime(file, times=(number, number))
    for _ in range(2):
        delete_old(tmp_path)
        assert [folder.name for folder in sorted(suite_folder.iterdir())] == [f"{n:03d}" for n in range(5, KEPT + 5)]


@pytest.mark.parametrize(
    ("amounts", "hinted"),
    [(("12,50", "-3,0"), True), (("12,50", "1.234,5"), False), (("12,50", "dear"), False)],
    ids=["decimal commas", "points too", "no numbers"],
)
def test_numbers_with_a_decimal_comma_are_refused_with_what_to_declare(
    amounts: tuple[str, ...], hinted: bool, orders_pipeline, make_platform, tmp_path: Path
) -> None:
    columns = (ml.Column("order_id", "int"), ml.Column("ordered_at", "timestamp"), ml.Column("amount", "float"))
    lines = [f"{n};2024-03-14 12:00:00;{amount}" for n, amount in enumerate(amounts)]
    (tmp_path / "orders.csv").write_text("\n".join(["order_id;ordered_at;amount", *lines, ""]))
    pipeline = orders_pipeline(source=ml.Files("shop", "orders.csv", "csv", separator=";"), columns=columns)
    with pytest.raises(BatchRefused) as refused:
        audited(pipeline, make_platform(shop=str(tmp_path)))
    assert ("declare Files(decimal=',')" in str(refused.value)) == hinted, str(refused.value)
