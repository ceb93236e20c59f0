"""A date as a table's time is the start of that day in the pipeline's zone, wherever the source lies."""

import sqlite3
from collections import Counter
from dataclasses import replace
from datetime import date, datetime, time, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import psycopg2
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from mlprod_tasks import declaration as ml
from mlprod_tasks import workflows
from mlprod_tasks.ingest.tables import TablesFailed
from mlprod_tasks.platform import Platform, names
from mlprod_tasks.starting.history import history
from tests.support.shop import SHOP

DAYS = [date(2024, 3, 1) + timedelta(days=n) for n in range(20)]  # New York's clocks change on 10 March
SALES = ml.Table(
    "sales",
    ml.Files("shop", "sales.csv", "csv"),
    ("day", "shop"),
    (ml.Column("day", "date", "the day"), ml.Column("shop", "int", "the shop"), ml.Column("sold", "float", "pieces")),
    time="day",
    max_refused_share=0.5,
    may_be_empty=True,
    min_rows=0,
)


def sales(zone: str, at: time, **changed: object) -> ml.Pipeline:
    schedule = ml.Schedule(at=at, timezone=zone, starts=date(2024, 3, 1))
    return ml.Pipeline(
        name="sales", alert_to=("shop@example.com",), schedule=schedule, tables=(replace(SALES, **changed),), entity="sales",
        label=ml.Label(sql="sold", kind="number", delay=ml.days(1)), task="regression",
        split=ml.Split(ml.days(3), ml.days(3), ml.days(1)),
        features=(ml.Expression("weekday", "extract(isodow FROM day)", "int", ""), ml.Expression("shop_no", "shop", "int", "")),
    )  # fmt: skip


def platform_of(make_platform, address: str) -> Platform:
    platform: Platform = make_platform(shop=address)
    return platform


def write(form: str, folder: Path, request: pytest.FixtureRequest) -> tuple[ml.Files | ml.Database, str]:
    """The same rows in a source of each form. Returns the source and its address."""
    rows = [(str(day), shop, 1.5) for day in DAYS for shop in (1, 2)]
    if form == "csv":
        (folder / "sales.csv").write_text("day,shop,sold\n" + "".join(f"{d},{s},{n}\n" for d, s, n in rows))
        return SALES.source, str(folder)
    if form == "sqlite":
        with sqlite3.connect(folder / "shop.db") as connection:
            connection.execute("CREATE TABLE sales (day TEXT, shop INT, sold REAL)")
            connection.executemany("INSERT INTO sales VALUES (?, ?, ?)", rows)
        connection.close()
        return ml.Database("shop", "sales"), f"sqlite:///{folder / 'shop.db'}"
    url = request.getfixturevalue("postgres_database")
    kind = {"date": "date", "timestamp": "timestamp"}[form]
    with psycopg2.connect(url.replace("+psycopg2", "")) as connection, connection.cursor() as cursor:
        cursor.execute(f"CREATE TABLE sales (day {kind}, shop int, sold float)")
        cursor.executemany("INSERT INTO sales VALUES (%s, %s, %s)", rows)
    connection.close()
    return ml.Database("shop", "sales"), url


