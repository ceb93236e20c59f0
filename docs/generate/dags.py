"""The pages of the DAGs, as Airflow shows them: the docstring of each DAG file."""

from __future__ import annotations

import ast
from pathlib import Path

FOLDER = Path(__file__).parents[2] / "dags"
# In the order of a tick; then what runs on request.
ORDER = ("ingest", "score", "monitor", "verify", "digest", "train", "online", "requests", "rollout", "experiment", "data_docs")


def reference() -> str:
    """Each DAG's page under its own heading."""
    return "\n\n".join(page(name) for name in ORDER)


def page(name: str) -> str:
    """One DAG's page, read without importing the file."""
    docstring = ast.get_docstring(ast.parse((FOLDER / f"{name}.py").read_text(encoding="utf-8")))
    if docstring is None or not docstring.startswith("## "):
        raise ValueError(f"dags/{name}.py: its docstring is its page in Airflow and must begin with '## '")
    return docstring
