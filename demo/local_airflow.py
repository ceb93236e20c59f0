"""Run a real Airflow in one folder, on loopback only, and end it without leftovers."""

from __future__ import annotations

import ctypes
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType

import psutil
from cryptography.fernet import Fernet

from demo.airflow_api import AirflowApi, poll

LOOPBACK = "127.0.0.1"
COMPONENTS = {
    "api-server": ["api-server"],
    # Without their log servers, which listen on every address: the API server shares the log folder.
    "scheduler": ["scheduler", "--skip-serve-logs"],
    "dag-processor": ["dag-processor"],
    "triggerer": ["triggerer", "--skip-serve-logs"],
}
HEALTHY = {"metadatabase", "scheduler", "dag_processor", "triggerer"}
NEEDED_BY_EVERY_TASK = (
    "airflow.executors.local_executor",
    "airflow.sdk.execution_time.task_runner",
    "airflow.dag_processing.dagbag",
    "airflow.jobs.scheduler_job_runner",
    "airflow.providers.standard.decorators.python",
)
LOG_TAIL_LINES = 30


class AirflowFailed(RuntimeError):
    """A component did not start or has died; the message holds the end of its log."""


class LocalAirflow:
    """Start API server, scheduler, DAG processor and triggerer; stop them all on exit.

        with LocalAirflow(Path("home"), dags=Path("dags")) as airflow:
            airflow.api.unpause("ingest")

    Everything that it writes is under `home`: database, logs, one `<component>.log` each. Whoever
    reaches the port is admin, which is why it listens on 127.0.0.1 alone.

    The components die with the thread that started them (Linux), so start it from the main thread.

    home: folder, created if missing; starting again on it continues where the last one stopped.
    preload: modules that are imported once for all tasks (Linux, macOS). Otherwise Great
        Expectations and MLflow cost each task 6 s.
    environment: further variables, such as connections; they win over those set here.
    port: of API and UI; None takes a free one.
    cores: tasks that may run at once.
    database: SQLAlchemy URL of the metadata; None is SQLite in `home`.
    """

    def __init__(
        self,
        home: Path,
        *,
        dags: Path,
        plugins: Path | None = None,
        preload: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
        port: int | None = None,
        cores: int | None = None,
        database: str | None = None,
    ) -> None:
        self.home = Path(home).resolve()
        self.port = port or free_port()
        self.url = f"http://{LOOPBACK}:{self.port}"
        self.api = AirflowApi(self.url)
        self.home.mkdir(parents=True, exist_ok=True)
        self.environment = self._environment(
            Path(dags).resolve(),
            Path(plugins).resolve() if plugins else self.home / "plugins",
            cores or os.cpu_count() or 1,
            database or f"sqlite:///{self.home / 'airflow.db'}",
            {**_preloading(preload), **(environment or {})},
        )
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> LocalAirflow:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    def start(self, *, seconds: float = 120) -> None:
        """Migrate the database, start the components, return when all are healthy.

        Raises: AirflowFailed with the end of the log of the component that failed.
        """
        try:
            self.cli("db", "migrate")
            for name, arguments in COMPONENTS.items():
                self._launch(name, arguments)
            poll(self._all_healthy, seconds=seconds, waiting_for=self._unhealthy)
        except BaseException:
            self.stop()
            raise

    def stop(self, *, seconds: float = 3) -> None:
        """End every process of this Airflow, running tasks too. A second call does nothing.

        Processes that have not ended after `seconds` are killed: the triggerer would take ten.
        """
        members = self.processes()
        for process in self._running.values():
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
        _, stubborn = psutil.wait_procs(members, timeout=seconds)
        # A task has a process group of its own, and may have been born after the first look.
        leftovers = {*stubborn, *self.processes()}
        for leftover in leftovers:
            with suppress(psutil.NoSuchProcess):
                leftover.kill()
        psutil.wait_procs(leftovers, timeout=seconds)
        for process in self._running.values():
            process.wait(timeout=seconds)
        self._running.clear()
        self.api.close()

    def processes(self) -> list[psutil.Process]:
        """Return every live process of this Airflow: the components and all that they started."""
        leaders = {process.pid for process in self._running.values()}
        found: set[psutil.Process] = set()
        for process in psutil.process_iter() if leaders else ():
            with suppress(psutil.NoSuchProcess, ProcessLookupError, PermissionError):
                if process.pid in leaders:
                    found |= {process, *process.children(recursive=True)}
                elif os.getsid(process.pid) in leaders:
                    found.add(process)
        return [process for process in found if _is_alive(process)]

    def cli(self, *arguments: str, seconds: float = 120) -> str:
        """Run `airflow ARGUMENTS` as a person would in a shell, and return what it prints.

        Raises: AirflowFailed with its output if it fails.
        """
        done = subprocess.run(
            [sys.executable, "-m", "airflow", *arguments],
            env=self.environment,
            cwd=self.home,
            capture_output=True,
            text=True,
            timeout=seconds,
        )
        if done.returncode:
            raise AirflowFailed(f"airflow {' '.join(arguments)}: exit {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout

    def _launch(self, name: str, arguments: list[str]) -> None:
        with (self.home / f"{name}.log").open("ab") as log:
            self._running[name] = subprocess.Popen(
                [sys.executable, "-m", "airflow", *arguments],
                env=self.environment,
                cwd=self.home,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=die_with_parent(),
            )

    def _all_healthy(self) -> bool | None:
        for name, process in self._running.items():
            if process.poll() is not None:
                raise AirflowFailed(f"{name} ended with exit code {process.returncode}:\n{self._log_tail(name)}")
        health = self.api.health()
        return True if all(health.get(name) == "healthy" for name in HEALTHY) else None

    def _unhealthy(self) -> str:
        health = self.api.health()
        sick = [name for name in COMPONENTS if health.get(name.replace("-", "_")) != "healthy"]
        if health:
            sick = [name for name in sick if name != "api-server"]
        tails = "\n".join(f"--- {name}\n{self._log_tail(name)}" for name in sick)
        return f"Airflow at {self.url} to be healthy; it says {health or 'nothing'}\n{tails}"

    def _log_tail(self, name: str) -> str:
        lines = (self.home / f"{name}.log").read_text(errors="replace").splitlines()
        return "\n".join(lines[-LOG_TAIL_LINES:])

    def _environment(self, dags: Path, plugins: Path, cores: int, database: str, extra: Mapping[str, str]) -> dict[str, str]:
        keys = _keys(self.home / "keys.json")
        settings = {
            "CORE__DAGS_FOLDER": dags,
            "CORE__PLUGINS_FOLDER": plugins,
            "CORE__LOAD_EXAMPLES": False,
            "CORE__EXECUTOR": "LocalExecutor",
            "CORE__PARALLELISM": cores,
            "CORE__MAX_ACTIVE_RUNS_PER_DAG": max(cores, 2),
            "CORE__FERNET_KEY": keys["fernet"],
            "CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": True,
            # Each task asks the API server for its work; the default names port 8080.
            "CORE__EXECUTION_API_SERVER_URL": f"{self.url}/execution/",
            "DATABASE__SQL_ALCHEMY_CONN": database,
            "API__HOST": LOOPBACK,
            "API__PORT": self.port,
            "API__BASE_URL": self.url,
            "API__WORKERS": 1,
            "API__SECRET_KEY": keys["api"],
            "API_AUTH__JWT_SECRET": keys["jwt"],
            "LOGGING__BASE_LOG_FOLDER": self.home / "logs",
            "LOGGING__DAG_PROCESSOR_CHILD_PROCESS_LOG_DIRECTORY": self.home / "logs" / "dag_processor",
            "SCHEDULER__ENABLE_HEALTH_CHECK": False,
            "SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": 0.5,
            # Also how long a slot can stay taken after its task has ended (5 s by default).
            "WORKERS__MIN_HEARTBEAT_INTERVAL": 1,
            "DAG_PROCESSOR__REFRESH_INTERVAL": 10,
            "DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": 30,
            "METRICS__STATSD_ON": False,
            "METRICS__OTEL_ON": False,
            "TRACES__OTEL_ON": False,
        }
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW_")}
        loopback = dict.fromkeys(("NO_PROXY", "no_proxy"), f"{LOOPBACK},localhost")
        silent = {"SCARF_ANALYTICS": "false", "SCARF_NO_ANALYTICS": "true", "DO_NOT_TRACK": "1"}
        configured = {f"AIRFLOW__{name}": str(value) for name, value in settings.items()}
        return {**inherited, **loopback, **silent, "AIRFLOW_HOME": str(self.home), **configured, **extra}


def _preloading(modules: Sequence[str]) -> dict[str, str]:
    """Return the settings that fork tasks from a process which has imported these modules.

    A fork server is such a process without the scheduler's connections. It starts with the first task.
    """
    if not modules:
        return {}
    return {
        "AIRFLOW__SCHEDULER__MP_START_METHOD": "forkserver",
        "AIRFLOW__SCHEDULER__MP_FORKSERVER_PRELOAD": ",".join((*NEEDED_BY_EVERY_TASK, *modules)),
    }


def _keys(file: Path) -> dict[str, str]:
    """Return this home's secret keys, made on first use, so that stored secrets stay readable."""
    if not file.exists():
        keys = {"fernet": Fernet.generate_key().decode(), "api": secrets.token_hex(), "jwt": secrets.token_hex(32)}
        file.touch(mode=0o600)
        file.write_text(json.dumps(keys))
    return dict(json.loads(file.read_text()))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def die_with_parent() -> Callable[[], object] | None:
    """Return what a child calls first, so that `kill -9` of this process ends it (Linux only)."""
    if not sys.platform.startswith("linux"):
        return None
    set_parent_death_signal = 1
    prctl = ctypes.CDLL(None).prctl
    return lambda: prctl(set_parent_death_signal, signal.SIGTERM)


def _is_alive(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    return False
