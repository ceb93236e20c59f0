"""A client of a real Spark Connect server computes what one process computes, bit for bit, and says what went wrong."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Iterator
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import pyarrow as pa
import pytest

from benchmarks.spark_cluster import SparkConnect, spark_connect
from mlprod_tasks.platform import Platform, names
from mlprod_tasks.platform.compute import compute_of, spark
from mlprod_tasks.platform.compute.same_code import hosts
from mlprod_tasks.platform.compute.spark import ExecutorsDiffer, SparkUnreachable
from mlprod_tasks.platform.lake import TableMissing
from mlprod_tasks.platform.settings import Settings, from_environment
from mlprod_tasks.scoring.score import score
from tests.support.paths import REPOSITORY
from tests.support.trained_shop import Shop

DAY = "2024-02-11"


@pytest.fixture(scope="module")
def code(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the executors' copy of mlprod lies."""
    folder = tmp_path_factory.mktemp("code")
    shutil.copytree(REPOSITORY / "mlprod_tasks", folder / "mlprod_tasks", ignore=shutil.ignore_patterns("__pycache__"))
    return folder


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, code: Path) -> Iterator[SparkConnect]:
    with spark_connect(tmp_path_factory.mktemp("spark"), code) as running:
        yield running


@pytest.fixture
def settings(server: SparkConnect, tmp_path: Path) -> Settings:
    """Of a platform of which these tests need the exchange alone."""
    return replace(from_environment({}), home=tmp_path, engine="spark", spark_master=server.url)


def predictions_of(shop: Shop) -> pa.Table:
    return shop.platform.lake.rows(names.predictions(shop.pipeline), [shop.tick(DAY).name]).sort_by("order_id")


def test_a_tick_in_pieces_has_the_scores_of_one_process(
    promoted_shop: Shop, server: SparkConnect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mlprod_tasks.features.key_ranges.PIECE_ROWS", 30)
    score(promoted_shop.pipeline, promoted_shop.tick(DAY), promoted_shop.platform)
    here = predictions_of(promoted_shop)
    asked = replace(promoted_shop.platform.settings, engine="spark", spark_master=server.url, score_rows=100)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a client that warned of pandas or of settings would at each tick
        done = score(promoted_shop.pipeline, promoted_shop.tick(DAY), Platform(asked))
    assert (done.rows, done.fallback_reason) == (120, None)
    assert promoted_shop.platform.lake.version(names.predictions(promoted_shop.pipeline)) == done.delta_version
    assert predictions_of(promoted_shop).equals(here)
    assert list((asked.home / "exchange").iterdir()) == []


def failing(numbers: Iterator[int]) -> Iterator[int]:
    for number in numbers:
        if number == 1:
            raise TableMissing("there is no table flights")
        yield number


def test_what_the_work_raises_is_raised_here(settings: Settings) -> None:
    found = compute_of(settings).map(failing, [0, 1, 2], "numbers")
    assert next(found) == 0
    with pytest.raises(TableMissing, match="there is no table flights"):
        next(found)


def test_executors_whose_code_was_changed_are_refused(settings: Settings, server: SparkConnect, code: Path) -> None:
    with (code / "mlprod_tasks" / "steps.py").open("a") as file:
        file.write("# of another release\n")
    with pytest.raises(ExecutorsDiffer, match=r"mlprod's code \w+ instead of \w+\. Install the same requirements\.lock"):
        list(compute_of(settings).map(hosts, [0], "hosts"))


def test_a_computation_ends_also_if_its_server_has_gone(server: SparkConnect) -> None:
    with spark._session(server.url) as session:
        assert session.version == version("pyspark")
        server.kill()
    with pytest.raises(SparkUnreachable), spark._session(server.url):
        pass
