"""Whether two machines compute with the same code, so that their results are the same bits."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import mlprod_tasks
from mlprod_tasks.platform import digest

# The packages by which features, scores and counts are computed.
PACKAGES = ("duckdb", "deltalake", "numpy", "pyarrow", "llvmlite", "lightgbm", "scikit-learn", "scipy", "pandas")


@cache
def code_here() -> dict[str, str]:
    """Versions of Python and of each package, the processor's kind, and a digest of mlprod's code."""
    found = {"Python": platform.python_version(), "processor": platform.machine()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "none"
    package = Path(mlprod_tasks.__file__).parent
    found["mlprod's code"] = digest.of_code(package)[:12]
    return found


def hosts(pieces: Iterator[object]) -> Iterator[str]:
    """Work that yields where each piece is computed."""
    for _ in pieces:
        yield platform.node()


def differences(one: dict[str, str], other: dict[str, str]) -> list[str]:
    """What differs, as '<what> <other's> instead of <one's>'."""
    return [f"{name} {other.get(name)} instead of {value}" for name, value in one.items() if other.get(name) != value]
