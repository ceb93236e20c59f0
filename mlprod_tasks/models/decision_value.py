"""Compute the value of decisions, predicted numbers or classes, and the score from which acting pays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mlprod_tasks.declaration import ClassValue, CostMatrix, PredictionValue, ValueFunction
from mlprod_tasks.declaration.checks.evaluation import words_of
from mlprod_tasks.models.class_rule import worth_of
from mlprod_tasks.models.stored_rows import Rows, StoredRows
from mlprod_tasks.statistics.class_scores import Names, codes_of, in_order

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Declared = CostMatrix | ValueFunction | PredictionValue | ClassValue

ALWAYS = 0.0
NEVER = float(np.nextafter(1.0, 2.0))  # above every probability: never act


class ValueUndefined(ValueError):
    """The declared expressions give no number for some rows."""


@dataclass(frozen=True)
class Worth:
    """The value of acting and of waiting on each row, (n,) each, in the declared unit.

    Both are the value of the prediction if it is a number: there is nothing to decide.
    """

    acted: Floats
    waited: Floats

    def of(self, decision: Any) -> Floats:
        """Return the value of each row's decision, (n,)."""
        return np.where(decision, self.acted, self.waited)


@dataclass(frozen=True)
class ClassWorth(Worth):
    """The value of predicting a class for each row, by the class that came, (n,) each; nobody acts or waits."""

    declared: ClassValue
    outcome: Names

    def of(self, decision: Any) -> Floats:
        """Return the value of the class that is predicted for each row, (n,)."""
        said, real = in_order(list(decision)), in_order(list(self.outcome))
        table = np.array([[worth_of(self.declared, one, other) for other in real] for one in said], np.float64)
        return table.reshape(len(said), len(real))[codes_of(decision, said), codes_of(self.outcome, real)]


def worth(declared: Declared, rows: Rows, score: Any, outcome: Any) -> Worth:
    """Return the value of both decisions, or of the predicted number, on each row, given its outcome.

    rows: (n,) with the features that a declared expression reads; a CostMatrix or ClassValue reads none. score, outcome: (n,).

    Raises: ValueUndefined.
    """
    if isinstance(declared, ClassValue):
        nothing = np.zeros(len(outcome))
        return ClassWorth(nothing, nothing, declared, outcome)
    if isinstance(declared, PredictionValue):
        columns = {"prediction": pa.array(score, pa.float64()), "outcome": pa.array(outcome, pa.float64())}
        (value,) = _compute({"sql": declared.sql}, rows, columns)
        return Worth(value, value)
    outcome = np.asarray(outcome, bool)
    if isinstance(declared, CostMatrix):
        acted = np.where(outcome, declared.true_positive, declared.false_positive)
        waited = np.where(outcome, declared.false_negative, declared.true_negative)
        return Worth(acted.astype(np.float64), waited.astype(np.float64))
    columns = {"score": pa.array(score, pa.float64()), "outcome": pa.array(outcome, pa.bool_())}
    return Worth(*_compute({"act": declared.act, "wait": declared.wait}, rows, columns))


def best_threshold(worth: Worth, score: Floats) -> float:
    """Return the threshold with the highest total value (decision = score >= threshold).

    It is halfway to the next lower score of these rows, so that rounding does not change a decision. ALWAYS or NEVER if acting
    on every row, or on none, was best; of equal totals, the one with the fewest actions wins.
    """
    descending, total = total_by_threshold(worth, score)
    best = int(np.argmax(total))
    if best == 0:
        return NEVER
    if best == len(descending):
        return ALWAYS
    middle = float((descending[best - 1] + descending[best]) / 2)
    return middle if middle > descending[best] else float(descending[best - 1])  # there is no float between neighbours


def total_by_threshold(worth: Worth, score: Floats) -> tuple[Floats, Floats]:
    """Return the profit curve: the total value by the lowest score acted on.

    Returns: distinct scores, descending, (m,); total value of acting on none of them, on the first, ... on all, (m + 1,).
    """
    order = np.argsort(-score, kind="stable")
    ranked = score[order]
    last = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True)) if len(score) else np.empty(0, np.int64)
    gain = (worth.acted - worth.waited)[order]
    return ranked[last], np.concatenate(([0.0], np.cumsum(gain)[last])) + worth.waited.sum()


def break_even(declared: Declared) -> float | None:
    """Return the probability from which acting pays, if probabilities are correct.

    None for other values, where it differs by row or there is nothing to decide.
    """
    if not isinstance(declared, CostMatrix):
        return None
    gain = declared.true_positive - declared.false_negative
    loss = declared.true_negative - declared.false_positive
    return loss / (gain + loss)


def _compute(expressions: Mapping[str, str], rows: Rows, added: Mapping[str, pa.Array]) -> list[Floats]:
    """Compute the expressions, by their field, over all rows at once, with the engine that computes features.

    added: what was predicted and what came, which hide columns of their names.
    """
    import duckdb

    from mlprod_tasks.platform.engine import engine

    if isinstance(rows, StoredRows):
        words = {word for sql in expressions.values() for word in words_of(sql)}
        rows = rows.select([name for name in rows.column_names if name in words])
    labelled = pa.table({**{name: rows[name] for name in rows.column_names if name not in added}, **added})
    with engine(threads=1) as connection:
        connection.execute("SET preserve_insertion_order = true")
        connection.register("labelled", labelled)
        sides = []
        for name, sql in expressions.items():
            try:
                column = connection.sql(f"SELECT CAST(({sql}) AS DOUBLE) AS worth FROM labelled").to_arrow_table()["worth"]
            except duckdb.Error as error:
                raise ValueUndefined(f"value.{name} {sql!r} cannot be computed: {str(error).splitlines()[0]}") from error
            if len(column) != len(labelled):
                raise ValueUndefined(
                    f"value.{name} {sql!r} gives {len(column)} number{'' if len(column) == 1 else 's'} for {len(labelled)} "
                    "rows: it must give one number per row, without aggregates and unnest"
                )
            sides.append(column.to_numpy())
            missing = ~np.isfinite(sides[-1])
            if missing.any():
                raise ValueUndefined(
                    f"value.{name} {sql!r} gives no number for {missing.sum():,} of {len(missing):,} rows: declare the "
                    "value of a row with missing features, with coalesce(...)"
                )
    return sides
