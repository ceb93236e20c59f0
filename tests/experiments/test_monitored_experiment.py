"""While an experiment runs, the deployed model is watched by its own rows, and every row can be made again."""

from dataclasses import replace
from datetime import date

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from mlprod_tasks.declaration import CostMatrix
from mlprod_tasks.experiments import run as experiments
from mlprod_tasks.experiments.own_rows import is_own, own_rows
from mlprod_tasks.experiments.plan import CannotPlan, Wanted
from mlprod_tasks.experiments.read_out import read_out
from mlprod_tasks.experiments.run import plan_for, start, variants
from mlprod_tasks.models.fallback import FallbackModel
from mlprod_tasks.monitoring.measure import measure
from mlprod_tasks.monitoring.verify import verify
from mlprod_tasks.operations.explain import explain
from mlprod_tasks.platform import names
from mlprod_tasks.platform.engine import engine
from mlprod_tasks.platform.ledger import Fallback, Measurement, Scoring
from tests.support.trained_shop import Shop

FIRST, LAST = date(2024, 1, 25), date(2024, 1, 31)
WANTED = Wanted("saved", difference=1.2)


def predictions(shop: Shop, day: date = FIRST) -> pa.Table:
    return shop.platform.lake.rows(names.predictions(shop.pipeline), [day])


def found(shop: Shop, what: str, day: date = FIRST) -> Measurement:
    row = shop.platform.ledger.get(Measurement, shop.pipeline.name, day, what, "")
    assert row is not None
    return row


@pytest.fixture
def held_out(shop, scored):
    """A week in which one unit of five is answered by the fallback."""
    planned = plan_for(shop.pipeline, replace(WANTED, difference=3.0), ["fallback=20%"], shop.platform)
    start(shop.pipeline, "worth", planned, "Ann", "what is the model worth?", shop.platform)
    scored(shop, FIRST, LAST)
    return shop


def test_scores_and_decisions_are_measured_on_rows_of_the_control_alone(never):
    days = never.pipeline.schedule.names(FIRST, LAST)
    day = max(days, key=lambda one: predictions(never, one)["variant"].to_pylist().count("control"))
    measure(never.pipeline, never.pipeline.schedule.tick(day), never.platform)
    rows = predictions(never, day)
    own = rows.filter(pc.equal(rows["variant"], "control"))
    assert 0 < own.num_rows < rows.num_rows
    share = found(never, "decision_share", day)
    decided = pc.mean(own["decision"].cast(pa.int8())).as_py()
    assert (share.n, share.value) == (own.num_rows, pytest.approx(abs(decided - share.reference)))
    volume = found(never, "volume", day)
    assert volume.n == rows.num_rows


def test_outcomes_are_measured_on_rows_of_the_control_alone_and_the_label_rate_on_all(never):
    for day in ("2024-01-25", "2024-01-27"):
        measure(never.pipeline, never.tick(day), never.platform)
    rows = predictions(never)
    precision, rate = found(never, "precision"), found(never, "label_rate")
    assert precision.n <= pc.sum(pc.equal(rows["variant"], "control")).as_py() < rate.n


def test_rows_decided_by_another_threshold_come_out_the_same(never):
    done = verify(never.pipeline, never.tick("2024-01-25"), never.platform)
    assert (done.replayed, done.breaches) == (0.0, ())
    rows = predictions(never)
    threshold = {
        name: explain(
            never.pipeline, [rows.filter(pc.equal(rows["variant"], name))["order_id"][0].as_py()], never.platform
        ).threshold
        for name in ("control", "champion@1.0")
    }
    assert threshold["champion@1.0"] == 1.0 > threshold["control"]


def test_units_that_are_held_out_are_answered_by_the_fallback(held_out):
    rows = predictions(held_out)
    out = rows.filter(pc.equal(rows["variant"], "fallback"))
    assert 0.1 < out.num_rows / rows.num_rows < 0.3
    assert set(out["propensity"].to_pylist()) == {0.2}
    kept = held_out.platform.ledger.get(Fallback, "returns", 1)
    np.testing.assert_array_equal(FallbackModel.from_json(kept.model).predict(out).score, out["score"].to_numpy())
    assert out["fallback"].to_pylist() == [True] * out.num_rows
    assert pc.sum(rows["fallback"].cast(pa.int32())).as_py() == out.num_rows


