"""Faults of a source are named as what they are: real flights, faults put into one day."""

from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from demo.business_database import business_tables
from mlprod_tasks import declaration as ml
from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.declaration.aggregate import Aggregate
from mlprod_tasks.declaration.feature import names_of
from mlprod_tasks.models.reference_profile import ReferenceProfile
from mlprod_tasks.monitoring.bounds import Bounds
from mlprod_tasks.monitoring.diagnosis import DATA_FAULT, causes
from mlprod_tasks.monitoring.inputs import inputs
from mlprod_tasks.monitoring.known_faults import KNOWN_FAULT, with_known_faults
from mlprod_tasks.monitoring.measurement import judged
from mlprod_tasks.monitoring.observe import observe
from mlprod_tasks.monitoring.profile import make_profile
from mlprod_tasks.monitoring.tick_rows import TickRows
from mlprod_tasks.platform.engine import engine
from mlprod_tasks.platform.ledger import Measurement

FIRST, DAY = date(2013, 4, 22), timedelta(days=1)
QUIET = [FIRST + n * DAY for n in range(14, 21)]
FEATURES = ("carrier", "origin", "dest", "distance", "dep_hour", "block_minutes")
Change = Callable[[pd.DataFrame], pd.DataFrame]


@pytest.fixture(scope="module")
def flights() -> pd.DataFrame:
    table = business_tables()["flights"].to_pandas()
    local = table["sched_dep_at"].dt.tz_convert("America/New_York")
    rows = table[["carrier", "origin", "dest", "distance"]].assign(
        tick=local.dt.date,
        dep_hour=local.dt.hour,
        block_minutes=(table["sched_arr_at"] - table["sched_dep_at"]).dt.total_seconds() / 60,
        score=0.2,
        fallback=False,
        decision=False,
    )
    return rows[rows["tick"].between(FIRST, QUIET[-1])].reset_index(drop=True)


@pytest.fixture(scope="module")
def pipeline(flights_pipeline: Pipeline) -> Pipeline:
    own = tuple(one for one in flights_pipeline.features if isinstance(one, ml.Expression) and one.name in FEATURES)
    declared = replace(flights_pipeline, features=own, gates=(ml.AtLeast("roc_auc", 0.5),), slices=())
    return replace(declared, watches=ml.WATCHES, rules=ml.RULES)


@pytest.fixture(scope="module")
def profile(flights: pd.DataFrame, pipeline: Pipeline) -> ReferenceProfile:
    assert pipeline.feature_names == FEATURES
    return profile_before(flights, pipeline)


def profile_before(flights: pd.DataFrame, pipeline: Pipeline) -> ReferenceProfile:
    rows = flights[flights["tick"] < QUIET[0]].drop(columns=["score", "fallback", "decision"])
    scores = np.random.default_rng(0).random(len(rows))
    table = pa.Table.from_pandas(rows, preserve_index=False)
    return make_profile(pipeline, table, scores=scores, decisions=scores > 0.5, labels=scores > 0.8, importance={})


def measured(rows: pd.DataFrame, pipeline: Pipeline, profile: ReferenceProfile) -> list[Measurement]:
    """What the monitor writes of the inputs of one day, with causes."""
    day = rows["tick"].iloc[0]
    bounds, tick = Bounds(pipeline, day, profile), pipeline.schedule.tick(day)
    with engine(threads=1) as con:
        con.register("rows_of_day", pa.Table.from_pandas(rows, preserve_index=False))
        seen = observe(con, "rows_of_day", profile, sampled=False)
        compared = list(inputs(profile, seen, together=False))
        readings = with_known_faults(TickRows(con, "rows_of_day"), profile, seen, compared, pipeline.features)
    made = [judged(one, pipeline, tick, 1, tick.end, bounds) for one in readings]
    found = causes(pipeline, made)
    for one in made:
        one.cause = found.get((one.what, one.slice), "")
    return made


def flooded(column: str, value: object, share: float) -> Change:
    def change(rows: pd.DataFrame) -> pd.DataFrame:
        flags = np.random.default_rng(1).random(len(rows)) < share
        return rows.assign(**{column: rows[column].mask(flags, value)})

    return change


