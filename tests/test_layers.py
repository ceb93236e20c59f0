"""Rules that the import contracts of pyproject.toml cannot say: thin DAG files, steps, no use case inside the system."""

import ast
import importlib
import inspect
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mlprod_tasks import steps
from mlprod_tasks.declaration import Pipeline, load_all
from tests.support.paths import REPOSITORY

WORKFLOWS = ("ingest", "train", "score", "monitor", "verify")
DAG_FILES = sorted(REPOSITORY.glob("dags/*.py"))
SYSTEM = sorted(REPOSITORY.glob("mlprod_tasks/**/*.py"))
NO_AIRFLOW = [*sorted(REPOSITORY.glob("pipelines/**/*.py")), *sorted(REPOSITORY.glob("demo/**/*.py"))]
LOGIC = (ast.If, ast.IfExp, ast.Try, ast.While, ast.Match, ast.With, ast.Lambda, ast.BoolOp)
LOOPS_OVER = re.compile(r"declared\(\)|served\(\)|experimenting\(\)|refusals\(\)|pipeline\.tables")
HEAVY = {
    "pandas",
    "numpy",
    "pyarrow",
    "duckdb",
    "deltalake",
    "sqlalchemy",
    "alembic",
    "mlflow",
    "lightgbm",
    "sklearn",
    "scipy",
    "numba",
    "llvmlite",
    "matplotlib",
    "great_expectations",
    "sqlglot",
    "jinja2",
    "airflow",
}
# Words of the use case that the project ships.
USE_CASE = re.compile(r"flight|carrier|tailnum|airport|airline|plane(?!t)|landed|arr_delay|sched_dep|nycflights", re.IGNORECASE)


def ids(files: list[Path]) -> list[str]:
    return [str(file.relative_to(REPOSITORY)) for file in files]


