"""Profiles say what columns hold, how they change, and what a feature alone tells of the outcome."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pytest

from mlprod_tasks.declaration import Expression, load
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.lake import TableMissing
from mlprod_tasks.platform.settings import from_environment
from mlprod_tasks.profiling.column_profile import BINS, ColumnProfile, ProfiledColumn, profile_columns
from mlprod_tasks.profiling.feature_profile import profile_features
from mlprod_tasks.profiling.labelled_features import labelled_features, newest_ticks
from mlprod_tasks.profiling.over_time import PERIODS, over_time
from mlprod_tasks.profiling.profile_page import write_profile
from mlprod_tasks.workflows import ingest
from tests.support.parcel_files import write_parcels

N = 4000
STARTS = datetime(2024, 1, 1, tzinfo=UTC)
HOURS = np.arange(N) / 2  # since the start


def rows() -> pa.Table:
    """Half-hourly rows: a number with a daily season, one without, texts, and a column that starts to be missing."""
    random = np.random.default_rng(5)
    late = np.where(HOURS.max() / 2 > HOURS, random.normal(size=N), np.nan)
    return pa.table(
        {
            "at": pa.array([STARTS + timedelta(hours=float(h)) for h in HOURS], pa.timestamp("us", "UTC")),
            "daily": 10 * np.sin(HOURS * np.pi / 12) + random.normal(size=N),
            "noise": random.normal(size=N),
            "late": pa.array(late, from_pandas=True),
            "channel": random.choice(["web", "app", "phone"], N, p=[0.6, 0.3, 0.1]),
            "few": random.integers(0, 3, N),
            "huge": np.append(random.normal(size=N - 2), [1e12, np.inf]),
            "name": [f"person {i}" for i in range(N)],
        }
    )


COLUMNS = [
    ProfiledColumn("at", "timestamp"), ProfiledColumn("daily", "float"), ProfiledColumn("noise", "float"),
    ProfiledColumn("late", "float"), ProfiledColumn("channel", "text"), ProfiledColumn("few", "int"),
    ProfiledColumn("huge", "float"), ProfiledColumn("name", "text", secret=True),
]  # fmt: skip


@pytest.fixture(scope="module")
def connection() -> duckdb.DuckDBPyConnection:
    opened = duckdb.connect()
    opened.execute("SET TimeZone = 'UTC'")
    opened.register("rows", rows())
    return opened


@pytest.fixture(scope="module")
def profiles(connection: duckdb.DuckDBPyConnection) -> dict[str, ColumnProfile]:
    return {one.column.name: one for one in profile_columns(connection, "rows", COLUMNS)}


def test_counts_ranges_and_means_are_those_that_numpy_computes(profiles: dict[str, ColumnProfile]) -> None:
    table = rows()
    noise = table["noise"].to_numpy()
    assert profiles["noise"].rows == N
    assert profiles["late"].nulls == table["late"].null_count
    assert (profiles["noise"].least, profiles["noise"].most) == (noise.min(), noise.max())
    assert profiles["noise"].mean == pytest.approx(noise.mean())
    assert profiles["at"].least == STARTS
    counted = dict(profiles["channel"].top)
    assert counted == {value: table["channel"].to_pylist().count(value) for value in ("web", "app", "phone")}
    assert dict(profiles["few"].top).keys() == {"0", "1", "2"}


def test_bins_hold_every_finite_value_and_one_huge_value_does_not_press_the_others_together(
    profiles: dict[str, ColumnProfile],
) -> None:
    assert sum(profiles["noise"].bins) == N
    assert sum(profiles["huge"].bins) == N - 1
    assert sum(count > 0 for count in profiles["huge"].bins) == BINS


def test_of_a_secret_column_no_value_is_kept(profiles: dict[str, ColumnProfile]) -> None:
    assert "person" not in repr(profiles["name"])
    assert profiles["name"].all_different


def test_a_season_is_named_where_there_is_one_and_only_there(
    connection: duckdb.DuckDBPyConnection, profiles: dict[str, ColumnProfile]
) -> None:
    changes = over_time(connection, "rows", list(profiles.values()), "at", "UTC")
    table = rows()
    hour = (HOURS.astype(int)) % 24
    daily = table["daily"].to_numpy()
    means = np.array([daily[hour == h].mean() for h in range(24)])
    eta_squared = ((means[hour] - daily.mean()) ** 2).sum() / ((daily - daily.mean()) ** 2).sum()
    season, share = changes["daily"].season or ("", 0.0)
    assert season == "hour of the day"
    assert share == pytest.approx(eta_squared, abs=0.01)
    assert changes["noise"].season is None


def test_the_time_at_which_a_column_starts_to_be_missing_is_seen(
    connection: duckdb.DuckDBPyConnection, profiles: dict[str, ColumnProfile]
) -> None:
    shares = over_time(connection, "rows", list(profiles.values()), "at", "UTC")["late"].null_shares
    assert len(shares) == PERIODS
    assert shares[: PERIODS // 2 - 1] == tuple([0.0] * (PERIODS // 2 - 1))
    assert shares[-PERIODS // 2 + 1 :] == tuple([1.0] * (PERIODS // 2 - 1))


@pytest.fixture(scope="module")
def parcels(tmp_path_factory: pytest.TempPathFactory) -> tuple[Platform, Path]:
    """Parcels in a lake."""
    folder = tmp_path_factory.mktemp("parcels")
    write_parcels(folder, days=60)
    given = {"MLPROD_HOME": str(folder / "var"), "MLPROD_PIPELINES": str(folder / "pipelines")}
    platform = Platform(from_environment(given | {"MLPROD_CONNECTION_PARCELS": str(folder / "data")}))
    pipeline = load(folder / "pipelines" / "late_parcels.py")
    ingest(pipeline, pipeline.schedule.range("2024-01-02", "2024-02-29"), platform)
    return platform, folder


def test_a_feature_that_tells_the_outcome_alone_is_named(parcels: tuple[Platform, Path]) -> None:
    from dataclasses import replace

    platform, folder = parcels
    pipeline = load(folder / "pipelines" / "late_parcels.py")
    # `delivered_at` is declared without known_at: whoever derives a feature from it has a leak.
    leak = Expression("took", "epoch(delivered_at - sent_at) / 3600", "float", "hours until delivery")
    leaky = replace(pipeline, features=(*pipeline.features, leak))
    ticks = newest_ticks(leaky, platform, 10_000)
    found = profile_features(leaky, labelled_features(leaky, ticks, leaky.schedule.tick("2024-03-20"), platform))
    assert set(found.warnings) == {"took"}
    assert found.power["took"] > 0.99
    assert 0.6 < found.power["carrier"] < 0.95
    assert found.labelled == found.rows == 59 * 20


def test_only_as_many_of_the_newest_ticks_are_taken_as_fit(parcels: tuple[Platform, Path]) -> None:
    platform, folder = parcels
    pipeline = load(folder / "pipelines" / "late_parcels.py")
    assert str(newest_ticks(pipeline, platform, 100)) == "2024-02-25..2024-02-29"
    assert str(newest_ticks(pipeline, platform, 1)) == "2024-02-29"


def test_the_page_shows_every_feature_and_column_and_loads_nothing(parcels: tuple[Platform, Path], tmp_path: Path) -> None:
    platform, folder = parcels
    pipeline = load(folder / "pipelines" / "late_parcels.py")
    page = write_profile(pipeline, platform, tmp_path / "profile.html").read_text(encoding="utf-8")
    for name in (*pipeline.feature_names, "delivered_at", "What is predicted", "ROC AUC alone"):
        assert name in page
    assert "<script" not in page
    assert "http" not in page.replace("http://www.w3.org", "")


def test_without_rows_in_the_lake_it_says_what_to_do(tmp_path: Path) -> None:
    write_parcels(tmp_path, days=1)
    platform = Platform(from_environment({"MLPROD_HOME": str(tmp_path / "var")}))
    with pytest.raises(TableMissing, match="ingest it first"):
        write_profile(load(tmp_path / "pipelines" / "late_parcels.py"), platform)