@pytest.mark.parametrize(
    ("change", "sentences"),
    [
        (
            lambda rows: rows.assign(distance=(rows["distance"] * 1.609344).round().astype("int64")),
            {"distance": "its values are 1.609 times what they were, as kilometres are of miles: has its unit changed?"},
        ),
        (
            lambda rows: rows.assign(block_minutes=rows["block_minutes"] / 60),
            {"block_minutes": "its values are 1/60 of what they were, as minutes are of seconds: has its unit changed?"},
        ),
        (
            lambda rows: rows.assign(dep_hour=(rows["dep_hour"] + 4) % 24),
            {"dep_hour": "its times of day are 4 hours later than they were: has its clock or time zone changed?"},
        ),
        (
            lambda rows: rows.assign(distance=rows["block_minutes"].astype("int64"), block_minutes=1.0 * rows["distance"]),
            {
                "distance": "its values are like those of block_minutes were, and those of block_minutes like its own: have",
                "block_minutes": "its values are like those of distance were, and those of distance like its own: have",
            },
        ),
        (
            lambda rows: rows.assign(origin=rows["dest"], dest=rows["origin"]),
            {
                "origin": "its values are like those of dest were, and those of dest like its own: have the two been swapped?",
                "dest": "its values are like those of origin were, and those of origin like its own: have the two been",
            },
        ),
        (
            flooded("distance", 0, 0.15),
            {"distance": "14% of its values are 0, and the others are as before: does a default value stand in for"},
        ),
        (flooded("carrier", "??", 0.3), {"carrier": "of its values are '??', and the others are as before: does a default"}),
    ],
    ids=["kilometres", "minutes", "clock", "swapped numbers", "swapped texts", "flood of a number", "flood of a text"],
)
def test_a_fault_that_was_put_in_is_named(
    flights: pd.DataFrame, pipeline: Pipeline, profile: ReferenceProfile, change: Change, sentences: dict[str, str]
) -> None:
    rows = flights[flights["tick"] == QUIET[2]]
    made = measured(change(rows), pipeline, profile)
    named = {one.slice: one for one in made if one.what == KNOWN_FAULT}
    assert set(named) == set(sentences)
    for feature, sentence in sentences.items():
        assert sentence in named[feature].sentence
        assert named[feature].breached
        assert named[feature].value > 0.75
        # Whatever else is breached by the same feature says so too, and nothing of it is taken for a change of the world.
        others = [one for one in made if one.slice == feature and one.breached]
        assert {one.cause for one in others} == {DATA_FAULT}
        assert all(sentence in one.sentence for one in others if one.what in ("feature_psi", "feature_wasserstein"))


@pytest.mark.parametrize("day", QUIET, ids=str)
def test_quiet_days_have_no_fault(flights: pd.DataFrame, pipeline: Pipeline, profile: ReferenceProfile, day: date) -> None:
    made = measured(flights[flights["tick"] == day], pipeline, profile)
    assert [one.sentence for one in made if one.what == KNOWN_FAULT] == []


@pytest.mark.parametrize(
    "change",
    [
        lambda rows: rows.assign(distance=(rows["distance"] * 1.3).round().astype("int64")),
        lambda rows: rows.assign(distance=rows["distance"] + 400),
        lambda rows: rows[rows["distance"] > 1000],
        lambda rows: rows[rows["dep_hour"] > 14],
        lambda rows: rows[rows["carrier"].isin(["UA", "DL"])],
    ],
    ids=["longer", "longer by as much", "only long ones", "only the evening", "two carriers"],
)
def test_a_shift_that_is_no_fault_is_not_called_one(
    flights: pd.DataFrame, pipeline: Pipeline, profile: ReferenceProfile, change: Change
) -> None:
    made = measured(change(flights[flights["tick"] == QUIET[2]]), pipeline, profile)
    assert [one.sentence for one in made if one.what == KNOWN_FAULT] == []
    assert any(one.breached for one in made)


def test_the_example_has_an_alarm_for_each_kind_of_fault_of_a_source(flights_pipeline: Pipeline) -> None:
    alarms = {rule.watch for rule in flights_pipeline.rules if rule.action == "alert"}
    assert alarms >= {"null_share", "volume", "type_changes", "new_categories", KNOWN_FAULT}


