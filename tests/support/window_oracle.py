"""What aggregates mean: computed in plain pandas for one row at a time, from all events."""

from collections.abc import Callable
from datetime import datetime, timedelta
from fractions import Fraction
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd

from mlprod_tasks import declaration as ml
from mlprod_tasks.declaration.aggregate import Aggregate

HOUR = timedelta(hours=1)
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
    in_time = (moments < end) & (length == ml.EVER or moments >= end - length)
    return events.assign(moment=moments)[of_key & in_time].sort_values(["moment", "id"])


def plain(value: Any, column: str) -> Any:
    return int(value) if column == "pieces" else str(value) if column == "product" else float(value)


def expected(aggregate: Aggregate, events: pd.DataFrame, predict_at: datetime) -> Any:
    """The value of an aggregate over the events of a window."""
    if aggregate.where:
        events = events[CONDITIONS[aggregate.where](events)]
    match aggregate:
        case ml.Count():
            return len(events)
        case ml.Rate():
            known = events[events[aggregate.sql.split()[0]].notna()]
            return float(CONDITIONS[aggregate.sql](known).mean()) if len(known) else None
        case ml.SinceFirst():
            return (predict_at - events["moment"].iloc[0]) / HOUR if len(events) else None
        case ml.SinceLast():
            return (predict_at - events["moment"].iloc[-1]) / HOUR if len(events) else None
        case ml.MeanGap():
            gaps = [(after - before) / HOUR for before, after in pairwise(events["moment"])]
            return sum(gaps) / len(gaps) if gaps else None
        case ml.First() | ml.Last():
            found = events[aggregate.column].dropna()
            return None if found.empty else plain(found.iloc[0 if isinstance(aggregate, ml.First) else -1], aggregate.column)
        case ml.CountDistinct():
            return int(events[aggregate.column].nunique())
        case ml.Quantile():
            found = events[aggregate.column].dropna().astype(float)
            return None if found.empty else float(found.quantile(aggregate.q))
        case ml.Std():
            found = events[aggregate.column].dropna().astype(float)
            return float(found.std()) if len(found) > 1 else None
        case ml.Slope():
            found = events.dropna(subset=[aggregate.column])
            days = (found["moment"] - predict_at).dt.total_seconds().to_numpy() / 86_400
            if len(set(days)) < 2:
                return None
            return float(np.polynomial.Polynomial.fit(days, found[aggregate.column].astype(float), 1).convert().coef[1])
        case ml.Min() | ml.Max():
            found = events[aggregate.column].dropna()
            return (
                None if found.empty else plain(found.min() if isinstance(aggregate, ml.Min) else found.max(), aggregate.column)
            )
    values = [Fraction(value) for value in events[aggregate.column].dropna()]
    match aggregate:
        case ml.Sum():
            return float(sum(values))
        case ml.Mean():
            return float(sum(values) / len(values)) if values else None
    raise AssertionError(aggregate)
