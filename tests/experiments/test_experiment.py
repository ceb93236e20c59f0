"""An experiment from its plan to its verdict, on a shop whose orders are scored by two thresholds."""

from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta

import pyarrow.compute as pc
import pytest
from scipy import stats

from mlprod_tasks import declaration as ml
from mlprod_tasks.experiments import run as experiments
from mlprod_tasks.experiments.follow import follow
from mlprod_tasks.experiments.plan import CannotPlan, Plan, Wanted
from mlprod_tasks.experiments.read_out import Reading, read_out
from mlprod_tasks.experiments.run import CannotStart, NoExperiment, plan_for, start, stop
from mlprod_tasks.platform import names
from mlprod_tasks.platform.experiment_entries import ExperimentRun
from mlprod_tasks.platform.ledger import Promotion, PromotionKind
from tests.support.trained_shop import Shop

NEVER = "champion@1.0"
PLANNED = Wanted("saved", difference=1.2)
FIRST, LAST = date(2024, 1, 25), date(2024, 1, 31)


def the_run(shop: Shop) -> ExperimentRun:
    return experiments.get(shop.pipeline, "never", shop.platform)


def started(shop: Shop, wanted: Wanted = PLANNED, treated: str = NEVER) -> ExperimentRun:
    return start(
        shop.pipeline, "never", plan_for(shop.pipeline, wanted, [treated], shop.platform), "Ann", "a test", shop.platform
    )


def read(shop: Shop, run: ExperimentRun, day: str) -> Reading:
    return read_out(shop.pipeline, run, shop.tick(day), shop.platform)


def test_a_plan_is_as_short_as_history_says(shop):
    planned = plan_for(shop.pipeline, PLANNED, [NEVER], shop.platform)
    assert (planned.periods, planned.usual.first, planned.usual.last) == (1, date(2024, 1, 15), date(2024, 1, 21))
    assert planned.units <= planned.expected == planned.usual.units // 2
    assert planned.seen <= PLANNED.difference
    assert Plan.from_json(planned.as_json()) == planned


def test_a_smaller_difference_needs_more_weeks_and_one_too_small_is_refused_with_what_can_be_seen(shop):
    longer = plan_for(shop.pipeline, replace(PLANNED, difference=0.85), [NEVER], shop.platform)
    assert longer.periods == 2
    with pytest.raises(CannotPlan, match=r"0.01 USD in saved needs [\d,]+ units.*2 weeks have \d+, which show a difference of"):
        plan_for(shop.pipeline, replace(PLANNED, difference=0.01), [NEVER], shop.platform)


@pytest.mark.parametrize("design", ["obrien_fleming", "pocock", "always_valid"])
def test_a_design_that_may_be_read_early_needs_more_units(shop, design):
    fixed = plan_for(shop.pipeline, PLANNED, [NEVER], shop.platform, periods=2)
    other = plan_for(shop.pipeline, replace(PLANNED, design=design), [NEVER], shop.platform, periods=2)
    assert fixed.units < other.units < 4 * fixed.units


@pytest.mark.parametrize(
    ("change", "treated", "why"),
    [
        ({"metric": "sold"}, NEVER, "metric 'sold' is not declared; metrics are saved, acted, per_item"),
        ({"difference": 0.0}, NEVER, "give a number above 0"),
        ({"design": "peek"}, NEVER, "there are fixed, obrien_fleming, pocock, always_valid"),
        ({"alpha": 1.0}, NEVER, "must lie between 0 and 1"),
        ({"power": 0.04}, NEVER, "power 0.04 must be above alpha 0.05"),
        ({"difference": float("inf")}, NEVER, "give a number above 0"),
        ({"difference": 1e-9}, NEVER, "metric 'saved': a difference of 1e-09 is too small beside a standard deviation of"),
        ({}, "1", "is the champion, which is the control"),
        ({}, "champion@2", "a threshold is a probability"),
        ({}, "9", "returns has no version 9"),
        ({}, "new", "give a version such as '3'"),
    ],
    ids=("metric", "difference", "design", "alpha", "power", "endless", "tiny", "champion", "threshold", "version", "word"),
)
def test_what_cannot_be_planned_is_refused_with_what_would_do(shop, change, treated, why):
    with pytest.raises(CannotPlan, match=why):
        plan_for(shop.pipeline, replace(PLANNED, **change), [treated], shop.platform)


