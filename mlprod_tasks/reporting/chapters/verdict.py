"""The verdict chapter: the decision, its gates, and the most important numbers."""

from __future__ import annotations

import math

from mlprod_tasks.documents import Block, Paragraph, Section, Tiles
from mlprod_tasks.documents.formatting import number, of_100, with_interval
from mlprod_tasks.documents.mail_content import Grid
from mlprod_tasks.evaluation.gates import GateVerdict
from mlprod_tasks.reporting.report_context import ReportContext
from mlprod_tasks.reporting.split_words import caveat
from mlprod_tasks.statistics.metrics import Estimate


def verdict(context: ReportContext) -> Section:
    """The verdict, its gates, and the most important numbers."""
    of_task = {"binary": _of_yes_or_no, "regression": _of_numbers, "multiclass": _of_classes}
    tiles = Tiles(of_task[context.pipeline.task](context))
    less = caveat(context.assembled)
    warned = () if less is None else (Paragraph(less, "bad"),)
    return Section("verdict", "Verdict", (verdict_sentence(context), *warned, tiles, gates(context.gates)))


def _of_yes_or_no(context: ReportContext) -> tuple[tuple[str, str, str], ...]:
    """The tiles of a binary model."""
    evaluation, acts, outcome = context.results.evaluation, context.predicted.decision, context.outcome
    right = f"{of_100(float(outcome[acts].mean()))} were positive" if acts.any() else "it never acts"
    return (
        ("AUC", *_tile(evaluation.model.get("roc_auc"), "0.5 is chance")),
        _value_tile(context),
        ("Calibration error", *_tile(evaluation.model.get("calibration_error"), "0 is perfect")),
        ("Acts on", f"{acts.mean():.1%} of rows", f"of these, {right}; of all rows, {of_100(float(outcome.mean()))}"),
    )


def _of_numbers(context: ReportContext) -> tuple[tuple[str, str, str], ...]:
    """The tiles of a regression."""
    evaluation = context.results.evaluation
    without = {name: f"without a model {number(evaluation.baseline[name].value)}" for name in ("mae", "rmse")}
    return (
        ("Mean absolute error", *_tile(evaluation.model.get("mae"), without["mae"])),
        ("Root mean squared error", *_tile(evaluation.model.get("rmse"), without["rmse"])),
        ("R2", *_tile(evaluation.model.get("r2"), "0 is the mean alone, 1 is perfect")),
        _value_tile(context),
    )


def _of_classes(context: ReportContext) -> tuple[tuple[str, str, str], ...]:
    """The tiles of several classes."""
    evaluation = context.results.evaluation
    without = {name: f"without a model {number(evaluation.baseline[name].value)}" for name in ("log_loss", "accuracy")}
    return (
        ("Log loss", *_tile(evaluation.model.get("log_loss"), f"0 is perfect; {without['log_loss']}")),
        ("Right predictions", *_tile(evaluation.model.get("accuracy"), without["accuracy"])),
        ("Macro F1", *_tile(evaluation.model.get("macro_f1"), "the mean over classes, 1 is perfect")),
        _value_tile(context),
    )


def _value_tile(context: ReportContext) -> tuple[str, str, str]:
    evaluation = context.results.evaluation
    beside = f"without a model {number(evaluation.baseline['value_per_1000'].value)}"
    title = f"Value, {context.unit} per 1,000 rows" if context.unit else "Value per 1,000 rows"
    return (title, *_tile(evaluation.model.get("value_per_1000"), beside))


def verdict_sentence(context: ReportContext) -> Block:
    """The verdict as one sentence."""
    failed = [one for one in context.gates if not one.passed]
    if context.passed:
        return Paragraph(f"All gates passed: {len(context.gates)} of {len(context.gates)}.", "good")
    if not context.gates:
        return Paragraph("Refused: no gate is declared, and a model without gates is not promoted.", "bad")
    return Paragraph(f"Refused: {len(failed)} of {len(context.gates)} gates failed.", "bad")


def gates(verdicts: tuple[GateVerdict, ...]) -> Grid:
    """All gates with their sentences; failed ones are marked."""
    rows = tuple(
        ("passed" if one.passed else "FAILED", f"{one.gate}\n{one.sentence}", _or_blank(one.value), _or_blank(one.bound))
        for one in verdicts
    )
    failed = frozenset(i for i, one in enumerate(verdicts) if not one.passed)
    return Grid("Gates", ("verdict", "gate", "value", "bound"), rows, failed)


def _tile(one: Estimate | None, beside: str) -> tuple[str, str]:
    """The text of a tile: a number, and its interval with a value to compare."""
    value, _, interval = with_interval(one).partition(" [")
    return value, f"95 % interval {interval.rstrip(']').replace(', ', ' to ')}; {beside}" if interval else beside


def _or_blank(value: float | None) -> str:
    return "" if value is None or not math.isfinite(value) else number(value)
