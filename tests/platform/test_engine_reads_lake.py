"""Whoever reads files of the lake opens the engine with it: else nothing in object storage could be read."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.paths import REPOSITORY

READING = re.compile(r"platform\.lake import.*\blisted\b|\bSnapshot\(")
READERS = [file for file in sorted(REPOSITORY.glob("mlprod_tasks/**/*.py")) if READING.search(file.read_text(encoding="utf-8"))]
# Their engines read rows that are in memory, tables without rows, or files of a training in the home folder.
NOT_THE_LAKE = {"monitoring/profile.py", "training/label_changes.py", "training/training_rows.py"}


def name(file: Path) -> str:
    return str(file.relative_to(REPOSITORY / "mlprod_tasks"))


def engines(code: str) -> Iterator[ast.Call]:
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "engine":
            yield node


@pytest.mark.parametrize("file", [file for file in READERS if name(file) not in NOT_THE_LAKE], ids=name)
def test_an_engine_that_reads_files_of_the_lake_is_opened_with_it(file: Path) -> None:
    without = [ast.unparse(call) for call in engines(file.read_text()) if "lake" not in {word.arg for word in call.keywords}]
    assert without == []


def test_there_are_readers() -> None:
    assert len(READERS) > 10
