"""A tick that may be empty is told apart from one whose rows are missing, and one empty tick does not hold up the others."""

from dataclasses import replace
from datetime import date, timedelta

import pytest
from pydantic import ValidationError

from mlprod_tasks import declaration as ml
from mlprod_tasks.declaration import recorded
from mlprod_tasks.ingest import tables
from mlprod_tasks.ingest.audit import audit
from mlprod_tasks.ingest.batch_verdict import BatchRefused
from mlprod_tasks.ingest.extract import extract
from mlprod_tasks.ingest.publish import AuditMissing, Published, TicksEmpty, publish
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.ledger import Audit, Publication
from tests.support.shop import order

FIRST = date(2024, 3, 4)  # a Monday


def orders_of(*days: int, month: int = 3) -> list[dict[str, object]]:
    """One order at noon of each day, so it is in the partition of the next one."""
    return [order(day, f"2024-{month:02}-{day:02} 12:00:00") for day in days]


def ingested(pipeline: ml.Pipeline, platform: Platform, first: str, last: str | None = None) -> Published:
    ticks = pipeline.schedule.range(first, last)
    extract(pipeline, "orders", ticks, platform)
    audit(pipeline, "orders", ticks, platform)
    return publish(pipeline, "orders", ticks, platform)


def in_the_lake(platform: Platform) -> set[str]:
    return {str(tick) for tick in platform.lake.ticks("shop/raw/orders")}


def published(platform: Platform) -> dict[str, int]:
    return {str(one.tick): one.rows for one in platform.ledger.all(Publication)}


def test_a_tick_of_a_declared_weekday_may_be_empty_and_is_published_so(orders_pipeline, orders_in, make_platform) -> None:
    pipeline = orders_pipeline(may_be_empty=("sunday", "monday"))
    platform = make_platform(shop=orders_in(orders_of(7, 8, 11)))  # Thursday, Friday, Monday
    assert ingested(pipeline, platform, "2024-03-08", "2024-03-12").rows == 3
    expected = {"2024-03-08": 1, "2024-03-09": 1, "2024-03-10": 0, "2024-03-11": 0, "2024-03-12": 1}
    assert published(platform) == expected
    assert all(one.passed for one in platform.ledger.all(Audit))
    assert ingested(pipeline, platform, "2024-03-10").rows == 0  # alone as in a range


def test_an_empty_tick_of_another_weekday_is_refused(orders_pipeline, orders_in, make_platform) -> None:
    pipeline = orders_pipeline(may_be_empty=("sunday", "monday"))
    with pytest.raises(BatchRefused, match="no rows: the partition is empty"):
        ingested(pipeline, make_platform(shop=orders_in(orders_of(7))), "2024-03-12")


def test_a_declared_weekday_with_rows_still_needs_enough_of_them(orders_pipeline, orders_in, make_platform) -> None:
    pipeline, platform = orders_pipeline(may_be_empty=True, min_rows=2), make_platform(shop=orders_in(orders_of(7)))
    assert ingested(pipeline, platform, "2024-03-07").rows == 0
    with pytest.raises(BatchRefused, match="at least 2 rows; found 1 rows"):
        ingested(pipeline, platform, "2024-03-08")


def test_one_empty_tick_does_not_refuse_the_others_of_a_range_and_is_told(orders_pipeline, orders_in, make_platform) -> None:
    rows = [order(i, f"{FIRST + timedelta(days=i)} 12:00:00") for i in range(121) if i != 60]
    pipeline, platform = orders_pipeline(), make_platform(shop=orders_in(rows))
    first, last = FIRST + timedelta(days=1), FIRST + timedelta(days=121)
    said = (
        r"'orders': 1 tick of the range .* left out: first 2024-05-04, last 2024-05-04; the others are published.*may_be_empty"
    )
    with pytest.raises(TicksEmpty, match=said):
        ingested(pipeline, platform, str(first), str(last))
    assert len(in_the_lake(platform)) == len(published(platform)) == 120
    assert "2024-05-04" not in published(platform)
    refused = [one.tick for one in platform.ledger.all(Audit) if not one.passed]
    assert refused == [date(2024, 5, 4)]


