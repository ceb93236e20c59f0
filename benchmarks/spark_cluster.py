"""Real Spark on loopback: a standalone cluster, or a Spark Connect server. Each of its processes has a group of its own."""

from __future__ import annotations

import os
import signal
import socket
import sys
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import psutil

from benchmarks.replicas import LOOPBACK, REPOSITORY, Server
from demo.local_airflow import free_port

MASTER, WORKER = (f"org.apache.spark.deploy.{kind}" for kind in ("master.Master", "worker.Worker"))
SUBMIT, CONNECT = "org.apache.spark.deploy.SparkSubmit", "org.apache.spark.sql.connect.service.SparkConnectServer"

# Not among the other packages: MLflow imports pyspark wherever it finds it, which takes seconds.
SPARK = Path(sys.prefix) / "spark"
START = str(SPARK / "pyspark" / "bin" / "spark-class")


class SparkServer(Server):
    """A master, or a worker of it."""

    def __init__(self, name: str, arguments: list[str], folder: Path, environment: Mapping[str, str]) -> None:
        self.port, self._page = free_port(), free_port()
        where = ["--host", LOOPBACK, "--port", str(self.port), "--webui-port", str(self._page)]
        super().__init__(name, [START, arguments[0], *where, *arguments[1:]], folder, environment)

    def page(self) -> str:
        """What its page tells as JSON; '' while it does not answer."""
        with suppress(OSError), urllib.request.urlopen(f"http://{LOOPBACK}:{self._page}/json/", timeout=5) as answer:
            return str(answer.read().decode())
        return ""

    def answers(self) -> bool:
        return bool(self.page())


class SparkCluster:
    """A master at `url`, and its workers."""

    def __init__(self, master: SparkServer, workers: list[SparkServer]) -> None:
        self.master, self.workers = master, workers
        self.url = f"spark://{LOOPBACK}:{master.port}"


def kill_executor(process: int) -> bool:
    """Kill the executor that a process of its works for, with SIGKILL; False if it has ended already."""
    with suppress(psutil.NoSuchProcess):
        for one in psutil.Process(process).parents():
            if "CoarseGrainedExecutorBackend" in " ".join(one.cmdline()):
                one.send_signal(signal.SIGKILL)
                return True
    return False


class SparkConnect(Server):
    """A Spark Connect server at `url`, whose two executors are threads of its process with Pythons below it."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self.port = free_port()
        self.url = f"sc://{LOOPBACK}:{self.port}"
        listens = {"spark.connect.grpc.binding.address": LOOPBACK, "spark.connect.grpc.binding.port": self.port}
        settings = [word for name, value in listens.items() for word in ("--conf", f"{name}={value}")]
        started = [START, SUBMIT, "--master", "local[2]", *settings, "--class", CONNECT, "spark-internal"]
        super().__init__("spark-connect", started, folder, environment)

    def answers(self) -> bool:
        with suppress(OSError), socket.create_connection((LOOPBACK, self.port), 1):
            return True
        return False


@contextmanager
def spark_cluster(
    folder: Path, workers: int = 2, memory: str = "1g", of_executors: Mapping[str, str] | None = None
) -> Iterator[SparkCluster]:
    """A cluster whose workers have a core each. Sets what a driver in this process needs, and takes it back.

    of_executors: variables of their environment, which the driver's has not.
    """
    with _spark_here(folder, REPOSITORY) as here, ExitStack() as running:
        master = SparkServer("spark-master", [MASTER], folder, here)
        running.enter_context(master)
        master.start()
        cluster = SparkCluster(master, [])
        for number in range(workers):
            arguments = [WORKER, "--cores", "1", "--memory", memory, "--work-dir", str(folder / "work"), cluster.url]
            worker = SparkServer(f"spark-worker-{number}", arguments, folder, {**here, **(of_executors or {})})
            running.enter_context(worker)
            worker.start()
            cluster.workers.append(worker)
        yield cluster


@contextmanager
def spark_connect(folder: Path, code: Path = REPOSITORY) -> Iterator[SparkConnect]:
    """A Connect server. Sets what a client in this process needs, and takes it back. code: where executors look first."""
    with _spark_here(folder, code) as here, SparkConnect(folder, here) as server:
        server.start()
        yield server


@contextmanager
def _spark_here(folder: Path, code: Path) -> Iterator[dict[str, str]]:
    """The environment of Spark's processes, which is also this process's meanwhile."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "spark-defaults.conf").write_text(
        f"spark.driver.host {LOOPBACK}\nspark.driver.bindAddress {LOOPBACK}\nspark.ui.enabled false\n"
        f"spark.executor.memory 512m\nspark.driver.memory 512m\nspark.local.dir {folder}/scratch\n"
    )
    here = {
        "SPARK_CONF_DIR": str(folder), "SPARK_LOCAL_IP": LOOPBACK, "PYSPARK_PYTHON": sys.executable,
        "PYTHONPATH": f"{code}:{REPOSITORY}:{SPARK}", "SPARK_HOME": str(SPARK / "pyspark"),
    }  # fmt: skip
    # pyspark sets the last one as soon as it is a client of a Connect server, and then is nothing else.
    before = {name: os.environ.get(name) for name in (*here, "SPARK_CONNECT_MODE_ENABLED")}
    os.environ.update(here)
    sys.path.append(str(SPARK))
    try:
        yield here
    finally:
        sys.path.remove(str(SPARK))
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
