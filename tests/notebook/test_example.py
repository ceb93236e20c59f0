"""The notebook of examples/ runs from its first cell to its last, and shows what it says."""

import os
import sys
from pathlib import Path

import nbclient
import nbformat
import pytest

from tests.support.paths import REPOSITORY

NOTEBOOK = REPOSITORY / "examples" / "try_a_feature.ipynb"


def read() -> nbformat.NotebookNode:
    return nbformat.read(NOTEBOOK, as_version=4)


def shown(notebook: nbformat.NotebookNode, wanted: str) -> str:
    """What the cell that has these words printed and returned."""
    (cell,) = [cell for cell in notebook.cells if cell.cell_type == "code" and wanted in cell.source]
    return "".join(one["text"] if one.output_type == "stream" else one.data["text/plain"] for one in cell.outputs)


def test_it_lies_in_the_repository_without_outputs() -> None:
    cells = [cell for cell in read().cells if cell.cell_type == "code"]
    assert len(cells) > 5
    assert [cell.source for cell in cells if cell.outputs or cell.execution_count] == []


def test_it_runs_and_shows_what_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(("MLPROD_", "MLFLOW_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))  # this checkout, whichever one is installed
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    notebook = read()
    resources = {"metadata": {"path": str(tmp_path)}}
    nbclient.NotebookClient(notebook, timeout=600, kernel_name="python3", resources=resources).execute()
    assert "gates passed" in shown(notebook, "mlprod try")
    assert "better with the change" in shown(notebook, "add=[again]")
    assert "no difference can be told" in shown(notebook, "add=[noise]")
    assert "T07" in shown(notebook, "champion.predict")
