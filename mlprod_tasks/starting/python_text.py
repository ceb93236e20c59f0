"""Parts of the Python text of a declaration: lines with their comments, texts, tuples, dates, spans of time."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

WIDTH = 120
MARK = "guess: "


def said(line: str, why: str, *, sure: bool = False) -> str:
    """A line with its comment; above it where both are too long for one line."""
    if not why:
        return line
    comment = f"# {'' if sure else MARK}{why}"
    if len(line) + len(comment) + 2 <= WIDTH:
        return f"{line}  {comment}"
    indent = line[: len(line) - len(line.lstrip())]
    return f"{indent}{comment}\n{line}"


def python_tuple(values: Sequence[str]) -> str:
    inside = ", ".join(map(quoted_text, values))
    return f"({inside},)" if len(values) == 1 else f"({inside})"


def quoted_text(text: str) -> str:
    return f'"{text}"' if text.isprintable() and not set(text) & {'"', "\\"} else repr(text)


def python_date(day: date) -> str:
    return f"date({day.year}, {day.month}, {day.day})"


def python_span(hours: int) -> str:
    """A span of time, in days where it is whole days."""
    return f"ml.hours({hours})" if hours % 24 else f"ml.days({hours // 24})"
