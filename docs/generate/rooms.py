"""The rooms of the code: each with what it is for, and its modules with the first line of their docstrings."""

from __future__ import annotations

import ast
from pathlib import Path

from docs.generate.markdown import code, table

PACKAGE = Path(__file__).parents[2] / "mlprod_tasks"
# From the ground up: a room imports only rooms that stand before it.
ROOMS = (
    "declaration", "platform", "statistics", "documents", "ingest", "features", "models", "training", "evaluation", "reporting",
    "promotion", "scoring", "monitoring", "online", "rollout", "serving", "notifications", "dashboard", "operations", "steps",
    "workflows", "cli",
)  # fmt: skip


def reference() -> str:
    """A table of all rooms, then a fold-out list of modules for each."""
    overview = table(("room", "what it is for"), [(code(name), _summary(_entry(name))) for name in ROOMS])
    return "\n\n".join([overview, *(_modules(name) for name in ROOMS if (PACKAGE / name).is_dir())])


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
