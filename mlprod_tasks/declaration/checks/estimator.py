"""Rules of an estimator of the team's own, without importing it: its module must be found, and define what `make` names."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from importlib.util import find_spec
from pathlib import Path

from mlprod_tasks.declaration.checks.tables import listed
from mlprod_tasks.declaration.learner import Estimator

SAYS_WHERE = (
    "install the package that has it, or put its folder on PYTHONPATH, wherever this use case is loaded: in Airflow, for "
    "`mlprod` and for the service"
)


def estimator_problems(at: str, learner: Estimator) -> Iterator[str]:
    """The rules that `make` and `params` break."""
    at = f"{at}: make {learner.make!r}"
    module, colon, name = learner.make.partition(":")
    if not colon or not all(part.isidentifier() for part in (*module.split("."), name)):
        yield f"{at} is no import path: write 'module:function', such as 'our_models:make'"
        return
    file, missing = _find(module)
    if file is None:
        yield f"{at}: there is no module {missing!r} here: {SAYS_WHERE}"
        return
    if file.suffix != ".py":
        return  # compiled: only importing it tells
    try:
        tree = ast.parse(file.read_bytes())
    except SyntaxError as error:
        yield f"{at}: {file.name}:{error.lineno}: {error.msg}"
        return
    yield from _name_problems(at, module, name, tree, learner)


def _find(module: str) -> tuple[Path | None, str]:
    """Return the file of a module, or the folder of its package, without importing anything; else None, and what is missing."""
    first, *further = module.split(".")
    try:
        spec = find_spec(first)  # imports nothing: it is no part of a package
    except ValueError:
        spec = None
    if spec is None:
        return None, first
    folders = [Path(one) for one in spec.submodule_search_locations or ()]
    file = Path(spec.origin) if spec.origin else None
    for depth, part in enumerate(further, 2):
        found = [one for folder in folders for one in _in_folder(folder, part)]
        if not found:
            return None, ".".join([first, *further][:depth])
        file, folders = found[0], [folder / part for folder in folders]
    return file, module


def _in_folder(folder: Path, name: str) -> Iterator[Path]:
    """The files that may be a module, or a package, of a folder."""
    package = folder / name
    candidates = (package / "__init__.py", folder / f"{name}.py", *sorted(folder.glob(f"{name}.*.so")), package)
    return (one for one in candidates if one.exists())


def _name_problems(at: str, module: str, name: str, tree: ast.Module, learner: Estimator) -> Iterator[str]:
    defined = {one: node for node in _statements(tree.body) for one in _names(node)}
    if "*" in defined or "__getattr__" in defined:
        return
    if name not in defined:
        close = get_close_matches(name, defined, 1)
        public = [one for one in defined if not one.startswith("_")]
        meant = f"did you mean {close[0]!r}?" if close else f"it defines {listed(public)}"
        yield f"{at}: {module!r} defines no {name!r}; {meant}"
        return
    if isinstance(node := defined[name], ast.FunctionDef):
        yield from _argument_problems(at, node, learner)


def _statements(body: Sequence[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements of a module, also those that run only under a condition."""
    for node in body:
        yield node
        for part in ("body", "orelse", "finalbody"):
            if isinstance(node, ast.If | ast.Try | ast.With):
                yield from _statements(getattr(node, part, []))
        for handler in getattr(node, "handlers", []):
            yield from _statements(handler.body)


def _names(node: ast.stmt) -> Iterator[str]:
    """The names that a statement defines."""
    match node:
        case ast.FunctionDef() | ast.ClassDef():
            yield node.name
        case ast.Import() | ast.ImportFrom():
            yield from ((one.asname or one.name).partition(".")[0] for one in node.names)
        case ast.Assign():
            yield from (one.id for target in node.targets for one in ast.walk(target) if isinstance(one, ast.Name))
        case ast.AnnAssign() if isinstance(node.target, ast.Name):
            yield node.target.id


def _argument_problems(at: str, node: ast.FunctionDef, learner: Estimator) -> Iterator[str]:
    positional = [one.arg for one in (*node.args.posonlyargs, *node.args.args)]
    known = [*positional, *(one.arg for one in node.args.kwonlyargs)]
    for name in learner.params:
        if name not in known and node.args.kwarg is None:
            close = get_close_matches(name, known, 1)
            meant = f"did you mean {close[0]!r}?" if close else f"it takes {listed(known) if known else 'none'}"
            yield f"{at} takes no argument {name!r} of params; {meant}"
    required = positional[: len(positional) - len(node.args.defaults)]
    required += [one.arg for one, default in zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True) if default is None]
    for name in required:
        if name not in learner.params:
            yield f"{at} needs an argument {name!r}: give it in params, or give it a default"
