"""A feature of the past may tell much because outcomes repeat; one that knows the outcome itself is caught beside it."""

from dataclasses import dataclass, replace
from datetime import timedelta

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from scipy.stats import spearmanr

from mlprod_tasks import declaration as ml
from mlprod_tasks.evaluation.gates import names as checks
from mlprod_tasks.evaluation.model_checks.past_outcomes import keys_of_past
from mlprod_tasks.platform import names
from tests.support.refund_shop import REFUNDS
from tests.support.shop import RETURNS, SHOP, with_columns

BRANCHES = 300
TOLD = with_columns(RETURNS, ml.Column("refund", "float"), ml.Column("branch", "int"))
NOTES = ml.Table(
    "notes",
    ml.Database("shop", "notes"),
    key=("order_id",),
    time="written_at",
    columns=(
        ml.Column("order_id", "text"),
        ml.Column("written_at", "timestamp"),
        ml.Column("branch", "int"),
        ml.Column("paid", "float"),
    ),
)
PAST = ml.Trailing("branch", "returns", {"items": "branch"}, (ml.days(14),), (ml.Mean("refund"), ml.Count()))
# Notes are written with the outcome, but say that they were before: by the order, and by its branch.
LEAKS = (
    ml.Trailing("own", "notes", {"order_id": "order_id"}, (ml.days(1),), (ml.Sum("paid"),)),
    ml.Trailing("noted", "notes", {"items": "branch"}, (ml.days(1),), (ml.Mean("paid"),)),
)


@dataclass(frozen=True)
class Told:
    """The shop's orders, of one branch each, whose level the refunds have; returns and notes that tell them."""

    orders: pa.Table
    returns: pa.Table
    notes: pa.Table


@pytest.fixture
def told(tables) -> Told:
    orders, outcomes = tables
    random = np.random.default_rng(3)
    branch = random.integers(0, BRANCHES, orders.num_rows)
    refund = random.uniform(0, 100, BRANCHES)[branch] + random.normal(0, 4, orders.num_rows)
    of = dict(zip(orders["order_id"].to_pylist(), range(orders.num_rows), strict=True))
    at = np.array([of[key] for key in outcomes["order_id"].to_pylist()])
    returns = outcomes.append_column("refund", pa.array(refund[at])).append_column("branch", pa.array(branch[at]))
    starts = [SHOP.schedule.moment(day) - timedelta(hours=1) for day in orders["tick"].to_pylist()]
    notes = pa.table(
        {
            "order_id": orders["order_id"],
            "written_at": pa.array(starts, pa.timestamp("us", "UTC")),
            "branch": branch,
            "paid": refund,
            "tick": orders["tick"],
        }
    )
    by_branch = orders.set_column(orders.column_names.index("items"), "items", pa.array(branch))
    return Told(by_branch, returns, notes)


@pytest.fixture
def judged(empty_shop, told, evaluated):
    """Train on these features, and judge by the gate."""

    def judge(*features: ml.Trailing):
        pipeline = replace(
            REFUNDS,
            tables=(SHOP.table("orders"), TOLD, NOTES),
            features=(*SHOP.features[:2], *features),
            model=replace(SHOP.model, candidates=(ml.LightGBM(learning_rate=0.2, max_trees=40, min_data_in_leaf=20),)),
        )
        shop = empty_shop(told.orders, told.returns)
        days = sorted(set(told.notes["tick"].to_pylist()))
        shop.platform.lake.replace_ticks(names.raw(SHOP, "notes"), SHOP.schedule.range(days[0], days[-1]), told.notes)
        found = evaluated(pipeline, shop.platform)
        return found, found.checked(ml.NoLeakageSuspicion())[0]

    return judge


