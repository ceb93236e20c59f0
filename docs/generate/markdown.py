"""Pieces of Markdown that the generated parts are made of."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def code(text: object) -> str:
    """The text as code in one line."""
    return f"`{text}`"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table with one line per row; a bar within a cell is escaped."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines)


def directive(name: str, argument: str, body: str) -> str:
    """A MyST directive whose body may contain fences and directives."""
    return f"``````{{{name}}} {argument}\n{body.strip()}\n``````\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