def test_a_hold_out_is_no_fault_of_the_model(held_out):
    scoring = held_out.platform.ledger.get(Scoring, "returns", FIRST)
    assert (scoring.fallback_rows, scoring.fallback_reason) == (0, None)
    measure(held_out.pipeline, held_out.tick("2024-01-25"), held_out.platform)
    share = found(held_out, "fallback_share")
    rows = predictions(held_out)
    assert (share.value, share.n) == (0.0, pc.sum(pc.equal(rows["variant"], "control")).as_py())
    assert verify(held_out.pipeline, held_out.tick("2024-01-25"), held_out.platform).replayed == 0.0


def test_a_row_that_is_held_out_says_why_the_fallback_answered_it(held_out):
    rows = predictions(held_out)
    key = rows.filter(pc.equal(rows["variant"], "fallback"))["order_id"][0].as_py()
    told = explain(held_out.pipeline, [key], held_out.platform)
    assert (told.fallback, told.fallback_reason) == (True, "experiment worth keeps its unit from the model")


def test_a_hold_out_tells_what_the_model_is_worth(held_out):
    run = experiments.get(held_out.pipeline, "worth", held_out.platform)
    reading = read_out(held_out.pipeline, run, held_out.tick("2024-02-02"), held_out.platform)
    assert reading.problems == ()
    assert reading.verdict in ("worse", "no difference"), reading.sentence
    assert 3 < reading.units["control"] / reading.units["fallback"] < 5.3
    assert isinstance(held_out.pipeline.value, CostMatrix)


def test_a_hold_out_that_the_model_answered_after_all_voids_the_verdict(held_out):
    ticks = held_out.pipeline.schedule.range(FIRST, LAST)
    rows = held_out.platform.lake.rows(names.predictions(held_out.pipeline), [tick.name for tick in ticks])
    none = pa.array([False] * rows.num_rows)
    held_out.platform.lake.replace_ticks(
        names.predictions(held_out.pipeline), ticks, rows.set_column(rows.column_names.index("fallback"), "fallback", none)
    )
    run = experiments.get(held_out.pipeline, "worth", held_out.platform)
    reading = read_out(held_out.pipeline, run, held_out.tick("2024-02-02"), held_out.platform)
    assert reading.verdict == "void"
    assert "were answered by something else than the fallback of version 1" in reading.sentence


def test_shares_that_are_not_given_are_alike(shop):
    given = variants(shop.pipeline, ["champion@0.4", "fallback=10%"], shop.platform)
    assert [(one.name, one.share) for one in given] == [
        ("control", pytest.approx(0.45)), ("champion@0.4", pytest.approx(0.45)), ("fallback", 0.1),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("treated", "why"),
    [
        (["fallback=1.5"], "a share lies between 0 and 1, such as '=0.1' or '=10%'"),
        (["fallback=0"], "a share lies between 0 and 1"),
        (["fallback=1.2.3"], "a share lies between 0 and 1"),
        (["fallback=60%", "champion@0.4=40%"], "leave nothing for the control"),
        (["fallback@0.4"], "the fallback decides by its own threshold"),
        (["fallback", "fallback"], "two variants are the same"),
    ],
    ids=("more than all", "none", "no number", "all", "threshold", "twice"),
)
def test_variants_that_cannot_be_are_refused(shop, treated, why):
    with pytest.raises(CannotPlan, match=why):
        plan_for(shop.pipeline, WANTED, treated, shop.platform)


def test_a_feature_that_is_called_variant_is_no_experiment():
    rows = pa.table({"variant": ["red", "blue", None], "fallback": [False, True, False]})
    with engine(threads=1) as con:
        con.register("logged", rows)
        assert own_rows(con, "logged", {"variant", "fallback"}).treated == 0
    assert is_own(rows).tolist() == [True, False, True]
