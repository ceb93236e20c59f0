"""A real Spark cluster of two workers computes what one process computes, bit for bit, also while executors die."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import date
from functools import partial
from pathlib import Path

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks import monitoring, spark_monitoring, two_engines
from benchmarks.spark_cluster import SparkCluster, kill_executor, spark_cluster
from mlprod_tasks import features
from mlprod_tasks.declaration import Pipeline, Split, TickRange
from mlprod_tasks.features.key_ranges import key_ranges
from mlprod_tasks.features.staged_values import StagedPiece
from mlprod_tasks.monitoring import tick_rows
from mlprod_tasks.operations.doctor import check_installation
from mlprod_tasks.platform import Platform, names
from mlprod_tasks.platform.compute import compute_of
from mlprod_tasks.platform.compute.bucket_exchange import BucketExchange
from mlprod_tasks.platform.compute.exchange import FolderExchange
from mlprod_tasks.platform.compute.same_code import hosts
from mlprod_tasks.platform.compute.spark import ExecutorsDiffer, compute_piece
from mlprod_tasks.platform.lake import TableMissing
from mlprod_tasks.platform.settings import from_environment
from mlprod_tasks.platform.threads import threads_here
from mlprod_tasks.scoring.score import score
from mlprod_tasks.training.assemble import write_set
from mlprod_tasks.training.split import windows
from tests.support.object_storage import Bucket
from tests.support.shop_in_a_bucket import in_a_bucket
from tests.support.trained_shop import Shop

FEBRUARY, MARCH = date(2013, 2, 1), date(2013, 3, 31)
SHOP_DAY = "2024-02-11"


@pytest.fixture(scope="module")
def home_of_executors(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where executors keep what they fetch from a bucket."""
    return tmp_path_factory.mktemp("executors")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, home_of_executors: Path, s3_port: int) -> Iterator[SparkCluster]:
    of_lake = Bucket("any", s3_port).connection()
    theirs = {"MLPROD_HOME": str(home_of_executors), "MLPROD_CONNECTION_LAKE": of_lake}
    with spark_cluster(tmp_path_factory.mktemp("spark"), of_executors=theirs) as running:
        yield running
        from pyspark.sql import SparkSession

        if (session := SparkSession.getActiveSession()) is not None:
            session.stop()


@pytest.fixture
def on_spark(real_year: Platform, cluster: SparkCluster, tmp_path: Path) -> Platform:
    """The same lake, computed on the cluster."""
    settings = replace(real_year.settings, home=tmp_path / "home", engine="spark", spark_master=cluster.url)
    return Platform(settings)


def test_features_are_those_of_one_process_file_by_file(
    real_year: Platform, on_spark: Platform, flights_pipeline: Pipeline, tmp_path: Path
) -> None:
    ticks = TickRange(flights_pipeline.schedule, FEBRUARY, MARCH)
    here = features.write(flights_pipeline, ticks, tmp_path / "here", real_year, chunk_rows=12_000)
    there = features.write(flights_pipeline, ticks, tmp_path / "there", on_spark, chunk_rows=12_000)
    assert (there.rows, there.failed, there.versions) == (here.rows, here.failed, here.versions)
    assert len(there.files) == len(here.files) > 3
    for one, other in zip(here.files, there.files, strict=True):
        assert pq.read_table(one).equals(pq.read_table(other)), one.name
    assert list((tmp_path / "home" / "exchange").iterdir()) == []


def test_events_of_a_tick_are_aggregated_in_parts_as_in_one_process_also_while_an_executor_is_killed(
    real_year: Platform, on_spark: Platform, cluster: SparkCluster, flights_pipeline: Pipeline, tmp_path: Path
) -> None:
    ticks = flights_pipeline.schedule.range(MARCH)
    # Three airports have all departures, and two of them more than a part is to hold.
    only = [name for name in flights_pipeline.feature_names if name.startswith("origin_") and name.endswith("28d")]
    versions = features.pinned(flights_pipeline, real_year, only=only)
    platform = Platform(replace(on_spark.settings, event_rows=10_000))
    rows, ranges = key_ranges(flights_pipeline, ticks, platform, versions, 2)
    events = tmp_path / "home" / "events"
    with an_executor_killed(platform, cluster, events, "events-0-*.parquet") as written:
        staged = features.stage_events(flights_pipeline, ticks, platform, versions, only, ranges, FolderExchange(events))
    assert written[0] < 28, "the others were still to be written"
    assert len(staged) == 1
    assert len(staged[0].done) > 3
    read = partial(features.build, flights_pipeline, ticks, real_year, versions=versions, only=only)
    made = [read(keys=keys, staged=StagedPiece(staged, number)).table for number, keys in enumerate(ranges)]
    whole = read().table
    assert pa.concat_tables(made).equals(whole)
    assert whole.num_rows == rows > 500


