"""The tests mirror the rooms, and what several of them need stands in tests/support or in the conftest of a room."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from tests.support.paths import REPOSITORY

TESTS = REPOSITORY / "tests"
SUPPORT = TESTS / "support"
NO_ROOMS = {"support", "integration", "hostile", "demo", "deploy", "docs", "benchmarks"}
MODULES = sorted(TESTS.rglob("*.py"))
# In the text of a program that a test starts there may be any form of it.
IMPORTS_A_TEST = re.compile(
    r"^\s*(?:from|import)\s+(?:tests\.)?(?:\w+\.)*test_\w+|^\s*from\s+tests\b.*\bimport\s+.*\btest_\w+", re.M
)


def shown(module: Path) -> str:
    return str(module.relative_to(TESTS))


def classes(module: Path) -> Iterator[ast.ClassDef]:
    tree = ast.parse(module.read_text(encoding="utf-8"))
    return (node for node in ast.walk(tree) if isinstance(node, ast.ClassDef))


def test_each_folder_of_tests_is_a_room_and_its_folders_are_those_of_the_room() -> None:
    folders = [path.relative_to(TESTS) for path in TESTS.rglob("*") if path.is_dir() and list(path.glob("test_*.py"))]
    mirrored = [folder for folder in folders if folder.parts[0] not in NO_ROOMS]
    assert len(mirrored) > 20
    assert [str(folder) for folder in mirrored if not (REPOSITORY / "mlprod_tasks" / folder).is_dir()] == []


def test_no_test_module_is_imported_by_another_nor_by_a_program_that_a_test_starts() -> None:
    found = {shown(module): IMPORTS_A_TEST.findall(module.read_text(encoding="utf-8")) for module in MODULES}
    assert {name: lines for name, lines in found.items() if lines} == {}


def test_no_test_changes_where_python_looks_for_modules() -> None:
    assert [shown(module) for module in MODULES if re.search(r"sys\.path\.", module.read_text(encoding="utf-8"))] == []


def test_a_clock_for_tests_is_one_of_tests_support() -> None:
    def is_clock(one: ast.ClassDef) -> bool:
        methods = {node.name for node in one.body if isinstance(node, ast.FunctionDef)}
        varied = [base for base in one.bases if isinstance(base, ast.Name) and base.id == "SetClock"]
        return (one.name.endswith("Clock") or "now" in methods) and not varied

    elsewhere = [f"{shown(module)}: {one.name}" for module in MODULES for one in classes(module) if is_clock(one)]
    assert elsewhere == ["support/clock.py: SetClock"]


def test_where_the_repository_lies_is_said_once() -> None:
    pattern = re.compile(r"Path\(__file__\)[\w.()]*\.parents\[")
    assert [shown(module) for module in MODULES if pattern.search(module.read_text(encoding="utf-8"))] == ["support/paths.py"]
