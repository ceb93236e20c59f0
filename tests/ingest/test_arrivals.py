"""Rows that arrive late, move to another tick or vanish at the source: the lake holds each key once, and says when it came."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, time, timedelta

import pytest

from mlprod_tasks import declaration as ml
from mlprod_tasks.ingest.arrivals import KeysRepeated
from mlprod_tasks.ingest.audit import audit
from mlprod_tasks.ingest.extract import extract
from mlprod_tasks.ingest.publish import publish
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.lake import ARRIVED, USABLE
from mlprod_tasks.platform.ledger import Publication
from tests.support.clock import SetClock
from tests.support.shop import order

ORDERS = "shop/raw/orders"
DAY, NEXT = date(2024, 3, 15), date(2024, 3, 16)  # of rows on the 14th and 15th
AFTER_DAY, AFTER_NEXT = (datetime(2024, 3, day, 23, tzinfo=UTC) for day in (15, 16))  # the start of the tick after these
MORNING, NOON, EVENING = (datetime(2024, 3, 20, hour, tzinfo=UTC) for hour in (6, 12, 18))


class Source:
    """Orders in a database that a test changes, ingested at moments that it sets."""

    def __init__(self, pipeline: ml.Pipeline, platform: Platform, orders_in: Callable[..., str]) -> None:
        self.pipeline, self.platform, self._orders_in = pipeline, platform, orders_in

    def ingested(
        self, at: datetime, first: date, last: date | None = None, rows: list[dict[str, object]] | None = None
    ) -> None:
        if rows is not None:
            self._orders_in(rows)
        ticks = self.pipeline.schedule.range(first, last)
        object.__setattr__(self.platform, "clock", SetClock(at))
        extract(self.pipeline, "orders", ticks, self.platform)
        audit(self.pipeline, "orders", ticks, self.platform)
        publish(self.pipeline, "orders", ticks, self.platform)

    def lake(self) -> dict[int, tuple[date, datetime, datetime | None]]:
        """By order: its tick, the moment of its arrival, and if that was late, from when it may be used."""
        rows = self.platform.lake.rows(ORDERS).to_pylist()
        assert len({row["order_id"] for row in rows}) == len(rows), "each key once"
        return {row["order_id"]: (row["tick"], row[ARRIVED], row[USABLE]) for row in rows}

    def counts(self, tick: date) -> tuple[int, int, int, int]:
        entry = self.platform.ledger.get(Publication, "shop", "orders", tick)
        return entry.rows, entry.rows_late, entry.rows_moved, entry.rows_gone


@pytest.fixture
def source(orders_pipeline, orders_in, make_platform) -> Source:
    return Source(orders_pipeline(min_rows=0), make_platform(shop=orders_in([order(1)])), orders_in)


def on(number: int, day: int, **changed: object) -> dict[str, object]:
    return order(number, f"2024-03-{day:02} 12:00:00", **changed)


def test_a_row_keeps_its_first_moment_and_one_that_comes_after_the_publication_is_late(source: Source) -> None:
    source.ingested(MORNING, DAY, rows=[on(1, 14)])
    source.ingested(NOON, DAY, rows=[on(1, 14, amount=5.0), on(2, 14)])
    assert source.lake() == {1: (DAY, MORNING, None), 2: (DAY, NOON, AFTER_DAY)}
    assert source.counts(DAY) == (2, 1, 0, 0)
    source.ingested(EVENING, DAY)
    assert source.lake() == {1: (DAY, MORNING, None), 2: (DAY, NOON, AFTER_DAY)}
    assert source.counts(DAY) == (2, 1, 0, 0)


def test_history_that_is_published_for_the_first_time_is_not_late_and_an_empty_publication_counts(source: Source) -> None:
    source.ingested(MORNING, DAY, NEXT, rows=[on(1, 14)])
    assert source.lake() == {1: (DAY, MORNING, None)}
    source.ingested(NOON, date(2024, 3, 10), NEXT, rows=[on(1, 14), on(2, 9), on(3, 15)])
    assert source.lake() == {1: (DAY, MORNING, None), 2: (date(2024, 3, 10), NOON, None), 3: (NEXT, NOON, AFTER_NEXT)}


@pytest.mark.parametrize("far", [False, True])
def test_a_row_whose_time_moved_stands_once_where_it_is_now_in_whatever_order_ticks_come(source: Source, far: bool) -> None:
    late_day, day = (25, date(2024, 3, 26)) if far else (15, NEXT)
    before, after = [on(1, 14), on(2, 14), on(3, late_day)], [on(1, late_day), on(2, 14), on(3, late_day)]
    source.ingested(MORNING, DAY, rows=before)
    source.ingested(MORNING, day)
    source.ingested(NOON, day, rows=after)  # the tick that it left is not read again
    expected = {1: (day, NOON, datetime.combine(day, time(23), UTC)), 2: (DAY, MORNING, None), 3: (day, MORNING, None)}
    assert source.lake() == expected
    assert source.counts(DAY) == (1, 0, 1, 0)
    assert source.counts(day) == (2, 1, 0, 0)
    source.ingested(EVENING, DAY)
    source.ingested(EVENING, day)
    assert source.lake() == expected
    assert source.counts(DAY) == (1, 0, 1, 0)


def test_the_tick_that_a_row_left_may_be_read_first(source: Source) -> None:
    source.ingested(MORNING, DAY, NEXT, rows=[on(1, 14), on(2, 14), on(3, 15)])
    source.ingested(NOON, DAY, rows=[on(1, 15), on(2, 14), on(3, 15)])
    source.ingested(EVENING, NEXT)
    assert source.lake() == {1: (NEXT, EVENING, AFTER_NEXT), 2: (DAY, MORNING, None), 3: (NEXT, MORNING, None)}


def test_the_only_row_of_a_tick_may_move_away(source: Source) -> None:
    source.ingested(MORNING, DAY, rows=[on(1, 14)])
    source.ingested(NOON, NEXT, rows=[on(1, 15)])
    assert source.lake() == {1: (NEXT, NOON, None)}
    assert source.counts(DAY) == (0, 0, 1, 0)


def test_a_row_that_is_gone_at_the_source_leaves_the_lake_and_is_counted(source: Source, caplog) -> None:
    source.ingested(MORNING, DAY, rows=[on(1, 14), on(2, 14)])
    source.ingested(NOON, DAY, rows=[on(1, 14)])
    assert source.lake() == {1: (DAY, MORNING, None)}
    assert source.counts(DAY) == (1, 0, 0, 1)
    assert "1 rows are gone at the source: 1 of 2024-03-15" in caplog.text


def test_of_two_rows_with_one_key_that_come_together_the_later_tick_has_it(source: Source) -> None:
    source.ingested(MORNING, DAY, NEXT, rows=[on(1, 14), on(1, 15), on(2, 14)])
    assert source.lake() == {1: (NEXT, MORNING, None), 2: (DAY, MORNING, None)}
    assert source.counts(DAY) == (1, 0, 1, 0)


def test_a_key_that_does_not_identify_a_row_is_refused_and_nothing_is_lost(source: Source) -> None:
    source.ingested(MORNING, DAY, rows=[on(n, 14) for n in range(30)])
    before = source.lake()
    with pytest.raises(KeysRepeated, match=r"pipeline 'shop', tick 2024-03-16: 30 rows .* order_id .*add the time to the key"):
        source.ingested(NOON, NEXT, rows=[on(n, day) for n in range(30) for day in (14, 15)])
    assert source.lake() == before


def test_rows_of_release_0_4_have_no_moment_and_keep_none(source: Source) -> None:
    source.ingested(MORNING, DAY, rows=[on(1, 14)])
    old = source.platform.lake.rows(ORDERS).drop_columns([ARRIVED, USABLE])
    source.platform.lake.table(ORDERS)
    import shutil

    shutil.rmtree(source.platform.lake.uri(ORDERS))
    source.platform.lake.replace_ticks(ORDERS, source.pipeline.schedule.range(DAY), old)
    source.ingested(NOON, DAY, rows=[on(1, 14), on(2, 14)])
    source.ingested(EVENING, NEXT, rows=[on(1, 15), on(2, 14)])
    assert source.lake() == {1: (NEXT, EVENING, None), 2: (DAY, NOON, AFTER_DAY)}


def test_ticks_that_are_published_at_once_lose_and_double_nothing(source: Source) -> None:
    days = [date(2024, 3, 11) + timedelta(days=i) for i in range(6)]
    source.ingested(MORNING, days[0], days[-1], rows=[on(10 * day + n, day) for day in range(10, 16) for n in range(6)])
    # One row of each day moves to the next.
    moved = [on(10 * day + n, min(day + (n == 0), 15)) for day in range(10, 16) for n in range(6)]
    source._orders_in(moved)
    for day in days:
        ticks = source.pipeline.schedule.range(day)
        extract(source.pipeline, "orders", ticks, source.platform)
        audit(source.pipeline, "orders", ticks, source.platform)
    with ThreadPoolExecutor(4) as pool:
        list(
            pool.map(lambda day: publish(source.pipeline, "orders", source.pipeline.schedule.range(day), source.platform), days)
        )
    expected = {row["order_id"]: date.fromisoformat(str(row["ordered_at"])[:10]) + timedelta(days=1) for row in moved}
    assert {key: tick for key, (tick, _, _) in source.lake().items()} == expected
