"""The sentences of a model card about a number."""

from __future__ import annotations

import math

import numpy as np

from mlprod_tasks.declaration.target import PredictionValue
from mlprod_tasks.documents.formatting import change, number, with_interval
from mlprod_tasks.evaluation.results import Slice
from mlprod_tasks.reporting.report_context import ReportContext

METRICS = ("mae", "rmse", "median_error", "r2", "mape", "interval_coverage", "interval_width", "pinball", "value_per_1000")
OUTCOMES = "mean"  # heading of the mean outcome


def gives(known: ReportContext) -> str:
    """What each row gets."""
    coverage = known.pipeline.model.coverage
    return "a predicted number" + ("" if coverage is None else f", and an interval that is to hold {coverage:.0%} of outcomes")


def meaning(known: ReportContext) -> str:
    """The beginning of the sentence that says what the outcome is."""
    return "It predicts"


def rule(known: ReportContext) -> list[str]:
    """Nothing is decided on a number."""
    return []


def outcomes(known: ReportContext) -> str:
    """What the outcomes of the test window were."""
    low, middle, high = (number(float(one)) for one in np.quantile(known.outcome, (0.1, 0.5, 0.9)))
    mean = number(float(known.outcome.mean()))
    return f"their mean was {mean}, their median {middle}, and eight in ten lay between {low} and {high}"


def quality(known: ReportContext) -> list[str]:
    """How good it is, point by point."""
    return [_error(known), _explained(known), _bias(known), *_interval(known), _value(known)]


def worth_more(known: ReportContext) -> str:
    """With what the backtest compares the model."""
    return "the mean for all rows"


def slice_line(known: ReportContext, one: Slice) -> str:
    """The numbers of a slice."""
    return (
        f"off by {with_interval(one.metrics.get('mae'))} on average, outcome minus prediction "
        f"{with_interval(one.metrics.get('bias'))}"
    )


def share(one: Slice) -> str:
    """What the outcomes of a slice are."""
    return f"mean {number(one.mean_outcome)}"


def limits(known: ReportContext) -> list[str]:
    """What a prediction is, and what its value rests on."""
    points = (
        ["A prediction is one number: it does not say how far a single row may be off."]
        if known.pipeline.model.coverage is None
        else ["Intervals are as wide for easy rows as for hard ones, and hold their share only while errors stay as they were."]
    )
    worth = known.pipeline.value
    if isinstance(worth, PredictionValue):
        points.append(f"Its value is counted{f' in {worth.unit}' if worth.unit else ''} per row: {worth.sql}.")
    return points


def fallback(by: str) -> str:
    """What answers if the model cannot. by: names of features; empty if all rows are one group."""
    return f"a table of past means by {by}" if by else "the past mean of all rows"


def _error(known: ReportContext) -> str:
    evaluation = known.results.evaluation
    off = np.abs(known.outcome - known.predicted.score)
    within = number(float(np.quantile(off, 0.9)))
    return (
        f"Its predictions were off by {with_interval(evaluation.model['mae'])} on average (in brackets: 95 % interval), half "
        f"of them by less than {number(evaluation.model['median_error'].value)}, nine in ten by less than {within}. Without a "
        f"model, with the mean of earlier rows for each, it would have been {number(evaluation.baseline['mae'].value)}."
    )


def _explained(known: ReportContext) -> str:
    explained = known.results.evaluation.model["r2"].value
    if not math.isfinite(explained):
        return "How much of the differences between rows it explains could not be computed."
    if explained <= 0:
        return f"It explains nothing of the differences between rows: their mean would be nearer (R2 {number(explained)})."
    return f"It explains {explained:.0%} of the differences between rows (R2); the mean alone explains none."


def _bias(known: ReportContext) -> str:
    expected, realised = float(known.predicted.score.mean()), float(known.outcome.mean())
    side = "too low" if realised > expected else "too high"
    return (
        f"On average it predicted {number(expected)}, and {number(realised)} came: predictions were {side} by "
        f"{number(abs(realised - expected))}."
    )


def _interval(known: ReportContext) -> list[str]:
    """What intervals held and how wide they were."""
    measured, coverage = known.results.evaluation.model, known.pipeline.model.coverage
    if coverage is None or "interval_coverage" not in measured:
        return []
    held, width = measured["interval_coverage"], measured["interval_width"]
    return [
        f"Its intervals were to hold {coverage:.0%} of outcomes, and held {held.value:.1%} [{held.low:.1%}, {held.high:.1%}]; "
        f"they were {number(width.value)} wide on average."
    ]


def _value(known: ReportContext) -> str:
    evaluation, unit = known.results.evaluation, f" {known.unit}" if known.unit else ""
    value, constant = evaluation.model["value_per_1000"], evaluation.baseline["value_per_1000"]
    return (
        f"By the declared value, its predictions were worth {with_interval(value)}{unit} per 1,000 "
        f"{known.pipeline.entity_name}; the mean for every row {number(constant.value)}: a difference of "
        f"{change(value.value - constant.value)}{unit}."
    )
