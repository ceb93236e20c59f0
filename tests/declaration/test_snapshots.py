"""Rules of a use case whose scored table has no time."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from mlprod_tasks import declaration as ml
from mlprod_tasks.declaration.recorded import read, text_of
from mlprod_tasks.declaration.source_text import source_text
from tests.support.shop import SHOP
from tests.support.timeless_customers import BY_PART, CALLS, CHURN, CUSTOMERS


def refused(**changed: Any) -> str:
    """Why the use case with these changes is refused."""
    declared = {"tables": (CUSTOMERS, CALLS), "label": ml.Label(sql="churned", delay=ml.days(3))} | changed
    with pytest.raises(ValidationError) as error:
        replace(CHURN, **declared)
    return str(error.value)


def test_a_scored_table_without_a_time_has_snapshots_and_its_own_label() -> None:
    table = CHURN.entity_table
    assert (table.snapshots, table.time, table.names[0]) == (True, "as_of", "as_of")
    assert table.at_source == CUSTOMERS
    assert (CHURN.label.table, CHURN.label.on) == ("customers", {"customer": "customer"})
    assert "by" not in CHURN.feature_names


def test_what_is_not_declared_gets_a_default() -> None:
    short = ml.Pipeline(
        name="short", alert_to=("shop@example.com",), tables=(CUSTOMERS,), entity="customers", schedule=CHURN.schedule,
        label=ml.Label(sql="churned", delay=ml.days(3)), split=BY_PART.split,
    )  # fmt: skip
    assert short.feature_names == ("visits", "plan")  # neither the key, nor the label, nor the part, nor the tick
    assert replace(short, split=ml.SplitByHash()).feature_names == ("visits", "plan")


@pytest.mark.parametrize("declared", [CHURN, BY_PART])
def test_it_is_read_back_from_its_record_and_its_full_text(declared: ml.Pipeline) -> None:
    assert read(text_of(declared)) == declared
    names: dict[str, Any] = {}
    exec(source_text(declared), names)
    assert names["pipeline"] == declared


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"capacity": ml.Capacity(5)}, "capacity counts rows of a tick, and 'customers' has no time"),
        ({"split": ml.Split(ml.days(7), ml.days(7), ml.days(3))}, "has no windows in time: declare SplitByHash"),
        ({"split": ml.SplitByHash(validation=0.5, test=0.5)}, "leave keys to train on"),
        ({"split": ml.SplitByHash(test=0.0)}, "test 0 must be a share of the keys between 0 and 1"),
        ({"split": ml.SplitByHash(by=("house",))}, "by 'house' is not a column of 'customers'"),
        ({"split": ml.SplitByHash(by=("churned",))}, "by 'churned' may be neither nullable"),
        ({"split": ml.SplitByColumn("fold", ("a",), ("b",), ("c",))}, "'fold': not a column of 'customers'"),
        ({"split": ml.SplitByColumn("part", ("a",), (), ("c",))}, "validation names no value"),
        ({"split": ml.SplitByColumn("part", ("a",), ("b",), ("a",))}, "'a' is declared 2 times"),
        ({"split": ml.SplitByColumn("part", (1,), ("b",), ("c",))}, "train has 1, but the column is text"),
        ({"split": ml.SplitByColumn("plan", ("basic",), ("full",), ("gold",))}, "'gold', which is none of the column's values"),
        ({"model": ml.Model(half_life=ml.days(30))}, "model.half_life needs rows of several ticks"),
        ({"model": ml.Model(warm_update=True)}, "model.warm_update needs rows of several ticks"),
        ({"gates": (ml.KpiAtLeast(1.0, worst_week=0.0),)}, "worst_week needs rows of several ticks"),
        ({"predict_at": ml.Before(ml.hours(2))}, "its rows are scored at their tick"),
        (
            {"label": ml.Outcome("customers", {"customer": "customer"}, ml.Happens("left_at"), within=ml.days(5))},
            "To predict 'left_at', score a Population of the keys that are seen in a table of events",
        ),
        (
            {"label": ml.Outcome("calls", {"customer": "customer"}, ml.Any(), within=ml.days(5))},
            "rows of 'customers' have no time, so nothing tells what came later",
        ),
        ({"label": ml.Label(sql="visits > 3", delay=ml.days(3))}, "reads visits, which may not be missing"),
        ({"label": ml.Label(sql="churned")}, "delay must be positive"),
        ({"label": ml.Label(delay=ml.days(3))}, "sql is empty"),
        ({"features": (ml.Expression("gone", "churned AND visits > 2", "bool", ""),)}, "reads churned, which the label reads"),
        (
            {"features": (ml.Expression("hour", "extract(hour FROM as_of)", "int", ""),)},
            "reads 'as_of', which is the same for all",
        ),
        (
            {"features": (ml.Trailing("own", "customers", {"customer": "customer"}, (ml.days(7),), (ml.Count(),)),)},
            "its rows say how something is at a tick, they are no events",
        ),
        (
            {"tables": (replace(CUSTOMERS, columns=(*CUSTOMERS.columns, ml.Column("as_of", "date"))), CALLS)},
            "the name of column 'as_of' is that of the moment of a tick",
        ),
        ({"tables": (replace(CUSTOMERS, refresh_ticks=2), CALLS)}, "known_after, ticks_ahead and refresh_ticks need a `time`"),
    ],
)
def test_what_cannot_be_is_refused_with_what_to_write(changed: dict[str, Any], said: str) -> None:
    assert said in refused(**changed)


def test_rows_with_a_time_are_split_by_time() -> None:
    with pytest.raises(ValidationError, match="SplitByHash is for a scored table without a time, and 'orders' has one"):
        replace(SHOP, split=ml.SplitByHash())


def test_snapshots_are_not_declared_by_hand() -> None:
    with pytest.raises(ValidationError, match="table 'calls': snapshots are of a scored table without a `time`"):
        replace(CHURN, tables=(CUSTOMERS, replace(CALLS, snapshots=True)))


def test_how_long_outcomes_take_needs_no_gap() -> None:
    assert replace(CHURN, label=ml.Label(sql="churned", delay=timedelta(days=90))).label_delay_ticks == 90
