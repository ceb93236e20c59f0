"""How numbers, metrics, windows and features read in a report, for people who know the business rather than the field."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from datetime import timedelta

from mlprod_tasks.declaration import AsOf, Count, Expression, Lookup, Mean, Pipeline, Trailing
from mlprod_tasks.declaration.feature import Feature
from mlprod_tasks.evaluation.evidence import Measured
from mlprod_tasks.evaluation.gates.verdict import told
from mlprod_tasks.reporting import data_dictionary
from mlprod_tasks.statistics.metrics import Estimate

# Title, and what it says.
METRICS: dict[str, tuple[str, str]] = {
    "roc_auc": ("AUC", "how often a positive scores above a negative; 0.5 is chance"),
    "pr_auc": ("average precision", "precision averaged over recall; chance is the share of positives"),
    "log_loss": ("log loss", "mean surprise at the outcome; less is better"),
    "brier": ("Brier score", "mean squared difference of score and outcome; less is better"),
    "calibration_error": (
        "calibration error",
        "how far scores and outcomes lie apart, on average over ten bins; less is better",
    ),
    "precision_at_k": ("precision at k", "share of positives among the highest scores"),
    "value_per_1000": ("value per 1,000 rows", "what acting on the model's decisions was worth"),
    "calibration": ("outcome minus score", "mean outcome minus mean score; 0 is right"),
}
UNKNOWN = "not measured"


def title(metric: str) -> str:
    return METRICS.get(metric, (metric, ""))[0]


def in_order(metrics: Iterable[str]) -> list[str]:
    """Metrics in the order in which they are listed everywhere, others behind."""
    known = list(METRICS)
    return sorted(metrics, key=lambda name: (known.index(name) if name in known else len(known), name))


def meaning(metric: str) -> str:
    return METRICS.get(metric, ("", ""))[1]


def number(value: float | None) -> str:
    """Four digits that count."""
    return UNKNOWN if value is None or not math.isfinite(value) else told(value)


def change(value: float | None) -> str:
    """A difference, with its sign."""
    return UNKNOWN if value is None or not math.isfinite(value) else f"{'+' if value > 0 else ''}{told(value)}"


def with_interval(one: Measured | Estimate | None) -> str:
    """'0.704 [0.696, 0.713]'."""
    if one is None or not math.isfinite(one.value):
        return UNKNOWN
    if not (math.isfinite(one.low) and math.isfinite(one.high)):
        return told(one.value)
    return f"{told(one.value)} [{told(one.low)}, {told(one.high)}]"


def p_value(p: float | None) -> str:
    if p is None or not math.isfinite(p):
        return ""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def of_100(share: float) -> str:
    """'41 of 100'; '3 of 1,000' and '2 of 10,000' where it is that rare."""
    for size in (100, 1000, 10_000):
        if share == 0 or round(share * size) >= min(10, size / 10):
            return f"{round(share * size)} of {size:,}"
    return f"{round(share * 100_000)} of 100,000"


def window(ticks: Sequence[str]) -> str:
    """'2013-05-01 to 2013-05-28'."""
    first, last = ticks
    return first if first == last else f"{first} to {last}"


def listed(words: Sequence[str]) -> str:
    """'a, b and c'."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}" if words else ""


def length(span: timedelta) -> str:
    """'2 days', '36 hours', '90 minutes': in the largest unit that divides it."""
    for unit, size in (("day", timedelta(days=1)), ("hour", timedelta(hours=1)), ("minute", timedelta(minutes=1))):
        if span % size == timedelta(0):
            return f"{span // size} {unit}{'s' * (span != size)}"
    return f"{span.total_seconds():g} seconds"


def from_where(pipeline: Pipeline, feature: Feature) -> tuple[str, str]:
    """What one declared thing adds, in words, and the table it is read from."""
    match feature:
        case Expression():
            return f"{feature.name}: {feature.doc}", pipeline.entity
        case Lookup():
            return f"{_columns(pipeline, feature)}; looked up by {listed(list(feature.on))}", feature.table
        case AsOf():
            when = f"the latest that was known, at most {length(feature.max_age)} old, of the same {listed(list(feature.on))}"
            return f"{_columns(pipeline, feature)}; {when}", feature.table
        case Trailing():
            over = listed([length(span) for span in feature.windows])
            return (
                f"{listed([_aggregate(one) for one in feature.aggregates])} of the same {listed(list(feature.by))}, over the "
                f"last {over}",
                feature.table,
            )


def words_of(pipeline: Pipeline) -> dict[str, str]:
    """What each feature is, without the SQL that it is made by."""
    meanings = {name: told.replace("`", "") for name, told in data_dictionary.meanings(pipeline).items()}
    return meanings | {feature.name: feature.doc for feature in pipeline.features if isinstance(feature, Expression)}


def _columns(pipeline: Pipeline, feature: Lookup | AsOf) -> str:
    table = pipeline.table(feature.table)
    return "; ".join(f"{name}: {table.column(read).doc}" for name, read in feature.columns.items())


def _aggregate(one: object) -> str:
    match one:
        case Count():
            return "number of rows"
        case Mean():
            return f"mean {one.column}"
    return f"{getattr(one, 'name', '')} ({getattr(one, 'sql', '')})"