def test_a_training_set_is_that_of_one_process(
    real_year: Platform, on_spark: Platform, flights_pipeline: Pipeline, tmp_path: Path
) -> None:
    as_of = flights_pipeline.schedule.tick(date(2013, 9, 1))
    assert isinstance(flights_pipeline.split, Split)
    chosen = windows(flights_pipeline.split, as_of, flights_pipeline.label_delay_ticks, flights_pipeline.schedule)
    tables, records = [], []
    for place, platform in (("here", real_year), ("there", on_spark)):
        write_set(flights_pipeline, as_of, chosen, None, tmp_path / place, platform)
        tables.append(pq.read_table(tmp_path / place / "training_set.parquet"))
        records.append((tmp_path / place / "assembled.json").read_text())
    assert tables[0].num_rows > 100_000
    assert tables[0].equals(tables[1])
    assert records[0] == records[1]


def test_a_tick_is_measured_as_in_one_process(cluster: SparkCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tick_rows, "PIECE_ROWS", 7_000)
    monkeypatch.setattr(monitoring, "REFERENCE_TICKS", 6)
    monkeypatch.setattr(two_engines, "limit_threads", lambda most: None)  # this process goes on
    for name, value in (("HOME", str(tmp_path)), ("MEASURE_ROWS", "29999")):
        monkeypatch.setenv(f"MLPROD_{name}", value)
    year = monitoring.scored_flights()
    (tmp_path / spark_monitoring.PROFILE).write_text(json.dumps(monitoring.profile_of_first_weeks(year).as_json()))
    spark_monitoring.fill(year, 30_000, Platform(from_environment()), tmp_path / "scored")
    here, there = (spark_monitoring.measured_here(engine) for engine in ("local", cluster.url))
    assert there["digest"] == here["digest"]
    assert not list((tmp_path / "exchange").iterdir())


def slowly(folder: Path, numbers: Iterator[int]) -> Iterator[int]:
    """Square each number, and note that it was begun."""
    for number in numbers:
        (folder / f"{number}-{time.time_ns()}-{os.getpid()}").touch()
        time.sleep(1.0)
        yield number * number