def test_rows_that_the_lake_has_of_an_empty_tick_stay(orders_pipeline, orders_in, make_platform) -> None:
    pipeline, platform = orders_pipeline(), make_platform(shop=orders_in(orders_of(11, 12, 13)))
    ingested(pipeline, platform, "2024-03-12", "2024-03-14")
    orders_in(orders_of(11, 13))
    with pytest.raises(TicksEmpty):
        ingested(pipeline, platform, "2024-03-12", "2024-03-14")
    assert in_the_lake(platform) == {"2024-03-12", "2024-03-13", "2024-03-14"}


def test_an_empty_tick_that_is_only_read_again_holds_up_nothing(orders_pipeline, orders_in, make_platform, caplog) -> None:
    pipeline, platform = orders_pipeline(refresh_ticks=2), make_platform(shop=orders_in(orders_of(11, 13)))
    assert ingested(pipeline, platform, "2024-03-14").rows == 2
    assert "1 tick of the range 2024-03-14 have no rows" in caplog.text


def test_a_range_without_any_rows_is_refused(orders_pipeline, orders_in, make_platform) -> None:
    pipeline, platform = orders_pipeline(), make_platform(shop=orders_in(orders_of(20)))
    with pytest.raises(BatchRefused, match="2 ticks"):
        ingested(pipeline, platform, "2024-03-12", "2024-03-13")
    with pytest.raises(AuditMissing, match="no tick of the range is published"):
        publish(pipeline, "orders", pipeline.schedule.range("2024-03-12", "2024-03-13"), platform)


def test_an_empty_tick_beside_a_bad_one_refuses_the_range(orders_pipeline, orders_in, make_platform) -> None:
    rows = [*orders_of(11, 14), order(13, "2024-03-13 12:00:00", items="many")]
    pipeline, platform = orders_pipeline(), make_platform(shop=orders_in(rows))
    with pytest.raises(BatchRefused):
        ingested(pipeline, platform, "2024-03-12", "2024-03-15")
    with pytest.raises(AuditMissing, match="2024-03-14: the audit refused the batch"):
        publish(pipeline, "orders", pipeline.schedule.range("2024-03-12", "2024-03-15"), platform)


def test_a_run_over_a_range_publishes_and_then_names_the_empty_tick(orders_pipeline, orders_in, make_platform) -> None:
    pipeline, platform = orders_pipeline(), make_platform(shop=orders_in(orders_of(11, 13)))
    ticks = pipeline.schedule.range("2024-03-12", "2024-03-14")
    tables.extract(pipeline, ticks, platform)
    tables.audit(pipeline, ticks, platform)
    with pytest.raises(tables.TablesFailed, match=r"orders: TicksEmpty: .*first 2024-03-13, last 2024-03-13"):
        tables.publish(pipeline, ticks, platform)
    assert in_the_lake(platform) == {"2024-03-12", "2024-03-14"}


def test_it_is_read_back_from_a_recorded_declaration(orders_pipeline) -> None:
    for declared in (("sunday", "monday"), True, False):
        pipeline = orders_pipeline(may_be_empty=declared)
        assert recorded.read(recorded.text_of(pipeline)).table("orders").may_be_empty == declared


def test_what_cannot_be_meant_is_refused_at_load(orders_pipeline) -> None:
    with pytest.raises(ValidationError, match="may_be_empty"):
        orders_pipeline(may_be_empty=("sun",))
    pipeline = orders_pipeline()
    planes = ml.Table(
        "planes", ml.Database("shop", "planes"), key=("id",), columns=(ml.Column("id", "int", "x"),), may_be_empty=True
    )
    with pytest.raises(ValidationError, match="may_be_empty is about ticks, so it needs a `time` column"):
        replace(pipeline, tables=(*pipeline.tables, planes))
