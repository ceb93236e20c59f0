"""What the pages name is there: commands with their options, files, DAGs and tasks."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from mlprod_tasks.cli.main import app
from tests.support.paths import REPOSITORY

PAGES = [REPOSITORY / "README.md", REPOSITORY / "CONTRIBUTING.md", *sorted((REPOSITORY / "docs").rglob("*.md"))]
MLPROD = get_command(app)
# In a block of code at the start of a line (perhaps behind a prompt or a container), or in code within a sentence.
TYPED = re.compile(r"^\s*(?:\$ |docker compose exec \S+ )?(mlprod [a-z].*)$|`(mlprod [a-z][^`]*)`", re.MULTILINE)


def typed_commands(text: str) -> Iterator[str]:
    """Every `mlprod ...` that a page tells to type, without the comment behind it."""
    for found in TYPED.finditer(text):
        yield re.sub(r"\s+#.*", "", found[1] or found[2]).split(" ...")[0]


def problem_of(line: str) -> str | None:
    """What is wrong with a command: a verb that there is not, an option that the verb does not have."""
    words = shlex.split(line)[1:]
    command: Any = MLPROD
    while words and hasattr(command, "commands"):
        verb = words.pop(0)
        if verb not in command.commands:
            return f"no command {verb!r}"
        command = command.commands[verb]
    known = {opt for parameter in getattr(command, "params", ()) for opt in (*parameter.opts, *parameter.secondary_opts)}
    wrong = [word for word in words if word.startswith("--") and word.split("=")[0] not in known]
    return f"no option {wrong[0]}" if wrong else None


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(REPOSITORY).as_posix())
def test_every_command_that_a_page_tells_to_type_exists(page: Path) -> None:
    wrong = {line: problem_of(line) for line in typed_commands(page.read_text(encoding="utf-8")) if problem_of(line)}
    assert wrong == {}


def test_a_command_that_does_not_exist_is_noticed() -> None:
    assert problem_of("mlprod fly flight_delays") == "no command 'fly'"
    assert problem_of("mlprod train flight_delays --yesterday") == "no option --yesterday"
    assert list(typed_commands("    mlprod status x   # how it stands\nsee `mlprod alarms x --all`")) == [
        "mlprod status x",
        "mlprod alarms x --all",
    ]


def tables_without_a_head(text: str) -> list[str]:
    """The first row of each table whose rule has no head of as many cells above it, outside of code."""
    lines = ["", *re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE).splitlines(), ""]
    rules = [at for at, line in enumerate(lines) if re.fullmatch(r"\s*\|(\s*:?-{3,}:?\s*\|)+", line)]
    return [lines[at + 1] for at in rules if lines[at - 1].replace(r"\|", "").count("|") != lines[at].count("|")]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(REPOSITORY).as_posix())
def test_every_table_has_a_head(page: Path) -> None:
    assert tables_without_a_head(page.read_text(encoding="utf-8")) == []


def test_a_table_without_its_head_is_noticed() -> None:
    assert tables_without_a_head("| a | b |\n| --- | ---: |\n| 1 | 2 |\n") == []
    assert tables_without_a_head("Text.\n\n| --- | ---: |\n| 1 | 2 |\n") == ["| 1 | 2 |"]
    assert tables_without_a_head("| --- |") == [""]
    assert tables_without_a_head("| a |\n| --- | ---: |\n| 1 | 2 |\n") == ["| 1 | 2 |"]


def test_every_task_in_the_table_of_dags_is_one_of_the_dag() -> None:
    page = (REPOSITORY / "docs" / "architecture" / "tick.md").read_text(encoding="utf-8")
    source = "\n".join(path.read_text() for folder in ("dags", "plugins") for path in (REPOSITORY / folder).rglob("*.py"))
    named = re.findall(r"^\| `(?:<name>|mlprod)\.(\w+)` \|[^|]*\| (.*) \|$", page, re.MULTILINE)
    assert {dag for dag, _ in named} == {path.stem for path in (REPOSITORY / "dags").glob("*.py")} - {"refused"}
    tasks = [task for _, cell in named for task in re.findall(r"`(\w+)`", cell)]
    assert [task for task in tasks if not re.search(rf"\bdef {task}\(|[\"']{task}[\"']", source)] == []


def test_every_setting_that_the_code_reads_is_in_the_table_and_no_other() -> None:
    page = (REPOSITORY / "docs" / "reference" / "settings.md").read_text(encoding="utf-8")
    told = set(re.findall(r"^\| `(MLPROD_[A-Z_]+[A-Z])`", page, re.MULTILINE))
    source = "\n".join(
        path.read_text() for folder in ("mlprod_tasks", "plugins") for path in (REPOSITORY / folder).rglob("*.py")
    )
    read = {f"MLPROD_{name}" for name in re.findall(r"(?:MLPROD_|\{PREFIX\})([A-Z_]+[A-Z])\b", source)}
    assert told == {name for name in read if not name.startswith("MLPROD_CONNECTION_")}


def test_every_file_that_the_contributing_guide_names_is_there() -> None:
    page = (REPOSITORY / "CONTRIBUTING.md").read_text(encoding="utf-8")
    named = re.findall(r"`([\w/]+/(?:\w+\.py)?|\w+\.py)`", page)
    lost = [name for name in named if not any((folder / name).exists() for folder in (REPOSITORY, REPOSITORY / "mlprod_tasks"))]
    assert len(named) > 40
    assert lost == []


def test_every_metric_and_file_that_the_production_page_names_is_there() -> None:
    page = (REPOSITORY / "docs" / "production.md").read_text(encoding="utf-8")
    # Of the dashboards other tests see to it that each metric exists.
    known = [*(REPOSITORY / "mlprod_tasks").rglob("*.py"), *(REPOSITORY / "deploy" / "grafana").glob("*.json")]
    source = "\n".join(path.read_text() for path in known)
    metrics = {name.removesuffix("_total") for name in re.findall(r"\bmlprod_[a-z_]+(?=[\[{)` ])", page)}
    files = re.findall(r"`((?:tests|deploy|examples)/[\w./]+)`", page)
    assert {name for name in metrics if name not in source} <= {"mlprod_replicas", "mlprod_service"}  # nginx's, and a file
    assert [name for name in files if not (REPOSITORY / name).exists()] == []
    assert len(metrics) > 8
    assert len(files) > 5