def test_the_mean_of_earlier_outcomes_is_no_leak_however_much_it_tells(judged, told):
    shop, verdict = judged(PAST)
    name = "branch_mean_refund_14d"
    assert shop.found(checks.POWER_ALONE)[name].value > 0.95
    assert shop.found(checks.POWER_LOST)[name].value > 0.9
    assert verdict.passed, verdict.sentence
    past = shop.found(checks.POWER_OF_PAST)
    assert past.keys() == {name}
    assert f"earlier outcomes of the same 'items' alone have a rank correlation of {past[name].value:.4g}" in verdict.sentence
    assert verdict.bound == pytest.approx(1 - 0.1 * (1 - past[name].value))

    # By hand: the smoothed mean of a branch's training rows, of its orders known by key.
    orders = told.orders.select(["order_id", "items"]).to_pandas().set_index("order_id").rename(columns={"items": "branch"})
    train, test = (shop.rows(window).to_pandas().join(orders, on="order_id") for window in ("train", "test"))
    by = train.groupby("branch")["label"].agg(["sum", "size"])
    mean = (by["sum"] + 20 * train["label"].mean()) / (by["size"] + 20)
    of_branch = test["branch"].map(mean).fillna(train["label"].mean())
    assert past[name].value >= spearmanr(test["label"], of_branch).statistic - 1e-9


def test_rows_that_claim_to_be_of_the_past_but_tell_the_outcome_are_caught_beside_it(judged):
    _, verdict = judged(PAST, *LEAKS)
    assert not verdict.passed
    assert "'own_sum_paid_1d' alone" in verdict.sentence
    assert "'noted_mean_paid_1d' alone" in verdict.sentence
    assert "'branch_mean_refund_14d'" not in verdict.sentence


def test_an_outcome_of_the_past_is_complete_before_the_row_is_scored(told, tables):
    """Latest outcomes are those of the newest tick whose delay is over, by branch, as pandas finds them row by row."""
    from mlprod_tasks.evaluation.model_checks import past_outcomes

    pipeline = replace(REFUNDS, tables=(SHOP.table("orders"), TOLD))
    rows = told.orders.select(["order_id", "tick"]).append_column("label", told.notes["paid"])

    class Lake:
        def read(self, connection, query, name, ticks, *, scored):
            connection.register("orders", told.orders)
            return connection.sql(query("orders")).to_arrow_table()

    past = past_outcomes._past_of(pipeline, ("items",), pa.concat_tables([rows, rows]), rows.num_rows, Lake())
    frame = pd.DataFrame({"branch": told.orders["items"], "tick": rows["tick"].to_pandas(), "y": rows["label"].to_pandas()})
    found = past.slice(rows.num_rows)["_last"].to_pylist()
    for at in np.random.default_rng(5).integers(0, len(frame), 200):
        row = frame.iloc[at]
        before = frame[(frame.branch == row.branch) & (frame.tick <= row.tick - timedelta(days=2))]
        expected = before[before.tick == before.tick.max()].y.mean() if len(before) else None
        assert found[at] == (None if expected is None else pytest.approx(expected))


def test_only_features_of_other_moments_are_of_the_past():
    features = (
        ml.Expression("channel", "channel", "text", ""),
        ml.Expression("items", "items", "int", ""),
        PAST,
        ml.AsOf("returns", {"order_id": "order_id"}, {"last_refund": "refund"}, ml.days(30)),
        ml.Expression("both", "last_refund / nullif(branch_mean_refund_14d, 0)", "float", ""),
        ml.Expression("of_row", "amount - branch_mean_refund_14d", "float", ""),
        ml.Expression("constant", "1", "int", ""),
        ml.Expression("twice", "2 * both", "float", ""),
    )
    pipeline = replace(REFUNDS, tables=(SHOP.table("orders"), TOLD), features=features)
    by_items, by_order = ("items",), ("order_id",)
    assert keys_of_past(pipeline) == {
        "branch_mean_refund_14d": {by_items},
        "branch_count_14d": {by_items},
        "last_refund": {by_order},
        "both": {by_items, by_order},
        "twice": {by_items, by_order},
    }
