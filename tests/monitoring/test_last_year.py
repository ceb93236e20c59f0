"""Levels that move with the season are held to what the history before the reference tells of them."""

import json
import math
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy import stats

from mlprod_tasks import declaration as ml
from mlprod_tasks import steps
from mlprod_tasks.models.reference_profile import ReferenceHistory, ReferenceProfile
from mlprod_tasks.monitoring import last_year
from mlprod_tasks.monitoring.bounds import Bound, Bounds
from mlprod_tasks.monitoring.last_year import Ahead, course_of, expected, past_ticks
from mlprod_tasks.monitoring.measurement import Reading, judged
from mlprod_tasks.promotion.register import PROFILE
from mlprod_tasks.training.workspace import TrainingFolder
from tests.support import monitored_shop as monitored
from tests.support import trained_shop

DAY = timedelta(days=1)
LAST = date(2024, 2, 20)  # of the reference
LENGTH = 28
WATCH = ml.Watch("volume", learned=ml.Learned(by_weekday=True))
PIPELINE = replace(
    monitored.pipeline, watches=(WATCH,), rules=(), schedule=replace(monitored.pipeline.schedule, starts=date(2019, 1, 1))
)
YEARS = 4


def log_rows(season: float, seed: int = 0, years: float = YEARS) -> pd.Series:
    """The logarithm of the rows of each day up to LAST: weekdays, a slow drift, and a season of that strength."""
    random, days = np.random.default_rng(seed), pd.date_range(end=LAST, periods=int(years * 365))
    week = np.array([0.0, 0.1, 0.05, 0.0, 0.2, -0.3, -0.5])[days.day_of_week]
    year = season * np.sin(2 * np.pi * days.day_of_year / 365.25)
    drift = np.cumsum(random.normal(0, 0.002, len(days)))
    return pd.Series(7 + week + year + drift + random.normal(0, 0.02, len(days)), days)


def profile_of_rows(logs: pd.Series) -> ReferenceProfile:
    rows = np.exp(logs)
    reference = rows.iloc[-LENGTH:]
    mean = reference.mean()

    def kept(values: pd.Series) -> ReferenceHistory:
        return ReferenceHistory(tuple(str(day.date()) for day in values.index), {"volume": tuple(map(float, values))})

    return replace(
        monitored.reference(),
        first=str(reference.index[0].date()),
        last=str(LAST),
        history=kept(reference / mean),
        years=kept(rows / mean),
    )


