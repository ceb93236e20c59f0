"""Where pieces of a computation run, and what is said where they cannot."""

from __future__ import annotations

import pickle
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.compute import Compute, Local, compute_of, spark
from mlprod_tasks.platform.compute.exchange import ExchangeNotShared, FolderExchange
from mlprod_tasks.platform.compute.same_code import code_here, differences
from mlprod_tasks.platform.compute.spark import Spark, SparkUnreachable
from mlprod_tasks.platform.settings import SettingMissing, from_environment
from tests.support.paths import REPOSITORY


def squares(numbers: Iterator[int]) -> Iterator[int]:
    for number in numbers:
        yield number * number


def compute(**given: str) -> Compute:
    return compute_of(from_environment(given))


def on_spark(master: str, home: Path) -> Compute:
    return compute(MLPROD_ENGINE="spark", MLPROD_SPARK_MASTER=master, MLPROD_HOME=str(home))


def test_without_a_setting_pieces_run_here_in_their_order_each_when_it_is_asked_for() -> None:
    here = compute_of(from_environment({}))
    assert isinstance(here, Local)
    asked: list[int] = []

    def noting(numbers: Iterator[int]) -> Iterator[int]:
        for number in numbers:
            asked.append(number)
            yield -number

    results = here.map(noting, [3, 1, 2], "numbers")
    assert next(results) == -3
    assert asked == [3]
    assert list(results) == [-1, -2]


def test_an_engine_that_is_none_is_refused_with_those_there_are() -> None:
    with pytest.raises(ValueError, match=r"MLPROD_ENGINE is 'dask': it is one of local, spark"):
        compute(MLPROD_ENGINE="dask")


def test_a_master_must_be_named_and_answer(tmp_path: Path) -> None:
    assert isinstance(compute(MLPROD_ENGINE="spark", MLPROD_SPARK_MASTER="local[2]"), Spark)
    with pytest.raises(SettingMissing, match=r"set MLPROD_SPARK_MASTER, such as spark://host:7077"):
        list(on_spark("", tmp_path).map(squares, [1], "numbers"))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        nobody = f"127.0.0.1:{taken.getsockname()[1]}"  # bound, and nobody listens
        for master in (f"spark://{nobody}", f"sc://{nobody}/;user_id=ada", f"spark://{nobody},{nobody}"):
            with pytest.raises(SparkUnreachable, match=f"no Spark master answers at {nobody}"):
                list(on_spark(master, tmp_path).map(squares, [1], "numbers"))
    with pytest.raises(SparkUnreachable, match="no Spark master answers at nowhere"):
        list(on_spark("spark://nowhere", tmp_path).map(squares, [1], "numbers"))
    assert list((tmp_path / "exchange").iterdir()) == []


def test_without_java_it_is_said_where_it_was_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(SettingMissing, match=rf"needs Java 17 or newer: JAVA_HOME is {tmp_path}"):
        list(on_spark("local[1]", tmp_path).map(squares, [1], "numbers"))
    monkeypatch.delenv("JAVA_HOME")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SettingMissing, match="no `java` is on the PATH"):
        list(on_spark("local[1]", tmp_path).map(squares, [1], "numbers"))


def test_without_pyspark_it_is_said_how_to_get_it_and_nothing_of_it_is_imported_unasked(tmp_path: Path) -> None:
    asked = f"""
import sys
sys.modules["pyspark"] = None
from mlprod_tasks.platform.compute import compute_of
from mlprod_tasks.platform.settings import from_environment
assert list(compute_of(from_environment({{}})).map(lambda n: n, [1, 2], "numbers")) == [1, 2]
assert not any(name.startswith(("pyspark.", "py4j")) for name in sys.modules)
given = {{"MLPROD_ENGINE": "spark", "MLPROD_SPARK_MASTER": "local[1]", "MLPROD_HOME": {str(tmp_path)!r}}}
try:
    list(compute_of(from_environment(given)).map(lambda n: n, [1], "numbers"))
except LookupError as error:
    assert "pip install 'mlprod[spark]'" in str(error), error
else:
    raise AssertionError("it ran")
"""
    done = subprocess.run([sys.executable, "-c", asked], cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_results_that_are_not_there_mean_that_the_folder_is_not_shared(tmp_path: Path) -> None:
    with pytest.raises(ExchangeNotShared, match="put MLPROD_HOME on storage"):
        spark._read(0, FolderExchange(tmp_path / "1"))


def test_a_platform_that_is_sent_reaches_the_lake_and_takes_no_secret_along(tmp_path: Path) -> None:
    secrets = {
        "MLPROD_LEDGER_URL": "postgresql://u:ledgersecret@db/x", "MLPROD_PSEUDONYM_KEY": "pseudonymsecret" * 3,
        "MLPROD_ONLINE_URL": "redis://:onlinesecret@r/0", "MLFLOW_TRACKING_URI": "http://u:mlflowsecret@m",
        "MLPROD_CONNECTION_SHOP": "postgresql://u:shopsecret@db/x",
    }  # fmt: skip
    platform = Platform(from_environment({**secrets, "MLPROD_LAKE": str(tmp_path / "lake")}))
    sent = pickle.dumps(platform)
    assert b"secret" not in sent
    assert pickle.loads(sent).lake.root == platform.lake.root


def test_what_differs_between_two_machines_is_named() -> None:
    here = code_here()
    assert here["duckdb"][0].isdigit()
    assert differences(here, here) == []
    (told,) = differences(here, here | {"numpy": "1.0"})
    assert told == f"numpy 1.0 instead of {here['numpy']}"
    assert differences({"mlprod's code": "a"}, {}) == ["mlprod's code None instead of a"]
