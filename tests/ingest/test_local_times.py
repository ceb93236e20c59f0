"""Times without an offset are local to the source's time zone: in a database as in files, around clock changes too."""

from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pyarrow as pa
import pytest
from pydantic import ValidationError

from mlprod_tasks import declaration as ml
from mlprod_tasks.ingest.convert_rows import in_declared_types
from mlprod_tasks.ingest.extract import extract
from mlprod_tasks.platform import Platform
from tests.support.postgres_orders import fill
from tests.support.shop import order

ZONE = "Europe/Zurich"
# Local times around the changes of 2024: 02:30 comes twice on 27 October, and not at all on 31 March.
LOCAL = [
    *(f"2024-03-{day} {hour:02}:30:00" for day in (30, 31) for hour in range(24)),
    *(f"2024-10-{day} {hour:02}:30:00" for day in (26, 27) for hour in range(24)),
]


def meant(local: str) -> datetime:
    """The moment: the first of two; 03:00 summer time for times that the clock skips."""
    naive = datetime.fromisoformat(local)
    skipped = local.startswith("2024-03-31 02")
    return datetime(2024, 3, 31, 1, tzinfo=UTC) if skipped else naive.replace(tzinfo=ZoneInfo(ZONE)).astimezone(UTC)


def staged(pipeline: ml.Pipeline, platform: Platform) -> dict[int, tuple[datetime, date]]:
    import pyarrow.parquet as pq

    found: dict[int, tuple[datetime, date]] = {}
    for first, last in (("2024-03-30", "2024-04-02"), ("2024-10-26", "2024-10-29")):
        for tick in pipeline.schedule.range(first, last):  # each tick read by itself
            done = extract(pipeline, "orders", pipeline.schedule.range(tick.name), platform)
            for row in pq.read_table(done.path).to_pylist():
                assert row["order_id"] not in found
                found[row["order_id"]] = (row["ordered_at"], row["tick"])
    return found


@pytest.mark.parametrize("form", ["sqlite", "csv", "timestamp", "text", "timestamptz"])
def test_each_local_time_is_the_moment_that_it_means_and_in_one_tick(
    form: str, orders_pipeline, orders_in, make_platform, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    rows = [order(number, local, customer=None, email=None) for number, local in enumerate(LOCAL)]
    source: ml.Database | ml.Files = ml.Database("shop", "orders", timezone=ZONE)
    if form == "sqlite":
        url = orders_in(rows)
    elif form == "csv":
        source, url = ml.Files("shop", "orders.csv", "csv", timezone=ZONE), str(tmp_path)
        lines = [",".join(rows[0]), *(",".join(str(v) if v is not None else "" for v in row.values()) for row in rows), ""]
        (tmp_path / "orders.csv").write_text("\n".join(lines))
    else:
        url = request.getfixturevalue("postgres_database")
        times = [meant(local).isoformat() if form == "timestamptz" else local for local in LOCAL]
        fill(url, form, times, session_zone="Asia/Kolkata")
    pipeline = orders_pipeline(source=source, min_rows=0)
    got = staged(pipeline, make_platform(shop=url))
    assert {number: at for number, (at, _) in got.items()} == {number: meant(local) for number, local in enumerate(LOCAL)}
    for at, tick in got.values():
        assert pipeline.schedule.tick(tick - timedelta(days=1)).start <= at < pipeline.schedule.tick(tick).start


def test_without_a_zone_they_are_in_utc_as_they_have_always_been(orders_pipeline, orders_in, make_platform) -> None:
    pipeline = orders_pipeline(min_rows=0)
    got = staged(pipeline, make_platform(shop=orders_in([order(0, LOCAL[0]), order(1, LOCAL[50])])))
    assert [at for at, _ in got.values()] == [datetime.fromisoformat(f"{LOCAL[i]}+00:00") for i in (0, 50)]


def test_a_zone_that_does_not_exist_is_refused_when_it_is_declared() -> None:
    with pytest.raises(ValidationError, match="'Europe/Zuerich' is not an IANA time zone"):
        ml.Database("shop", "orders", timezone="Europe/Zuerich")


def test_a_schedule_in_another_zone_than_the_source_reads_each_row_once(orders_pipeline, orders_in, make_platform) -> None:
    source = ml.Database("shop", "orders", timezone="Pacific/Auckland")
    pipeline = orders_pipeline(source=source, min_rows=0)
    schedule = ml.Schedule(at=time(2, 30), timezone="America/New_York", starts=date(2024, 3, 1))
    pipeline = replace(pipeline, schedule=schedule)
    rows = [order(hour, f"2024-03-{9 + hour // 24:02} {hour % 24:02}:00:00") for hour in range(96)]
    platform = make_platform(shop=orders_in(rows))
    counts = [
        extract(pipeline, "orders", pipeline.schedule.range(date(2024, 3, 7) + timedelta(days=i)), platform).rows
        for i in range(9)
    ]
    assert (sum(counts), max(counts)) == (96, 24)


def test_local_times_read_beside_a_value_of_another_type_become_the_same_moments() -> None:
    columns = (ml.Column("at", "timestamp", "x"), ml.Column("open", "bool", "x"))
    source = ml.Files("shop", "*.csv", "csv", timezone="Europe/Zurich")
    table = ml.Table("orders", source, key=("at",), columns=columns)
    staged = pa.table({"at": ["2024-03-14 10:00:00", "2024-03-14 10:00:00.000000Z"], "open": ["t", "0"]})
    rows = in_declared_types(staged, table)
    assert [str(one) for one in rows["at"].to_pylist()] == ["2024-03-14 09:00:00+00:00", "2024-03-14 10:00:00+00:00"]
    assert rows["open"].to_pylist() == [True, False]
