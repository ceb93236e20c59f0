import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path

import duckdb
import pytest

from mlprod_tasks import declaration as ml
from mlprod_tasks.ingest.audit import audit
from mlprod_tasks.ingest.batch_verdict import BatchRefused
from mlprod_tasks.ingest.extract import extract
from mlprod_tasks.ingest.publish import AuditMissing, Published, publish
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.lake import listed
from mlprod_tasks.platform.ledger import Audit, Publication
from tests.support.paths import REPOSITORY
from tests.support.shop import order

TICK = "2024-03-15"


def ingested(pipeline: ml.Pipeline, platform: Platform, first: str = TICK, last: str | None = None) -> Published:
    ticks = pipeline.schedule.range(first, last)
    extract(pipeline, "orders", ticks, platform)
    audit(pipeline, "orders", ticks, platform)
    return publish(pipeline, "orders", ticks, platform)


def in_the_lake(platform: Platform) -> list[tuple[object, ...]]:
    if not platform.lake.exists("shop/raw/orders") or not (files := platform.lake.files("shop/raw/orders")):
        return []
    read = f"read_parquet({listed(files)}, hive_partitioning=true, hive_types={{'tick': DATE}})"
    return duckdb.sql(f"SELECT tick::VARCHAR, order_id, amount FROM {read} ORDER BY ALL").fetchall()


@pytest.fixture
def of_orders(orders_pipeline, orders_in, make_platform) -> Callable[..., tuple[ml.Pipeline, Platform]]:
    def make(rows: list[dict[str, object]], **table: object) -> tuple[ml.Pipeline, Platform]:
        return orders_pipeline(**table), make_platform(shop=orders_in(rows))

    return make


def test_publishing_twice_leaves_the_same_rows_and_one_ledger_entry(of_orders) -> None:
    pipeline, platform = of_orders([order(1), order(2)])
    ingested(pipeline, platform)
    once = in_the_lake(platform)
    done = ingested(pipeline, platform)
    assert in_the_lake(platform) == once == [(TICK, 1, 9.5), (TICK, 2, 9.5)]
    (entry,) = platform.ledger.all(Publication)
    assert (entry.tick, entry.rows, entry.delta_version) == (date(2024, 3, 15), 2, done.version)


def test_only_accepted_rows_reach_the_lake(of_orders) -> None:
    pipeline, platform = of_orders([order(1), order(2, amount=-1.0)], max_refused_share=0.5)
    assert ingested(pipeline, platform).rows == 1
    assert in_the_lake(platform) == [(TICK, 1, 9.5)]


def test_the_lake_has_the_declared_types(of_orders) -> None:
    pipeline, platform = of_orders([order(1)])
    ingested(pipeline, platform)
    fields = {field.name: str(field.type) for field in platform.lake.rows("shop/raw/orders").schema}
    assert "email" not in fields
    assert {name: fields[name] for name in ("order_id", "amount", "customer", "tick")} == {
        "order_id": "int64", "amount": "double", "customer": "string", "tick": "date32[day]"
    }  # fmt: skip
    assert fields["ordered_at"] == "timestamp[us, tz=UTC]"


def test_nothing_of_a_refused_batch_is_published_and_the_mended_source_heals_the_tick(of_orders, orders_in) -> None:
    pipeline, platform = of_orders([order(1), order(2, items="many")])
    ticks = pipeline.schedule.range(TICK)
    with pytest.raises(BatchRefused):
        ingested(pipeline, platform)
    with pytest.raises(
        AuditMissing, match=f"'shop', table 'orders', tick {TICK}: the audit refused.*items must be int.*Correct"
    ):
        publish(pipeline, "orders", ticks, platform)
    assert in_the_lake(platform) == []
    orders_in([order(1), order(2, items=3)])
    ingested(pipeline, platform)
    assert in_the_lake(platform) == [(TICK, 1, 9.5), (TICK, 2, 9.5)]


def test_a_range_with_one_refused_tick_is_not_published_but_its_good_ticks_can_be(of_orders) -> None:
    pipeline, platform = of_orders([order(1), order(2, "2024-03-15 12:00:00", items="many")])
    with pytest.raises(BatchRefused):
        ingested(pipeline, platform, "2024-03-15", "2024-03-16")
    with pytest.raises(AuditMissing, match="no tick of the range is published"):
        publish(pipeline, "orders", pipeline.schedule.range("2024-03-15", "2024-03-16"), platform)
    assert in_the_lake(platform) == []
    publish(pipeline, "orders", pipeline.schedule.range("2024-03-15"), platform)
    assert in_the_lake(platform) == [(TICK, 1, 9.5)]


