"""The declared use cases, as their files are now: the API server runs for weeks, a declaration is edited on any day."""

from __future__ import annotations

from pathlib import Path

from mlprod_airflow.installation import platform
from mlprod_tasks.declaration import DeclarationError, Pipeline, load

_read: dict[Path, tuple[tuple[int, int], Pipeline | DeclarationError]] = {}


def declared() -> list[Pipeline]:
    """Every valid use case."""
    return [found for found in _all().values() if isinstance(found, Pipeline)]


def refused() -> list[tuple[str, str]]:
    """The files that hold none: name, and why."""
    return [(name, str(found)) for name, found in _all().items() if isinstance(found, DeclarationError)]


def named(name: str) -> Pipeline:
    """The use case of that name. Raises: KeyError where there is none; DeclarationError where its file is refused."""
    found = _all()[name]
    if isinstance(found, DeclarationError):
        raise found
    return found


def _all() -> dict[str, Pipeline | DeclarationError]:
    paths = sorted(platform().settings.pipelines.glob("[!_]*.py"))
    return {path.stem: _at(path) for path in paths}


def _at(path: Path) -> Pipeline | DeclarationError:
    state = path.stat()
    mark = (state.st_mtime_ns, state.st_size)
    if path not in _read or _read[path][0] != mark:
        try:
            _read[path] = mark, load(path)
        except DeclarationError as error:
            _read[path] = mark, error
    return _read[path][1]
