"""The rooms of the code: each with what it is for, and its modules with the first line of their docstrings."""

from __future__ import annotations

import ast
import tomllib
from pathlib import Path

from docs.generate.markdown import code, table

REPOSITORY = Path(__file__).parents[2]
PACKAGE = REPOSITORY / "mlprod_tasks"


def rooms() -> list[str]:
    """The rooms from the ground up, as the contract of their imports has them."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    layers = next(one["layers"] for one in project["tool"]["importlinter"]["contracts"] if one["type"] == "layers")
    return [name for name in reversed(layers) if name != "pyfunc"]  # where stored models look for their loader: no room


def reference() -> str:
    """A table of all rooms, then a fold-out list of modules for each."""
    overview = table(("room", "what it is for"), [(code(name), _summary(_entry(name))) for name in rooms()])
    return "\n\n".join([overview, *(_modules(name) for name in rooms() if (PACKAGE / name).is_dir())])


def _modules(room: str) -> str:
    folder = PACKAGE / room
    paths = [path for path in sorted(folder.rglob("*.py")) if path != folder / "__init__.py" and "versions" not in path.parts]
    rows = [(code(path.relative_to(folder).as_posix()), _summary(path)) for path in paths]
    return f":::{{dropdown}} {room}\n{table(('module', 'what it holds'), rows)}\n:::"


def _entry(room: str) -> Path:
    return PACKAGE / room / "__init__.py" if (PACKAGE / room).is_dir() else PACKAGE / f"{room}.py"


def _summary(path: Path) -> str:
    """The first paragraph of a module's docstring, read without importing the module."""
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return docstring.split("\n\n")[0].replace("\n", " ")
