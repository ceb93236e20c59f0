"""Ticks on declared holidays are compared with each other, or not judged; ordinary ones with ordinary ones."""

from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pandas.tseries.holiday import USFederalHolidayCalendar

from mlprod_tasks import declaration as ml
from mlprod_tasks.declaration.recorded import read, text_of
from mlprod_tasks.models.reference_profile import ReferenceHistory, ReferenceProfile
from mlprod_tasks.monitoring.bounds import Bound, Bounds
from mlprod_tasks.monitoring.decide import decide
from mlprod_tasks.monitoring.holidays import BY_CALENDAR, is_holiday
from mlprod_tasks.monitoring.kinds import KINDS
from mlprod_tasks.monitoring.measure import measure
from mlprod_tasks.monitoring.measurement import Reading, judged
from mlprod_tasks.monitoring.why import why
from mlprod_tasks.platform import Platform
from tests.support import hourly_shop
from tests.support import monitored_shop as monitored
from tests.support.clock import SetClock
from tests.support.weekly_shop import REGULARS

DAY = timedelta(days=1)
FEAST = date(2024, 3, 5)  # of the story: prices have doubled since this tick
LEARNED = ml.Learned()
DAYS = tuple(date(2024, 1, 1) + n * DAY for n in range(56))
FEASTS = DAYS[3::8]  # seven of them


def with_holidays(pipeline: ml.Pipeline, *dates: date, **around: int) -> ml.Pipeline:
    return replace(pipeline, monitoring=replace(pipeline.monitoring, holidays=ml.Holidays(dates, **around)))


def watching(*watches: ml.Watch, holidays: tuple[date, ...] = FEASTS) -> ml.Pipeline:
    return with_holidays(replace(monitored.pipeline, watches=watches, rules=()), *holidays)


def profile_with(days: tuple[date, ...] = DAYS, **values: Any) -> ReferenceProfile:
    kept = {key.replace("__", "/"): tuple(map(float, of)) for key, of in values.items()}
    return replace(monitored.reference(), history=ReferenceHistory(tuple(map(str, days)), kept))


def few_on_holidays() -> np.ndarray:
    values = np.random.default_rng(0).normal(1.0, 0.05, len(DAYS))
    return np.where(np.isin(DAYS, FEASTS), values * 0.3, values)


@pytest.fixture
def story(make_shop: Callable[..., Platform]) -> Platform:
    """The ticks around one with few rows and dear ones, and with nulls."""
    shop = make_shop()
    for day in (FEAST - DAY, FEAST):
        monitored.score_tick(shop, monitored.scored(day))
    dear = monitored.story()[FEAST].slice(0, 90)
    price = [None if n % 3 == 0 else value for n, value in enumerate(dear["price"].to_pylist())]
    monitored.score_tick(shop, dear.set_column(dear.column_names.index("price"), "price", pa.array(price, pa.float64())))
    return shop


def test_what_is_not_judged_on_a_holiday_is_said_and_faults_are_alarms_all_the_same(story: Platform) -> None:
    pipeline = with_holidays(monitored.pipeline, FEAST)
    pipeline = replace(pipeline, rules=(*pipeline.rules, ml.Rule("nulls", "null_share", "alert")))
    tick = pipeline.schedule.tick(FEAST)
    measured = measure(pipeline, tick, story)
    decided = decide(pipeline, tick, story)
    assert decided.rules == ("nulls",)
    assert decided.reason.endswith(" Not judged, on a holiday: feature_psi, volume.")
    assert not [one for one in measured.breaches if "PSI" in one or "rows" in one]
    told = why(pipeline, tick, story).text()
    assert "not judged: it is a holiday, and the bound is one of ordinary days" in told
    assert "number of rows relative to the reference's mean per tick is 0.225, not judged" in told
    # The same tick of a use case that declares no holidays.
    measure(monitored.pipeline, tick, story)
    assert set(decide(monitored.pipeline, tick, story).rules) == {"inputs moved", "volume"}
    assert "holiday" not in why(monitored.pipeline, tick, story).text()


def test_a_holiday_counts_neither_for_nor_against_an_alarm_about_several_ticks(make_shop: Callable[..., Platform]) -> None:
    days = [FEAST + n * DAY for n in range(-2, 2)]
    rules = (ml.Rule("few rows", "volume", "alert", breaches=2, of=3),)

    def fired(*holidays: date, values: tuple[float, ...]) -> bool:
        shop = make_shop("-".join(map(str, (*holidays, *values))), SetClock(monitored.NOW))
        pipeline = replace(monitored.pipeline, rules=rules)
        pipeline = with_holidays(pipeline, *holidays) if holidays else pipeline
        for day, value in zip(days, values, strict=True):
            tick, bounds = pipeline.schedule.tick(day), Bounds(pipeline, day, monitored.reference())
            shop.ledger.put(judged(Reading("volume", value, 400), pipeline, tick, monitored.VERSION, monitored.NOW, bounds))
        return bool(decide(pipeline, pipeline.schedule.tick(days[-1]), shop).rules)

    assert fired(values=(1.0, 1.0, 0.1, 0.1))
    assert not fired(FEAST, values=(1.0, 1.0, 0.1, 0.1))
    assert fired(FEAST, values=(1.0, 0.1, 0.1, 0.1))
    assert fired(FEAST, values=(0.1, 0.1, 1.0, 0.1))  # the three last ticks that were judged


