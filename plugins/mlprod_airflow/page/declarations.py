"""The declared use cases, read again when their files change: the API server runs for weeks, and declarations are edited."""

from __future__ import annotations

from pathlib import Path

from mlprod_airflow.installation import platform
from mlprod_tasks.declaration import DeclarationError, Pipeline, load

_read: dict[Path, tuple[tuple[int, int], Pipeline | DeclarationError]] = {}


def declared() -> list[Pipeline]:
    """All valid use cases."""
    return [one for one in _all().values() if isinstance(one, Pipeline)]


def refused() -> list[tuple[str, str]]:
    """The names of the refused files, each with the reason."""
    return [(name, str(one)) for name, one in _all().items() if isinstance(one, DeclarationError)]


def named(name: str) -> Pipeline:
    """The use case of that name. Raises: KeyError if there is none, DeclarationError if its file is refused."""
    one = _all()[name]
    if isinstance(one, DeclarationError):
        raise one
    return one


def _all() -> dict[str, Pipeline | DeclarationError]:
    paths = sorted(platform().settings.pipelines.glob("[!_]*.py"))
    return {path.stem: _load_if_changed(path) for path in paths}


def _load_if_changed(path: Path) -> Pipeline | DeclarationError:
    state = path.stat()
    version = (state.st_mtime_ns, state.st_size)
    if path not in _read or _read[path][0] != version:
        try:
            _read[path] = version, load(path)
        except DeclarationError as error:
            _read[path] = version, error
    return _read[path][1]
