"""Units that come again: customers with several orders, and what they did before the experiment began."""

import json
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from mlprod_tasks import declaration as ml
from mlprod_tasks import features
from mlprod_tasks.experiments import run as experiments
from mlprod_tasks.experiments import units
from mlprod_tasks.experiments.novelty import Around
from mlprod_tasks.experiments.plan import CannotPlan, Wanted
from mlprod_tasks.experiments.read_out import Reading, read_out, told
from mlprod_tasks.experiments.run import plan_for, start
from mlprod_tasks.platform import names
from mlprod_tasks.platform.experiment_entries import ExperimentReading
from tests.experiments.conftest import ready
from tests.support.trained_shop import Shop

NEVER = "champion@1.0"
FIRST, LAST, END = "2024-01-25", "2024-01-31", "2024-02-02"


def of_customers(home: Path, folder: Path) -> Shop:
    """The shop on a copy of that home, with units of many orders: those of about the same amount; some have none."""
    shop = ready(home, folder)
    customer = ml.Expression("customer", "CAST(floor(amount / 2) AS BIGINT)", "int", "who orders")
    return shop.declared(
        features=(*shop.pipeline.features, customer),
        experiments=replace(shop.pipeline.experiments, unit=("customer",), guardrails=()),
    )


@pytest.fixture(scope="module")
def customers_home(scored_home: Path, tmp_path_factory: pytest.TempPathFactory, scored) -> Path:
    """A home whose champion scored orders of customers before the experiment."""
    shop = of_customers(scored_home, tmp_path_factory.mktemp("customers"))
    scored(shop, date(2024, 1, 8), date(2024, 1, 24))
    shop.platform.ledger.engine.dispose()
    return shop.platform.settings.home


@pytest.fixture
def customers(customers_home: Path, tmp_path: Path) -> Shop:
    return of_customers(customers_home, tmp_path)


def ended(home: Path, folder: Path, scored, end: str, periods: int | None) -> tuple[Path, Reading]:
    """A home with experiment 'again' of some weeks, all scored, and what is read at the end."""
    shop = of_customers(home, folder)
    planned = plan_for(shop.pipeline, Wanted("saved", 30.0), [NEVER], shop.platform, periods=periods)
    run = start(shop.pipeline, "again", planned, "Ann", "", shop.platform)
    assert str(run.starts) == FIRST
    scored(shop, run.starts, run.ends)
    reading = read_out(shop.pipeline, run, shop.tick(end), shop.platform)
    shop.platform.ledger.engine.dispose()
    return shop.platform.settings.home, reading


@pytest.fixture(scope="module")
def read_home(customers_home: Path, tmp_path_factory: pytest.TempPathFactory, scored) -> tuple[Path, Reading]:
    return ended(customers_home, tmp_path_factory.mktemp("read"), scored, END, None)


@pytest.fixture
def read(read_home: tuple[Path, Reading], tmp_path: Path) -> tuple[Shop, Reading]:
    """A week of customers that come again, read at the end."""
    home, reading = read_home
    return of_customers(home, tmp_path), reading


def rows(shop: Shop, first: str, last: str, as_of: str) -> pd.DataFrame:
    """Scored rows with a known outcome, and what acting saved."""
    ticks = shop.pipeline.schedule.range(first, last)
    labels = features.labels(shop.pipeline, ticks, shop.tick(as_of), shop.platform).to_pandas()
    found = shop.platform.lake.rows(names.predictions(shop.pipeline), [tick.name for tick in ticks]).to_pandas()
    found = found.merge(labels[["order_id", "label"]].dropna(), on="order_id")
    return found.assign(saved=found["decision"].astype(bool) * (found["label"].astype(bool) * 14 - 4))


def seen_before(shop: Shop, tick: date) -> set[float]:
    """The customers that were scored before a tick, whether or not an outcome is known."""
    found = shop.platform.lake.rows(names.predictions(shop.pipeline)).to_pandas()
    return set(found.loc[found["tick"].astype(str) < str(tick), "customer"].dropna())


