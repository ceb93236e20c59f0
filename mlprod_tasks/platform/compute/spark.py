"""Run pieces on the executors of a Spark cluster: one Spark task a piece, which Spark runs again if its executor is lost.

Results go through files that driver and executors exchange, one a piece, so that the driver holds one at a time. Spark is told
only that they are there.
"""

from __future__ import annotations

import logging
import os
import pickle
import shutil
import socket
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import cache
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from mlprod_tasks.platform.compute import NotComputed, Piece, Result, Work
from mlprod_tasks.platform.compute.exchange import Exchange, ExchangeUnreachable
from mlprod_tasks.platform.compute.same_code import code_here, differences
from mlprod_tasks.platform.settings import SettingMissing
from mlprod_tasks.platform.threads import limit_threads

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

CONNECT = "sc://"
STANDALONE = "spark://"
REACH_SECONDS = 5.0

log = logging.getLogger(__name__)


class SparkUnreachable(NotComputed, ConnectionError):
    """No Spark master answers. The message names it."""


class ExecutorsDiffer(NotComputed, RuntimeError):
    """An executor has other code than the driver, so its bits may differ. The message says what."""


class SparkMissing(NotComputed, SettingMissing):
    """What Spark needs here is missing: its package, Java, or the master's address. The message says which."""


class SparkGaveUp(NotComputed, RuntimeError):
    """Spark ran a piece several times in vain, such as on executors that died of too little memory."""


class Spark:
    """A Spark cluster.

    master: spark://host:port, local[N], local-cluster[N,cores,MB], or sc://host:port of a Spark Connect server. Everything else
    is configured as usual, in spark-defaults.conf. exchange: makes the folder through which results go.
    """

    def __init__(self, master: str, exchange: Callable[[], AbstractContextManager[Exchange]]) -> None:
        self._master, self._exchange = master, exchange

    def map(self, work: Work[Piece, Result], pieces: Sequence[Piece], what: str) -> Iterator[Result]:
        """See `Compute.map`. Raises: SparkMissing, SparkUnreachable, ExecutorsDiffer, ExchangeNotShared,
        ExchangeUnreachable, SparkGaveUp.
        """
        if not pieces:
            return
        with self._exchange() as folder:
            with _session(self._master) as session:
                log.info("%s: %d pieces on %s", what, len(pieces), self._master)
                _run(session, work, pieces, folder)
            for number in range(len(pieces)):
                yield _read(number, folder)


