"""The model registry: MLflow, on SQLite or a server, with verified local copies of its models.

Importing MLflow takes three seconds, so it is loaded only to write to the registry or to fetch files. Finding the champion and
loading a model from a local copy do not need it (see `registry_reads`).
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

# MLflow reads these on import. No telemetry; and short timeouts, because the fallback model can score if the server is down.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("DO_NOT_TRACK", "true")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")

from sqlalchemy import NullPool, create_engine

from mlprod_tasks.declaration import Pipeline, Tick
from mlprod_tasks.platform import digest, names
from mlprod_tasks.platform.ledger import Promotion
from mlprod_tasks.platform.ledger_store import Ledger
from mlprod_tasks.platform.model_copies import kept_copy
from mlprod_tasks.platform.model_files import BrokenArtifact, ModelRef, load_files, require
from mlprod_tasks.platform.registry_errors import is_connection_error, is_mlflow_error
from mlprod_tasks.platform.registry_reads import ABSENT, RegistryReads, StoredVersion, open_reads, stored_version

if TYPE_CHECKING:
    from mlflow import MlflowClient

CHAMPION, FALLBACK = "champion", "fallback"
TRAINING_TAG, DIGEST_TAG, ARTIFACT_TAG = "mlprod.training_id", "mlprod.digest", "mlprod.artifact"
PROFILE_TAG = "mlprod.reference_profile_sha256"
PROFILE = "reference_profile.json"
GOLDEN_TAG = "mlprod.canned_rows_sha256"
GOLDEN = "canned_rows.parquet"
EXISTS = "RESOURCE_ALREADY_EXISTS"
LONGEST_VALUE = 5000  # characters of a tag's value


class RegistryUnreachable(ConnectionError):
    """The MLflow server or its database does not answer."""


class RunMissing(LookupError):
    """MLflow has no run of that id."""


class Registry:
    """Models by version and alias. home: the folder for local copies, and for artifacts if MLflow runs without a server."""

    def __init__(self, url: str, home: Path) -> None:
        self.url = url
        self.home = home

    @cached_property
    def client(self) -> MlflowClient:
        """The MLflow client; imports MLflow."""
        from mlflow import MlflowClient

        if self.url.startswith("sqlite:///"):
            Path(self.url.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
        with self.reached():
            if not self.url.startswith("http"):
                _try_connecting(self.url)
            return MlflowClient(self.url, self.url)

    @cached_property
    def _reads(self) -> RegistryReads:
        return open_reads(self.url, lambda: self.client)

    def answers(self) -> bool:
        """Whether the registry can be reached. Raises: RegistryUnreachable."""
        with self.reached():
            self._reads.by_alias("any model", CHAMPION)
        return True

    def run_url(self, run_id: str, base_url: str) -> str:
        """The address of a run in the MLflow UI. Raises: RunMissing."""
        with self.reached():
            try:
                experiment = self.client.get_run(run_id).info.experiment_id
            except Exception as error:
                if is_mlflow_error(error) and error.error_code in ABSENT:  # type: ignore[attr-defined]
                    raise RunMissing(f"MLflow has no run {run_id!r}") from error
                raise
        return f"{base_url.rstrip('/')}/#/experiments/{experiment}/runs/{run_id}"

    def start_run(self, pipeline: Pipeline, training_id: str) -> str:
        """Return the id of a training's run; the run is created if missing."""
        with self.reached():
            experiment = self._experiment(pipeline.name)
            runs = self.client.search_runs([experiment], f"tags.`{TRAINING_TAG}` = '{training_id}'", max_results=1)
            if runs:
                return str(runs[0].info.run_id)
            run = self.client.create_run(experiment, tags={TRAINING_TAG: training_id}, run_name=training_id)
            return str(run.info.run_id)

    def log(
        self,
        run_id: str,
        params: Mapping[str, Any] | None = None,
        metrics: Mapping[str, float] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """Write to a run. Parameters that it already has are skipped: MLflow does not allow changing them."""
        with self.reached():
            from mlflow.entities import Metric, Param, RunTag

            known = self.client.get_run(run_id).data.params if params else {}
            at = int(time.time() * 1000)
            self.client.log_batch(
                run_id,
                metrics=[Metric(name, value, at, 0) for name, value in (metrics or {}).items()],
                params=[Param(name, str(value)) for name, value in (params or {}).items() if name not in known],
                tags=[RunTag(name, str(value)[:LONGEST_VALUE]) for name, value in (tags or {}).items()],
            )

    def log_folder(self, run_id: str, folder: Path, path: str | None = None) -> None:
        """Copy a folder's files to the run's artifacts, below `path`."""
        with self.reached():
            self.client.log_artifacts(run_id, str(folder), path)

    def log_file(self, run_id: str, file: Path, path: str | None = None) -> None:
        with self.reached():
            self.client.log_artifact(run_id, str(file), path)

    def read_file(self, run_id: str, path: str) -> bytes | None:
        """An artifact of a run, such as 'training/assembled.json'; None if the run has none of that name."""
        folder = path.rpartition("/")[0]
        with self.reached(), tempfile.TemporaryDirectory() as target:
            if path not in {artifact.path for artifact in self.client.list_artifacts(run_id, folder or None)}:
                return None
            return Path(self.client.download_artifacts(run_id, path, target)).read_bytes()

    def run_tags(self, run_id: str) -> dict[str, str]:
        """The tags of a run."""
        with self.reached():
            return dict(self.client.get_run(run_id).data.tags)

    def version_tags(self, pipeline: Pipeline, version: int) -> dict[str, str]:
        """The tags of a model version: those of its training's run. Raises: BrokenArtifact if there is no such version."""
        return dict(self._stored(names.registered_model(pipeline), version).tags)

    def end_run(self, run_id: str) -> None:
        with self.reached():
            self.client.set_terminated(run_id)

    def register(
        self, name: str, run_id: str, model_digest: str, artifact: str, tags: Mapping[str, str], description: str
    ) -> ModelRef:
        """Register the model in folder `artifact` of a run as a version of `name`. Safe to repeat: it makes one version."""
        with self.reached():
            with _if_missing():
                self.client.create_registered_model(name)
            for version in self.client.search_model_versions(f"name = '{name}' and run_id = '{run_id}'"):
                if version.tags.get(DIGEST_TAG) == model_digest:
                    return _ref(stored_version(version))
            version = self.client.create_model_version(
                name,
                f"runs:/{run_id}/{artifact}",
                run_id,
                tags={
                    **{key: str(value)[:LONGEST_VALUE] for key, value in tags.items()},
                    DIGEST_TAG: model_digest,
                    ARTIFACT_TAG: artifact,
                },
                description=description,
            )
            return _ref(stored_version(version))

    def set_alias(self, name: str, alias: str, version: int) -> None:
        with self.reached():
            self.client.set_registered_model_alias(name, alias, str(version))

    def champion(self, pipeline: Pipeline) -> ModelRef | None:
        """The version with the alias `champion` now, whether set by mlprod or in the MLflow UI."""
        return self.by_alias(names.registered_model(pipeline), CHAMPION)

    def champion_at(self, pipeline: Pipeline, tick: Tick, ledger: Ledger) -> ModelRef | None:
        """The version that was champion at a tick, from the ledger's promotions."""
        promotions = ledger.all(Promotion, Promotion.effective <= tick.name, pipeline=pipeline.name)
        last = max(promotions, key=lambda promotion: (promotion.effective, promotion.at), default=None)
        return None if last is None else self.version(names.registered_model(pipeline), last.model_version)

    def by_alias(self, name: str, alias: str) -> ModelRef | None:
        """The version with an alias; None if there is no such alias or model."""
        with self.reached():
            stored = self._reads.by_alias(name, alias)
        return None if stored is None else _ref(stored)

    def of_run(self, name: str, run_id: str) -> ModelRef:
        """The newest version of a model from a run. Raises: BrokenArtifact if there is none."""
        with self.reached():
            versions = self.client.search_model_versions(f"name = '{name}' and run_id = '{run_id}'")
        if not versions:
            raise BrokenArtifact(f"no version of model {name!r} comes from run {run_id}")
        return _ref(stored_version(max(versions, key=lambda version: int(version.version))))

    def version(self, name: str, version: int) -> ModelRef:
        """The reference to a version. Raises: BrokenArtifact if the registry does not have it."""
        return _ref(self._stored(name, version))

    def load(self, pipeline: Pipeline, version: int) -> Any:
        """Load a version from this machine's verified copy; it is fetched if missing.

        Raises: BrokenArtifact, RegistryUnreachable.
        """
        return self.load_model(self.version(names.registered_model(pipeline), version))

    def load_model(self, ref: ModelRef) -> Any:
        """Load a model by reference, as `load`. The model's MLmodel file names the module that reads it."""
        return load_files(ref, self._copy(ref))

    def files(self, ref: ModelRef) -> Path:
        """The folder with a version's files below the home folder, for `load_files`. Raises: as `load_model`."""
        return self._copy(ref)

    def load_stored(self, ref: ModelRef) -> Any:
        """Load a model from the registry's own files, without the local copy.

        Raises: BrokenArtifact if they are missing, not the registered ones, or unreadable; RegistryUnreachable.
        """
        with tempfile.TemporaryDirectory() as beside:
            fetched = self._fetch(ref, beside)
            require(fetched, ref)
            return load_files(ref, fetched)

    def reference_profile(self, pipeline: Pipeline, version: int) -> dict[str, Any]:
        """The profile of the version's test window, the reference for drift. Raises: BrokenArtifact."""
        stored = self._stored(names.registered_model(pipeline), version)
        ref = _ref(stored)
        file, expected = self._copy(ref) / PROFILE, stored.tags.get(PROFILE_TAG)
        if not file.is_file() or digest.of_file(file) != expected:
            raise BrokenArtifact(
                f"the reference profile of {ref.name} version {version} is missing or is not the registered one"
            )
        profile: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        return profile

    def golden_predictions(self, ref: ModelRef) -> Path | None:
        """The Parquet file with the version's golden predictions (features, score, decision), made after training.

        Returns None if it was registered without. Raises: BrokenArtifact if the file is missing or not the registered one.
        """
        expected = self._stored(ref.name, ref.version).tags.get(GOLDEN_TAG)
        if expected is None:
            return None
        file = self._copy(ref) / GOLDEN
        if not file.is_file() or digest.of_file(file) != expected:
            raise BrokenArtifact(
                f"the golden predictions of {ref.name} version {ref.version} are missing or not the registered ones"
            )
        return file

    def _stored(self, name: str, version: int) -> StoredVersion:
        with self.reached():
            stored = self._reads.version(name, version)
        if stored is None:
            raise BrokenArtifact(f"model {name!r} has no version {version} in {_without_password(self.url)}")
        return stored

    def _copy(self, ref: ModelRef) -> Path:
        """The local copy of a version's files, fetched if missing or damaged."""
        return kept_copy(ref, self.home, lambda new: self._fetch(ref, str(new.parent)).rename(new))

    def _fetch(self, ref: ModelRef, beside: str) -> Path:
        artifact = self._stored(ref.name, ref.version).tags.get(ARTIFACT_TAG, "")
        try:
            with self.reached():
                return Path(self.client.download_artifacts(ref.run_id, artifact, beside))
        except RegistryUnreachable:
            raise
        except Exception as error:
            if not (isinstance(error, OSError) or is_mlflow_error(error)):
                raise
            raise BrokenArtifact(
                f"the files of {ref.name} version {ref.version} cannot be fetched: {self._text_of(error)}"
            ) from error

    def _experiment(self, name: str) -> str:
        experiment = self.client.get_experiment_by_name(name)
        if experiment is None:
            with _if_missing():
                return str(self.client.create_experiment(name, artifact_location=self._artifacts(name)))
            # Another process has created it in between.
            experiment = self.client.get_experiment_by_name(name)
        if experiment is None or experiment.lifecycle_stage != "active":
            raise RuntimeError(f"MLflow experiment {name!r} was deleted: restore it, or remove it for good with `mlflow gc`")
        return str(experiment.experiment_id)

    def _artifacts(self, name: str) -> str | None:
        """The folder of artifacts below `home`, never the working folder; None if a server decides."""
        return None if self.url.startswith("http") else (self.home / "mlartifacts" / name).as_uri()

    @contextmanager
    def reached(self) -> Iterator[None]:
        """Context for all calls to the registry: connection errors become RegistryUnreachable, without passwords."""
        try:
            yield
        except Exception as error:
            if is_connection_error(error):
                raise self._unreachable(error) from self._cause(error)
            raise

    def _unreachable(self, error: Exception) -> RegistryUnreachable:
        return RegistryUnreachable(
            f"the model registry at {_without_password(self.url)} does not answer ({type(error).__name__}). Check "
            f"MLFLOW_TRACKING_URI and the server or database behind it: {self._text_of(error)[:300]}"
        )

    def _cause(self, error: Exception) -> Exception | None:
        """The error to show in a traceback; None if its text contains a password."""
        return error if self._text_of(error) == str(error) else None

    def _text_of(self, error: Exception) -> str:
        """The error's text without the password of the URL, which MLflow puts into its errors."""
        safe = urlsplit(_without_password(self.url)).netloc or self.url
        return str(error).replace(urlsplit(self.url).netloc or self.url, safe)


def _try_connecting(url: str) -> None:
    """Connect once: MLflow would try for more than a minute if the database is down. Raises: SQLAlchemyError."""
    engine = create_engine(url, poolclass=NullPool)
    engine.connect().close()
    engine.dispose()


def _ref(stored: StoredVersion) -> ModelRef:
    return ModelRef(stored.name, stored.version, stored.tags.get(DIGEST_TAG, ""), stored.run_id)


@contextmanager
def _if_missing() -> Iterator[None]:
    """Context for creating something that may exist already: suppresses MLflow's error about that."""
    try:
        yield
    except Exception as error:
        if not (is_mlflow_error(error) and error.error_code == EXISTS):  # type: ignore[attr-defined]
            raise


def _without_password(url: str) -> str:
    """The URL with its password replaced by ***."""
    parts = urlsplit(url)
    if parts.password is None:
        return url
    return urlunsplit(parts._replace(netloc=f"{parts.username}:***@{parts.netloc.rpartition('@')[2]}"))
