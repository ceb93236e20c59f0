"""Format numbers, metrics, windows and durations for people who know the business rather than the field."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlprod_tasks.declaration.rhythm import TickName
    from mlprod_tasks.statistics.metrics import Estimate

# Title, and what the metric means.
METRICS: dict[str, tuple[str, str]] = {
    "roc_auc": ("AUC", "how often a positive scores above a negative; 0.5 is chance"),
    "pr_auc": ("average precision", "precision averaged over recall; chance is the share of positives"),
    "log_loss": ("log loss", "mean surprise at the outcome; lower is better"),
    "brier": ("Brier score", "mean squared difference of score and outcome; lower is better"),
    "calibration_error": (
        "calibration error",
        "mean difference of scores and outcomes over ten bins; lower is better",
    ),
    "precision_at_k": ("precision at k", "share of positives among the highest scores"),
    "precision_at_capacity": (
        "precision at capacity",
        "share of positives among the rows that are acted on, as many as declared",
    ),
    "mae": ("mean absolute error", "how far predictions are off on average, in the outcome's unit; lower is better"),
    "rmse": ("root mean squared error", "the same, where large errors count more; lower is better"),
    "median_error": ("median absolute error", "half of the predictions are off by less; lower is better"),
    "r2": ("R2", "share of the outcomes' variance that predictions explain; 0 is the mean alone, 1 is perfect"),
    "mape": ("mean absolute percentage error", "mean of error by outcome; has no value if an outcome is 0; lower is better"),
    "absolute_bias": ("bias, absolute", "how far the mean prediction is from the mean outcome; 0 is right"),
    "interval_coverage": ("interval coverage", "share of outcomes within their prediction's interval"),
    "interval_width": ("interval width", "mean width of the intervals, in the outcome's unit; narrower is better"),
    "pinball": ("pinball loss", "error that is weighted as the predicted quantile says; lower is better"),
    "accuracy": ("accuracy", "share of rows whose predicted class came"),
    "macro_f1": ("macro F1", "mean over classes of the harmonic mean of precision and recall; each class counts alike"),
    "weighted_f1": ("weighted F1", "the same, classes counting by how often they came"),
    "macro_auc": ("macro AUC", "mean over classes of how often a row of the class scores above another; 0.5 is chance"),
    "top_k_accuracy": ("top-k accuracy", "share of rows whose class is among the k likeliest, as declared"),
    "value_per_1000": ("value per 1,000 rows", "what the model's decisions or predictions were worth"),
    "bias": ("outcome minus prediction", "mean outcome minus mean prediction; 0 is right"),
    "calibration": ("outcome minus score", "mean outcome minus mean score; 0 is right"),
}
UNKNOWN = "not measured"


def title(metric: str) -> str:
    """The title of a metric, such as 'average precision'."""
    return METRICS.get(metric, (metric, ""))[0]


def in_order(metrics: Iterable[str]) -> list[str]:
    """Sort metrics in the order of METRICS; unknown ones last."""
    known = list(METRICS)
    return sorted(metrics, key=lambda name: (known.index(name) if name in known else len(known), name))


def meaning(metric: str) -> str:
    """What a metric means, in one sentence; '' for an unknown one."""
    return METRICS.get(metric, ("", ""))[1]


def number(value: float | None) -> str:
    """Format a number for people; 'not measured' if it is None or not finite."""
    return UNKNOWN if value is None or not math.isfinite(value) else format_number(value)


def change(value: float | None) -> str:
    """Format a difference with its sign."""
    return UNKNOWN if value is None or not math.isfinite(value) else f"{'+' if value > 0 else ''}{format_number(value)}"


def with_interval(one: Estimate | None) -> str:
    """Format an estimate with its interval: '0.704 [0.696, 0.713]'."""
    if one is None or not math.isfinite(one.value):
        return UNKNOWN
    if not (math.isfinite(one.low) and math.isfinite(one.high)):
        return format_number(one.value)
    return f"{format_number(one.value)} [{format_number(one.low)}, {format_number(one.high)}]"


def p_value(p: float | None) -> str:
    """Format a p-value: '< 0.001' or '0.034'; '' if it is None or not finite."""
    if p is None or not math.isfinite(p):
        return ""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def money(amount: float, unit: str) -> str:
    """Format an amount in whole units: '−3,750 USD'."""
    return f"{'−' if amount < 0 else ''}{abs(amount):,.0f} {unit}".rstrip()


def of_100(share: float) -> str:
    """Format a share: '41 of 100'; '3 of 1,000' or '2 of 10,000' for rare ones."""
    for size in (100, 1000, 10_000):
        if share == 0 or round(share * size) >= min(10, size / 10):
            return f"{round(share * size)} of {size:,}"
    return f"{round(share * 100_000)} of 100,000"


def window(ticks: tuple[TickName, TickName]) -> str:
    """Format the first and the last tick of a window: '2013-05-01 to 2013-05-28'."""
    first, last = ticks
    return str(first) if first == last else f"{first} to {last}"


def listed(words: Sequence[str]) -> str:
    """Join words: 'a, b and c'."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}" if words else ""


def length(span: timedelta) -> str:
    """Format a duration in the largest unit that divides it: '2 days', '36 hours', '90 minutes'."""
    for unit, size in (("day", timedelta(days=1)), ("hour", timedelta(hours=1)), ("minute", timedelta(minutes=1))):
        if span % size == timedelta(0):
            return f"{span // size} {unit}{'s' * (span != size)}"
    return f"{span.total_seconds():g} seconds"


def format_number(number: float, digits: int = 3) -> str:
    """Format a number with three significant digits: '-14,350', '0.167'; without powers of ten down to 0.000001.

    Whole numbers keep all their digits.
    """
    if abs(number) >= 1000:
        return f"{number:,.0f}"
    if number == int(number):
        return f"{number:.0f}"
    if 0 < abs(number) < 0.001:
        places = min(digits - 1 - math.floor(math.log10(abs(number))), 6)
        return f"{number:.{places}f}".rstrip("0") if abs(number) >= 0.000001 else f"{number:.1e}"
    shown = f"{number:.{digits}g}"
    return f"{number:,.0f}" if "e" in shown else shown  # 999.6 is 1,000


def format_compared(number: float, bound: float) -> tuple[str, str]:
    """Format a number and its bound with as many digits as show which one is greater, at least three significant ones."""
    for digits in range(3, 16):
        shown, limit = format_number(number, digits), format_number(bound, digits)
        if shown != limit or number == bound:
            return shown, limit
    return repr(number), repr(bound)


def format_exact(number: float) -> str:
    """Format a number with all its digits and without powers of ten, such as a declared bound: '10,000', '0.12345'."""
    return f"{Decimal(str(number)).normalize():,f}"


def format_interval(low: float, high: float) -> str:
    """Format an interval for a sentence: '[0.696, 0.713]'."""
    return f"[{format_number(low)}, {format_number(high)}]"


def format_count(n: int, one: str, many: str = "") -> str:
    """Format a count with its noun: '1 row', '1,200 rows'."""
    return f"{n:,} {one if n == 1 else many or one + 's'}"