def test_enough_holidays_of_the_reference_are_what_a_holiday_is_compared_with() -> None:
    watch, values = ml.Watch("volume", low=0.5, high=1.5, learned=LEARNED), few_on_holidays()
    pipeline, profile = watching(watch, holidays=(*FEASTS, FEAST)), profile_with(volume=values)
    of_feasts = values[np.isin(DAYS, FEASTS)]
    alone = profile_with(FEASTS, volume=of_feasts)
    bound = Bounds(pipeline, FEAST, profile).of("volume")
    as_ordinary = Bounds(replace(pipeline, monitoring=ml.Monitoring()), FEAST, alone).of("volume")
    assert (bound.low, bound.holidays) == (pytest.approx(as_ordinary.low), 7)
    assert bound.low < of_feasts.min()
    tick, reading = pipeline.schedule.tick(FEAST), Reading("volume", 0.01, 4)
    said = judged(reading, pipeline, tick, 1, monitored.NOW, Bounds(pipeline, FEAST, profile))
    assert said.breached
    assert "learned from 7 other holidays" in said.sentence


def test_ordinary_ticks_are_held_to_what_ordinary_ticks_of_the_reference_are_by_weekday_too() -> None:
    values = few_on_holidays()
    ordinary = tuple(day for day in DAYS if day not in FEASTS)
    for learned in (LEARNED, ml.Learned(by_weekday=True), ml.Learned(k=3)):
        watch = ml.Watch("volume", learned=learned)
        held = Bounds(watching(watch), FEAST, profile_with(volume=values)).of("volume")
        alone = profile_with(ordinary, volume=values[~np.isin(DAYS, FEASTS)])
        expected = Bounds(replace(monitored.pipeline, watches=(watch,), rules=()), FEAST, alone).of("volume")
        # The bound is one of 56 ticks, of which 49 are ordinary: only how often it may be left differs.
        assert held.low == pytest.approx(expected.low, rel=0.02)
        unaware = Bounds(watching(watch, holidays=(FEAST + 99 * DAY,)), FEAST, profile_with(volume=values)).of("volume")
        assert unaware.low < 0.5 * held.low


def test_quality_and_faults_are_held_to_the_same_bounds_on_a_holiday() -> None:
    watches = (ml.Watch("roc_auc", learned=LEARNED), ml.Watch("null_share", high=0.1, learned=LEARNED))
    random = np.random.default_rng(1)
    profile = profile_with(roc_auc=random.normal(0.7, 0.02, 56), null_share__price=random.normal(0.0, 0.01, 56))
    for what, name in (("roc_auc", ""), ("null_share", "price")):
        on_a_feast = Bounds(watching(*watches, holidays=(*FEASTS, FEAST)), FEAST, profile).of(what, name)
        assert on_a_feast == Bounds(replace(watching(*watches), monitoring=ml.Monitoring()), FEAST, profile).of(what, name)
    assert set(KINDS) >= BY_CALENDAR


def test_a_bound_that_a_person_sets_holds_on_a_holiday_too() -> None:
    mine = Bound("volume", "", 0.2, None, "set by ada")
    pipeline = watching(ml.Watch("volume", low=0.5), holidays=(FEAST,))
    assert Bounds(pipeline, FEAST, monitored.reference(), {"volume": mine}).of("volume") == mine


def test_days_around_a_holiday_are_like_it_as_declared_across_years() -> None:
    pipeline = with_holidays(monitored.pipeline, date(2024, 12, 31), before=1, after=2)
    near = [date(2024, 12, 28) + n * DAY for n in range(8)]
    assert [day.day for day in near if is_holiday(pipeline, day)] == [30, 31, 1, 2]


def test_a_tick_of_a_week_is_on_all_of_its_days_and_one_of_an_hour_on_its_local_day() -> None:
    weekly, hourly = REGULARS, hourly_shop.pipeline(date(2024, 3, 31))
    of_weeks = with_holidays(weekly, date(2024, 3, 29))
    names = weekly.schedule.names(
        weekly.schedule.at_or_before(date(2024, 3, 20)), weekly.schedule.at_or_before(date(2024, 4, 5))
    )
    assert [is_holiday(of_weeks, name) for name in names] == [False, True, False]
    of_hours, zone = with_holidays(hourly, date(2024, 3, 29)), hourly.schedule.zone
    hours = hourly.schedule.names("2024-03-28T1215Z", "2024-03-30T1215Z")
    of_the_day = [name for name in hours if hourly.schedule.moment(name).astimezone(zone).date() == date(2024, 3, 29)]
    assert [name for name in hours if is_holiday(of_hours, name)] == of_the_day
    assert len(of_the_day) == 24


def test_dates_of_a_library_are_declared_and_recorded() -> None:
    days = tuple(day.date() for day in USFederalHolidayCalendar().holidays("2024-01-01", "2024-12-31"))
    pipeline = with_holidays(monitored.pipeline, *days)
    assert is_holiday(pipeline, date(2024, 7, 4))
    assert not is_holiday(pipeline, date(2024, 7, 5))
    assert read(text_of(pipeline)) == pipeline


@pytest.mark.parametrize(
    ("declared", "told"),
    [
        (ml.Holidays(()), "monitoring.holidays names no day"),
        (ml.Holidays((FEAST, FEAST)), "dates.*2024-03-05"),
        (ml.Holidays((FEAST,), before=-1), "before=-1 must lie between 0 and 14 days"),
        (ml.Holidays((FEAST,), after=15), "after=15 must lie between 0 and 14 days"),
    ],
)
def test_holidays_that_cannot_be_are_refused(declared: ml.Holidays, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        replace(monitored.pipeline, monitoring=ml.Monitoring(holidays=declared))
