"""Where a trial runs: a home, a PostgreSQL for source and predictions, a mail server; and copies of all that to begin from."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Self

from sqlalchemy import text

from benchmarks.recovery import source
from benchmarks.recovery.child import Children, Ended, Moment, Order
from benchmarks.recovery.proxy import Proxy
from benchmarks.recovery.work import BEGINS, DECLARED
from benchmarks.replicas import LOOPBACK, PostgreSQL
from demo.mail_catcher import MailCatcher
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.database import database_url, open_database
from mlprod_tasks.platform.settings import from_environment

KEY = "6b1f0e2d3c4b5a69788796a5b4c3d2e1f00fedcba9876543211234567890abcd"
SOURCE, BUSINESS, LEDGER, REGISTRY = "source", "business", "ledger", "registry"  # databases in PostgreSQL


class Place:
    """Everything that a trial changes, and the servers that it needs.

    servers: ledger and registry are databases of PostgreSQL, not SQLite files below the home.
    """

    def __init__(self, folder: Path, seed: int, *, servers: bool = False) -> None:
        self.folder, self.seed = folder, seed
        self.home, self.mails, self.output = folder / "home", folder / "mails", folder / "printed" / "output.txt"
        self.children, self.servers = Children(), servers
        self.changed = (BUSINESS, LEDGER, REGISTRY) if servers else (BUSINESS,)
        self.since = datetime.now(UTC)
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        for one in (self.home, self.mails, self.output.parent, self.folder / "kept"):
            one.mkdir(parents=True)
        self.postgres = self._stack.enter_context(PostgreSQL())
        self.mail = self._stack.enter_context(MailCatcher(self.mails))
        self._admin = open_database(self.postgres.url).execution_options(isolation_level="AUTOCOMMIT")
        self.sql("ALTER SYSTEM SET fsync = off")  # a trial kills who writes, not the server
        self.sql("SELECT pg_reload_conf()")
        for name in (SOURCE, *self.changed):
            self.sql(f"CREATE DATABASE {name}")
        source.fill(self.database(SOURCE), self.seed)
        socket = Path(str(database_url(self.postgres.url).query["host"])) / ".s.PGSQL.5432"
        self.proxies = {name: self._stack.enter_context(Proxy(socket)) for name in (SOURCE, *self.changed)}
        return self

    def __exit__(self, *_: object) -> None:
        self._admin.dispose()
        self._stack.close()

    def sql(self, statement: str) -> None:
        with self._admin.connect() as connection:
            connection.execute(text(statement))

    def database(self, name: str) -> str:
        """The address of a database, past the proxy."""
        return database_url(self.postgres.url).set(database=name).render_as_string(hide_password=False)

    def _through_proxy(self, name: str) -> str:
        return f"postgresql://postgres@{LOOPBACK}:{self.proxies[name].port}/{name}"

    def end_connections(self, name: str) -> None:
        """As an administrator ends them, or a server that restarts."""
        self.sql(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")

    @property
    def variables(self) -> dict[str, str]:
        """The environment of every step."""
        given = {
            "MLPROD_HOME": str(self.home),
            "MLPROD_PIPELINES": str(DECLARED),
            "MLPROD_EXPECTATIONS": str(self.home / "gx"),
            "MLPROD_PSEUDONYM_KEY": KEY,
            "MLPROD_CONNECTION_SHOP": self._through_proxy(SOURCE),
            "MLPROD_CONNECTION_BUSINESS": self._through_proxy(BUSINESS),
            "MLPROD_CONNECTION_SMTP": f"smtp://{LOOPBACK}:{self.mail.smtp_port}",
        }
        if self.servers:
            given["MLPROD_LEDGER_URL"] = self._through_proxy(LEDGER)
            given["MLFLOW_TRACKING_URI"] = self._through_proxy(REGISTRY).replace("postgresql:", "postgresql+psycopg2:")
        return given

    def platform(self) -> Platform:
        """For looking at what stands."""
        return Platform(from_environment(self.variables))

    def run(
        self,
        work: str,
        moment: Moment | None = None,
        jump: tuple[int, timedelta] | None = None,
        act: Callable[[], object] | None = None,
        **variables: str,
    ) -> Ended:
        """Run one step in a process of its own. At `moment` it is killed; or, with `act`, waits until that is done."""
        order = Order(work, self.variables | variables, self.output, BEGINS, self.since, jump, moment)
        return self.children.run(order, act)

    def used(self) -> int:
        """Bytes that the home takes."""
        return int(subprocess.run(["du", "-sB1", str(self.home)], check=True, capture_output=True, text=True).stdout.split()[0])

    def keep(self, name: str) -> None:
        """Keep what stands, to begin from again."""
        kept = self.folder / "kept" / name
        kept.mkdir(exist_ok=True)
        for folder in (self.home, self.mails):
            _copy(folder, kept / folder.name)
        for database in self.changed:
            self._copy_database(database, f"{database}_{name}")

    def restore(self, name: str) -> None:
        """Let what was kept stand again; what the steps printed begins anew."""
        for folder in (self.home, self.mails):
            _copy(self.folder / "kept" / name / folder.name, folder)
        for database in self.changed:
            self._copy_database(f"{database}_{name}", database)
        self.output.unlink(missing_ok=True)

    def _copy_database(self, given: str, made: str) -> None:
        self.sql(f'DROP DATABASE IF EXISTS "{made}" WITH (FORCE)')
        self.sql(f'CREATE DATABASE "{made}" TEMPLATE "{given}"')


def _copy(given: Path, made: Path) -> None:
    """Copy a folder with its times: what is an hour old is deleted by some steps."""
    for one in made.iterdir() if made.is_dir() else ():
        shutil.rmtree(one) if one.is_dir() else one.unlink()
    made.mkdir(parents=True, exist_ok=True)
    subprocess.run(["cp", "-a", f"{given}/.", str(made)], check=True)


class SmallDisk:
    """A disk of its own for the home, on which a trial leaves little room. Needs the right to mount."""

    def __init__(self, place: Place, mib: int = 256) -> None:
        self._place, self._mib = place, mib

    def __enter__(self) -> Self:
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={self._mib}m", "mlprod-recovery", str(self._place.home)],
            check=True, capture_output=True,
        )  # fmt: skip
        return self

    def __exit__(self, *_: object) -> None:
        subprocess.run(["umount", "--lazy", str(self._place.home)], check=True, capture_output=True)

    def leave(self, free: int) -> None:
        """Fill it up to so many free bytes."""
        room = shutil.disk_usage(self._place.home).free
        with self._ballast.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, max(room - free, 1))

    def free(self) -> None:
        self._ballast.unlink(missing_ok=True)

    @property
    def _ballast(self) -> Path:
        return self._place.home / "ballast"


def may_mount() -> bool:
    """Whether this process may mount a disk."""
    with tempfile.TemporaryDirectory() as folder:
        if subprocess.run(["mount", "-t", "tmpfs", "mlprod", folder], check=False, capture_output=True).returncode:
            return False
        subprocess.run(["umount", folder], check=True)
    return True