def brute_force(logs: pd.Series, ahead: int) -> Ahead | None:
    """The same by plain loops over days, as the module describes it."""

    values, weekday, every = logs.to_numpy(), np.asarray(logs.index.day_of_week), len(logs)

    def of_weekdays(first: int, until: int) -> np.ndarray:
        return np.array([values[first:until][weekday[first:until] == day].mean() for day in range(7)])

    def change(last: int, far: int) -> float:
        then = last - 364
        return float((of_weekdays(then + far - 7, then + far + 8) - of_weekdays(then - LENGTH + 1, then + 1)).mean())

    week = 7 * math.ceil(ahead / 7)
    errors: dict[int, list[tuple[float, float]]] = {}
    for at in range(364 + LENGTH - 1, every - week):
        without = values[at + week] - of_weekdays(at - LENGTH + 1, at + 1)[weekday[at + week]]
        errors.setdefault((at + week) // LENGTH, []).append((without, without - change(at, week)))
    blocks = [np.array(block) for block in errors.values()]
    n = np.array([len(block) for block in blocks])
    gained = np.array([np.mean(block[:, 0] ** 2 - block[:, 1] ** 2) for block in blocks])
    mean = float(np.average(gained, weights=n))
    squares = float(np.sum((n * (gained - mean)) ** 2)) * len(n) / (len(n) - 1)
    if mean - stats.t.ppf(0.95, len(n) - 1) * math.sqrt(squares) / n.sum() <= 0:
        return None
    wrong = np.concatenate([block[:, 1] for block in blocks])
    return Ahead(change(every - 1, ahead), usual_sd(wrong), len(blocks) - 1)


def usual_sd(wrong: np.ndarray) -> float:
    return float(np.quantile(np.abs(wrong), 0.8) / stats.norm.ppf(0.9))


def seen(logs: pd.Series, ahead: int) -> Ahead | None:
    profile = profile_of_rows(logs)
    assert profile.years is not None
    course, _ = course_of(PIPELINE, profile.years, "volume")
    return expected(course, range(len(logs) - LENGTH, len(logs)), ahead, by_season=True)


@pytest.mark.parametrize("ahead", [10, 28])
def test_it_is_what_plain_loops_over_days_find(ahead: int) -> None:
    logs = log_rows(0.2, years=2.5)
    found, by_hand = seen(logs, ahead), brute_force(logs, ahead)
    assert found is not None
    assert by_hand is not None
    assert found.change == pytest.approx(by_hand.change)
    assert found.error == pytest.approx(by_hand.error)
    assert found.degrees == by_hand.degrees


def by_last_year(season: float, ahead: int, seed: int = 0, years: float = YEARS) -> bool:
    found = seen(log_rows(season, seed, years), ahead)
    return found is not None and found.by_last_year


def test_without_a_season_last_year_is_not_used() -> None:
    assert not any(by_last_year(0.0, 28, seed) for seed in range(5))
    assert all(by_last_year(0.2, 28, seed) for seed in range(5))


def test_a_tick_of_the_next_year_or_of_a_short_history_is_judged_by_the_reference_alone() -> None:
    assert by_last_year(0.2, 200)
    assert not by_last_year(0.2, 358)  # the weeks around it a year before are not over when the reference ends
    assert not by_last_year(0.2, 28, years=1.4)  # too few parts to compare predictions by
    assert seen(log_rows(0.2), 0) is None


@pytest.mark.parametrize(("ahead", "near"), [(10, 14), (28, 28), (90, 30)])
def test_a_history_of_some_months_tells_how_wrong_the_reference_alone_is(ahead: int, near: int) -> None:
    logs = log_rows(0.2, years=226.5 / 365)
    found, values, weekday = seen(logs, ahead), logs.to_numpy(), np.asarray(logs.index.day_of_week)
    wrong = []
    for end in range(LENGTH, len(logs) - near + 1):
        at = end + near - 1
        before = [values[day] for day in range(end - LENGTH, end) if weekday[day] == weekday[at]]
        wrong.append(values[at] - np.mean(before))
    assert found is not None
    assert (found.change, found.by_last_year) == (0.0, False)
    assert found.error == pytest.approx(usual_sd(np.array(wrong)))
    assert seen(log_rows(0.2, years=190 / 365), ahead) is None


def test_bounds_are_as_wide_as_the_reference_alone_was_wrong_and_keep_their_place() -> None:
    logs = log_rows(0.3, years=0.9)
    profile = profile_of_rows(logs)
    with_it, alone = bound(profile, 28), bound(replace(profile, years=None), 28)
    assert not with_it.last_year
    assert _middle(with_it) == pytest.approx(_middle(alone))
    assert _low(with_it) < 0.9 * _low(alone)
    steady = profile_of_rows(log_rows(0.0, years=0.9))
    known, unknown = bound(steady, 1), bound(replace(steady, years=None), 1)
    assert _low(known) == pytest.approx(_low(unknown), rel=0.05)


def test_an_undeclared_holiday_in_the_reference_widens_no_bound_that_follows_last_year() -> None:
    logs = log_rows(0.2)
    feast = logs.copy()
    feast.iloc[-10] -= 0.7
    with_it, without = bound(profile_of_rows(feast), 28), bound(profile_of_rows(logs), 28)
    assert with_it.last_year
    assert without.last_year
    assert _low(with_it) > 0.9 * _low(without)
    alone = bound(replace(profile_of_rows(feast), years=None), 28)
    assert _low(alone) < 0.6 * _low(with_it)


def _low(one: Bound) -> float:
    assert one.low is not None
    return one.low


def _middle(one: Bound) -> float:
    assert one.high is not None
    return math.log(_low(one) * one.high) / 2


def bound(profile: ReferenceProfile, ahead: int, pipeline: ml.Pipeline = PIPELINE) -> Bound:
    return Bounds(pipeline, LAST + ahead * DAY, profile).of("volume")


def test_rows_that_move_with_the_season_are_no_alarm_and_rows_that_are_missing_are_one() -> None:
    logs = log_rows(0.3)
    known, later = logs.iloc[:-49], logs.iloc[-49:]
    known.index += 49 * DAY  # so that the reference ends at LAST, and what came then is ahead
    profile, usual = profile_of_rows(known), np.exp(known.iloc[-LENGTH:]).mean()
    alarms = {"with": 0, "alone": 0, "missing": 0}
    for ahead in range(29, 50):
        rows = float(np.exp(later.iloc[ahead - 1]) / usual)
        alarms["with"] += bound(profile, ahead).broken_by(rows)
        alarms["alone"] += bound(replace(profile, years=None), ahead).broken_by(rows)
        alarms["missing"] += bound(profile, ahead).broken_by(0.6 * rows)
    assert alarms["with"] == 0
    assert alarms["alone"] > 10
    assert alarms["missing"] > 15


def test_the_sentence_says_where_the_bound_comes_from() -> None:
    profile = profile_of_rows(log_rows(0.2))
    day = LAST + 28 * DAY
    given = Reading("volume", 9.0, 400), PIPELINE, PIPELINE.schedule.tick(day), 1, monitored.NOW
    assert "own ticks and the change in the same weeks of last year" in judged(*given, Bounds(PIPELINE, day, profile)).sentence
    alone = replace(profile, years=None)
    assert "last year" not in judged(*given, Bounds(PIPELINE, day, alone)).sentence


def test_a_holiday_is_compared_with_holidays_of_the_years_before() -> None:
    logs = log_rows(0.2)
    feasts = [day for day in logs.index if (day.month, day.day) in ((1, 1), (5, 1), (8, 1), (12, 25))]
    logs[feasts] -= 0.6
    coming = LAST + 30 * DAY
    dates = (*(day.date() for day in feasts), coming)
    pipeline = replace(PIPELINE, monitoring=ml.Monitoring(holidays=ml.Holidays(dates)))
    profile = profile_of_rows(logs)
    on_it, ordinary = bound(profile, 30, pipeline), bound(profile, 31, pipeline)
    assert on_it.holidays == len(feasts)
    assert not on_it.unjudged
    # 45 % fewer rows, and a Thursday's and a Friday's are 20 % apart
    assert _middle(on_it) == pytest.approx(_middle(ordinary) - 0.6 - 0.2, abs=0.12)
    assert not bound(replace(profile, years=None), 30, pipeline).holidays


def written(folder: Path, days: int) -> tuple[Path, pd.DataFrame]:
    """A training set of the shop: ten rows a day, more as time goes by."""
    random = np.random.default_rng(3)
    moments = pd.date_range(end=monitored.REFERENCE[-1], periods=days)
    tick = np.repeat(moments, 10 + np.arange(days) // 50)
    rows = pd.DataFrame({"tick": tick.date, "price": random.lognormal(3, 1, len(tick)), "place": "north", "items": 1})
    rows["label"] = pd.array(random.random(len(tick)) < 0.3, "boolean")
    rows.loc[rows.index % 7 == 0, "label"] = pd.NA
    file = folder / "training_set.parquet"
    pq.write_table(pa.Table.from_pandas(rows, preserve_index=False), file)
    return file, rows


def test_levels_of_a_training_set_are_those_of_its_rows(tmp_path: Path) -> None:
    file, rows = written(tmp_path, 500)
    profile = monitored.reference()
    with duckdb.connect() as con:
        years = past_ticks(con, monitored.pipeline, profile, file)
    assert years is not None
    by_tick = rows.groupby("tick")
    assert years.days == tuple(by_tick.groups)
    assert years.values["volume"] == pytest.approx(list(by_tick.size() / profile.rows_per_tick))
    rate = by_tick["label"].mean().astype(float) / float(profile.label_rate or 0)
    assert years.values["label_rate"] == pytest.approx(list(rate))
    again = ReferenceProfile.from_json(replace(profile, years=years).as_json())
    assert again.years == years


def test_a_training_set_that_is_hardly_longer_than_its_test_window_leaves_the_profile_as_it_was(tmp_path: Path) -> None:
    profile = monitored.reference()
    file, _ = written(tmp_path, 6 * len(profile.rows_by_tick))
    with duckdb.connect() as con:
        assert past_ticks(con, monitored.pipeline, profile, file) is None
    assert "years" not in monitored.reference().as_json()


def test_a_registered_models_profile_has_the_ticks_of_its_whole_training_set(
    promoted_shop: trained_shop.Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop, folder = promoted_shop, TrainingFolder(promoted_shop.platform, "one")
    monkeypatch.setattr(last_year, "FEWEST_BLOCKS", 1)
    steps.register(shop.pipeline, "one", shop.platform)  # again: it makes no second version
    years = ReferenceProfile.from_json(json.loads((folder.path / PROFILE).read_text())).years
    assert years is not None
    assert list(years.days) == sorted(set(pq.read_table(folder.training_set)["tick"].to_pylist()))
