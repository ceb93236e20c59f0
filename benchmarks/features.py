"""Point-in-time features, lake to Parquet, against a floor and against pandas, in one run.

Real flights, the year repeated with its times shifted (30 times are 10 million rows), in a lake of daily partitions.
Features: weather as-of, plane look-up, trailing 7- and 28-day count, mean and late rate for carrier, origin, dest, route
and plane, as of two hours before departure. The floor reads the same columns of the same tables, makes the cheap joins and
writes as many columns, filled by arithmetic. Every measurement has a process of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from benchmarks.size import FLAG, LAST_SMALL, SMALL, sized
from demo.business_database import business_tables
from mlprod_tasks import declaration as ml
from mlprod_tasks import features
from mlprod_tasks.declaration import Pipeline, TickRange
from mlprod_tasks.features.snapshot import Snapshot
from mlprod_tasks.platform import Platform, names
from mlprod_tasks.platform.engine import engine
from mlprod_tasks.platform.settings import from_environment

ROOT = Path(__file__).parents[1]
YEAR_ROWS = 336_776
SHIFT = timedelta(days=53 * 7)  # weekdays stay what they are
AT_MOST, AT_MOST_GB = 1.5, 4.0
LOCAL = "timezone('America/New_York', sched_dep_at)"
OWN = f"""f.flight_id, f.sched_dep_at, f.tick, f.sched_dep_at - INTERVAL 2 HOUR AS predict_at, f.carrier, f.origin, f.dest,
    f.distance, extract(hour FROM {LOCAL}) AS dep_hour,
    60 * extract(hour FROM {LOCAL}) + extract(minute FROM {LOCAL}) AS dep_minute, extract(isodow FROM {LOCAL}) AS weekday,
    extract(epoch FROM sched_arr_at - sched_dep_at) / 60 AS block_minutes"""
WEATHER = ("temp", "humid", "wind_speed", "precip", "pressure", "visib")
GROUPS = {"carrier": ["carrier"], "origin": ["origin"], "dest": ["dest"], "route": ["origin", "dest"], "plane": ["tailnum"]}


def declared() -> Pipeline:
    """The flights, scored two hours before they leave, of a schedule without end."""
    shipped = ml.load(ROOT / "pipelines" / "flight_delays.py")
    flights = replace(shipped.entity_table, ticks_ahead=0)
    schedule = replace(shipped.schedule, starts=date(2012, 12, 1), ends=None)
    pipeline = replace(shipped, tables=(flights, *shipped.tables[1:]), schedule=schedule)
    # A declaration may not ask for more than its daily tick can know; the engine can, and it is the harder case.
    object.__setattr__(pipeline, "predict_at", ml.Before(ml.hours(2)))
    return pipeline


def lake(folder: Path) -> Platform:
    return Platform(from_environment({"MLPROD_HOME": str(folder)}))


def fill(pipeline: Pipeline, platform: Platform, years: int) -> None:
    """Put `years` copies of the real year into the lake, a partition a tick, as publishing leaves it."""
    for name, year in business_tables().items():
        table = pipeline.table(name)
        place = names.raw(pipeline, name)
        if table.time is None:
            platform.lake.replace(place, year)
            continue
        for n in range(years):
            rows = year
            for i, field in enumerate(rows.schema):
                if pa.types.is_timestamp(field.type):
                    shifted = pc.add(rows[field.name], pa.scalar(SHIFT * n, pa.duration("us")))
                    rows = rows.set_column(i, field.name, shifted)
            if n and "flight_id" in table.key:
                rows = rows.set_column(
                    0, "flight_id", pc.binary_join_element_wise(rows["flight_id"].cast(pa.string()), str(n), "+")
                )
            known = pc.add(rows[table.time], pa.scalar(table.known_after, pa.duration("us")))
            local = pc.local_timestamp(pc.assume_timezone(known.cast(pa.timestamp("us")), "UTC").cast(
                pa.timestamp("us", pipeline.schedule.timezone)))  # fmt: skip
            tick = pc.add(
                pc.subtract(local, pa.scalar(timedelta(hours=4))), pa.scalar(timedelta(days=1 - table.ticks_ahead))
            ).cast(pa.date32(), safe=False)
            rows = rows.append_column("tick", tick).sort_by([("tick", "ascending"), *((k, "ascending") for k in table.key)])
            if SMALL:
                rows = rows.filter(pc.less_equal(rows["tick"], pa.scalar(LAST_SMALL)))
            ends = pc.min_max(rows["tick"]).as_py()
            platform.lake.replace_ticks(place, TickRange(pipeline.schedule, ends["min"], ends["max"]), rows)


def ticks(pipeline: Pipeline, years: int) -> TickRange:
    return pipeline.schedule.range("2013-01-01", date(2014, 1, 2) + (years - 1) * SHIFT)


def run_engine(pipeline: Pipeline, platform: Platform, years: int, out: Path) -> None:
    features.write(pipeline, ticks(pipeline, years), out, platform)


def run_floor(pipeline: Pipeline, platform: Platform, years: int, out: Path) -> None:
    snapshot = Snapshot(pipeline, platform)
    flights, arrivals, weather, planes = (_plain(snapshot, name) for name in ("flights", "arrivals", "weather", "planes"))
    filled = []
    for i in range(10):
        filled += [f"(h >> {i}) % 1000", f"((h >> {i + 3}) % 100000) / 1237.0", f"((h >> {i + 7}) % 10000) / 23423.0"]
    named = ", ".join(f"{sql} AS filled_{i}" for i, sql in enumerate(filled))
    observed = ", ".join(f"w.{name} AS weather_{name}" for name in WEATHER)
    out.mkdir()
    with engine() as connection:
        read = "max(landed_at), max(carrier), max(tailnum), max(origin), max(dest), max(arr_delay)"
        connection.sql(f"SELECT {read} FROM {arrivals}").to_arrow_table()
        connection.execute(
            f"COPY (SELECT {OWN}, p.built AS plane_built, p.seats AS plane_seats, {observed}, {named} "
            f"FROM (SELECT *, hash(flight_id) AS h FROM {flights}) f LEFT JOIN {planes} p USING (tailnum) "
            f"LEFT JOIN {weather} w ON w.origin = f.origin "
            f"AND w.observed_at = date_trunc('hour', f.sched_dep_at) - INTERVAL 4 HOUR) "
            f"TO '{out}/part.parquet' (FORMAT parquet)"
        )


def run_pandas(pipeline: Pipeline, platform: Platform, years: int, out: Path) -> None:
    """Cumulative sums per key, taken at both ends of each window with merge_asof."""
    snapshot = Snapshot(pipeline, platform)
    flights, arrivals, weather, planes = (_plain(snapshot, name) for name in ("flights", "arrivals", "weather", "planes"))
    columns = "landed_at, carrier, tailnum, origin, dest, arr_delay, (arr_delay > 15)::INT AS late"
    with engine() as connection:
        made = connection.sql(f"SELECT {OWN}, f.tailnum FROM {flights} f").to_arrow_table().to_pandas()
        events = connection.sql(f"SELECT {columns} FROM {arrivals}").to_arrow_table().to_pandas()
        register = connection.sql(f"SELECT tailnum, built AS plane_built, seats AS plane_seats FROM {planes}").to_arrow_table()
        seen = connection.sql(f"SELECT origin, observed_at, {', '.join(WEATHER)} FROM {weather}").to_arrow_table().to_pandas()
    made = made.merge(register.to_pandas(), on="tailnum", how="left").sort_values("predict_at", ignore_index=True)
    events = events.sort_values("landed_at", ignore_index=True)
    seen["known_at"] = seen.pop("observed_at") + pd.Timedelta(hours=1)
    seen = seen.rename(columns={name: f"weather_{name}" for name in WEATHER}).sort_values("known_at")
    made = pd.merge_asof(
        made, seen, left_on="predict_at", right_on="known_at", by="origin", tolerance=pd.Timedelta(hours=6),
        allow_exact_matches=False,
    ).drop(columns="known_at")  # fmt: skip
    for group, by in GROUPS.items():
        key = made.groupby(by, sort=False).ngroup()
        there = events.dropna(subset=by)
        of = there.groupby(by, sort=False)
        sums = there[["landed_at", *by]].assign(
            n=of.cumcount() + 1, delay=of["arr_delay"].cumsum(), late=of["late"].cumsum()
        )  # fmt: skip
        asked = made[["predict_at", *by]]

        def until(back: timedelta, asked: pd.DataFrame = asked, sums: pd.DataFrame = sums, by: list[str] = by) -> pd.DataFrame:
            when = asked.assign(predict_at=asked["predict_at"] - back)
            there = pd.merge_asof(when, sums, left_on="predict_at", right_on="landed_at", by=by, allow_exact_matches=False)
            return there[["n", "delay", "late"]].fillna(0)

        end = until(timedelta(0))
        for days in (7, 28):
            window = (end - until(timedelta(days=days))).where(key >= 0, 0)
            n = window["n"].where(window["n"] > 0)
            made[f"{group}_count_{days}d"] = window["n"].astype("int64")
            made[f"{group}_mean_arr_delay_{days}d"] = window["delay"] / n
            made[f"{group}_late_rate_{days}d"] = window["late"] / n
    out.mkdir()
    made.to_parquet(out / "part.parquet", index=False)


def run_day(pipeline: Pipeline, platform: Platform, years: int, out: Path) -> None:
    """The features of one day, out of the whole lake."""
    features.build(pipeline, pipeline.schedule.range(sized("2013-11-20", str(LAST_SMALL))), platform)


def _plain(snapshot: Snapshot, name: str) -> str:
    return snapshot.relation(name, same_columns=True)


RUNS: dict[str, Callable[[Pipeline, Platform, int, Path], None]] = {
    "floor": run_floor, "engine": run_engine, "pandas": run_pandas, "day": run_day,
}  # fmt: skip


def measured(way: str, folder: Path, years: int, repeats: int) -> dict[str, float]:
    """Median seconds, processor seconds and peak memory of a way, each run in a new process."""
    # A compiler whose own modules must be compiled anew on each start is no user's: bytecode is kept.
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    if not SMALL:
        environment["PYTHONPYCACHEPREFIX"] = str(folder.parent / "bytecode")
    runs = []
    for _ in range(repeats):
        command = [sys.executable, "-m", "benchmarks.features", "--way", way, "--folder", str(folder), "--years", str(years)]
        command += FLAG
        ran = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=ROOT, check=False)
        if ran.returncode:
            raise SystemExit(f"{way} failed:\n{ran.stderr}")
        runs.append(json.loads(ran.stdout.splitlines()[-1]))
    return {key: statistics.median(run[key] for run in runs) for key in runs[0]}


def one(way: str, folder: Path, years: int) -> None:
    pipeline, platform = declared(), lake(folder)
    with tempfile.TemporaryDirectory(dir=folder) as out:
        start, before = time.perf_counter(), os.times()
        RUNS[way](pipeline, platform, years, Path(out) / way)
        seconds, after = time.perf_counter() - start, os.times()
    cpu = after.user + after.system - before.user - before.system
    print(json.dumps({"seconds": seconds, "cpu": cpu, "memory": peak_gb()}))


def peak_gb() -> float:
    """The process's own peak; getrusage would begin with that of the process which started it."""
    if sys.platform != "linux":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e9
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024 / 1e9


