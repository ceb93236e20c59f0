import hashlib
import hmac
import os
import sqlite3
import time
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mlprod_tasks import declaration as ml
from mlprod_tasks.ingest.convert import convert
from mlprod_tasks.ingest.extract import extract
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.settings import DatabaseUnsupported, SettingMissing
from mlprod_tasks.platform.sources import SourceMissing, SourceUnreachable
from tests.support.keys import PSEUDONYM_KEY
from tests.support.shop import order

ZURICH = ZoneInfo("Europe/Zurich")


def hourly(first: str, hours: int) -> list[dict[str, object]]:
    start = datetime.fromisoformat(first).replace(tzinfo=UTC)
    return [order(i, f"{start + timedelta(hours=i):%Y-%m-%d %H:%M:%S}") for i in range(hours)]


def test_a_tick_holds_the_rows_of_the_day_before_it_by_the_local_clock(orders_pipeline, orders_in, make_platform) -> None:
    # Zurich midnight is 23:00 UTC in winter.
    rows = [
        order(i, at)
        for i, at in enumerate(["2024-03-13 22:59:59", "2024-03-13 23:00:00", "2024-03-14 22:59:59", "2024-03-14 23:00:00"])
    ]
    pipeline = orders_pipeline()
    done = extract(pipeline, "orders", pipeline.schedule.range("2024-03-15"), make_platform(shop=orders_in(rows)))
    assert pq.read_table(done.path)["order_id"].to_pylist() == [1, 2]


def test_days_of_23_and_25_hours_hold_as_many_hours_and_no_hour_is_lost_or_doubled(
    orders_pipeline, orders_in, make_platform
) -> None:
    pipeline = orders_pipeline()
    for first, ticks, days in (
        ("2024-03-29 00:00:00", ("2024-03-30", "2024-04-02"), {"2024-04-01": 23}),
        ("2024-10-25 00:00:00", ("2024-10-26", "2024-10-29"), {"2024-10-28": 25}),
    ):
        rows = hourly(first, 24 * 6)
        platform = make_platform(shop=orders_in(rows))
        whole = pq.read_table(extract(pipeline, "orders", pipeline.schedule.range(*ticks), platform).path)
        got = Counter(str(tick) for tick in whole["tick"].to_pylist())
        # the slow obvious way: the local calendar day of each row
        expected = Counter()
        for row in rows:
            local = datetime.fromisoformat(str(row["ordered_at"])).replace(tzinfo=UTC).astimezone(ZURICH).date()
            expected[str(local + timedelta(days=1))] += 1
        assert {tick: got[tick] for tick in got} == {tick: n for tick, n in expected.items() if ticks[0] <= tick <= ticks[1]}
        assert all(got[tick] == hours for tick, hours in days.items())
        alone = [
            extract(pipeline, "orders", pipeline.schedule.range(str(t.name)), platform).rows
            for t in pipeline.schedule.range(*ticks)
        ]
        assert sum(alone) == whole.num_rows


def test_the_real_flights_of_the_23_and_25_hour_days_are_those_of_the_local_day(
    flights_pipeline, make_platform, flights_db
) -> None:
    platform = make_platform(business=f"sqlite:///{flights_db}")
    zone = ZoneInfo("America/New_York")
    for day, hours in (("2013-03-10", 24), ("2013-03-09", 23), ("2013-11-02", 25)):
        begin = datetime.fromisoformat(f"{day}T04:00").replace(tzinfo=zone)
        end = datetime.fromisoformat(f"{day}T04:00").replace(tzinfo=zone, day=begin.day + 1)
        assert (end.astimezone(UTC) - begin.astimezone(UTC)) == timedelta(hours=hours)
        with sqlite3.connect(flights_db) as connection:
            bounds = tuple(f"{m.astimezone(UTC):%Y-%m-%d %H:%M:%S}" for m in (begin, end))
            expected = connection.execute("SELECT count(*) FROM flights WHERE sched_dep_at >= ? AND sched_dep_at < ?", bounds)
            count = expected.fetchone()[0]
        assert extract(flights_pipeline, "flights", flights_pipeline.schedule.range(day), platform).rows == count > 0


def test_a_table_that_is_known_late_belongs_to_the_tick_after_it_is_known(orders_pipeline, orders_in, make_platform) -> None:
    pipeline = orders_pipeline(known_after=ml.hours(2))
    rows = [order(i, at) for i, at in enumerate(["2024-03-14 20:59:59", "2024-03-14 21:00:00", "2024-03-15 20:59:00"])]
    done = extract(pipeline, "orders", pipeline.schedule.range("2024-03-16"), make_platform(shop=orders_in(rows)))
    assert pq.read_table(done.path)["order_id"].to_pylist() == [1, 2]


