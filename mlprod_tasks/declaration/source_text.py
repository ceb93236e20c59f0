"""A declaration in full, as Python source: what a short one stands for, with every default."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from datetime import date, time, timedelta
from typing import Any

from mlprod_tasks.declaration.pipeline import Pipeline

WIDTH = 120
HEAD = "from datetime import date, time\n\nfrom mlprod_tasks import declaration as ml\n\npipeline = "


def source_text(pipeline: Pipeline) -> str:
    """Python source that declares the same pipeline, every field of every part written out."""
    return f"{HEAD}{_written(pipeline, '')}\n"


def _written(value: Any, indent: str) -> str:
    """The value in Python; on one line if it fits behind the indent, else one item a line."""
    opening, items, closing = _parts(value, indent + "    ")
    of_one = "," if isinstance(value, tuple) and len(value) == 1 else ""
    flat = f"{opening}{', '.join(items)}{of_one}{closing}"
    if not items or (len(indent) + len(flat) <= WIDTH and "\n" not in flat):
        return flat
    lines = "".join(f"{indent}    {item},\n" for item in items)
    return f"{opening}\n{lines}{indent}{closing}"


def _parts(value: Any, indent: str) -> tuple[str, list[str], str]:
    """What opens the value, its items, and what closes it; a plain value has no items."""
    if is_dataclass(value):
        named = [f"{field.name}={_written(getattr(value, field.name), indent)}" for field in fields(value)]
        return f"ml.{type(value).__name__}(", named, ")"
    if isinstance(value, tuple):
        return "(", [_written(item, indent) for item in value], ")"
    if isinstance(value, dict):
        return "{", [f"{key!r}: {_written(item, indent)}" for key, item in value.items()], "}"
    return _plain(value), [], ""


def _plain(value: Any) -> str:
    match value:
        case timedelta():
            return _length(value)
        case time():
            return f"time({value.hour}, {value.minute})"
        case date():
            return f"date({value.year}, {value.month}, {value.day})"
        case str() if value.isprintable() and not set(value) & {'"', "\\"}:
            return f'"{value}"'
    return repr(value)


def _length(value: timedelta) -> str:
    for name, unit in (("days", timedelta(days=1)), ("hours", timedelta(hours=1))):
        if value % unit == timedelta(0):
            return f"ml.{name}({value // unit})"
    return f"ml.hours({value / timedelta(hours=1)!r})"
