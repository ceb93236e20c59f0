"""Words for what a trailing feature computes, and over which window."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from mlprod_tasks.declaration import Count, CountDistinct, MeanGap, Quantile, Rate, SinceFirst, SinceLast, Slope, Std, Trailing
from mlprod_tasks.declaration.aggregate import Aggregate
from mlprod_tasks.declaration.feature import EVER
from mlprod_tasks.documents.formatting import length, listed


def aggregate_words(aggregate: Aggregate) -> str:
    """Describe an aggregate in Markdown: 'mean of `amount`'."""
    return f"{_what(aggregate)} where `{aggregate.where}`" if aggregate.where else _what(aggregate)


def window_words(feature: Trailing, windows: Sequence[timedelta]) -> str:
    """Describe windows of a feature: 'the last 7 days and 28 days'."""
    lengths = listed([length(window) for window in windows if window != EVER])
    if EVER in windows:
        ever = f"all history until {length(feature.skip)} before" if feature.skip else "all history"
        return f"{window_words(feature, [one for one in windows if one != EVER])} and {ever}" if lengths else ever
    return f"the {lengths} that end {length(feature.skip)} before" if feature.skip else f"the last {lengths}"


def _what(aggregate: Aggregate) -> str:
    name = type(aggregate).__name__.lower()
    match aggregate:
        case Std():
            return f"standard deviation of `{aggregate.column}`"
        case CountDistinct():
            return f"number of different `{aggregate.column}`"
        case Quantile():
            return f"{aggregate.q:g} quantile of `{aggregate.column}`"
        case Slope():
            return f"slope a day of `{aggregate.column}`"
        case SinceFirst():
            return "hours since the first row"
        case SinceLast():
            return "hours since the last row"
        case MeanGap():
            return "mean hours between rows"
        case Count():
            return name
        case Rate():
            return f"{name} of `{aggregate.sql}`"
    return f"{name} of `{aggregate.column}`"
