"""When an experiment is looked at, and that its verdict depends on the data alone: not on who reads it, when, and how often."""

from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from mlprod_tasks import declaration as ml
from mlprod_tasks.experiments import run as experiments
from mlprod_tasks.experiments.follow import follow
from mlprod_tasks.experiments.looks import bound, complete_ticks, planned_looks
from mlprod_tasks.experiments.plan import Plan, Wanted
from mlprod_tasks.experiments.read_out import Reading, read_out
from mlprod_tasks.experiments.run import plan_for, start, stop
from mlprod_tasks.platform.experiment_entries import ExperimentReading, ExperimentRun
from mlprod_tasks.platform.ledger import Publication, Scoring
from mlprod_tasks.statistics.sequential import bounds
from tests.experiments.conftest import ready
from tests.support.trained_shop import Shop

NEVER = "champion@1.0"
WANTED = Wanted("saved", difference=0.85)
FIRST, LAST, END = date(2024, 1, 25), date(2024, 2, 7), "2024-02-09"


@pytest.fixture(scope="module")
def twin_home(scored_home: Path, tmp_path_factory: pytest.TempPathFactory, scored: Callable[[Shop, date, date], None]) -> Path:
    """A home with a scored experiment of two weeks, looked at after each, whose variants are alike."""
    shop = ready(scored_home, tmp_path_factory.mktemp("twin"))
    planned = plan_for(shop.pipeline, replace(WANTED, design="pocock"), [NEVER], shop.platform)
    same = replace(planned, variants=(planned.control, replace(planned.treated[0], threshold=None, name="same")))
    run = start(shop.pipeline, "twin", same, "Ann", "", shop.platform)
    assert run.ends == LAST
    scored(shop, FIRST, LAST)
    shop.platform.ledger.engine.dispose()
    return shop.platform.settings.home


@pytest.fixture
def twin(twin_home: Path, tmp_path: Path) -> tuple[Shop, ExperimentRun]:
    """A shop of the test's own with that experiment."""
    shop = ready(twin_home, tmp_path)
    return shop, experiments.get(shop.pipeline, "twin", shop.platform)


def read(shop: Shop, run: ExperimentRun, day: str) -> Reading:
    return read_out(shop.pipeline, experiments.get(shop.pipeline, run.name, shop.platform), shop.tick(day), shop.platform)


def looked(shop: Shop) -> dict[str, Reading]:
    """The readings of looks, by tick."""
    kept = shop.platform.ledger.all(ExperimentReading, pipeline=shop.pipeline.name)
    return {str(one.tick): Reading.from_json(one.reading) for one in kept if one.look is not None}


def forget(shop: Shop) -> None:
    """Remove all readings."""
    shop.platform.ledger.put_instead(ExperimentReading, [], pipeline=shop.pipeline.name)


def unpublish(shop: Shop, day: date) -> None:
    gone = {"pipeline": shop.pipeline.name, "table_name": "returns", "tick": day}
    shop.platform.ledger.put_instead(Publication, [], **gone)


def test_a_sequential_design_looks_once_a_week_and_shows_no_verdict_between(twin):
    shop, run = twin
    first = read(shop, run, "2024-02-02")
    assert (first.look, first.verdict, first.final) == (0.5, "running", False)
    between = read(shop, run, "2024-02-03")
    assert (between.look, between.compared[0].p) == (None, None)
    last = read(shop, run, END)
    assert (last.look, last.verdict, last.final) == (1.0, "no difference", True), last.sentence


@pytest.mark.parametrize(
    "days", [[END], ["2024-02-08", END], ["2024-02-02", "2024-02-03", "2024-02-05", END]], ids=("once", "late", "often")
)
def test_looks_are_the_same_however_often_and_whenever_somebody_reads(twin, days):
    shop, run = twin
    for day in range(1, 10):
        read(shop, run, f"2024-02-{day:02}")
    each_day = looked(shop)
    assert sorted(each_day) == ["2024-02-02", END]
    forget(shop)
    for day in days:
        read(shop, run, day)
    assert looked(shop) == each_day


def test_a_verdict_stays_whatever_comes_later(never):
    run = experiments.get(never.pipeline, "never", never.platform)
    verdict = read(never, run, "2024-02-02")
    assert (verdict.verdict, verdict.final) == ("worse", True)
    assert read(never, run, "2024-02-05") == read(never, run, "2024-01-28") == verdict
    assert follow(never.pipeline, never.tick("2024-02-05"), never.platform) == []
    ended = stop(never.pipeline, "never", "Bob", "", never.platform)
    assert read(never, ended, "2024-02-06") == verdict


def test_a_verdict_waits_for_outcomes_that_are_not_published_and_is_the_same_then(never):
    run = experiments.get(never.pipeline, "never", never.platform)
    on_time = read(never, run, "2024-02-02")
    forget(never)
    unpublish(never, date(2024, 2, 1))
    (late,) = follow(never.pipeline, never.tick("2024-02-02"), never.platform)
    assert (late.verdict, late.last) == ("running", "2024-01-29")
    (later,) = follow(never.pipeline, never.tick("2024-02-06"), never.platform)
    assert later.verdict == "running"
    row = Publication(
        pipeline="returns", table_name="returns", tick=date(2024, 2, 1), rows=1, delta_version=0, at=never.platform.clock.now()
    )
    never.platform.ledger.put(row)
    (after,) = follow(never.pipeline, never.tick("2024-02-07"), never.platform)
    assert after == on_time


