"""What aggregates mean: computed in plain pandas for one row at a time, from all events."""

from collections.abc import Callable
from datetime import datetime, timedelta
from fractions import Fraction
from typing import Any

import pandas as pd

from mlprod_tasks import declaration as ml
from mlprod_tasks.declaration.aggregate import Aggregate

# The conditions of the tests, in SQL and in pandas; a comparison with a null is never true.
CONDITIONS: dict[str, Callable[[pd.DataFrame], pd.Series]] = {
    "amount > 100": lambda events: events["amount"] > 100,
    "product = 'tea'": lambda events: events["product"] == "tea",
    "refund > 2": lambda events: events["refund"] > 2,
    "pieces < 3": lambda events: events["pieces"] < 3,
}


def window(events: pd.DataFrame, moments: pd.Series, end: datetime, length: timedelta, by: dict[str, Any]) -> pd.DataFrame:
    """The events of a key that became known in the window [end - length, end), in order of time and then of their key."""
    of_key = pd.Series(True, events.index)
    for column, value in by.items():
        of_key &= (events[column] == value) & events[column].notna()
    in_time = (moments >= end - length) & (moments < end)
    return events.assign(moment=moments)[of_key & in_time].sort_values(["moment", "id"])


def expected(aggregate: Aggregate, events: pd.DataFrame) -> Any:
    """The value of an aggregate over the events of a window."""
    if aggregate.where:
        events = events[CONDITIONS[aggregate.where](events)]
    match aggregate:
        case ml.Count():
            return len(events)
        case ml.Rate():
            known = events[events[aggregate.sql.split()[0]].notna()]
            return float(CONDITIONS[aggregate.sql](known).mean()) if len(known) else None
    values = [Fraction(value) for value in events[aggregate.column].dropna()]
    match aggregate:
        case ml.Sum():
            return float(sum(values))
        case ml.Mean():
            return float(sum(values) / len(values)) if values else None
    raise AssertionError(aggregate)
