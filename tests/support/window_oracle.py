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
}


def window(
    events: pd.DataFrame, moments: pd.Series, predict_at: datetime, length: timedelta, by: dict[str, Any]
) -> pd.DataFrame:
    """The events of a key that became known in the window, in order of time and then of their key."""
    of_key = pd.Series(True, events.index)
    for column, value in by.items():
        of_key &= (events[column] == value) & events[column].notna()
    in_time = (moments >= predict_at - length) & (moments < predict_at)
    return events.assign(moment=moments)[of_key & in_time].sort_values(["moment", "id"])


def expected(aggregate: Aggregate, events: pd.DataFrame) -> Any:
    """The value of an aggregate over the events of a window."""
    match aggregate:
        case ml.Count():
            return len(events)
        case ml.Rate():
            return float(CONDITIONS[aggregate.sql](events).mean()) if len(events) else None
    values = [Fraction(value) for value in events[aggregate.column].dropna()]
    match aggregate:
        case ml.Sum():
            return float(sum(values))
        case ml.Mean():
            return float(sum(values) / len(values)) if values else None
    raise AssertionError(aggregate)
