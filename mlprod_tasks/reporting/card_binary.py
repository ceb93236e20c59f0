"""The sentences of a model card about a yes or no."""

from __future__ import annotations

from mlprod_tasks.declaration.target import CostMatrix, ValueFunction
from mlprod_tasks.documents.formatting import change, number, of_100, with_interval
from mlprod_tasks.evaluation.results import Slice
from mlprod_tasks.models.segmented import SegmentedModel
from mlprod_tasks.reporting.report_context import ReportContext

METRICS = ("roc_auc", "log_loss", "calibration_error", "precision_at_k", "value_per_1000")
OUTCOMES = "a yes"  # heading of the share of positive outcomes


def gives(known: ReportContext) -> str:
    """What each row gets."""
    return "a score from 0 to 1, the probability of a yes, and a decision"


def meaning(known: ReportContext) -> str:
    """The beginning of the sentence that says what the outcome is."""
    return "A yes is"


def rule(known: ReportContext) -> list[str]:
    """When it flags a row."""
    capacity = known.pipeline.capacity
    if capacity is None:
        return _threshold(known)
    room = (
        f"Of these, only the {capacity.per_tick:,} with the highest scores of each tick are flagged: there is room for no more."
    )
    return [*_threshold(known), room]


def _threshold(known: ReportContext) -> list[str]:
    if isinstance(known.model, SegmentedModel):
        return [f"It flags a row when its score reaches the threshold of its {known.model.by}, set for the highest value."]
    threshold = known.model.threshold
    assert threshold is not None
    if threshold > 1:
        return ["It flags no row: acting was never worth it on the validation window."]
    return [
        f"It flags a row when its score is {threshold:.3f} or more: this threshold had the highest value, on rows before the "
        "test."
    ]


def outcomes(known: ReportContext) -> str:
    """What the outcomes of the test window were."""
    return f"{known.results.evaluation.positives:,} were a yes"


def quality(known: ReportContext) -> list[str]:
    """How good it is, point by point."""
    return [*_flags(known), _value(known), _ranking(known), _calibration(known)]


def worth_more(known: ReportContext) -> str:
    """With what the backtest compares the model."""
    return "one decision for all rows"


def slice_line(known: ReportContext, one: Slice) -> str:
    """The numbers of a slice."""
    return (
        f"AUC {with_interval(one.metrics.get('roc_auc'))}, {with_interval(one.metrics.get('value_per_1000'))} {known.unit} per "
        "1,000"
    )


def share(one: Slice) -> str:
    """What the outcomes of a slice are."""
    return f"{one.positives / one.rows:.0%} a yes"


def limits(known: ReportContext) -> list[str]:
    """What follows from flags, and what its value rests on."""
    points = ["Flagged rows are treated differently: if acting changes the outcome, later numbers will differ from these."]
    worth = known.pipeline.value
    if isinstance(worth, CostMatrix):
        points.append(
            f"Its value is counted in {worth.unit} per row: {number(worth.true_positive)} for a correct flag, "
            f"{number(worth.false_positive)} for a wrong flag, {number(worth.false_negative)} for a missed yes, "
            f"{number(worth.true_negative)} for a no without a flag. Other amounts would need another threshold."
        )
    elif isinstance(worth, ValueFunction):
        points.append(f"Its value is counted in {worth.unit} per row: {worth.act} when flagged, {worth.wait} when not.")
    return points


def fallback(by: str) -> str:
    """What answers if the model cannot. by: names of features; empty if all rows are one group."""
    return f"a table of past rates by {by}" if by else "the past rate of all rows"


def _flags(known: ReportContext) -> list[str]:
    """How many rows the model flags, and how many of them are a yes."""
    outcome, acts, entity = known.outcome, known.predicted.decision, known.pipeline.entity_name
    yes = known.pipeline.label.doc or known.pipeline.label.sql
    base = of_100(float(outcome.mean()))
    if not acts.any():
        return [f"It flagged no row; of all {entity}, {base} were a yes ({yes})."]
    return [
        f"It flagged {of_100(float(acts.mean()))} {entity}. Of the flagged, {of_100(float(outcome[acts].mean()))} were a yes "
        f"({yes}); of all {entity} it was {base}.",
        f"Of those that were a yes, it had flagged {of_100(float(acts[outcome].mean()))}.",
    ]


def _value(known: ReportContext) -> str:
    evaluation, entity = known.results.evaluation, known.pipeline.entity_name
    value, constant = evaluation.model["value_per_1000"], evaluation.baseline["value_per_1000"]
    return (
        f"Acting on its flags was worth {with_interval(value)} {known.unit} per 1,000 {entity} (in brackets: 95 % interval). "
        "Without a model, with the same decision for every row that was best before, it would have been "
        f"{number(constant.value)}: a difference of {change(value.value - constant.value)} {known.unit}."
    )


def _ranking(known: ReportContext) -> str:
    return (
        "Given one row that became a yes and one that did not, it scores the yes higher in "
        f"{of_100(known.results.evaluation.model['roc_auc'].value)} pairs; by chance it would be 50 of 100."
    )


def _calibration(known: ReportContext) -> str:
    expected, realised = float(known.predicted.score.mean()), float(known.outcome.mean())
    side = "too low" if realised > expected else "too high"
    apart = 100 * known.results.evaluation.model["calibration_error"].value
    return (
        f"Its scores predicted {expected:.1%} on average, and {realised:.1%} were a yes: they were {side} by "
        f"{100 * abs(realised - expected):.1f} points. In ten groups of similar scores, the two differ by {apart:.1f} points "
        "on average."
    )