def test_rows_are_assigned_the_same_however_often_they_are_scored(shop, scored):
    run = started(shop)
    assert (run.starts, run.ends) == (FIRST, LAST)
    scored(shop, FIRST, FIRST)
    rows = shop.platform.lake.rows(names.predictions(shop.pipeline), [FIRST])
    scored(shop, FIRST, FIRST)
    again = shop.platform.lake.rows(names.predictions(shop.pipeline), [FIRST])
    assert again.equals(rows)
    assert set(rows["variant"].to_pylist()) == {"control", NEVER}
    assert set(rows["propensity"].to_pylist()) == {0.5}
    never = rows.filter(pc.equal(rows["variant"], NEVER))
    assert not pc.any(never["decision"]).as_py()
    assert pc.any(rows["decision"]).as_py()


def test_ticks_outside_of_the_experiment_are_the_champions(shop, scored):
    run = started(shop)
    for day in (run.starts - timedelta(days=1), run.ends + timedelta(days=1)):
        scored(shop, day, day)
        rows = shop.platform.lake.rows(names.predictions(shop.pipeline), [day])
        assert "variant" not in rows.column_names or rows["variant"].null_count == rows.num_rows


def test_never_acting_is_found_to_be_worse_and_only_at_the_end(never):
    run = the_run(never)
    early = read(never, run, "2024-02-01")
    assert (early.verdict, early.look) == ("running", None)
    assert "no verdict yet" in early.sentence
    reading = read(never, run, "2024-02-02")
    assert (reading.verdict, reading.look) == ("worse", 1.0), reading.sentence
    saved = next(one for one in reading.compared if one.metric == "saved")
    assert saved.treated < saved.control
    assert saved.low < saved.difference < saved.high < 0
    assert set(reading.units) == {"control", NEVER}
    assert reading.problems == ()
    others = {one.metric: one for one in reading.compared if one.metric != "saved"}
    assert set(others) == {"acted", "per_item"}
    oracle = stats.false_discovery_control([one.p for one in others.values()])
    assert [one.adjusted_p for one in others.values()] == pytest.approx(list(oracle))
    assert saved.adjusted_p is None


def test_what_is_read_is_what_pandas_finds(never):
    run = the_run(never)
    reading = read(never, run, "2024-02-02")
    from mlprod_tasks import features

    ticks = never.pipeline.schedule.range(FIRST, LAST)
    labels = features.labels(never.pipeline, ticks, never.tick("2024-02-02"), never.platform)
    rows = never.platform.lake.rows(names.predictions(never.pipeline), [tick.name for tick in ticks])
    frame = rows.to_pandas().merge(labels.to_pandas()[["order_id", "label"]].dropna(), on="order_id")
    frame["saved"] = frame["decision"].astype(bool) * (frame["label"].astype(bool) * 14 - 4)
    means = frame.groupby("variant")["saved"].mean()
    saved = next(one for one in reading.compared if one.metric == "saved")
    assert (saved.control, saved.treated) == pytest.approx((means["control"], means[NEVER]))
    assert reading.units == frame.groupby("variant").size().to_dict()
    ratio = frame.assign(items=frame["items"].fillna(1)).groupby("variant")[["saved", "items"]].sum()
    per_item = next(one for one in reading.compared if one.metric == "per_item")
    assert per_item.control == pytest.approx(ratio.loc["control", "saved"] / ratio.loc["control", "items"])


def test_the_champion_against_itself_shows_no_difference(shop, scored):
    planned = plan_for(shop.pipeline, PLANNED, [NEVER], shop.platform)
    same = replace(planned, variants=(planned.control, replace(planned.treated[0], threshold=None, name="same")))
    run = start(shop.pipeline, "twin", same, "Ann", "", shop.platform)
    scored(shop, FIRST, LAST)
    reading = read(shop, run, "2024-02-02")
    assert reading.verdict == "no difference", reading.sentence
    assert "one of" in reading.sentence