def main() -> None:
    """Print the table. `--rows` chooses the sizes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=sized([YEAR_ROWS, 30 * YEAR_ROWS], [1]))
    parser.add_argument("--way", choices=RUNS)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--years", type=int)
    parser.add_argument("--small", action="store_true", help="a few weeks: only to see that it runs")
    given = parser.parse_args()
    if given.way:
        return one(given.way, given.folder, given.years)
    print("| rows | way | seconds | times the floor | processor seconds | times the floor | memory GB |")
    print("| --- | --- | --- | --- | --- | --- | --- |", flush=True)
    a_row: list[float] = []
    for rows in given.rows:
        years = max(1, round(rows / YEAR_ROWS))
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary) / "home"
            fill(declared(), lake(folder), years)
            measured("day", folder, years, 1)  # compiles once, as the first run on a machine does
            repeats = 3 if years == 1 and not SMALL else 1
            floor = measured("floor", folder, years, repeats)
            for way in ("floor", "engine", "pandas", "day"):
                got = floor if way == "floor" else measured(way, folder, years, repeats)
                ratio, cpu = got["seconds"] / floor["seconds"], got["cpu"] / floor["cpu"]
                print(
                    f"| {years * YEAR_ROWS:,} | {way} | {got['seconds']:.2f} | {ratio:.2f} | {got['cpu']:.1f} | {cpu:.2f} "
                    f"| {got['memory']:.2f} |",
                    flush=True,
                )
                if way == "engine":
                    a_row.append(got["cpu"] / years)
                    kept = ratio <= AT_MOST and got["memory"] <= AT_MOST_GB
                    verdict = "kept" if kept else "missed"
    if len(a_row) > 1:
        print(f"\nrows x{given.rows[-1] / given.rows[0]:.0f}: processor seconds a row x{a_row[-1] / a_row[0]:.2f}")
    print(f"goal: at most {AT_MOST} x the floor and {AT_MOST_GB} GB; {verdict} at {given.rows[-1]:,} rows")


if __name__ == "__main__":
    main()
