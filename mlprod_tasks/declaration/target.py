"""What is predicted, from when, and what a right or wrong decision is worth."""

from __future__ import annotations

from datetime import timedelta

from mlprod_tasks.declaration.declared import declared


@declared
class AtTick:
    """Rows are scored at the start of the tick whose partition holds them."""


@declared
class Before:
    """Rows are scored `lead` before their own time column."""

    lead: timedelta


@declared
class Label:
    """The outcome: a SQL condition (binary) over the row of `table` that `on` joins to the scored row.

    `on` pairs columns of the scored row with columns of `table`. `delay` is how long after predict_at an outcome
    counts as complete; rows that have none by then (a cancelled order) are scored but neither trained on nor judged.
    """

    table: str
    on: dict[str, str]
    sql: str
    delay: timedelta
    doc: str = ""


@declared
class CostMatrix:
    """What one decision is worth, in `unit`, by what was decided and what came true.

    'positive' means the model said yes (acted); 'true' that it was right.
    """

    true_positive: float
    false_positive: float
    false_negative: float = 0.0
    true_negative: float = 0.0
    unit: str = "USD"


@declared
class ValueFunction:
    """What one decision is worth, in `unit`, where that differs from row to row: SQL expressions that give a number.

    `act` is the worth of acting on a row, `wait` of not acting. Columns: `score`, `outcome` (bool), and the features that rest
    on the row itself and its look-ups: what the fallback decided must have a worth too. None may be null:
    "CASE WHEN outcome THEN 0.4 * coalesce(amount, 0) ELSE -4 END".
    """

    act: str
    wait: str = "0"
    unit: str = "USD"


Value = CostMatrix | ValueFunction


@declared
class Kpi:
    """The business measure that is watched: SQL aggregate over the labelled predictions of a tick.

    Columns: `score`, `decision` (bool), `outcome` (bool), `value` (of the decision, as declared).
    """

    name: str
    sql: str
    doc: str
    unit: str = ""
