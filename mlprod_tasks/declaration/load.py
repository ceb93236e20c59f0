"""Read pipeline files: every use case of a folder, or a clear refusal."""

from __future__ import annotations

import importlib.util
import sys
import traceback
from pathlib import Path

from pydantic import ValidationError

from mlprod_tasks.declaration.declared import DeclarationError
from mlprod_tasks.declaration.pipeline import Pipeline


def load(path: Path) -> Pipeline:
    """Run one pipeline file and return its `pipeline`.

    Raises: DeclarationError naming the file, the line, the field and the remedy.
    """
    shown = f"{path.parent.name}/{path.name}"
    spec = importlib.util.spec_from_file_location(f"mlprod_pipeline_{path.stem}", path)
    if spec is None or spec.loader is None or not path.is_file():
        raise DeclarationError(f"{shown}: no such pipeline file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclass machinery looks the module up by name
    try:
        spec.loader.exec_module(module)
    except ValidationError as error:
        raise DeclarationError(f"{shown}{_line(path, error)}: {_told(error)}") from error
    except Exception as error:
        raise DeclarationError(f"{shown}{_line(path, error)}: {type(error).__name__}: {error}") from error
    pipeline = getattr(module, "pipeline", None)
    if not isinstance(pipeline, Pipeline):
        raise DeclarationError(f"{shown}: defines no `pipeline = Pipeline(...)`")
    if pipeline.name != path.stem:
        raise DeclarationError(f"{shown}: name {pipeline.name!r} must be the file's name, {path.stem!r}")
    return pipeline


def load_all(folder: Path) -> dict[str, Pipeline]:
    """Every pipeline of a folder by name; files that start with _ are left out."""
    if not folder.is_dir():
        raise DeclarationError(f"{folder}: no such folder of pipelines")
    return {path.stem: load(path) for path in sorted(folder.glob("[!_]*.py"))}


def _line(path: Path, error: BaseException) -> str:
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename) == path]
    if isinstance(error, SyntaxError) and error.lineno:
        lines = [error.lineno]
    return f":{lines[-1]}" if lines else ""


def _told(error: ValidationError) -> str:
    """One sentence a problem: the declared class, the field, what is wrong, the value given."""
    told = []
    for problem in error.errors(include_url=False):
        field = ".".join(str(part) for part in problem["loc"])
        message = problem["msg"].removeprefix("Value error, ")
        given = "" if problem["type"] in ("missing", "value_error") else f", given {problem['input']!r}"
        told.append(f"{error.title}{'.' + field if field else ''}: {message}{given}")
    return "; ".join(told)
