"""Days on which nothing happened raise no alarm, and what did happen does: real flights."""

from dataclasses import replace
from datetime import date, timedelta

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from demo.business_database import business_tables
from mlprod_tasks.declaration import AtLeast, Learned, Pipeline, Watch
from mlprod_tasks.models.reference_profile import ReferenceProfile
from mlprod_tasks.monitoring.bounds import Bounds
from mlprod_tasks.monitoring.count import count
from mlprod_tasks.monitoring.inputs import inputs
from mlprod_tasks.monitoring.observe import Observed
from mlprod_tasks.monitoring.profile import make_profile
from mlprod_tasks.platform.engine import engine

REFERENCE = (date(2013, 4, 8), date(2013, 5, 5))
QUIET = [date(2013, 5, 6) + timedelta(days=n) for n in range(14)]
# What is known of a flight from the schedule alone. One day is one weekday, so no day looks like a week.
OWN = ("carrier", "origin", "dest", "distance", "dep_hour", "dep_minute", "weekday", "block_minutes")


@pytest.fixture(scope="module")
def schedule() -> pd.DataFrame:
    flights = business_tables()["flights"].to_pandas()
    local = flights["sched_dep_at"].dt.tz_convert("America/New_York")
    block = (flights["sched_arr_at"] - flights["sched_dep_at"]).dt.total_seconds() / 60
    flights = flights[["carrier", "origin", "dest", "distance"]].assign(
        tick=(local.dt.tz_localize(None) - pd.Timedelta(hours=4)).dt.date,
        dep_hour=local.dt.hour,
        dep_minute=60 * local.dt.hour + local.dt.minute,
        weekday=local.dt.dayofweek + 1,
        block_minutes=block,
    )
    return flights[flights["tick"].between(REFERENCE[0], QUIET[-1])].reset_index(drop=True)


@pytest.fixture(scope="module")
def pipeline(flights_pipeline: Pipeline) -> Pipeline:
    gates = (AtLeast("roc_auc", 0.5),)  # the others rest on features that are left out
    # No model is behind this profile, so that no feature is important to it: all are held to the bounds.
    watches = tuple(replace(watch, only_important=False) for watch in flights_pipeline.watches)
    rules = tuple(replace(rule, only_important=False) for rule in flights_pipeline.rules)
    own = flights_pipeline.features[: len(OWN)]
    return replace(flights_pipeline, features=own, gates=gates, slices=(), watches=watches, rules=rules)


@pytest.fixture(scope="module")
def profile(schedule: pd.DataFrame, pipeline: Pipeline) -> ReferenceProfile:
    assert pipeline.feature_names == OWN
    rows = schedule[schedule["tick"] <= REFERENCE[1]]
    scores = np.random.default_rng(0).random(len(rows))
    table = pa.Table.from_pandas(rows, preserve_index=False)
    return make_profile(pipeline, table, scores=scores, decisions=scores > 0.5, labels=scores > 0.8, importance={})


def breached(rows: pd.DataFrame, pipeline: Pipeline, profile: ReferenceProfile) -> set[str]:
    """The features whose PSI at this tick is above the declared bound and above the one learned from the reference's ticks."""
    bounds = Bounds(pipeline, rows["tick"].iloc[0], profile)
    with engine(threads=1) as con:
        con.register("tick", pa.Table.from_pandas(rows, preserve_index=False))
        counts = count(con, "tick", [column.bins for column in profile.features]).columns
    observed = Observed(len(rows), 0, 0, counts, types={})
    readings = [one for one in inputs(profile, observed, together=False) if one.what == "feature_psi"]
    assert {one.slice for one in readings} == set(OWN) - {"weekday"}  # a day has one value of it: it is watched as a series
    return {one.slice for one in readings if bounds.of(one.what, one.slice).broken_by(one.value)}


def test_two_quiet_weeks_of_flights_raise_no_alarm(
    schedule: pd.DataFrame, pipeline: Pipeline, profile: ReferenceProfile
) -> None:
    moved = {day: breached(schedule[schedule["tick"] == day], pipeline, profile) for day in QUIET}
    assert {day: names for day, names in moved.items() if names} == {}


def test_a_feature_with_one_value_a_day_is_a_series_whose_bounds_know_the_weekday(
    schedule: pd.DataFrame, pipeline: Pipeline, profile: ReferenceProfile
) -> None:
    assert profile.history is not None
    assert "feature_psi/weekday" not in profile.history.values
    weekday = next(column for column in profile.features if column.name == "weekday")
    watched = replace(pipeline, watches=(Watch("feature_level", low=-0.1, high=0.1, learned=Learned()),), rules=())
    for day in QUIET:
        mean = schedule.loc[schedule["tick"] == day, "weekday"].mean()
        level = (mean - np.mean(weekday.levels)) / weekday.bins.sd
        bound = Bounds(watched, day, profile).of("feature_level", "weekday")
        assert not bound.broken_by(level)
        assert bound.broken_by(level + 1) or bound.broken_by(level - 1)


@pytest.mark.parametrize(
    ("name", "move"),
    [
        ("carrier", lambda column: column.replace({"UA": "ZZ", "DL": "ZZ"})),
        ("distance", lambda column: (column * 1.609).round().astype("int64")),
        ("dep_minute", lambda column: (column + 240) % 1440),
        ("block_minutes", lambda column: column * 60),
    ],
    ids=["carriers are renamed", "miles become kilometres", "UTC instead of local time", "seconds instead of minutes"],
)
def test_what_goes_wrong_in_a_source_is_seen_on_its_first_day(
    schedule: pd.DataFrame, pipeline: Pipeline, profile: ReferenceProfile, name: str, move: object
) -> None:
    rows = schedule[schedule["tick"] == QUIET[3]]
    assert breached(rows.assign(**{name: move(rows[name])}), pipeline, profile) == {name}