@pytest.mark.parametrize("many", [False, True])
def test_only_units_first_seen_after_the_start_count_where_the_plan_says_so(customers, scored, many, monkeypatch):
    if many:
        monkeypatch.setattr(units, "ROWS_AT_ONCE", 100)  # a tick at a time
    wanted = Wanted("saved", 60.0, fresh=True)
    planned = plan_for(customers.pipeline, wanted, [NEVER], customers.platform, periods=1)
    everyone = plan_for(customers.pipeline, replace(wanted, fresh=False), [NEVER], customers.platform, periods=1)
    last = rows(customers, str(planned.usual.first), str(planned.usual.last), "2024-01-24")
    known = set(last["customer"].dropna())
    assert planned.usual.units == len(known - seen_before(customers, planned.usual.first)) < everyone.usual.units
    run = start(customers.pipeline, "again", planned, "Ann", "", customers.platform)
    scored(customers, run.starts, run.ends)
    reading = read_out(customers.pipeline, run, customers.tick(END), customers.platform)
    seen = seen_before(customers, run.starts)
    found = rows(customers, FIRST, LAST, END).dropna(subset="customer")
    new = found[~found["customer"].isin(seen)]
    assert reading.units == new.groupby("variant")["customer"].nunique().to_dict()
    assert all(one.better is None for one in reading.compared)


def test_rows_that_come_once_are_all_new_and_so_not_asked_for(shop):
    with pytest.raises(CannotPlan, match="a unit is a row, and each is new"):
        plan_for(shop.pipeline, Wanted("saved", 1.2, fresh=True), [NEVER], shop.platform)


def test_all_orders_of_a_customer_have_one_variant_and_none_without_one(read):
    found = rows(read[0], FIRST, LAST, END)
    assert (str(found["tick"].min()), str(found["tick"].max())) == (FIRST, LAST)
    assert found.groupby("customer")["variant"].nunique().eq(1).all()
    assert found["customer"].isna().any()
    assert found.loc[found["customer"].isna(), "variant"].isna().all()


def test_a_plan_counts_units_that_can_be_assigned(customers):
    planned = plan_for(customers.pipeline, Wanted("saved", 30.0), [NEVER], customers.platform)
    found = rows(customers, str(planned.usual.first), str(planned.usual.last), "2024-01-24")
    assert found["customer"].isna().any()
    units = found.dropna(subset="customer").groupby("customer")["saved"].sum()
    assert planned.usual.units == len(units)
    assert (planned.usual.mean, planned.usual.sd) == pytest.approx((units.mean(), units.std()))


def test_a_unit_is_the_sum_of_its_rows(read):
    customers, reading = read
    found = rows(customers, FIRST, LAST, END).dropna(subset="variant")
    units = found.groupby(["variant", "customer"])["saved"].sum()
    saved = next(one for one in reading.compared if one.metric == "saved")
    control, treated = units["control"], units[NEVER]
    assert reading.units == {"control": len(control), NEVER: len(treated)}
    assert (saved.control, saved.treated) == pytest.approx((control.mean(), treated.mean()))
    oracle = stats.ttest_ind(treated, control, equal_var=False)
    assert saved.p == pytest.approx(oracle.pvalue)
    assert (saved.low, saved.high) == pytest.approx(tuple(oracle.confidence_interval(0.95)))
    acted = next(one for one in reading.compared if one.metric == "acted")
    any_acted = found.groupby(["variant", "customer"])["decision"].any()
    assert acted.control == pytest.approx(any_acted["control"].mean())


def test_what_units_did_before_is_taken_out_as_pandas_does_it(read):
    customers, reading = read
    now = rows(customers, FIRST, LAST, END).dropna(subset="variant").groupby(["customer", "variant"])["saved"].sum()
    past = rows(customers, "2024-01-18", "2024-01-24", FIRST).groupby("customer")["saved"].sum()
    both = now.reset_index("variant").join(past.rename("before"), how="inner")
    groups = [both[both["variant"] == one] for one in ("control", NEVER)]
    weights = [len(one) - 1 for one in groups]
    slope = np.average([one["saved"].cov(one["before"]) for one in groups], weights=weights) / np.average(
        [one["before"].var() for one in groups], weights=weights
    )
    left = [one["saved"] - slope * (one["before"] - both["before"].mean()) for one in groups]
    saved = next(one for one in reading.compared if one.metric == "saved")
    assert saved.better == pytest.approx(left[1].mean() - left[0].mean())
    oracle = stats.ttest_ind(left[1], left[0], equal_var=False).confidence_interval(0.95)
    assert (saved.better_low, saved.better_high) == pytest.approx((oracle.low, oracle.high), rel=1e-6)
    assert 0 < saved.explained < 1