@pytest.mark.parametrize(
    ("aggregate", "of_a_unit"),
    [
        (ml.Mean("arr_delay"), True),
        (ml.Sum("arr_delay"), True),
        (ml.Last("arr_delay"), True),
        (ml.Std("arr_delay"), True),
        (ml.Quantile("arr_delay", 0.9), True),
        (ml.Rate("late_rate", "arr_delay > 15"), False),
        (ml.Count(), False),
        (ml.CountDistinct("arr_delay"), False),
        (ml.SinceLast(), False),
        (ml.MeanGap(), False),
    ],
    ids=lambda value: "" if isinstance(value, bool) else type(value).__name__,
)
def test_only_what_is_in_a_unit_of_its_source_can_be_in_another(
    flights: pd.DataFrame, pipeline: Pipeline, aggregate: Aggregate, of_a_unit: bool
) -> None:
    of_events = ml.Trailing("route", "arrivals", {"origin": "origin"}, (ml.days(7),), (aggregate,))
    (name,) = names_of(of_events)
    declared = replace(pipeline, features=(*pipeline.features[:-1], of_events))
    rows = flights.rename(columns={"block_minutes": name})
    fewer = rows[rows["tick"] == QUIET[2]].assign(**{name: lambda day: day[name] / 1.609344})
    made = measured(fewer, declared, profile_before(rows, declared))
    assert any(one.breached for one in made if one.what == "feature_psi" and one.slice == name)
    assert [one.slice for one in made if one.what == KNOWN_FAULT] == ([name] if of_a_unit else [])


def test_a_column_with_one_value_only_has_no_others_to_be_as_before(
    flights: pd.DataFrame, pipeline: Pipeline, profile: ReferenceProfile
) -> None:
    rows = flights[flights["tick"] == QUIET[2]].assign(distance=500, carrier="UA")
    assert [one.sentence for one in measured(rows, pipeline, profile) if one.what == KNOWN_FAULT] == []


# -- few rows: sixty customers, whose counts of four weeks change slowly


CUSTOMERS = 60


@pytest.fixture(scope="module")
def counted() -> pd.DataFrame:
    """Forty days of how often each customer bought in the last 28 days; nothing changes but by chance."""
    bought = np.random.default_rng(6).poisson(0.2, (CUSTOMERS, 68))
    window = np.lib.stride_tricks.sliding_window_view(bought, 28, axis=1).sum(axis=2)[:, :40]
    days = [FIRST + n * DAY for n in range(40)]
    return pd.DataFrame({"tick": np.repeat(days, CUSTOMERS), "bought": window.T.ravel().astype("int64")})


@pytest.fixture(scope="module")
def of_customers(pipeline: Pipeline) -> Pipeline:
    only = (ml.Expression("bought", "distance", "int", "in 28 days"),)
    return replace(pipeline, features=only, fallback=ml.RateTable(("bought",)), model=replace(pipeline.model, categorical=()))


@pytest.fixture(scope="module")
def few(counted: pd.DataFrame, of_customers: Pipeline) -> ReferenceProfile:
    rows = counted[counted["tick"] < FIRST + 10 * DAY]
    scores = np.random.default_rng(0).random(len(rows))
    table = pa.Table.from_pandas(rows, preserve_index=False)
    return make_profile(of_customers, table, scores=scores, decisions=scores > 0.5, labels=scores > 0.8, importance={})


def of_day(counted: pd.DataFrame, day: int, change: Change = lambda rows: rows) -> pd.DataFrame:
    rows = counted[counted["tick"] == FIRST + day * DAY]
    return change(rows).assign(score=0.2, fallback=False, decision=False)


def test_chance_among_few_rows_is_no_fault_and_no_unknown_value(
    counted: pd.DataFrame, of_customers: Pipeline, few: ReferenceProfile
) -> None:
    made = [one for day in range(10, 40) for one in measured(of_day(counted, day), of_customers, few)]
    shifts = [one.value for one in made if one.what == "feature_psi" and one.value is not None]
    assert max(shifts) > 0.2, "what is in four weeks changes slowly, so some day is far from ten earlier ones"
    assert [one.sentence for one in made if one.what == KNOWN_FAULT] == []
    assert [one.sentence for one in made if one.what == "new_categories" and one.breached] == []


def test_values_of_another_size_are_unknown_among_few_rows_too(
    counted: pd.DataFrame, of_customers: Pipeline, few: ReferenceProfile
) -> None:
    lifted = measured(of_day(counted, 11, lambda rows: rows.assign(bought=rows["bought"] + 90)), of_customers, few)
    assert [one.value for one in lifted if one.what == "new_categories" and one.breached] == [1.0]
