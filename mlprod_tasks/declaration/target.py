"""The outcome that is predicted, the moment of the prediction, and the value of right and wrong decisions."""

from __future__ import annotations

from dataclasses import field
from datetime import timedelta
from typing import Literal

from mlprod_tasks.declaration.declared import declared


@declared
class AtTick:
    """Rows are scored at the start of the tick that has them in its partition."""


@declared
class Before:
    """Rows are scored a fixed time before their own time column.

    lead: how long before.
    """

    lead: timedelta


@declared
class Label:
    """The outcome that is predicted: what SQL gives for the row of `table` that matches the scored row.

    Rows without an outcome when labels are complete (a cancelled order) are scored, but not used to train or evaluate. Nor are
    rows for whose outcome the condition cannot be computed; a training counts them (`model.max_unusable_share`).

    table: the table with the outcomes; '' is the scored one.
    on: pairs columns of the scored row with the key columns of `table`; of the scored table, nothing means the row itself.
    sql: the outcome, over the columns of `table`: a condition, a number, or the name of a class.
    delay: how long after predict_at an outcome counts as complete. Rows of a table without a time train as soon as they have
    one; of those that are scored without, it is when their outcomes are measured.
    doc: what it means.
    kind: 'yes_no' for a condition, 'number' for a number, 'class' for one of several classes: text, or a whole number, whose
    digits are the name of the class. SQL that gives another type is refused, never converted.
    classes: of kind 'class', the names of the classes, in the order in which they are shown; () takes those of the training
    window, sorted. Rows of any other class are not trained on, and count as wrong.
    """

    table: str = ""
    on: dict[str, str] = field(default_factory=dict)
    sql: str = ""
    delay: timedelta = timedelta(0)
    doc: str = ""
    kind: Literal["yes_no", "number", "class"] = "yes_no"
    classes: tuple[str, ...] = ()


@declared
class CostMatrix:
    """The value of a decision, by the decision and the outcome.

    'positive' means that the model decided to act, 'true' that it was right.

    true_positive: acting, rightly.
    false_positive: acting, wrongly.
    false_negative: not acting, wrongly.
    true_negative: not acting, rightly.
    unit: the unit of these values.
    """

    true_positive: float
    false_positive: float
    false_negative: float = 0.0
    true_negative: float = 0.0
    unit: str = "USD"


@declared
class ValueFunction:
    """The value of a decision if it differs from row to row: SQL expressions that give a number.

    Columns: `score`, `outcome` (bool), and the features of the row itself and its look-ups, because decisions of the fallback
    must have a value, too. The result may not be null: "CASE WHEN outcome THEN 0.4 * coalesce(amount, 0) ELSE -4 END".

    act: the value of acting on a row.
    wait: the value of not acting on it.
    unit: the unit of both.
    """

    act: str
    wait: str = "0"
    unit: str = "USD"


@declared
class PredictionValue:
    """The value of a predicted number: a SQL expression that gives a number. More is better, so costs are negative.

    Columns: `prediction`, `outcome`, and the features of the row itself and its look-ups, because predictions of the fallback
    must have a value, too. The result may not be null: "-0.5 * greatest(prediction - outcome, 0) - 2 * greatest(outcome -
    prediction, 0)" for a surplus that costs 0.5 and a shortage that costs 2 per piece.

    sql: the value of the prediction of a row; by default its absolute error, as a cost.
    unit: its unit.
    """

    sql: str = "-abs(prediction - outcome)"
    unit: str = ""


@declared
class ClassValue:
    """The value of a predicted class, by the class that is predicted and the class that comes. Costs are negative.

    right: what a right prediction is worth.
    wrong: what a wrong one is worth, unless `pairs` says it.
    pairs: the value of pairs of classes, by the predicted class, then by the real one: {"on time": {"cancelled": -20}}.
    predict: 'likely': the class with the largest probability; 'worth': the one with the largest expected value, by the
    probabilities of all classes.
    unit: the unit of these values.
    """

    right: float = 1.0
    wrong: float = 0.0
    pairs: dict[str, dict[str, float]] = field(default_factory=dict)
    predict: Literal["likely", "worth"] = "likely"
    unit: str = ""


@declared
class Capacity:
    """How many rows there is room to act on: the best of each tick, of those on which acting pays.

    A row is acted on if its score reaches the model's threshold and is among the highest of its tick; which of equal scores are
    taken is drawn by a hash of key and tick, so it is the same when a tick is scored again.

    per_tick: the largest number of rows of a tick.
    """

    per_tick: int


Value = CostMatrix | ValueFunction | PredictionValue | ClassValue


@declared
class Kpi:
    """The business measure that is watched: a SQL aggregate over the labelled predictions of a tick.

    Columns: `score`, `decision` (bool), `outcome` (bool), `value` (of the decision, as declared); of a regression `prediction`,
    `outcome`, `value` (of the prediction, as declared); of classes `prediction` and `outcome` (text), `probability` (of the
    predicted class), `value` (of the prediction, as declared).

    name: its name.
    sql: the aggregate.
    doc: what it means.
    unit: its unit.
    """

    name: str
    sql: str
    doc: str
    unit: str = ""