def parsed(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"), str(file))


def imported(tree: ast.AST) -> Iterator[str]:
    """The modules that a file imports, wherever in it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield from (f"{node.module}.{name.name}" for name in node.names)


def is_docstring(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def is_task(function: ast.FunctionDef) -> bool:
    return any(re.match(r"task\b", ast.unparse(decorator)) for decorator in function.decorator_list)


def functions_of(file: Path) -> dict[str, ast.FunctionDef]:
    """The functions that a file defines at its top, by name."""
    return {node.name: node for node in parsed(file).body if isinstance(node, ast.FunctionDef)}


STEPS = functions_of(REPOSITORY / "mlprod_tasks" / "steps.py")


def within(file: Path, *packages: str) -> list[str]:
    """The file's imports that lie in those packages."""
    return [name for name in imported(parsed(file)) if name.startswith(tuple(f"{package}." for package in packages))]


def test_there_is_one_file_a_workflow() -> None:
    assert {file.stem for file in DAG_FILES} >= set(WORKFLOWS)


@pytest.mark.parametrize("file", DAG_FILES, ids=ids(DAG_FILES))
def test_a_dag_file_says_what_it_does(file: Path) -> None:
    told = ast.get_docstring(parsed(file))
    assert told
    assert len(told) > 60


@pytest.mark.parametrize("file", DAG_FILES, ids=ids(DAG_FILES))
def test_a_dag_file_holds_no_logic(file: Path) -> None:
    found = [f"line {node.lineno}: {type(node).__name__}" for node in ast.walk(parsed(file)) if isinstance(node, LOGIC)]
    assert found == []


@pytest.mark.parametrize("file", DAG_FILES, ids=ids(DAG_FILES))
def test_a_dag_file_loops_over_nothing_but_pipelines_and_their_tables(file: Path) -> None:
    over = [ast.unparse(node.iter) for node in ast.walk(parsed(file)) if isinstance(node, ast.For | ast.comprehension)]
    assert [text for text in over if not LOOPS_OVER.fullmatch(text)] == []


@pytest.mark.parametrize("file", DAG_FILES, ids=ids(DAG_FILES))
def test_a_task_is_one_statement(file: Path) -> None:
    tasks = [node for node in ast.walk(parsed(file)) if isinstance(node, ast.FunctionDef) and is_task(node)]
    assert tasks or file.stem not in WORKFLOWS
    long = [node.name for node in tasks if len([part for part in node.body if not is_docstring(part)]) != 1]
    assert long == []


@pytest.mark.parametrize("name", WORKFLOWS)
def test_a_dag_file_imports_steps_and_declarations_only(name: str) -> None:
    allowed = ("mlprod_tasks.steps", "mlprod_tasks.declaration.")
    wrong = [
        found for found in within(REPOSITORY / "dags" / f"{name}.py", "mlprod_tasks") if not f"{found}.".startswith(allowed)
    ]
    assert wrong == []


# Steps that are handed a function of a room above theirs: the parameter that takes it, and the function.
HANDED = {
    "register": ("profile_of", "profile_of"),
    "decide_again": ("tell", "tell_decision"),
    "finish": ("tell", "tell_taken_back"),
    "take_back": ("tell", "tell_taken_back"),
    "take_back_abandoned": ("tell", "tell_taken_back"),
}


def steps_named_in(file: Path) -> set[str]:
    """The steps that a file calls or hands on, where it imports `steps`."""
    tree = parsed(file)
    if "mlprod_tasks.steps" not in imported(tree):
        return set()
    return {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "steps"
    }


def shape(function: Callable[..., object]) -> list[tuple[str, object, object]]:
    """Each parameter's name, kind and default, in order."""
    return [(one.name, one.kind, one.default) for one in inspect.signature(function).parameters.values()]


@pytest.mark.parametrize("file", DAG_FILES, ids=ids(DAG_FILES))
def test_every_step_that_a_dag_file_names_is_a_function_that_steps_defines(file: Path) -> None:
    assert steps_named_in(file) <= set(STEPS)
    assert steps_named_in(file) or file.stem == "refused"


def test_every_step_is_called_by_a_dag_a_plugin_a_workflow_or_a_command() -> None:
    callers = [*DAG_FILES, *REPOSITORY.glob("plugins/**/*.py"), *SYSTEM]
    assert set().union(*(steps_named_in(file) for file in callers)) == set(STEPS)


@pytest.mark.parametrize("name", STEPS)
def test_a_step_declares_whether_its_runs_are_recorded(name: str) -> None:
    (decorator,) = STEPS[name].decorator_list
    assert re.match(r"step\(.*about=|unrecorded_step$", ast.unparse(decorator))


@pytest.mark.parametrize("name", STEPS)
def test_a_step_is_followed_into_its_room_and_takes_what_is_taken_there(name: str) -> None:
    told, *body = STEPS[name].body
    assert is_docstring(told)
    brings = {one.name: str(node.module) for node in body if isinstance(node, ast.ImportFrom) for one in node.names}
    room = REPOSITORY / f"{brings[name].replace('.', '/')}.py"
    assert name in functions_of(room), "it is imported from the file that defines it"
    in_room = shape(getattr(importlib.import_module(brings[name]), name))
    calls = body[-1]
    assert isinstance(calls, ast.Return)
    assert isinstance(calls.value, ast.Call)
    assert ast.unparse(calls.value.func) == name
    if name in HANDED:  # what a room above gives to it, made with the step's own `links` where it has them
        assert set(brings) == {name, HANDED[name][1]}
        taken = [one for one in in_room if one[0] != HANDED[name][0]]
        assert [one for one in shape(getattr(steps, name)) if one[0] != "links"] == taken
        return
    arguments = STEPS[name].args
    handed = [one.arg for one in arguments.args] + [f"{one.arg}={one.arg}" for one in arguments.kwonlyargs]
    assert ast.unparse(calls) == f"return {name}({', '.join(handed)})"
    assert shape(getattr(steps, name)) == in_room


def test_pipelines_and_the_demo_do_not_import_airflow() -> None:
    knowing = [
        str(f.relative_to(REPOSITORY)) for f in NO_AIRFLOW if any(re.match(r"airflow\b", name) for name in imported(parsed(f)))
    ]
    assert knowing == []


def test_a_pipeline_file_imports_declarations_only() -> None:
    for file in REPOSITORY.glob("pipelines/*.py"):
        outside = {name.split(".")[0] for name in imported(parsed(file))} - set(sys.stdlib_module_names)
        assert outside <= {"mlprod_tasks"}
        assert within(file, "mlprod_tasks") == ["mlprod_tasks.declaration"]


def test_importing_and_loading_a_declaration_needs_no_heavy_library() -> None:
    load_all(REPOSITORY / "pipelines")  # reads their SQL, if they changed
    code = (
        "import sys; from pathlib import Path; from mlprod_tasks.declaration import load_all;"
        "assert load_all(Path('pipelines')); print(*{name.split('.')[0] for name in sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert HEAVY & set(done.stdout.split()) == set()


def test_importing_the_steps_needs_no_heavy_library() -> None:
    # A DAG file imports them: a step's room, and what it computes with, is loaded when it is called.
    code = "import sys; import mlprod_tasks.steps, mlprod_tasks.platform; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert HEAVY & {name.split(".")[0] for name in loaded} == set()
    rooms = {name.split(".")[1] for name in loaded if name.startswith("mlprod_tasks.")}
    assert rooms <= {"steps", "platform", "declaration"}


@pytest.mark.parametrize("file", SYSTEM, ids=ids(SYSTEM))
def test_the_system_knows_no_use_case(file: Path, flights_pipeline: Pipeline) -> None:
    tree = parsed(file)
    docstrings = {id(node.value) for node in ast.walk(tree) if is_docstring(node)}
    found = []
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=word) | ast.arg(arg=word) | ast.Attribute(attr=word) | ast.keyword(arg=str(word)):
                pass
            case ast.FunctionDef(name=word) | ast.ClassDef(name=word) | ast.alias(name=word):
                pass
            case ast.Constant(value=str(word)) if id(node) not in docstrings:
                pass
            case _:
                continue
        if USE_CASE.search(word) or flights_pipeline.name in word:
            found.append(f"line {getattr(node, 'lineno', '?')}: {word[:80]}")
    assert found == []


@pytest.mark.parametrize("file", SYSTEM, ids=ids(SYSTEM))
def test_a_module_says_what_it_is_for_and_has_one_subject(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    assert ast.get_docstring(ast.parse(text)) or not text.strip()
    assert len(text.splitlines()) <= 400
    assert file.stem not in {"utils", "helpers", "common", "manager", "core", "base", "misc"}
