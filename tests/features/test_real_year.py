"""Against the raw files: every feature, row by row, written anew from what the declaration says in words."""

from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest

from mlprod_tasks import declaration as ml
from mlprod_tasks import features
from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.features import sql
from mlprod_tasks.platform import Platform

NEW_YORK = ZoneInfo("America/New_York")
# Both days of changed clocks (23 and 25 hours), the days beside them, the year's ends, and some between.
DAYS = (
    date(2013, 1, 2), date(2013, 1, 20), date(2013, 3, 9), date(2013, 3, 10), date(2013, 3, 11), date(2013, 6, 24),
    date(2013, 9, 5), date(2013, 11, 2), date(2013, 11, 3), date(2013, 11, 4), date(2013, 12, 30),
)  # fmt: skip


@dataclass
class Raw:
    """The package's files, times in UTC. What is not known of a flight is worked out as the sources would have it."""

    flights: pd.DataFrame
    landed: pd.DataFrame
    weather: pd.DataFrame
    planes: pd.DataFrame


@pytest.fixture(scope="module")
def raw(raw_folder: Path) -> Raw:
    f = pd.read_csv(raw_folder / "flights.csv.zip")
    f["leaves"] = pd.to_datetime(f.time_hour, utc=True) + pd.to_timedelta(f.minute, unit="m")
    airports = pd.read_csv(raw_folder / "airports.csv").set_index("faa").tzone.dropna().to_dict()
    day = pd.to_datetime(f[["year", "month", "day"]])
    clock = day + pd.to_timedelta(f.sched_arr_time // 100 * 60 + f.sched_arr_time % 100, unit="m")
    zones = f.dest.map(airports).fillna("America/Puerto_Rico")
    f["arrives"] = pd.Series(pd.NaT, f.index, dtype="datetime64[us, UTC]")
    for zone in zones.unique():
        of = zones == zone
        for days in (1, 0):  # the same day unless that would be before the departure
            there = (clock[of] + pd.Timedelta(days=days)).dt.tz_localize(
                zone, ambiguous=np.zeros(of.sum(), bool), nonexistent="shift_forward"
            )
            there = there.dt.tz_convert("UTC")
            f.loc[of, "arrives"] = there.where((there > f.leaves[of]) | (days == 1), f.arrives[of])
    f["landed"] = f.arrives + pd.to_timedelta(f.arr_delay, unit="m")
    f["flight_id"] = day.dt.strftime("%Y-%m-%d-") + f.carrier + "-" + f.flight.astype(str) + "-" + f.origin
    w = pd.read_csv(raw_folder / "weather.csv")
    w["known"] = pd.to_datetime(w.time_hour, utc=True) + pd.Timedelta(hours=1)
    return Raw(
        f.set_index("flight_id", drop=False).rename_axis(None),
        f[f.landed.notna()],
        w,
        pd.read_csv(raw_folder / "planes.csv").set_index("tailnum"),
    )


def expected(raw: Raw, flight_id: str, at: pd.Timestamp) -> dict[str, Any]:
    """The features of one flight as of `at`: filter the whole year, for each feature anew."""
    f = raw.flights.loc[flight_id]
    local = f.leaves.tz_convert(NEW_YORK)
    e: dict[str, Any] = {
        "carrier": f.carrier, "origin": f.origin, "dest": f.dest, "distance": f.distance, "dep_hour": local.hour,
        "dep_minute": local.hour * 60 + local.minute, "weekday": local.isoweekday(),
        "block_minutes": (f.arrives - f.leaves).total_seconds() / 60,
    }  # fmt: skip
    plane = raw.planes.loc[f.tailnum] if f.tailnum in raw.planes.index else None
    e["plane_built"] = None if plane is None or not plane.year > 0 else plane.year
    e["plane_seats"] = None if plane is None else plane.seats
    known = raw.weather[(raw.weather.origin == f.origin) & (raw.weather.known < at)]
    known = known[known.known >= at - timedelta(hours=6)].sort_values("known")
    for name in ("temp", "humid", "wind_speed", "precip", "pressure", "visib"):
        e[f"weather_{name}"] = None if known.empty else known.iloc[-1][name]
    groups = {"carrier": ["carrier"], "origin": ["origin"], "dest": ["dest"], "route": ["origin", "dest"], "plane": ["tailnum"]}
    for days in (7, 28):
        seen = raw.landed[(raw.landed.landed < at) & (raw.landed.landed >= at - timedelta(days=days))]
        for group, by in groups.items():
            same = seen
            for column in by:
                same = same[same[column] == f[column]]  # a missing tailnum equals nothing
            e[f"{group}_count_{days}d"] = len(same)
            e[f"{group}_mean_arr_delay_{days}d"] = same.arr_delay.mean()
            e[f"{group}_late_rate_{days}d"] = (same.arr_delay > 15).mean()
    return e


def differences(raw: Raw, table: pa.Table, names: tuple[str, ...]) -> list[str]:
    found = []
    for row in table.to_pylist():
        want = expected(raw, row["flight_id"], pd.Timestamp(row["predict_at"]))
        assert set(want) == set(names), "the oracle knows other features than the declaration"
        for name in names:
            if pd.isna(want[name]) if not isinstance(want[name], str) else False:
                same = row[name] is None
            elif isinstance(want[name], str):
                same = row[name] == want[name]
            else:
                same = row[name] is not None and abs(row[name] - want[name]) <= 1e-9 * max(1, abs(want[name]))
            if not same:
                found.append(f"{row['flight_id']} {name}: {row[name]} instead of {want[name]}")
    return found


def sampled(table: pa.Table, n: int, seed: int) -> pa.Table:
    chosen = np.sort(np.random.default_rng(seed).choice(table.num_rows, min(n, table.num_rows), replace=False))
    return table.take(pa.array(chosen))


@pytest.mark.parametrize("day", DAYS, ids=str)
def test_every_feature_is_what_a_slow_reading_of_the_raw_files_gives(
    day: date, raw: Raw, real_year: Platform, flights_pipeline: Pipeline
) -> None:
    made = features.build(flights_pipeline, flights_pipeline.schedule.range(day), real_year)
    flying = raw.flights[(raw.flights.leaves >= pd.Timestamp(flights_pipeline.schedule.tick(day).start))]
    flying = flying[flying.leaves < pd.Timestamp(flights_pipeline.schedule.tick(day).end)]
    assert made.table["flight_id"].to_pylist() == sorted(flying.flight_id)
    assert set(made.table["predict_at"].to_pylist()) == {flights_pipeline.schedule.tick(day).start}
    found = differences(raw, sampled(made.table, 15, day.toordinal()), flights_pipeline.feature_names)
    assert not found, "\n".join(found[:20])


def test_rows_scored_at_their_own_moments_agree_with_the_raw_files_too(
    raw: Raw, real_year: Platform, flights_pipeline: Pipeline
) -> None:
    pipeline = replace(flights_pipeline, predict_at=ml.Before(ml.hours(26)))
    made = features.build(pipeline, pipeline.schedule.range("2013-03-01", "2013-04-30"), real_year, chunk_rows=20_000)
    found = differences(raw, sampled(made.table, 60, 1), pipeline.feature_names)
    assert not found, "\n".join(found[:20])


@pytest.mark.parametrize(("first", "last"), [("2013-03-09", "2013-03-11"), ("2013-07-01", "2013-07-01")])
def test_the_printed_sql_gives_the_same_in_every_cell(
    first: str, last: str, real_year: Platform, flights_pipeline: Pipeline
) -> None:
    ticks = flights_pipeline.schedule.range(first, last)
    assert features.build(flights_pipeline, ticks, real_year).table.equals(sql.run(flights_pipeline, ticks, real_year))


def test_a_row_gets_the_same_bits_in_any_batch_and_in_chunks_of_any_size(
    real_year: Platform, flights_pipeline: Pipeline, tmp_path: Path
) -> None:
    pipeline = replace(flights_pipeline, predict_at=ml.Before(ml.hours(30)))
    ticks = pipeline.schedule.range("2013-10-28", "2013-11-10")
    whole = features.build(pipeline, ticks, real_year)
    alone = [features.build(pipeline, pipeline.schedule.range(tick.name), real_year).table for tick in ticks]
    assert pa.concat_tables(alone).equals(whole.table)
    assert features.build(pipeline, ticks, real_year, chunk_rows=1).table.equals(whole.table)
    files = features.write(pipeline, ticks, tmp_path / "features", real_year, chunk_rows=3000)
    read = pa.concat_tables([pa.parquet.read_table(file) for file in files.files])
    assert len(files.files) > 2
    assert read.cast(whole.table.schema).equals(whole.table)
    assert files.rows == whole.table.num_rows


def test_labels_are_the_flights_that_had_landed_by_then(raw: Raw, real_year: Platform, flights_pipeline: Pipeline) -> None:
    schedule = flights_pipeline.schedule
    for day in (date(2013, 3, 10), date(2013, 11, 3)):
        scored = raw.flights[(raw.flights.leaves >= schedule.tick(day).start) & (raw.flights.leaves < schedule.tick(day).end)]
        for later in (0, 1, 2):
            as_of = schedule.tick(day + timedelta(days=later))
            known = scored[scored.landed < as_of.start].sort_values("flight_id")
            got = features.labels(flights_pipeline, schedule.range(day), as_of, real_year)
            assert got["flight_id"].to_pylist() == known.flight_id.tolist()
            assert got["label"].to_pylist() == (known.arr_delay > 15).tolist()
            assert got["label_known_at"].to_pylist() == known.landed.tolist()