def test_a_promotion_in_between_voids_the_experiment_and_the_champion_answers(shop, scored):
    run = started(shop)
    scored(shop, FIRST, date(2024, 1, 28))
    shop.promoted("two", "2024-02-12")
    champion = shop.platform.registry.champion(shop.pipeline)
    shop.platform.ledger.put(
        Promotion(
            pipeline=shop.pipeline.name, model_version=champion.version, effective=date(2024, 1, 29), training_id="two",
            reason="a test", at=shop.platform.clock.now(), kind=PromotionKind.BETTER,
        )
    )  # fmt: skip
    assert champion.version == 2
    scored(shop, date(2024, 1, 29), LAST)
    rows = shop.platform.lake.rows(names.predictions(shop.pipeline), [LAST])
    assert rows["variant"].null_count == rows.num_rows
    assert set(rows["model_version"].to_pylist()) == {2}
    reading = read(shop, run, "2024-02-02")
    assert reading.verdict == "void"
    assert "no row was assigned at 3 ticks, the first 2024-01-29" in reading.sentence


def lost(shop: Shop, keep: Callable[[str], bool]) -> None:
    """Rewrite the predictions of the experiment without some rows."""
    ticks = shop.pipeline.schedule.range(FIRST, LAST)
    rows = shop.platform.lake.rows(names.predictions(shop.pipeline), [tick.name for tick in ticks])
    kept = rows.filter(
        [
            variant == "control" or keep(key)
            for variant, key in zip(*(rows[c].to_pylist() for c in ("variant", "order_id")), strict=True)
        ]
    )
    shop.platform.lake.replace_ticks(names.predictions(shop.pipeline), ticks, kept)


def test_rows_that_one_variant_lost_void_the_verdict(never):
    run = the_run(never)
    lost(never, lambda key: int(key[-1]) < 5)
    reading = read(never, run, "2024-02-02")
    assert reading.verdict == "void", reading.units
    assert "do not give by chance" in reading.sentence


def test_a_guardrail_ends_the_experiment_before_its_end(shop, scored):
    declared = replace(shop.pipeline.experiments, guardrails=(ml.Guardrail("saved", loss=0.01),))
    shop = shop.declared(experiments=declared)
    run = started(shop, replace(PLANNED, design="always_valid"))
    scored(shop, FIRST, LAST)
    (reading,) = follow(shop.pipeline, shop.tick("2024-02-02"), shop.platform)
    assert reading.verdict == "harmful", reading.sentence
    assert "guardrail allows" in reading.sentence
    ended = experiments.get(shop.pipeline, run.name, shop.platform)
    assert ended.ended_by == "guardrail"
    assert ended.ended is not None
    assert experiments.in_force(shop.pipeline, shop.tick("2024-02-05"), shop.platform) == ()


@pytest.mark.parametrize("when", ["the same name", "at the same time", "too late", "a bad name"])
def test_an_experiment_that_cannot_start_changes_nothing(shop, when):
    started(shop)
    planned = plan_for(shop.pipeline, PLANNED, [NEVER], shop.platform)
    name = {"the same name": "never", "a bad name": "Never!"}.get(when, "other")
    first = FIRST - timedelta(days=3) if when == "too late" else None
    with pytest.raises(CannotStart):
        start(shop.pipeline, name, planned, "Bob", "", shop.platform, starts=first)
    assert [run.by for run in experiments.every(shop.pipeline, shop.platform)] == ["Ann"]


def test_a_clock_behind_what_is_scored_starts_nothing(shop, scored):
    """Rows of these ticks would look as if the champion had answered what was to be split."""
    scored(shop, FIRST, FIRST)
    with pytest.raises(CannotStart, match=r"tick 2024-01-25 is scored already, and here it is 2024-01-24 12:00 UTC: check"):
        started(shop)
    assert experiments.every(shop.pipeline, shop.platform) == []


def test_a_stopped_experiment_makes_room_for_the_next_and_is_stopped_once(shop):
    started(shop)
    stop(shop.pipeline, "never", "Bob", "not needed", shop.platform)
    again = stop(shop.pipeline, "never", "Cid", "again", shop.platform)
    assert again.ended_by == "Bob"
    planned = plan_for(shop.pipeline, PLANNED, [NEVER], shop.platform)
    start(shop.pipeline, "other", planned, "Ann", "", shop.platform)
    with pytest.raises(NoExperiment, match="has no experiment 'third'; there are: never, other"):
        experiments.get(shop.pipeline, "third", shop.platform)


def test_a_use_case_without_experiments_plans_none(promoted_shop):
    with pytest.raises(CannotPlan, match=r"declares no `experiments`"):
        plan_for(promoted_shop.pipeline, PLANNED, [NEVER], promoted_shop.platform)
