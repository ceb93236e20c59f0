"""The sentences of a model card about several classes."""

from __future__ import annotations

from mlprod_tasks.declaration.target import ClassValue
from mlprod_tasks.documents.formatting import change, listed, number, of_100, with_interval
from mlprod_tasks.evaluation.results import Slice
from mlprod_tasks.reporting.chapters.classes import worth_in_words
from mlprod_tasks.reporting.report_context import ReportContext
from mlprod_tasks.statistics import class_metrics
from mlprod_tasks.training.records import classes_in_words, shortened

METRICS = (
    "log_loss",
    "accuracy",
    "macro_f1",
    "weighted_f1",
    "macro_auc",
    "top_k_accuracy",
    "calibration_error",
    "value_per_1000",
)
OUTCOMES = "most frequent"  # heading of the most frequent class
MOST_NAMED = 8


def gives(known: ReportContext) -> str:
    """What each row gets."""
    return f"one of {len(_known(known))} classes, and the probability of each"


def meaning(known: ReportContext) -> str:
    """The beginning of the sentence that says what the outcome is."""
    return "The class is"


def rule(known: ReportContext) -> list[str]:
    """Which classes there are, and which one is predicted."""
    classes = _known(known)
    more = f" and {len(classes) - MOST_NAMED} more" if len(classes) > MOST_NAMED else ""
    return [
        f"Classes: {listed([shortened(name) for name in classes[:MOST_NAMED]])}{more}. {worth_in_words(known.pipeline.value)}"
    ]


def outcomes(known: ReportContext) -> str:
    """What the outcomes of the test window were."""
    return f"they were {classes_in_words(known.results.evaluation.classes or {})}"


def quality(known: ReportContext) -> list[str]:
    """How good it is, point by point."""
    return [_right(known), _by_class(known), _calibration(known), _value(known), *_unknown(known)]


def worth_more(known: ReportContext) -> str:
    """With what the backtest compares the model."""
    return "one class for all rows"


def slice_line(known: ReportContext, one: Slice) -> str:
    """The numbers of a slice."""
    return f"right in {with_interval(one.metrics.get('accuracy'))}, log loss {with_interval(one.metrics.get('log_loss'))}"


def share(one: Slice) -> str:
    """What the outcomes of a slice are."""
    return classes_in_words(one.classes or {})


def limits(known: ReportContext) -> list[str]:
    """What it cannot say, and what its value rests on."""
    points = ["It gives every row a class that its training rows had; an outcome of any other class is always a mistake."]
    worth = known.pipeline.value
    if isinstance(worth, ClassValue) and worth.predict == "worth":
        points.append("The class with the largest expected value need not be the likeliest; other values would choose others.")
    return points


def fallback(by: str) -> str:
    """What answers if the model cannot. by: names of features; empty if all rows are one group."""
    return f"a table of past shares of classes by {by}" if by else "the past share of each class among all rows"


def _known(known: ReportContext) -> tuple[str, ...]:
    classes: tuple[str, ...] = known.predicted.score.classes
    return classes


def _right(known: ReportContext) -> str:
    evaluation = known.results.evaluation
    return (
        f"Its class was right for {with_interval(evaluation.model['accuracy'])} of rows (in brackets: 95 % interval). Without "
        f"a model, with the same class for every row, it would have been {number(evaluation.baseline['accuracy'].value)}."
    )


def _by_class(known: ReportContext) -> str:
    f1 = class_metrics.f1_by_class(known.outcome, known.predicted.decision)
    came = {name: one for name, one in f1.items() if (known.outcome == name).any()}
    best, worst = max(came, key=lambda name: came[name]), min(came, key=lambda name: came[name])
    return (
        f"It finds {shortened(best)} best (F1 {number(came[best])}) and {shortened(worst)} worst (F1 {number(came[worst])}); "
        f"the mean over classes is {number(known.results.evaluation.model['macro_f1'].value)}."
    )


def _calibration(known: ReportContext) -> str:
    chance = float(known.predicted.score.of(known.predicted.decision).mean())
    right = float((known.outcome == known.predicted.decision).mean())
    side = "too low" if right > chance else "too high"
    return (
        f"It gave its classes a probability of {chance:.1%} on average, and {of_100(right)} were right: probabilities were "
        f"{side} by {100 * abs(right - chance):.1f} points."
    )


def _value(known: ReportContext) -> str:
    evaluation, unit = known.results.evaluation, f" {known.unit}" if known.unit else ""
    value, constant = evaluation.model["value_per_1000"], evaluation.baseline["value_per_1000"]
    return (
        f"By the declared value, its predictions were worth {with_interval(value)}{unit} per 1,000 "
        f"{known.pipeline.entity_name}; the same class for every row {number(constant.value)}: a difference of "
        f"{change(value.value - constant.value)}{unit}."
    )


def _unknown(known: ReportContext) -> list[str]:
    """Outcomes of the test window that the model cannot predict."""
    rows = {name: n for name, n in (known.results.evaluation.classes or {}).items() if name not in _known(known)}
    if not rows:
        return []
    named = listed([f"{shortened(name)} ({n:,})" for name, n in list(rows.items())[:MOST_NAMED]])
    return [f"Of the outcomes, {sum(rows.values()):,} are of classes that no training row had: {named}. All count as mistakes."]
