"""Experiments over requests: the service gives each the variant of its unit, and the log is read like rows of a batch."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from mlprod_tasks import declaration as ml
from mlprod_tasks import features
from mlprod_tasks.evaluation.gate import gate
from mlprod_tasks.experiments.assignment import Variant, assign, units_of
from mlprod_tasks.experiments.plan import CannotPlan, Wanted
from mlprod_tasks.experiments.read_out import Reading, read_out
from mlprod_tasks.experiments.run import CannotStart, get, plan_for, start, stop
from mlprod_tasks.online.fields import RequestFields
from mlprod_tasks.platform import names
from mlprod_tasks.platform.experiment_entries import ExperimentReading, ExperimentRun
from mlprod_tasks.platform.ledger import Promotion, PromotionKind
from mlprod_tasks.rollout.routing import CannotRollOut, roll_out
from mlprod_tasks.scoring.log_row import KINDS
from mlprod_tasks.scoring.score import score
from mlprod_tasks.serving.app import Service
from mlprod_tasks.serving.experiments import split_of, unit_reader
from mlprod_tasks.serving.run import build_service
from mlprod_tasks.steps import register
from tests.experiments.conftest import NOON, ready
from tests.support.service import ORDER, ask_orders, post
from tests.support.shop import SHOP, with_columns
from tests.support.trained_shop import Shop

NEVER = "champion@1.0"
WANTED = Wanted("saved", difference=1.3, rows="requests")
FIRST, LAST, END = date(2024, 1, 25), date(2024, 1, 31), "2024-02-02"


def serving(shop: Shop) -> Service:
    return build_service(shop.platform, {shop.pipeline.name: shop.pipeline}, keys_needed=False)


def log(shop: Shop, first: date = FIRST, last: date = LAST) -> pd.DataFrame:
    ticks = [tick.name for tick in shop.pipeline.schedule.range(first, last)]
    return shop.platform.lake.rows(names.requests(shop.pipeline), ticks).to_pandas()


def read(shop: Shop, name: str = "asked", day: str = END) -> Reading:
    return read_out(shop.pipeline, get(shop.pipeline, name, shop.platform), shop.tick(day), shop.platform)


@pytest.fixture(scope="session")
def asked_home(scored_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home of a shop whose orders of two weeks were asked for, one by one, before any experiment."""
    folder = tmp_path_factory.mktemp("asked")
    shop = ready(scored_home, folder)
    ask_orders(shop, serving(shop), shop.pipeline.schedule.names(date(2024, 1, 8), date(2024, 1, 21)))
    shop.platform.ledger.engine.dispose()
    return folder / "var"


@pytest.fixture
def asked(asked_home: Path, tmp_path: Path) -> Shop:
    """A shop of the test's own with those requests; it is noon of 2024-01-24."""
    return ready(asked_home, tmp_path)


