"""Write a declaration beside a model, and read it back even if the pipeline file has changed."""

from __future__ import annotations

import hashlib
import json
import re
import types
from collections.abc import Mapping
from dataclasses import fields
from datetime import date, time, timedelta
from typing import Any, Union, get_args, get_origin, get_type_hints

from mlprod_tasks.declaration.declared import CLASSES, DeclarationError
from mlprod_tasks.declaration.pipeline import Pipeline

LENGTH = re.compile(r"(?:(-?\d+) days?, )?(\d+):(\d\d):(\d\d(?:\.\d+)?)")


def text_of(declaration: Pipeline) -> str:
    """The declaration as JSON text. Its SHA-256 is the declaration's digest."""
    return json.dumps(declaration.as_json())


def digest_of(text: str) -> str:
    """The digest of the declaration that a text records."""
    return hashlib.sha256(text.encode()).hexdigest()


def read(text: str) -> Pipeline:
    """Read a declaration that `text_of` wrote. Fields that were added since then get their defaults.

    Raises: DeclarationError if it names a class or a field that no longer exists.
    """
    pipeline = _read(json.loads(text), Pipeline, "pipeline")
    assert isinstance(pipeline, Pipeline)
    return pipeline


def read_part(written: dict[str, Any]) -> Any:
    """Read one declared part, such as a model, from its JSON values. Raises: DeclarationError."""
    return _declared(written, str(written["type"]).lower())


def _read(value: Any, hint: Any, where: str) -> Any:
    """Convert plain JSON values, as `Pipeline.as_json` writes them, to a value of that type."""
    options = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    if value is None:
        return None
    if isinstance(value, dict):
        mappings = [option for option in options if get_origin(option) in (dict, Mapping)]
        if mappings:
            inner = get_args(mappings[0])[1]
            return {key: _read(one, inner, f"{where}.{key}") for key, one in value.items()}
        return _declared(value, where)
    if isinstance(value, list):
        items = next(get_args(option) for option in options if get_origin(option) is tuple)
        each = [items[0]] * len(value) if items[1:] == (...,) else items
        return tuple(_read(one, hint, f"{where}.{i}") for i, (one, hint) in enumerate(zip(value, each, strict=True)))
    if isinstance(value, str):
        for option, reader in ((timedelta, _length), (date, date.fromisoformat), (time, time.fromisoformat)):
            if option in options:
                return reader(value)
    return value


def _declared(value: dict[str, Any], where: str) -> Any:
    name = value["type"]
    kind = CLASSES.get(name)
    if kind is None:
        raise DeclarationError(f"the recorded declaration holds at {where} a {name}, which can no longer be declared")
    hints = get_type_hints(kind)
    known = {field.name for field in fields(kind)}
    unknown = set(value) - known - {"type"}
    if unknown:
        raise DeclarationError(f"the recorded {name} at {where} has fields that no longer exist: {', '.join(sorted(unknown))}")
    given = {field: _read(value[field], hints[field], f"{where}.{field}") for field in known & set(value)}
    return kind(**given)


def _length(text: str) -> timedelta:
    found = LENGTH.fullmatch(text)
    if found is None:
        raise DeclarationError(f"the recorded length of time {text!r} cannot be read")
    days, hours, minutes, seconds = found.groups()
    return timedelta(days=int(days or 0), hours=int(hours), minutes=int(minutes), seconds=float(seconds))