def test_a_killed_executor_costs_only_time(on_spark: Platform, tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    begun.mkdir()

    killed: list[bool] = []

    def kill() -> None:
        while len(found := sorted(begun.iterdir(), key=lambda one: one.name.split("-")[1])) < 3:
            time.sleep(0.1)
        killed.append(kill_executor(int(found[-1].name.split("-")[2])))

    killer = threading.Thread(target=kill)
    killer.start()
    squares = list(compute_of(on_spark.settings).map(partial(slowly, begun), range(8), "squares"))
    killer.join()
    assert killed == [True]
    assert squares == [number * number for number in range(8)]
    times = [sum(one.name.startswith(f"{number}-") for one in begun.iterdir()) for number in range(8)]
    assert max(times) > 1, "nothing was under way on the executor that was killed"


def failing(numbers: Iterator[int]) -> Iterator[int]:
    for number in numbers:
        if number == 1:
            raise TableMissing("there is no table flights")
        yield threads_here()


def test_what_the_work_raises_is_raised_here_and_is_not_tried_again(on_spark: Platform) -> None:
    found = compute_of(on_spark.settings).map(failing, [0, 1, 2], "numbers")
    assert next(found) == 1, "an executor of one core uses one thread"
    with pytest.raises(TableMissing, match="there is no table flights"):
        next(found)


@pytest.fixture
def pieces_of_a_shop(promoted_shop: Shop, cluster: SparkCluster, monkeypatch: pytest.MonkeyPatch) -> tuple[Platform, pa.Table]:
    """A platform that scores a tick in twelve pieces on the cluster, and the predictions of scoring it here at once."""
    monkeypatch.setattr("mlprod_tasks.features.key_ranges.PIECE_ROWS", 10)
    tick = promoted_shop.tick(SHOP_DAY)
    score(promoted_shop.pipeline, tick, promoted_shop.platform)
    spark = replace(promoted_shop.platform.settings, engine="spark", spark_master=cluster.url, score_rows=100)
    return Platform(spark), predictions_of(promoted_shop)


def predictions_of(shop: Shop) -> pa.Table:
    return shop.platform.lake.rows(names.predictions(shop.pipeline), [shop.tick(SHOP_DAY).name]).sort_by("order_id")


def test_a_tick_in_pieces_has_the_scores_of_one_process(
    promoted_shop: Shop, cluster: SparkCluster, pieces_of_a_shop: tuple[Platform, pa.Table]
) -> None:
    spark, here = pieces_of_a_shop
    executor = psutil.Process(cluster.workers[0].process.pid)
    with two_engines.peaks([psutil.Process(), executor], every=0.1) as highest:
        done = score(promoted_shop.pipeline, promoted_shop.tick(SHOP_DAY), spark)
    assert 0.1 < min(highest) < max(highest) < 4.0, "GB"
    assert (done.rows, done.fallback_reason) == (120, None)
    assert promoted_shop.platform.lake.version(names.predictions(promoted_shop.pipeline)) == done.delta_version
    assert predictions_of(promoted_shop).equals(here)
    assert list((spark.settings.home / "exchange").iterdir()) == []


def test_executors_with_another_home_score_through_the_bucket_of_the_lake(
    promoted_shop: Shop,
    pieces_of_a_shop: tuple[Platform, pa.Table],
    cluster: SparkCluster,
    bucket: Bucket,
    home_of_executors: Path,
) -> None:
    for one in executors(cluster):  # which may have the model in memory
        one.kill()
    settings, here = pieces_of_a_shop[0].settings, pieces_of_a_shop[1]
    given = {"MLPROD_ENGINE": "spark", "MLPROD_SPARK_MASTER": settings.spark_master, "MLPROD_SCORE_ROWS": "100"}
    spark = in_a_bucket(promoted_shop, bucket, **given)
    done = score(promoted_shop.pipeline, promoted_shop.tick(SHOP_DAY), spark)
    assert (done.rows, done.fallback_reason) == (120, None)
    name, tick = names.predictions(promoted_shop.pipeline), promoted_shop.tick(SHOP_DAY).name
    assert spark.lake.rows(name, [tick]).sort_by("order_id").equals(here)
    assert list((home_of_executors / "models").glob("*/*/MLmodel")), "executors kept a copy of the model"
    assert not BucketExchange(spark.settings.lake, "_mlprod/shared/exchange", spark.settings)._written()


def test_an_executor_that_is_killed_while_it_scores_doubles_nothing(
    promoted_shop: Shop, cluster: SparkCluster, pieces_of_a_shop: tuple[Platform, pa.Table]
) -> None:
    spark, here = pieces_of_a_shop
    with an_executor_killed(spark, cluster, spark.settings.home / "exchange", ".scores*/0*.parquet") as written:
        score(promoted_shop.pipeline, promoted_shop.tick(SHOP_DAY), spark)
    assert written[0] < 12
    assert predictions_of(promoted_shop).equals(here)


@contextmanager
def an_executor_killed(platform: Platform, cluster: SparkCluster, folder: Path, files: str) -> Iterator[list[int]]:
    """Kill one as soon as there are such files in a folder. The block gets how many there were then, when it is over."""
    list(compute_of(platform.settings).map(hosts, [0, 1], "executors that run"))
    running, written = executors(cluster), list[int]()

    def kill() -> None:
        while not (done := list(folder.glob(files))):
            time.sleep(0.01)
        running[0].kill()
        written.append(len(done))

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    yield written
    killer.join()


def executors(cluster: SparkCluster) -> list[psutil.Process]:
    """The processes of the cluster's executors."""
    found = []
    for worker in cluster.workers:
        for one in psutil.Process(worker.process.pid).children(recursive=True):
            with suppress(psutil.NoSuchProcess):  # such as a zombie
                if "CoarseGrainedExecutorBackend" in " ".join(one.cmdline()):
                    found.append(one)
    return found


def test_doctor_computes_something_on_an_executor(on_spark: Platform) -> None:
    (item,) = [one for one in check_installation(on_spark) if one.what == "spark"]
    assert item.ok, item.message
    assert "computes with the same code" in item.message


def test_an_executor_with_other_code_is_refused(tmp_path: Path) -> None:
    from mlprod_tasks.platform.compute.same_code import code_here

    other = code_here() | {"duckdb": "1.0.0"}
    with pytest.raises(ExecutorsDiffer, match=r"duckdb \S+ instead of 1\.0\.0.*requirements\.lock"):
        compute_piece(0, b"", other, FolderExchange(tmp_path))
    assert pa.__version__ == code_here()["pyarrow"]
