"""Record which code, packages and machine made a model."""

from __future__ import annotations

import os
import platform as machine
import subprocess
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import ClassVar

from mlprod_tasks.platform import digest
from mlprod_tasks.training.workspace import StepRecord

RECORD_FOLDER = "training"  # folder of an MLflow run with all that is needed to make the model again
PACKAGE = Path(__file__).parents[1]
LOCK = "requirements.lock"
# The packages on which the bits of a prediction may depend.
PACKAGES = (
    "deltalake", "duckdb", "lightgbm", "mlflow", "mlprod", "numba", "numpy", "optuna", "pandas", "pyarrow", "scikit-learn",
    "scipy", "skops",
)  # fmt: skip
GIVEN_COMMIT = "MLPROD_GIT_COMMIT"  # for an image with the code but without the repository


@dataclass(frozen=True)
class Provenance:
    """The version of the code and its lock. Digests are SHA-256.

    git_commit: '' without a repository; ends in '+changes' if files differ from the commit.
    """

    git_commit: str
    code_digest: str
    lock_digest: str


def provenance(package: Path = PACKAGE) -> Provenance:
    """Return the provenance of the running code."""
    return Provenance(_git_commit(package), digest.of_code(package), _lock_digest(package))


@dataclass(frozen=True)
class Environment(StepRecord):
    """Where a training ran: Python, kind of machine, threads, and package versions."""

    FILE: ClassVar[str] = "environment.json"
    STEP: ClassVar[str] = "register"

    python: str
    machine: str
    threads: int
    packages: dict[str, str]


def environment(threads: int) -> Environment:
    """Return the environment of this process. threads: those that a fit uses."""
    return Environment(
        machine.python_version(),
        f"{machine.system()} {machine.machine()}",
        threads,
        {name: _version(name) for name in PACKAGES},
    )


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "absent"


def _git_commit(package: Path) -> str:
    given = os.environ.get(GIVEN_COMMIT)
    if given:
        return given
    commit = _git(package, "rev-parse", "HEAD")
    changed = commit and _git(package, "status", "--porcelain", "--untracked-files=no", "--", ".")
    return f"{commit}+changes" if changed else commit


def _git(package: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(["git", "-C", str(package), *arguments], capture_output=True, text=True, timeout=20, check=True)  # noqa: S603, S607
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()


def _lock_digest(package: Path) -> str:
    """Return the digest of the lock beside the package or in the working directory; '' if there is none."""
    for folder in (package.parent, Path.cwd()):
        if (folder / LOCK).is_file():
            return digest.of_file(folder / LOCK)
    return ""