def test_rows_that_were_not_audited_are_not_published(of_orders) -> None:
    pipeline, platform = of_orders([order(1)])
    ticks = pipeline.schedule.range(TICK)
    extract(pipeline, "orders", ticks, platform)
    with pytest.raises(AuditMissing, match="this tick is not audited"):
        publish(pipeline, "orders", ticks, platform)


def test_a_staged_file_that_changed_after_its_audit_is_not_published(of_orders, orders_in) -> None:
    pipeline, platform = of_orders([order(1)])
    ticks = pipeline.schedule.range(TICK)
    extract(pipeline, "orders", ticks, platform)
    audit(pipeline, "orders", ticks, platform)
    orders_in([order(1, amount=77.0)])
    extract(pipeline, "orders", ticks, platform)
    with pytest.raises(AuditMissing, match="changed after the audit; run extract and audit again"):
        publish(pipeline, "orders", ticks, platform)
    assert in_the_lake(platform) == []


def test_a_tick_whose_rows_are_gone_from_the_source_ends_empty(of_orders, orders_in) -> None:
    pipeline, platform = of_orders([order(1), order(2, "2024-03-15 12:00:00")], min_rows=0)
    ingested(pipeline, platform, "2024-03-15", "2024-03-16")
    orders_in([order(2, "2024-03-15 12:00:00")])
    assert ingested(pipeline, platform, "2024-03-15").rows == 0
    assert in_the_lake(platform) == [("2024-03-16", 2, 9.5)]
    assert [p.rows for p in platform.ledger.all(Publication)] == [0, 1]


def test_ticks_in_any_order_or_as_one_range_give_the_same_lake(orders_pipeline, orders_in, make_platform) -> None:
    url = orders_in([order(i, f"2024-03-{14 + i % 4} {i % 24:02}:00:00") for i in range(80)])
    pipeline, one, other = (
        orders_pipeline(refresh_ticks=1, min_rows=0),
        make_platform("a", shop=url),
        make_platform("b", shop=url),
    )
    ingested(pipeline, one, "2024-03-15", "2024-03-18")
    for tick in ("2024-03-17", "2024-03-15", "2024-03-18", "2024-03-16", "2024-03-15"):
        ingested(pipeline, other, tick)
    wanted = [row for row in in_the_lake(one) if row[0] >= "2024-03-15"]
    assert [row for row in in_the_lake(other) if row[0] >= "2024-03-15"] == wanted != []


def test_a_reference_table_gets_a_new_version_only_when_it_changed(of_orders, orders_in) -> None:
    pipeline, platform = of_orders([order(1), order(2)])
    customers = replace(pipeline.tables[0], name="customers", time=None)
    pipeline = replace(pipeline, tables=(*pipeline.tables, customers))

    def again(tick: str) -> Published:
        ticks = pipeline.schedule.range(tick)
        extract(pipeline, "customers", ticks, platform)
        audit(pipeline, "customers", ticks, platform)
        return publish(pipeline, "customers", ticks, platform)

    first, second = again("2024-03-15"), again("2024-03-16")
    assert (second.version, second.changed) == (first.version, False)
    orders_in([order(1), order(2, amount=3.0)])
    third = again("2024-03-16")
    assert (third.version, third.changed, third.rows) == (first.version + 1, True, 2)
    kept = [(str(p.tick), p.delta_version) for p in platform.ledger.all(Publication)]
    assert kept == [("2024-03-15", first.version), ("2024-03-16", third.version)]


def test_a_reference_table_whose_column_changed_its_declared_type_is_replaced(of_orders) -> None:
    pipeline, platform = of_orders([order(1)])
    ticks, orders = pipeline.schedule.range(TICK), pipeline.tables[0]

    def published(kind: str) -> Published:
        columns = tuple(replace(c, kind=kind, min=None, max=None) if c.name == "amount" else c for c in orders.columns)
        declared = replace(pipeline, tables=(orders, replace(orders, name="customers", time=None, columns=columns)))
        extract(declared, "customers", ticks, platform)
        audit(declared, "customers", ticks, platform)
        return publish(declared, "customers", ticks, platform)

    first, *later = [published(kind).version for kind in ("float", "text", "text", "float")]
    assert later == [first + 1, first + 1, first + 2]