def _run(session: SparkSession, work: Work[Piece, Result], pieces: Sequence[Piece], folder: Exchange) -> None:
    """Compute every piece into a file of `folder`."""
    sent = pickle.dumps((work, list(pieces)))
    here = code_here()

    def on_executor(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        # Imported there: a driver's module object is not sent.
        from mlprod_tasks.platform.compute.spark import compute_piece

        for batch in batches:
            for number in batch.column(0).to_pylist():
                compute_piece(number, sent, here, folder)
                yield pa.record_batch({"piece": pa.array([number], pa.int64())})

    # Each number is a partition of its own, and so a task.
    numbers = session.range(0, len(pieces), 1, len(pieces))
    try:
        done = numbers.mapInArrow(on_executor, "piece long").count()
    except Exception as error:
        raise _plain(error) from error
    assert done == len(pieces)


def compute_piece(number: int, sent: bytes, driver: dict[str, str], folder: Exchange) -> None:
    """Compute one piece on an executor, and write its result, or what the work raised, to <number>.pickle of the folder.

    What the work raises would be raised by a second attempt too, so Spark is not told of a failure.
    """
    if different := differences(driver, code_here()):
        raise ExecutorsDiffer(
            f"the executor on {socket.gethostname()} is not the driver's: {'; '.join(different)}. Install the same "
            "requirements.lock and the same mlprod on both"
        )
    from pyspark import TaskContext

    context = TaskContext.get()
    limit_threads(context.cpus() if context is not None else 1)
    work, pieces = pickle.loads(sent)  # noqa: S301  (the driver's own)
    outcome: tuple[str, Any]
    try:
        (result,) = work(iter(pieces[number : number + 1]))
        outcome = ("result", result)
    except Exception as error:
        outcome = ("error", _sendable(error))
    with folder.writing(f"{number}.pickle") as file:
        file.write_bytes(pickle.dumps(outcome, protocol=5))


def _sendable(error: Exception) -> Exception:
    """The error, if it survives being sent; else one with its text."""
    with suppress(Exception):
        pickle.loads(pickle.dumps(error))  # noqa: S301
        return error
    return RuntimeError(f"{type(error).__name__}: {error}")


def _read(number: int, folder: Exchange) -> Any:
    with folder.reading(f"{number}.pickle") as (file,):
        kind, value = pickle.loads(file.read_bytes())  # noqa: S301  (written by `compute_piece`)
    if kind == "error":
        raise value
    return value


@contextmanager
def _session(master: str) -> Iterator[SparkSession]:
    """The process's session with a cluster; through Spark Connect, one for this computation alone.

    Raises: SparkMissing if a package, Java or the master's address is missing; SparkUnreachable.
    """
    if not master:
        raise SparkMissing("MLPROD_ENGINE is spark: set MLPROD_SPARK_MASTER, such as spark://host:7077 or local[2]")
    if not master.startswith(CONNECT):
        yield _started(master)
        return
    session = _connected(master)
    try:
        yield session
    finally:
        _leave(session, master)


@cache
def _started(master: str) -> SparkSession:
    """The session whose driver is a JVM of this process."""
    _require_java()
    _reach(master)
    builder: Any = _builder().master(master).appName("mlprod").config("spark.ui.showConsoleProgress", "false")
    session: SparkSession = builder.getOrCreate()
    return session


def _connected(address: str) -> SparkSession:
    """A new session of a Spark Connect server: it forgets those idle for an hour, and all when it is started again."""
    _reach(address)
    builder: Any = _builder().remote(address)
    with warnings.catch_warnings():
        # No pandas is sent or received.
        warnings.filterwarnings("ignore", "PySpark does not yet fully support pandas", FutureWarning)
        try:
            session: SparkSession = builder.create()
        except ImportError as error:
            raise _not_installed(error) from None
    return session


def _leave(session: Any, address: str) -> None:
    """End a session of a Spark Connect server. If the server has gone, the client would try to tell it for ten minutes."""
    try:
        _reach(address)
    except SparkUnreachable:
        session.client.close()
    else:
        session.stop()


def _builder() -> Any:
    try:
        from pyspark.sql import SparkSession
    except ImportError as error:
        raise _not_installed(error) from None
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    return SparkSession.builder


def _not_installed(error: ImportError) -> SparkMissing:
    return SparkMissing(f"MLPROD_ENGINE is spark, which needs pyspark: pip install 'mlprod[spark]' ({error})")


def _require_java() -> None:
    home = os.environ.get("JAVA_HOME")
    if not shutil.which("java", path=f"{home}/bin" if home else None):
        where = f"JAVA_HOME is {home}" if home else "no `java` is on the PATH and JAVA_HOME is not set"
        raise SparkMissing(f"MLPROD_ENGINE is spark, which needs Java 17 or newer: {where}")


def _reach(master: str) -> None:
    """Ask whether anybody listens at one of the master's addresses: Spark itself tries for minutes.

    Raises: SparkUnreachable.
    """
    scheme = next((one for one in (STANDALONE, CONNECT) if master.startswith(one)), None)
    if scheme is None:
        return
    addresses = master.removeprefix(scheme).partition("/")[0].split(",")
    failed = []
    for address in addresses:
        host, _, port = address.rpartition(":")
        try:
            socket.create_connection((host, int(port)), REACH_SECONDS).close()
        except (OSError, ValueError) as error:
            failed.append(f"{address} ({error})")
        else:
            return
    raise SparkUnreachable(f"no Spark master answers at {', '.join(failed)}: check MLPROD_SPARK_MASTER, and that it runs")


def _plain(error: Exception) -> Exception:
    """An error of Spark in the words of what went wrong on an executor."""
    lines = [line.strip() for line in str(error).splitlines()]
    for line in lines:
        for kind in (ExecutorsDiffer, ExchangeUnreachable):
            if line.startswith(f"{kind.__module__}.{kind.__name__}: "):
                return kind(line.partition(": ")[2])
        if "No module named 'mlprod_tasks'" in line:
            return ExecutorsDiffer("an executor has no mlprod: install it there, with the same requirements.lock")
        if "PYTHON_VERSION_MISMATCH" in line:
            return ExecutorsDiffer(
                f"executors have another Python than the driver's {sys.version.split()[0]}: set PYSPARK_PYTHON"
            )
    return SparkGaveUp(f"Spark gave up: {next((line for line in lines if line), type(error).__name__)}")
