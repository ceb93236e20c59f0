"""The use cases that a demo can show: their database, and the ticks of its story."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from demo import airport_database, business_database, grocery_database

FLIGHTS = "flight_delays"


@dataclass(frozen=True)
class UseCase:
    """A shipped use case and its story: its history is ingested, a model is trained, further ticks are backfilled.

    connection: the name of its database. fill: creates and fills it. history, backfilled: the first and the last tick.
    as_of: the tick of the training. measured: of the backfilled ticks, the last one whose outcomes are known by their end.
    """

    name: str
    connection: str
    fill: Callable[[str], dict[str, int]]
    history: tuple[str, str]
    as_of: str
    backfilled: tuple[str, str]
    measured: str


USE_CASES = {
    one.name: one
    for one in (
        UseCase(
            FLIGHTS, "business", business_database.fill, ("2013-01-02", "2013-06-16"), "2013-05-24",
            ("2013-06-17", "2013-06-30"), "2013-06-28",
        ),
        UseCase(
            "household_spend", "grocery", grocery_database.fill, ("2017-01-02", "2017-08-28"), "2017-08-28",
            ("2017-09-04", "2017-10-16"), "2017-09-18",
        ),
        UseCase(
            "coupon_redemption", "grocery", grocery_database.fill, ("2017-01-02", "2017-12-24"), "2017-12-24",
            ("2017-12-25", "2018-01-01"), "",
        ),
        UseCase(
            "departures", "airport", airport_database.fill, ("2013-01-02", "2013-03-09"), "2013-03-10T0500Z",
            ("2013-03-10T0500Z", "2013-03-10T1600Z"), "2013-03-10T1500Z",
        ),
        UseCase(
            "arrival_status", "airport", airport_database.fill, ("2013-01-02", "2013-05-12"), "2013-05-12",
            ("2013-05-13", "2013-05-19"), "2013-05-17",
        ),
    )
}  # fmt: skip