CHILD = """
import os, signal, sys
from dataclasses import replace
from datetime import date, time
from pathlib import Path
from mlprod_tasks import declaration as ml
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.settings import from_environment
from mlprod_tasks.ingest.extract import extract
from mlprod_tasks.ingest.publish import publish

class Killing:
    "Publish asks for the time between its two writes, to the lake and to the ledger."
    def now(self):
        os.kill(os.getpid(), signal.SIGKILL)

how, home, tick, business = sys.argv[1:]
pipeline = ml.load(Path("pipelines/flight_delays.py"))
settings = from_environment({"MLPROD_HOME": home, "MLPROD_CONNECTION_BUSINESS": business})
platform = Platform(settings, Killing()) if how == "between" else Platform(settings)
ticks = pipeline.schedule.range(*tick.split(".."))
if how == "whole":
    extract(pipeline, "flights", ticks, platform)
print("ready", flush=True)
publish(pipeline, "flights", ticks, platform)
"""


@pytest.fixture
def staged_flights(flights_pipeline, flights_db, make_platform) -> Callable[..., tuple[Platform, Callable]]:
    """Real flights, extracted and audited, and a way to publish them in a process of its own."""

    def make(*days: str) -> tuple[Platform, Callable[[str], subprocess.Popen]]:
        business = f"sqlite:///{flights_db}"
        platform, ticks = make_platform(business=business), flights_pipeline.schedule.range(*days)
        extract(flights_pipeline, "flights", ticks, platform)
        audit(flights_pipeline, "flights", ticks, platform)

        def child(how: str) -> subprocess.Popen:
            arguments = [sys.executable, "-c", CHILD, how, str(platform.settings.home), str(ticks), business]
            return subprocess.Popen(arguments, cwd=REPOSITORY, stdout=subprocess.PIPE)

        return platform, child

    return make


def flights_in(platform: Platform) -> int:
    name = "flight_delays/raw/flights"
    files = platform.lake.files(name) if platform.lake.exists(name) else []
    return duckdb.sql(f"SELECT count(*) FROM read_parquet({listed(files)})").fetchall()[0][0] if files else 0


def test_a_publish_killed_between_lake_and_ledger_is_healed_by_running_it_again(staged_flights, flights_pipeline) -> None:
    platform, child = staged_flights("2013-06-10")
    assert child("between").wait(timeout=60) == -9
    assert platform.ledger.all(Publication) == []
    expected = platform.ledger.all(Audit)[0].rows_accepted
    done = publish(flights_pipeline, "flights", flights_pipeline.schedule.range("2013-06-10"), platform)
    assert done.rows == flights_in(platform) == platform.ledger.all(Publication)[0].rows == expected > 900


def test_a_publish_killed_while_it_writes_files_leaves_nothing_half_and_is_healed(staged_flights, flights_pipeline) -> None:
    days = ("2013-06-01", "2013-06-30")
    platform, child = staged_flights(*days)
    expected = sum(a.rows_accepted for a in platform.ledger.all(Audit))
    process, folder = child("plain"), Path(platform.lake.uri("flight_delays/raw/flights"))
    deadline = time.monotonic() + 60
    while not next(folder.rglob("*.parquet"), None) and time.monotonic() < deadline:
        pass
    process.kill()
    assert process.wait(timeout=60) in (-9, 0)
    assert flights_in(platform) in (0, expected)
    publish(flights_pipeline, "flights", flights_pipeline.schedule.range(*days), platform)
    assert flights_in(platform) == expected == sum(p.rows for p in platform.ledger.all(Publication))


def test_two_processes_on_the_same_tick_at_the_same_time_leave_its_rows_once(staged_flights) -> None:
    platform, child = staged_flights("2013-06-10")
    processes = [child("whole") for _ in range(2)]
    assert [process.wait(timeout=120) for process in processes] == [0, 0]
    (entry,) = platform.ledger.all(Publication)
    assert flights_in(platform) == entry.rows == platform.ledger.all(Audit)[0].rows_accepted