def test_a_verdict_waits_for_a_tick_that_is_not_scored(never):
    run = experiments.get(never.pipeline, "never", never.platform)
    never.platform.ledger.put_instead(Scoring, [], pipeline=never.pipeline.name, tick=date(2024, 1, 28))
    ticks = complete_ticks(never.pipeline, run, never.tick("2024-02-02"), never.platform)
    assert (str(ticks.first), str(ticks.last)) == ("2024-01-25", "2024-01-27")
    assert read(never, run, "2024-02-02").verdict == "running"


def test_a_person_who_ends_it_gets_no_verdict_but_what_was_seen(twin):
    shop, run = twin
    shop.platform.clock.at = shop.tick("2024-01-29").start
    ended = stop(shop.pipeline, run.name, "Bob", "not needed", shop.platform)
    assert ended.ended == date(2024, 1, 30)
    assert planned_looks(shop.pipeline, ended) == ()
    early = read(shop, run, "2024-01-30")
    assert (early.verdict, early.final) == ("running", False)
    reading = read(shop, run, "2024-02-05")
    assert (reading.verdict, reading.last, reading.final) == ("ended", "2024-01-29", True)
    assert reading.sentence == "Bob ended it before there was a verdict: not needed"
    assert reading.compared


def test_an_experiment_that_is_ended_before_its_first_tick_has_ended(shop):
    run = start(shop.pipeline, "none", plan_for(shop.pipeline, WANTED, [NEVER], shop.platform), "Ann", "", shop.platform)
    stop(shop.pipeline, "none", "Bob", "", shop.platform)
    reading = read(shop, run, "2024-01-25")
    assert (reading.verdict, reading.last, reading.final) == ("ended", None, True)


def test_a_guardrail_ends_it_whoever_reads_it(never):
    strict = replace(never.pipeline.experiments, guardrails=(ml.Guardrail("saved", loss=0.01),))
    shop = never.declared(experiments=strict)
    run = experiments.get(shop.pipeline, "never", shop.platform)
    reading = read(shop, run, "2024-02-02")
    assert (reading.verdict, reading.final) == ("harmful", True)
    assert experiments.get(shop.pipeline, "never", shop.platform).ended_by == "guardrail"


def test_a_metric_that_cannot_be_computed_voids_it_without_showing_values(never):
    metrics = (*never.pipeline.experiments.metrics, ml.UnitMetric("wrong", "CAST(channel AS DOUBLE)", "no number"))
    shop = never.declared(experiments=replace(never.pipeline.experiments, metrics=metrics))
    run = experiments.get(shop.pipeline, "never", shop.platform)
    early = read(shop, run, "2024-02-01")
    assert (early.verdict, early.final) == ("void", False)
    assert early.sentence == ("returns: metric 'wrong' of experiments cannot be computed for all rows (ConversionException)")
    assert read(shop, run, "2024-02-02").final


@pytest.mark.parametrize(
    "left", [None, ml.Experiments((ml.UnitMetric("other", "value", "another one"),))], ids=("none", "others")
)
def test_an_experiment_whose_metric_is_not_declared_any_more_says_so_and_goes_on_when_it_is(never, left):
    run = experiments.get(never.pipeline, "never", never.platform)
    early = read_out(never.declared(experiments=left).pipeline, run, never.tick("2024-02-01"), never.platform)
    assert (early.verdict, early.final) == ("void", False)
    assert "does not declare metric 'saved' any more" in early.sentence
    assert read(never, run, "2024-02-02").verdict == "worse"


def planned(design: str, periods: int = 4) -> Plan:
    """A plan of 1,000 units a variant."""
    from mlprod_tasks.experiments.assignment import Variant
    from mlprod_tasks.experiments.plan import Usual

    usual = Usual(FIRST, LAST, 2000, 1.0, 1.0)
    wanted = replace(WANTED, design=design)
    return Plan(wanted, (Variant("control", 1, 0.5), Variant("new", 2, 0.5)), periods, 1000, 1000, 0.1, usual)


def test_bounds_spend_by_time_and_hang_together_by_units():
    quarter = ((0.25, 0.25), (0.5, 0.5), (0.75, 0.75), (1.0, 1.0))
    assert bound(planned("pocock"), quarter) == bounds((0.25, 0.5, 0.75, 1.0), 0.05, "pocock")[-1]
    busy = ((0.25, 0.5), (0.5, 1.1), (0.75, 1.7), (1.0, 2.4))
    assert bound(planned("pocock"), busy) == bounds((0.5, 1.1, 1.7, 2.4), 0.05, "pocock", (0.25, 0.5, 0.75, 1.0))[-1]


@pytest.mark.parametrize(
    "seen",
    [((0.25, 0.0),), ((0.25, 0.3), (0.5, 0.3)), ((0.25, 0.3), (0.5, 0.302))],
    ids=("nothing", "nothing more", "hardly anything"),
)
def test_a_look_at_which_nothing_came_decides_nothing(seen):
    assert bound(planned("obrien_fleming"), seen) is None


def test_what_a_look_without_units_did_not_spend_is_spent_at_the_next():
    at_second = bound(planned("pocock"), ((0.25, 0.0), (0.5, 0.4)))
    assert at_second == bounds((0.4,), 0.05, "pocock", (0.5,))[-1]