@pytest.mark.parametrize("form", ["csv", "sqlite", "date", "timestamp"])
@pytest.mark.parametrize(("zone", "at"), [("America/New_York", time(4)), ("Asia/Tokyo", time(0)), ("UTC", time(23, 30))])
def test_each_day_is_in_the_tick_that_follows_its_start(
    form: str, zone: str, at: time, make_platform, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    source, address = write(form, tmp_path, request)
    pipeline, platform = sales(zone, at, source=source), platform_of(make_platform, address)
    for day in ("2024-03-01", "2024-03-08", "2024-03-15", "2024-03-22"):  # several ranges: no day is read twice
        last = pipeline.schedule.shift(date.fromisoformat(day), 6)
        workflows.ingest(pipeline, pipeline.schedule.range(day, last), platform)
    found = platform.lake.rows(names.raw(pipeline, "sales")).to_pylist()
    starts = {day: datetime.combine(day, time(0), ZoneInfo(zone)) for day in DAYS}
    ticks = [date(2024, 3, 1) + timedelta(days=n) for n in range(-1, 28)]
    at_ticks = {tick: datetime.combine(tick, at, ZoneInfo(zone)) for tick in ticks}
    expected = {day: min(tick for tick in ticks if at_ticks[tick] > starts[day]) for day in DAYS}
    kept = {day: tick for day, tick in expected.items() if tick >= date(2024, 3, 1)}
    assert Counter(row["day"] for row in found) == dict.fromkeys(kept, 2)
    for row in found:
        assert row["tick"] == kept[row["day"]]
        assert row["day_begins"] == starts[row["day"]]


def test_a_moment_is_no_date_and_is_refused_once(make_platform, tmp_path: Path) -> None:
    lines = [f"{day},{shop},1\n" for day in DAYS for shop in (1, 2)]
    (tmp_path / "sales.csv").write_text("day,shop,sold\n" + "".join(lines) + "2024-03-05 10:00,3,1\n")
    pipeline, platform = sales("America/New_York", time(4)), platform_of(make_platform, str(tmp_path))
    with pytest.raises(TablesFailed, match="day must be date; found 1 values that are not date") as failed:
        workflows.ingest(pipeline, pipeline.schedule.range("2024-03-01", "2024-03-25"), platform)
    (refused,) = failed.value.errors["sales"].refused  # type: ignore[attr-defined]
    assert (refused.tick, refused.read) == (date(2024, 3, 6), 3)


def test_what_a_day_adds_up_to_is_known_when_it_is_over(make_platform, tmp_path: Path) -> None:
    (tmp_path / "sales.csv").write_text("day,shop,sold\n" + "".join(f"{day},1,1\n" for day in DAYS))
    pipeline, platform = sales("UTC", time(4), known_after=ml.days(1)), platform_of(make_platform, str(tmp_path))
    workflows.ingest(pipeline, pipeline.schedule.range("2024-03-01", "2024-03-25"), platform)
    rows = platform.lake.rows(names.raw(pipeline, "sales")).to_pylist()
    assert {row["day"]: row["tick"] for row in rows} == {day: day + timedelta(days=1) for day in DAYS}
    assert history(pipeline, platform).ticks.last == DAYS[-1] + timedelta(days=1)


def test_a_date_that_may_be_missing_or_whose_start_a_feature_reads_is_refused() -> None:
    nullable = tuple(replace(column, nullable=column.name == "day") for column in SALES.columns)
    with pytest.raises(ValidationError, match="time column 'day' may not be nullable"):
        sales("UTC", time(4), columns=nullable)
    with pytest.raises(ValidationError, match="reads 'day_begins', which is the start of 'day': read 'day' itself"):
        replace(sales("UTC", time(4)), features=(ml.Expression("h", "extract(hour FROM day_begins)", "int", ""),))


def test_the_weekday_is_that_of_the_day_and_hours_are_no_default() -> None:
    columns = (*SALES.columns[:2], ml.Column("late", "bool"))
    label = ml.Label(sql="late", delay=ml.days(1))
    short = ml.Pipeline(
        name="short", alert_to=("a@example.com",), schedule=SHOP.schedule, entity="sales", label=label,
        tables=(replace(SALES, columns=(*columns, ml.Column("kind", "text"))),),
    )  # fmt: skip
    assert short.feature_names == ("kind", "weekday")


def test_staged_files_have_the_day_as_a_date(make_platform, tmp_path: Path) -> None:
    from mlprod_tasks.ingest.extract import extract

    (tmp_path / "sales.csv").write_text("day,shop,sold\n2024-03-02,1,1\n")
    pipeline, platform = sales("UTC", time(4)), platform_of(make_platform, str(tmp_path))
    staged = extract(pipeline, "sales", pipeline.schedule.range("2024-03-02"), platform)
    assert pq.read_table(staged.path)["day"].to_pylist() == [date(2024, 3, 2)]
