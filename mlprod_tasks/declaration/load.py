"""Load pipeline files: every use case of a folder, or a clear error."""

from __future__ import annotations

import importlib.util
import sys
import traceback
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from mlprod_tasks.declaration.checks.written_sql import unread_sql
from mlprod_tasks.declaration.declared import DeclarationError
from mlprod_tasks.declaration.pipeline import Pipeline, Publish
from mlprod_tasks.declaration.refusals import refusal


def load(path: Path) -> Pipeline:
    """Run one pipeline file and return its `pipeline`.

    Raises: DeclarationError, which names the file, the line, the field and the remedy.
    """
    path = path.absolute()  # as in tracebacks
    shown = f"{path.parent.name}/{path.name}"
    spec = importlib.util.spec_from_file_location(f"mlprod_pipeline_{path.stem}", path)
    if spec is None or spec.loader is None or not path.is_file():
        raise DeclarationError(f"{shown}: no such pipeline file in {path.parent}{_near(path)}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclass machinery looks the module up by name
    try:
        spec.loader.exec_module(module)
    except SystemExit as error:
        raise DeclarationError(f"{shown}:{_line(path, error)}: SystemExit: {error}") from error
    except Exception as error:
        raise DeclarationError(refusal(shown, error, _line(path, error), path.read_text(errors="replace"))) from error
    pipeline = getattr(module, "pipeline", None)
    if not isinstance(pipeline, Pipeline):
        others = [name for name, one in vars(module).items() if isinstance(one, Pipeline)]
        found = f"; call {others[0]!r} pipeline" if others else ""
        found = found if pipeline is None else f"; its `pipeline` is of type {type(pipeline).__name__}"
        raise DeclarationError(f"{shown}: defines no `pipeline = Pipeline(...)`{found}")
    if pipeline.name != path.stem:
        raise DeclarationError(f"{shown}: name {pipeline.name!r} must be the file's name, {path.stem!r}: change one of them")
    if problems := unread_sql(pipeline, path):
        raise DeclarationError(refusal(shown, DeclarationError(*problems), None, path.read_text(errors="replace")))
    return pipeline


def load_all(folder: Path) -> dict[str, Pipeline]:
    """Load every pipeline of a folder, by name; files that start with _ are left out.

    Raises: DeclarationError for the first one that is refused, alone or beside the others: see `refused_together`.
    """
    if not folder.is_dir():
        raise DeclarationError(f"{folder}: no such folder of pipelines; set MLPROD_PIPELINES")
    pipelines = {path.stem: load(path) for path in sorted(folder.glob("[!_]*.py"))}
    for error in refused_together(pipelines.values()).values():
        raise error
    return pipelines


def refused_together(pipelines: Iterable[Pipeline]) -> dict[str, DeclarationError]:
    """The pipelines that cannot run beside each other, by name, each with its error.

    Two that publish to one table would delete each other's ticks. Neither is let through, since nobody but their owners knows
    whose table it is.
    """
    owners: defaultdict[Publish, list[str]] = defaultdict(list)
    for pipeline in pipelines:
        if pipeline.publish is not None:
            owners[pipeline.publish].append(pipeline.name)
    return {
        name: _shares_table(name, published, [other for other in names if other != name])
        for published, names in owners.items()
        if len(names) > 1
        for name in names
    }


def _shares_table(name: str, published: Publish, others: list[str]) -> DeclarationError:
    return DeclarationError(
        f"{name}.py: Pipeline.publish: table {published.table!r} of connection {published.connection!r} is also that of "
        f"{', '.join(others)}: they would delete each other's ticks. Give each its own table"
    )


def _near(path: Path) -> str:
    others = [other.stem for other in path.parent.glob("[!_]*.py")]
    return f"; there are {', '.join(sorted(others))}" if others else ""


def _line(path: Path, error: BaseException) -> int | None:
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename) == path]
    if isinstance(error, SyntaxError) and error.lineno and Path(error.filename or "") == path:
        lines = [error.lineno]
    return lines[-1] if lines else None