def test_refreshed_ticks_are_read_again_but_none_before_the_schedule_starts(orders_pipeline, orders_in, make_platform) -> None:
    pipeline = orders_pipeline(refresh_ticks=2)
    platform = make_platform(shop=orders_in(hourly("2024-02-25 00:00:00", 24 * 20)))
    later = pq.read_table(extract(pipeline, "orders", pipeline.schedule.range("2024-03-08"), platform).path)
    assert {str(t) for t in later["tick"].to_pylist()} == {"2024-03-06", "2024-03-07", "2024-03-08"}
    first = pq.read_table(extract(pipeline, "orders", pipeline.schedule.range("2024-03-02"), platform).path)
    assert {str(t) for t in first["tick"].to_pylist()} == {"2024-03-01", "2024-03-02"}


def test_the_same_rows_in_another_order_give_the_same_file(orders_pipeline, orders_in, make_platform) -> None:
    pipeline, rows = orders_pipeline(), hourly("2024-03-14 00:00:00", 20)
    ticks = pipeline.schedule.range("2024-03-15")
    one = extract(pipeline, "orders", ticks, make_platform("a", shop=orders_in(rows, "a.db")))
    other = extract(pipeline, "orders", ticks, make_platform("b", shop=orders_in(rows[::-1], "b.db")))
    assert one.sha256 == other.sha256 == hashlib.sha256(one.path.read_bytes()).hexdigest()


def test_text_where_a_number_is_due_is_staged_as_it_came(orders_pipeline, orders_in, make_platform) -> None:
    pipeline = orders_pipeline()
    platform = make_platform(shop=orders_in([order(1), order(2, items="many"), order(3, items=2.5), order(4, items="7")]))
    done = extract(pipeline, "orders", pipeline.schedule.range("2024-03-15"), platform)
    assert done.as_text == ("items",)
    assert pq.read_table(done.path)["items"].to_pylist() == ["2", "many", "2.5", "7"]


def test_personal_columns_never_reach_the_staging_area_in_the_clear(orders_pipeline, orders_in, make_platform) -> None:
    pipeline = orders_pipeline()
    platform = make_platform(
        shop=orders_in([order(1, customer="Ann Unmistakable", email="ann@unmistakable.ch"), order(2, customer=None)])
    )
    done = extract(pipeline, "orders", pipeline.schedule.range("2024-03-15"), platform)
    staged = pq.read_table(done.path)
    assert "email" not in staged.column_names
    assert staged["customer"].to_pylist() == [hmac.new(PSEUDONYM_KEY.encode(), b"Ann Unmistakable", "sha256").hexdigest(), None]
    held = b"".join(file.read_bytes() for file in platform.settings.home.rglob("*") if file.is_file())
    assert b"nmistakable" not in held


def test_a_hash_without_a_key_is_refused(orders_pipeline, orders_in, make_platform) -> None:
    pipeline, platform = orders_pipeline(), make_platform(shop=orders_in([order(1)]))
    keyless = Platform(replace(platform.settings, pseudonym_key=""))
    with pytest.raises(SettingMissing, match=r"'shop', table 'orders'.*MLPROD_PSEUDONYM_KEY"):
        extract(pipeline, "orders", pipeline.schedule.range("2024-03-15"), keyless)


def test_a_lost_column_names_pipeline_tick_table_column_and_what_to_do(orders_pipeline, orders_in, make_platform) -> None:
    pipeline = orders_pipeline()
    lost = [{k: v for k, v in order(1).items() if k != "amount"}]
    with pytest.raises(SourceMissing, match=r"'shop', tick 2024-03-15.*'orders'.*no column 'amount'.*Add the column"):
        extract(pipeline, "orders", pipeline.schedule.range("2024-03-15"), make_platform(shop=orders_in(lost)))


def test_a_grown_column_is_named_and_ignored(orders_pipeline, orders_in, make_platform, caplog) -> None:
    pipeline = orders_pipeline()
    grown = [order(1, coupon="X"), order(2, coupon=None)]
    done = extract(pipeline, "orders", pipeline.schedule.range("2024-03-15"), make_platform(shop=orders_in(grown)))
    assert (done.undeclared, done.rows) == (("coupon",), 2)
    assert "coupon" in caplog.text
    assert "coupon" not in pq.read_table(done.path).column_names