def test_ticks_that_are_read_apart_give_the_same_units(read, monkeypatch):
    customers, whole = read
    customers.platform.ledger.put_instead(ExperimentReading, [], pipeline=customers.pipeline.name)
    monkeypatch.setattr(units, "ROWS_AT_ONCE", 150)
    run = experiments.get(customers.pipeline, "again", customers.platform)
    apart = read_out(customers.pipeline, run, customers.tick(END), customers.platform)
    assert (apart.units, apart.rows, apart.verdict) == (whole.units, whole.rows, whole.verdict)
    for one, other in zip(apart.compared, whole.compared, strict=True):
        assert (one.difference, one.low, one.p) == pytest.approx((other.difference, other.low, other.p))


@pytest.fixture(scope="module")
def long_home(customers_home: Path, tmp_path_factory: pytest.TempPathFactory, scored) -> tuple[Path, Reading]:
    return ended(customers_home, tmp_path_factory.mktemp("long"), scored, "2024-02-09", 2)


@pytest.fixture
def long(long_home: tuple[Path, Reading], tmp_path: Path) -> tuple[Shop, Reading]:
    """Two weeks of customers that come again, read at the end."""
    home, reading = long_home
    return of_customers(home, tmp_path), reading


def aged(shop: Shop) -> pd.DataFrame:
    """What each customer saved at each tick, with the days since its first one."""
    found = rows(shop, FIRST, "2024-02-07", "2024-02-09").dropna(subset="variant")
    by_tick = found.groupby(["variant", "customer", "tick"], as_index=False)["saved"].sum()
    days = pd.to_datetime(by_tick["tick"])
    return by_tick.assign(age=(days - days.groupby(by_tick["customer"]).transform("min")).dt.days)


def test_how_the_difference_changes_with_exposure_is_what_pandas_finds(long):
    shop, reading = long
    (shown,) = reading.novelty
    by_tick = aged(shop)
    several = by_tick.groupby(["variant", "customer"]).filter(lambda one: one["age"].nunique() > 1)
    slopes = several.groupby(["variant", "customer"])[["age", "saved"]].apply(
        lambda one: np.polyfit(one["age"], one["saved"], 1)[0]
    )
    oracle = stats.ttest_ind(slopes[NEVER], slopes["control"], equal_var=False)
    assert shown.slope.value == pytest.approx(slopes[NEVER].mean() - slopes["control"].mean())
    assert shown.p == pytest.approx(oracle.pvalue)
    later = by_tick[by_tick["age"] >= 7].groupby(["variant", "customer"])["saved"].sum()
    assert shown.later.value == pytest.approx(later[NEVER].mean() - later["control"].mean())
    interval = stats.ttest_ind(later[NEVER], later["control"], equal_var=False).confidence_interval(0.95)
    assert (shown.later.low, shown.later.high) == pytest.approx((interval.low, interval.high))
    first = by_tick[by_tick["age"] == 0].groupby("variant")["saved"].mean()
    assert shown.by_age[0].value == pytest.approx(first[NEVER] - first["control"])
    assert Reading.from_json(json.loads(json.dumps(reading.as_json()))) == reading


def test_a_proportion_after_the_first_week_is_one_of_units(long):
    shop, _ = long
    run = experiments.get(shop.pipeline, "again", shop.platform)
    run.plan = {**run.plan, "wanted": {**run.plan["wanted"], "metric": "acted"}}
    shop.platform.ledger.put_instead(ExperimentReading, [], pipeline=shop.pipeline.name)
    (shown,) = read_out(shop.pipeline, run, shop.tick("2024-02-09"), shop.platform).novelty
    found = rows(shop, FIRST, "2024-02-07", "2024-02-09").dropna(subset="variant")
    days = pd.to_datetime(found["tick"])
    later = found[(days - days.groupby(found["customer"]).transform("min")).dt.days >= 7]
    acted = later.groupby(["variant", "customer"])["decision"].any().groupby("variant").mean()
    assert shown.later.value == pytest.approx(acted[NEVER] - acted["control"])


def test_an_effect_that_fades_is_said(long):
    shown = replace(long[1].novelty[0], slope=Around(-0.5, -0.7, -0.3), p=0.0001)
    assert shown.sentence == f"the difference of {NEVER} falls with the time since a unit's first row: it may not last"
    assert shown.sentence in told(
        experiments.get(long[0].pipeline, "again", long[0].platform), replace(long[1], novelty=(shown,))
    )
    assert replace(shown, p=0.2).sentence is None


def test_units_that_come_once_have_no_novelty(never):
    reading = read_out(
        never.pipeline, experiments.get(never.pipeline, "never", never.platform), never.tick(END), never.platform
    )
    assert reading.novelty == ()