@pytest.fixture(scope="session")
def held_out_home(asked_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with experiment 'asked' over requests: the champion against never acting and its fallback, a week long."""
    folder = tmp_path_factory.mktemp("held")
    shop = ready(asked_home, folder)
    wanted = replace(WANTED, difference=3.0)
    planned = plan_for(shop.pipeline, wanted, [NEVER, "fallback=20%"], shop.platform)
    start(shop.pipeline, "asked", planned, "Ann", "a test", shop.platform)
    ask_orders(shop, serving(shop), shop.pipeline.schedule.names(FIRST, LAST + timedelta(days=1)))
    shop.platform.ledger.engine.dispose()
    return folder / "var"


@pytest.fixture
def held_out(held_out_home: Path, tmp_path: Path) -> Shop:
    return ready(held_out_home, tmp_path)


def test_a_plan_over_requests_counts_the_units_that_were_asked_for(asked):
    over_requests, over_batch = (
        plan_for(asked.pipeline, replace(WANTED, rows=rows), [NEVER], asked.platform) for rows in ("requests", "batch")
    )
    assert over_requests.usual == over_batch.usual  # every order was asked for once, with the same features


def test_a_request_gets_the_variant_that_batch_gives_its_unit_and_the_log_says_so(held_out):
    rows = log(held_out)
    assert set(rows["experiment"]) == {"asked"}
    shares = rows.groupby("variant")["propensity"].agg(["min", "max", "size"])
    assert shares["min"].to_dict() == pytest.approx({"control": 0.4, NEVER: 0.4, "fallback": 0.2})
    assert (shares["min"] == shares["max"]).all()
    for day in held_out.pipeline.schedule.range(FIRST, LAST):
        score(held_out.pipeline, day, held_out.platform)
    ticks = [tick.name for tick in held_out.pipeline.schedule.range(FIRST, LAST)]
    batch = held_out.platform.lake.rows(names.predictions(held_out.pipeline), ticks).to_pandas()
    both = rows.merge(batch, left_on="key_order_id", right_on="order_id", suffixes=("", "_batch"))
    assert len(both) == len(rows) == len(batch)
    for name in ("variant", "propensity", "score", "decision", "fallback", "model_version"):
        assert (both[name] == both[f"{name}_batch"]).all(), name
    assert set(rows.loc[rows["variant"] == "fallback", "route"]) == {"fallback"}
    assert not rows.loc[rows["variant"] == NEVER, "decision"].any()


def test_after_its_last_tick_requests_are_the_champions(held_out):
    rows = log(held_out, LAST + timedelta(days=1), LAST + timedelta(days=1))
    assert rows["variant"].isna().all()
    assert rows["experiment"].isna().all()
    assert set(rows["route"]) == {"champion"}


def test_what_is_read_of_requests_is_what_pandas_finds(held_out):
    reading = read(held_out)
    ticks = held_out.pipeline.schedule.range(FIRST, LAST)
    labels = features.labels(held_out.pipeline, ticks, held_out.tick(END), held_out.platform).to_pandas()
    rows = log(held_out).merge(labels[["order_id", "label"]].dropna(), left_on="key_order_id", right_on="order_id")
    rows["saved"] = rows["decision"].astype(bool) * (rows["label"].astype(bool) * 14 - 4)
    means = rows.groupby("variant")["saved"].mean()
    found = {one.variant: one for one in reading.compared if one.metric == "saved"}
    assert {name: one.treated for name, one in found.items()} == pytest.approx(means.drop("control").to_dict())
    assert found[NEVER].control == pytest.approx(means["control"])
    assert reading.units == rows.groupby("variant").size().to_dict()
    assert (reading.verdict, reading.problems) == ("worse", ()), reading.sentence
    ratio = rows.assign(items=rows["feature_items"].fillna(1)).groupby("variant")[["saved", "items"]].sum()
    per_item = next(one for one in reading.compared if one.metric == "per_item")
    assert per_item.control == pytest.approx(ratio.loc["control", "saved"] / ratio.loc["control", "items"])


def test_a_row_that_is_asked_for_again_counts_once(held_out):
    before = read(held_out)
    held_out.platform.clock.at = NOON
    ask_orders(held_out, serving(held_out), [FIRST, FIRST + timedelta(days=1)])
    held_out.platform.clock.at = NOON + timedelta(days=20)
    # The verdict stays: the same rows are read anew under another name of the reading.
    assert len(log(held_out)) > sum(rows for rows, _ in before.rows.values())
    held_out.platform.ledger.put_instead(ExperimentReading, [], pipeline="returns", name="asked")
    again = read(held_out)
    assert (again.rows, again.units, again.compared) == (before.rows, before.units, before.compared)


def test_a_failing_version_gives_its_requests_to_the_champion_and_voids_the_verdict(asked):
    asked.trained("two", "2024-02-11")
    gate(asked.pipeline, "two", asked.platform)
    assert register(asked.pipeline, "two", asked.platform).version == 2
    start(asked.pipeline, "asked", plan_for(asked.pipeline, WANTED, ["2"], asked.platform), "Ann", "", asked.platform)
    service = serving(asked)
    assert set(service.loader.loaded["returns"].variants) == {1, 2}
    ask_orders(asked, service, [FIRST])
    rows = log(asked, FIRST, FIRST)
    assert set(zip(rows["variant"], rows["model_version"], rows["route"], strict=True)) == {
        ("control", 1, "champion"), ("version 2", 2, "challenger"),
    }  # fmt: skip
    two = service.loader.loaded["returns"].variants[2]
    while not two.breaker.open:
        two.breaker.failed()
    ask_orders(asked, service, asked.pipeline.schedule.names(FIRST + timedelta(days=1), LAST))
    rows = log(asked, LAST, LAST)
    assert set(zip(rows["variant"], rows["model_version"], rows["assigned"], strict=True)) == {
        ("control", 1, "champion"), ("version 2", 1, "challenger"),
    }  # fmt: skip
    reading = read(asked)
    assert reading.verdict == "void"
    assert "requests of version 2 were answered by another version than 2" in reading.sentence


def test_a_promotion_in_between_ends_the_assignment_and_voids_the_verdict(asked):
    started(asked)
    service = serving(asked)
    ask_orders(asked, service, asked.pipeline.schedule.names(FIRST, date(2024, 1, 28)))
    asked.promoted("two", "2024-02-12")
    asked.platform.ledger.put(
        Promotion(
            pipeline=asked.pipeline.name, model_version=2, effective=date(2024, 1, 29), training_id="two",
            reason="a test", at=asked.platform.clock.now(), kind=PromotionKind.BETTER,
        )
    )  # fmt: skip
    service.loader.refresh()
    ask_orders(asked, service, asked.pipeline.schedule.names(date(2024, 1, 29), LAST))
    rows = log(asked, date(2024, 1, 29), LAST)
    assert rows["experiment"].isna().all()
    assert set(rows["model_version"]) == {2}
    reading = read(asked)
    assert reading.verdict == "void"
    assert "requests were not assigned: the champion was not the control any more" in reading.sentence


def started(shop: Shop, **changes: Any) -> None:
    planned = plan_for(shop.pipeline, replace(WANTED, **changes), [NEVER], shop.platform)
    start(shop.pipeline, "asked", planned, "Ann", "a test", shop.platform)


def variants_of(service: Service, n: int = 40) -> set[str | None]:
    """The variants of some orders, as they would be logged."""
    rows = [ORDER | {"order_id": f"o-{i}", "placed_at": "2024-01-25T09:30:00Z"} for i in range(n)]
    assert post(service, {"rows": rows}).status_code == 200
    waiting = service.scorers["returns"].log._waiting
    found = {row.variant for row in list(waiting)[-n:]}
    return found


def test_replicas_follow_a_start_and_a_stop_with_the_next_look_at_the_ledger(asked):
    service, other = serving(asked), serving(asked)
    started(asked)
    asked.platform.clock.at = asked.tick("2024-01-25").start + timedelta(seconds=1)
    assert variants_of(service) == {None}
    service.loader.read_ledger()
    assert variants_of(service) == {"control", NEVER}
    assert variants_of(other) == {None}  # it has not looked yet: its rows are in no variant
    stop(asked.pipeline, "asked", "Bob", "enough", asked.platform)
    assert variants_of(service) == {"control", NEVER}
    service.loader.read_ledger()
    assert variants_of(service) == {None}


def test_an_experiment_does_not_begin_before_every_replica_can_know_of_it(asked):
    planned = plan_for(asked.pipeline, WANTED, [NEVER], asked.platform)
    tick = asked.tick("2024-01-25")
    asked.platform.clock.at = tick.start - timedelta(seconds=5)
    with pytest.raises(CannotStart, match="begins in seconds"):
        start(asked.pipeline, "asked", planned, "Ann", "", asked.platform, starts=tick.name)
    assert start(asked.pipeline, "asked", planned, "Ann", "", asked.platform).starts == date(2024, 1, 26)


def test_rollouts_and_experiments_keep_out_of_each_others_way(asked):
    asked.promoted("two", "2024-02-12")
    pipeline, platform = asked.pipeline, asked.platform
    planned = plan_for(pipeline, WANTED, [NEVER], platform)
    roll_out(pipeline, platform, mode="canary", by="ada", reason="", challenger=1, share=0.1)
    with pytest.raises(CannotStart, match="rollout 'canary' lets version 1 answer requests"):
        start(pipeline, "asked", planned, "Ann", "", platform)
    roll_out(pipeline, platform, mode="champion", by="ada", reason="", automation="assist")
    with pytest.raises(CannotStart, match="people decide on requests"):
        start(pipeline, "asked", planned, "Ann", "", platform)
    roll_out(pipeline, platform, mode="champion", by="ada", reason="")
    start(pipeline, "asked", planned, "Ann", "", platform)
    for mode, share in (("canary", 0.1), ("blue-green", 0.0)):
        with pytest.raises(CannotRollOut, match="experiment 'asked' assigns units until 2024-01-31"):
            roll_out(pipeline, platform, mode=mode, by="ada", reason="", challenger=1, share=share)
    roll_out(pipeline, platform, mode="shadow", by="ada", reason="", challenger=1)
    stop(pipeline, "asked", "Ann", "", platform)
    roll_out(pipeline, platform, mode="canary", by="ada", reason="", challenger=1, share=0.1)


def test_a_canarys_requests_are_logged_with_their_propensity(asked):
    asked.promoted("two", "2024-02-12")
    roll_out(asked.pipeline, asked.platform, mode="canary", by="ada", reason="", challenger=1, share=0.25)
    asked.platform.clock.at = asked.tick("2024-01-25").start
    service = serving(asked)
    variants_of(service)
    logged = {(row.assigned, row.experiment, row.propensity) for row in service.scorers["returns"].log._waiting}
    assert logged == {("challenger", None, 0.25), ("champion", None, 0.75)}


@pytest.mark.parametrize(
    ("kind", "sent", "stored"),
    [
        ("text", "Zoë \x1f", "Zoë \x1f"),
        ("int", 33, 33),
        ("int", 33.0, 33),
        ("date", "2024-05-01", date(2024, 5, 1)),
        ("timestamp", "2024-05-01T12:30:00+02:00", datetime(2024, 5, 1, 10, 30, tzinfo=UTC)),
        ("timestamp", "2024-05-01T10:30:00.250Z", datetime(2024, 5, 1, 10, 30, 0, 250_000, tzinfo=UTC)),
    ],
)
def test_a_requests_unit_is_the_text_that_the_lakes_unit_is(kind, sent, stored):
    tables = tuple(with_columns(table, ml.Column("order_id", kind, "the order")) for table in SHOP.tables)
    pipeline = replace(SHOP, tables=tables, experiments=ml.Experiments((ml.UnitMetric("saved", "value", "saved"),)))
    row, problems = RequestFields(pipeline).read(ORDER | {"order_id": sent})
    assert not problems
    reader = unit_reader(pipeline)
    assert reader is not None
    assert [reader(row)] == units_of(pa.table({"order_id": pa.array([stored], KINDS[kind])}), ("order_id",))


def test_a_unit_that_is_looked_up_or_computed_is_refused_for_requests_and_one_that_is_a_column_is_not(asked):
    def of_unit(*unit: str) -> ml.Pipeline:
        return asked.declared(experiments=replace(asked.pipeline.experiments, unit=unit)).pipeline

    assert unit_reader(of_unit("channel", "items")) is not None
    assert unit_reader(of_unit("weekday")) is None
    with pytest.raises(CannotPlan, match="unit 'weekday' is looked up or computed"):
        plan_for(of_unit("weekday"), WANTED, [NEVER], asked.platform)
    both = unit_reader(of_unit("channel", "items"))
    table = pa.table({"channel": ["web", None], "items": pa.array([3, 2], pa.int64())})
    assert [both(row) for row in table.to_pylist()] == units_of(table, ("channel", "items"))


def test_a_row_without_a_unit_is_in_the_experiment_and_in_no_variant(asked):
    shop = asked.declared(experiments=replace(asked.pipeline.experiments, unit=("items",)))
    start(
        shop.pipeline,
        "asked",
        plan_for(shop.pipeline, replace(WANTED, difference=900), [NEVER], shop.platform),
        "Ann",
        "",
        shop.platform,
    )
    shop.platform.clock.at = shop.tick("2024-01-25").start + timedelta(seconds=1)
    service = serving(shop)
    assert post(service, {"rows": [ORDER | {"items": None}]}).json()["rows"][0]["route"] == "champion"
    (row,) = service.scorers["returns"].log._waiting
    assert (row.experiment, row.variant, row.propensity) == ("asked", None, None)


def test_shares_of_requests_are_the_planned_ones():
    run = ExperimentRun(
        pipeline="p", name="x", at=NOON, by="Ann", reason="", plan={}, salt="1f2e3d4c5b6a7988", starts=FIRST, ends=LAST
    )
    variants = [Variant("control", 1, 0.1), Variant("b", 2, 0.2), Variant("c", 3, 0.7)]
    split = split_of(run, variants)
    units = [f"u{i}" for i in range(20_000)]
    found = [split.of(unit, ()).name for unit in units]
    assert found == [variants[i].name for i in assign(units, run.salt, variants)]
    counts = np.array([found.count(one.name) for one in variants])
    assert counts / len(units) == pytest.approx([0.1, 0.2, 0.7], abs=0.012)
