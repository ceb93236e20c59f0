"""A row of a database whose time no query finds is counted, refused with its reason, by one tick as by a range."""

import pytest

from mlprod_tasks.ingest.audit import audit
from mlprod_tasks.ingest.extract import extract
from mlprod_tasks.platform import names
from mlprod_tasks.platform.ledger import Audit
from mlprod_tasks.platform.sources import TimesUnreadable
from tests.support.postgres_orders import fill
from tests.support.shop import order

TICKS = (("2024-03-15", None), ("2024-03-11", None), ("2024-03-02", "2024-11-29"))
UNREADABLE = [
    "",
    "2024-3-14 10:00:00",
    "2024/03/14 10:00",
    "14.03.2024 10:00",
    "3/14/2024",
    1710410400,
    "2024-02-30",
    "20240314",
]
UNREADABLE += [
    "2024-03-14x",
    "2024-13-01 10:00:00",
    "2024-03-14 24:00:01",
    "2024-03-14 25:00:00",
    b"2024",
    " 2024-03-14 10:00:00",
]
READABLE = [
    "2024-03-14 10:00:00",
    "2024-03-14T10:00:00.123456+02:00",
    "2024-03-14 10:00",
    "2024-03-14 10:00:00Z",
    "2024-03-29 01:00:00",
]


@pytest.mark.parametrize("ticks", TICKS)
@pytest.mark.parametrize("value", [None, *UNREADABLE])
def test_a_time_that_no_query_finds_is_refused(value, ticks, orders_pipeline, orders_in, make_platform) -> None:
    pipeline, platform = orders_pipeline(), make_platform(shop=orders_in([order(1), order(2, value)]))
    missing = "1 row without ordered_at and 0 rows" if value is None else "0 rows without ordered_at and 1 row"
    with pytest.raises(TimesUnreadable, match=rf"'shop', tick .*'orders': {missing} whose .*; at most 0 of"):
        extract(pipeline, "orders", pipeline.schedule.range(*ticks), platform)


@pytest.mark.parametrize("value", READABLE)
def test_a_time_in_any_form_that_sorts_is_read(value, orders_pipeline, orders_in, make_platform) -> None:
    pipeline, platform = orders_pipeline(), make_platform(shop=orders_in([order(1), order(2, value)]))
    done = extract(pipeline, "orders", pipeline.schedule.range("2024-03-02", "2024-11-29"), platform)
    assert (done.rows, done.notes) == (2, ())


@pytest.mark.parametrize("ticks", TICKS)
def test_rows_without_time_within_the_allowed_share_are_left_out_and_told(
    ticks, orders_pipeline, orders_in, make_platform, caplog
) -> None:
    rows = [order(1), order(2, None), order(3, "14.03.2024"), order(4)]
    pipeline, platform = orders_pipeline(max_refused_share=0.5), make_platform(shop=orders_in(rows))
    done = extract(pipeline, "orders", pipeline.schedule.range(*ticks), platform)
    assert done.notes == (
        "table 'orders': 1 row without ordered_at and 1 row whose ordered_at cannot be read belong to no tick",
    )
    assert done.notes[0] in caplog.text
    assert done.rows == (0 if ticks[0] == "2024-03-11" else 2)
    with pytest.raises(TimesUnreadable):
        extract(orders_pipeline(max_refused_share=0.4), "orders", pipeline.schedule.range(*ticks), platform)


@pytest.mark.parametrize("kind", ["timestamptz", "timestamp", "date", "text"])
def test_postgresql_s_missing_and_infinite_times_are_counted(kind, postgres_database, orders_pipeline, make_platform) -> None:
    fill(postgres_database, kind, [None, "2024-03-14", "2024-03-13 00:00:00", "infinity", "-infinity"])
    platform = make_platform(shop=postgres_database)
    pipeline = orders_pipeline(max_refused_share=0.6)
    done = extract(pipeline, "orders", pipeline.schedule.range("2024-03-02", "2024-11-29"), platform)
    counts = "1 row without ordered_at and 2 rows whose" if kind == "text" else "3 rows without ordered_at and 0 rows whose"
    assert (done.rows, counts in done.notes[0]) == (2, True)
    with pytest.raises(TimesUnreadable):
        extract(orders_pipeline(), "orders", pipeline.schedule.range("2024-03-14"), platform)


def test_rows_without_time_are_in_quarantine_and_in_the_ledger_so_the_books_hold(
    orders_pipeline, orders_in, make_platform
) -> None:
    times = ["2024-03-14 12:00:00", None, "14.03.2024", b"2024-03-14", "2024-03-15 09:00:00", 1710410400]
    rows = [order(number, at) for number, at in enumerate(times)]
    pipeline, platform = orders_pipeline(max_refused_share=0.7, min_rows=0), make_platform(shop=orders_in(rows))
    for day in ("2024-03-14", "2024-03-15", "2024-03-16"):
        ticks = pipeline.schedule.range(day)
        extract(pipeline, "orders", ticks, platform)
        audit(pipeline, "orders", ticks, platform)
    kept = platform.lake.rows(names.quarantine_without_tick(pipeline, "orders")).sort_by("order_id")
    assert kept["order_id"].to_pylist() == ["1", "2", "3", "5"]
    assert kept["ordered_at"].to_pylist() == [None, "14.03.2024", "2024-03-14", "1710410400"]
    assert set(kept["reason"].to_pylist()[1:]) == {"ordered_at cannot be read"}
    assert "Ann" not in kept["customer"].to_pylist()  # personal
    audits = platform.ledger.all(Audit)
    assert [one.rows_without_tick for one in audits] == [4, 4, 4]
    assert sum(one.rows_accepted + one.rows_refused for one in audits) + 4 == len(times)
    orders_in(rows[:1])
    extract(pipeline, "orders", pipeline.schedule.range("2024-03-15"), platform)
    assert platform.lake.rows(names.quarantine_without_tick(pipeline, "orders")).num_rows == 0


def test_rows_of_postgresql_without_time_are_in_quarantine(postgres_database, orders_pipeline, make_platform) -> None:
    times = [None, "2024-03-14", "infinity", "10000-01-01", "0044-03-15 BC"]
    fill(postgres_database, "timestamptz", times)
    pipeline, platform = orders_pipeline(max_refused_share=0.8), make_platform(shop=postgres_database)
    done = extract(pipeline, "orders", pipeline.schedule.range("2024-03-02", "2024-11-29"), platform)
    kept = platform.lake.rows(names.quarantine_without_tick(pipeline, "orders")).sort_by("order_id")
    assert (done.rows, kept["order_id"].to_pylist()) == (1, ["0", "2", "3", "4"])
    assert kept["ordered_at"].to_pylist()[:2] == [None, "infinity"]


def test_rows_without_time_are_in_quarantine_even_if_they_refuse_the_table(orders_pipeline, orders_in, make_platform) -> None:
    pipeline, platform = orders_pipeline(), make_platform(shop=orders_in([order(1), order(2, None)]))
    with pytest.raises(TimesUnreadable, match="lake: shop/quarantine_without_tick/orders"):
        extract(pipeline, "orders", pipeline.schedule.range("2024-03-15"), platform)
    assert platform.lake.rows("shop/quarantine_without_tick/orders")["order_id"].to_pylist() == ["2"]
