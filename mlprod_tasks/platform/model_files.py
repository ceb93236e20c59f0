"""The files of a registered model: which ones a reference means, and loading them by the module that they name."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from mlprod_tasks.platform import digest

# The same safe loader in C is ten times as fast; PyYAML may have been built without it.
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class BrokenArtifact(RuntimeError):
    """A model version is missing, or its files are missing or not the registered ones."""


@dataclass(frozen=True)
class ModelRef:
    """A reference to a model version, to pass between tasks.

    digest: of the model's files.
    """

    name: str
    version: int
    digest: str
    run_id: str


def load_files(ref: ModelRef, folder: Path) -> Any:
    """Load the model in a folder with the module that its MLmodel file names."""
    try:
        reader, data = _flavour(folder)
        return importlib.import_module(reader).load(folder / data)
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise BrokenArtifact(f"{ref.name} version {ref.version} cannot be read: {type(error).__name__}: {error}") from error


def _flavour(folder: Path) -> tuple[str, str]:
    """The module that reads the artifact, and the subfolder with the model's files."""
    try:
        text = (folder / "MLmodel").read_text(encoding="utf-8")
        flavour = yaml.load(text, Loader=_Loader)["flavors"]["python_function"]  # noqa: S506 - a safe loader
        reader, data = str(flavour["loader_module"]), str(flavour["data"])
    except (OSError, KeyError, TypeError, yaml.YAMLError) as error:
        raise BrokenArtifact(f"{folder} does not contain an MLflow model: {type(error).__name__}: {error}") from error
    if not reader.startswith("mlprod_tasks."):
        raise BrokenArtifact(f"{folder} was not made by mlprod: its MLmodel file names the module {reader!r}")
    return reader, data


def holds(folder: Path, ref: ModelRef) -> bool:
    """Whether a folder contains exactly the referenced model."""
    if not (folder / "MLmodel").is_file():
        return False
    return bool(ref.digest) and digest.of_folder(folder / _flavour(folder)[1]) == ref.digest


def require(folder: Path, ref: ModelRef) -> None:
    """Raises: BrokenArtifact unless a folder contains exactly the referenced model."""
    if not holds(folder, ref):
        raise BrokenArtifact(
            f"the files of {ref.name} version {ref.version} are not the registered ones: their digest is not "
            f"{ref.digest[:16]}.... Point the alias at another version, or train again"
        )
