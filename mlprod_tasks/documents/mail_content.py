"""The content of a mail, rendered as text and as HTML, so that both say the same."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING

from mlprod_tasks.platform.mailer import MailMessage

if TYPE_CHECKING:
    from jinja2 import Template

# Mail programs remove style sheets and scripts, so every element in it has its style in an attribute.
TEMPLATE = Path(__file__).parent / "templates" / "mail.html"
WIDEST_CELL, WIDEST_LINE = 60, 78
# A number, alone or with its interval: '0.676 [0.668, 0.683]'.
NUMBER = re.compile(r"[-+]?[\d,]*\.?\d+(e[-+]?\d+)?%?( \[[^\]]*\])?", re.IGNORECASE)


@dataclass(frozen=True)
class Grid:
    """A small table: a caption, column headings, rows of text. bad: the rows to highlight.

    prose: the last column has sentences, which are not cut.
    """

    caption: str
    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    bad: frozenset[int] = frozenset()
    prose: bool = False

    @cached_property
    def numeric(self) -> frozenset[int]:
        """The columns of numbers (or words such as 'not evaluated'), which are right-aligned."""
        return frozenset(i for i, cells in enumerate(zip(*self.rows, strict=True)) if _of_numbers(cells))


@dataclass(frozen=True)
class Tile:
    """One key figure: its label, the number, and what to compare it with."""

    label: str
    number: str
    note: str = ""
    bad: bool = False


@dataclass(frozen=True)
class Content:
    """The content of a mail: a headline sentence, then the numbers, a picture, and links."""

    subject: str
    headline: str
    paragraphs: tuple[str, ...] = ()
    grids: tuple[Grid, ...] = ()
    picture: bytes | None = None
    links: tuple[tuple[str, str], ...] = ()
    tiles: tuple[Tile, ...] = ()
    plots: tuple[tuple[str, bytes], ...] = ()  # small pictures side by side, each with its description in words
    attachments: tuple[tuple[str, str], ...] = ()  # HTML pages by file name


def render(content: Content, to: tuple[str, ...]) -> MailMessage:
    """Render both bodies of the mail."""
    pictures = [("picture", content.picture)] if content.picture else []
    pictures += [(f"plot{i}", png) for i, (_, png) in enumerate(content.plots)]
    return MailMessage(
        to, content.subject, as_text(content), _template().render(c=content, side=_side), tuple(pictures), content.attachments
    )


def as_text(content: Content) -> str:
    """Render the mail as plain text, without pictures."""
    parts = [*_wrapped(content.headline), ""]
    for tile in content.tiles:
        parts += _wrapped(f"{tile.label}: {tile.number}{f' ({tile.note})' if tile.note else ''}")
    parts += [""] * bool(content.tiles)
    for paragraph in content.paragraphs:
        parts += [*_wrapped(paragraph), ""]
    for grid in content.grids:
        parts += [grid.caption, *(_sentences(grid) if grid.prose else _lines(grid)), ""]
    parts += [f"{name}: {url}" for name, url in content.links]
    return "\n".join(parts).rstrip() + "\n"


def _wrapped(text: str) -> list[str]:
    # Line breaks of an error message are kept, and addresses are not broken.
    lines = text.strip().splitlines()
    return [part for line in lines for part in wrap(line, WIDEST_LINE, break_long_words=False, break_on_hyphens=False) or [""]]


def _lines(grid: Grid) -> list[str]:
    cells = [[_cell(cell) for cell in row] for row in (grid.headings, *grid.rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(grid.headings))]
    lines = [
        "  ".join(
            cell.rjust(width) if i in grid.numeric else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    ]
    return [lines[0], "  ".join("-" * width for width in widths), *lines[1:]]


def _sentences(grid: Grid) -> list[str]:
    heads = ["  ".join(row[:-1]) for row in grid.rows]
    margin = max(map(len, heads), default=0) + 2
    sentences = [wrap(row[-1], WIDEST_LINE - margin) or [""] for row in grid.rows]
    return [
        f"{head if i == 0 else '':{margin}}{part}"
        for head, parts in zip(heads, sentences, strict=True)
        for i, part in enumerate(parts)
    ]


def _of_numbers(cells: tuple[str, ...]) -> bool:
    numbers = [bool(NUMBER.fullmatch(cell)) for cell in cells]
    return any(numbers) and all(number or not re.search(r"\d", cell) for number, cell in zip(numbers, cells, strict=True))


def _side(grid: Grid, column: int) -> str:
    return "right" if column in grid.numeric else "left"


def _cell(text: str) -> str:
    shown = " ".join(text.split())
    return shown if len(shown) <= WIDEST_CELL else shown[: WIDEST_CELL - 3] + "..."


@cache
def _template() -> Template:
    from jinja2 import Environment

    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