def test_an_unreachable_database_says_which_and_shows_no_password(orders_pipeline, make_platform) -> None:
    pipeline = orders_pipeline()
    platform = make_platform(shop="postgresql://me:verysecret@127.0.0.1:1/x")
    with pytest.raises(SourceUnreachable, match=r"tick 2024-03-15.*connection 'shop'.*does not answer") as error:
        extract(pipeline, "orders", pipeline.schedule.range("2024-03-15"), platform)
    assert "verysecret" not in str(error.value)


def test_a_database_that_is_not_supported_is_refused_before_it_is_asked(orders_pipeline, make_platform) -> None:
    pipeline = orders_pipeline()
    with pytest.raises(DatabaseUnsupported, match="connection 'shop' is a URL of 'oracle'"):
        extract(pipeline, "orders", pipeline.schedule.range("2024-03-15"), make_platform(shop="oracle://me@127.0.0.1:1/x"))


def test_a_file_of_a_tick_that_is_missing_is_named(orders_pipeline, make_platform, tmp_path: Path) -> None:
    pipeline = orders_pipeline(source=ml.Files("shop", "orders-{tick}.csv", "csv"))
    with pytest.raises(SourceMissing, match=r"tick 2024-03-15.*no file 'orders-2024-03-15.csv'.*Deliver it"):
        extract(pipeline, "orders", pipeline.schedule.range("2024-03-15"), make_platform(shop=str(tmp_path)))


@pytest.mark.parametrize("form", ["csv", "parquet", "sqlite", "postgresql"])
def test_every_kind_of_source_gives_the_same_staging_file(
    form: str, orders_pipeline, orders_in, make_platform, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    rows = [order(i, f"2024-03-14 {i:02}:00:00", items=None if i % 3 else i) for i in range(1, 20)]
    pipeline = orders_pipeline()
    expected = extract(pipeline, "orders", pipeline.schedule.range("2024-03-15"), make_platform("a", shop=orders_in(rows)))
    table = pa.Table.from_pylist(rows)
    if form == "csv":
        (tmp_path / "orders.csv").write_text(table.to_pandas().convert_dtypes().to_csv(index=False))
        pipeline, url = orders_pipeline(source=ml.Files("shop", "orders*.csv", "csv")), str(tmp_path)
    elif form == "parquet":
        moments = pa.array([datetime.fromisoformat(str(row["ordered_at"])) for row in rows], pa.timestamp("ms", "UTC"))
        pq.write_table(table.set_column(1, "ordered_at", moments), tmp_path / "orders.parquet")
        pipeline, url = orders_pipeline(source=ml.Files("shop", "*.parquet", "parquet")), str(tmp_path)
    elif form == "sqlite":
        url = orders_in(rows, "again.db")
    else:
        url = request.getfixturevalue("postgres_database")
        fill_postgres(url, rows)
    got = extract(pipeline, "orders", pipeline.schedule.range("2024-03-15"), make_platform("b", shop=url))
    assert got.sha256 == expected.sha256
    assert got.rows == 19


def fill_postgres(url: str, rows: list[dict[str, object]]) -> None:
    import psycopg2

    with psycopg2.connect(url.replace("+psycopg2", "")) as connection, connection.cursor() as cursor:
        cursor.execute(
            "CREATE TABLE orders (order_id bigint, ordered_at timestamptz, amount numeric(10, 2), items smallint, "
            "state varchar(9), customer text, email text)"
        )
        cursor.execute("SET TIME ZONE 'UTC'")
        for row in rows:
            cursor.execute("INSERT INTO orders VALUES (%s, %s, %s, %s, %s, %s, %s)", tuple(row.values()))
    connection.close()


def test_what_was_staged_long_ago_is_deleted_and_the_rest_stays(orders_pipeline, orders_in, make_platform) -> None:
    pipeline, platform = orders_pipeline(), make_platform(shop=orders_in([order(1)]))
    old, young = (
        extract(pipeline, "orders", pipeline.schedule.range(day), platform).path for day in ("2024-03-13", "2024-03-14")
    )
    left = old.with_name(".left by a killed writer")
    left.touch()
    for file, days in ((old, 15), (left, 15), (young, 13)):
        os.utime(file, times=(time.time() - days * 86_400,) * 2)
    new = extract(pipeline, "orders", pipeline.schedule.range("2024-03-15"), platform).path
    assert sorted(new.parent.iterdir()) == [young, new]


@pytest.mark.parametrize("kind", ["int", "float"])
def test_a_number_with_underscores_is_text(kind: str) -> None:
    converted = convert(pa.array(["1_000", "7"]), kind)
    assert (converted.values.to_pylist(), converted.failed.to_pylist()) == ([None, 7], [True, False])
