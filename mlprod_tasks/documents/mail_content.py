"""The content of a mail, rendered as text and as HTML, so that both say the same."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from textwrap import wrap

from jinja2 import Environment

from mlprod_tasks.platform.mailer import MailMessage

WIDEST_CELL, WIDEST_LINE = 60, 78
NUMBER = re.compile(r"[-+]?[\d,]*\.?\d+(e[-+]?\d+)?%?", re.IGNORECASE)


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
        to, content.subject, as_text(content), _HTML.render(c=content, side=_side), tuple(pictures), content.attachments
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


# Mail programs remove style sheets and scripts, so every element has its style in an attribute.
_HTML = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(
    """<!doctype html>
<html><body style="margin:0;background:#f4f5f7;font:15px/1.5 system-ui,'Segoe UI',Helvetica,Arial,sans-serif;color:#1d2733">
<div style="max-width:920px;margin:0 auto;padding:24px">
<div style="background:#fff;border:1px solid #dfe3e8;border-radius:8px;padding:24px 28px">
<h1 style="font-size:19px;line-height:1.35;margin:0 0 14px">{{ c.headline }}</h1>
{% if c.tiles %}
<div style="margin:0 -4px 12px;font-size:0">
{% for tile in c.tiles %}
<div style="display:inline-block;vertical-align:top;box-sizing:border-box;width:{{ (100 / c.tiles|length)|round(2) }}%;min-width:168px;padding:4px">
<div style="min-height:86px;border:1px solid {{ '#f0b6b0' if tile.bad else '#dfe3e8' }};background:{{ '#fdf3f2' if tile.bad else '#f8f9fb' }};border-radius:8px;padding:12px 14px">
<div style="font-size:12px;line-height:1.5;color:#5b6776">{{ tile.label }}</div>
<div style="font-size:22px;line-height:1.4;font-weight:600;color:{{ '#8f1d14' if tile.bad else '#1d2733' }}">{{ tile.number }}</div>
<div style="font-size:12px;line-height:1.5;color:#5b6776">{{ tile.note }}</div>
</div></div>
{% endfor %}
</div>
{% endif %}
{% for paragraph in c.paragraphs %}
<p style="margin:0 0 12px;white-space:pre-line;overflow-wrap:anywhere">{{ paragraph.strip() }}</p>
{% endfor %}
{% if c.picture %}
<img src="cid:picture" alt="{{ c.headline }}" style="display:block;max-width:100%;margin:8px 0 16px">
{% endif %}
{% if c.plots %}
<div style="margin:4px -6px 8px;font-size:0">
{% for alt, _ in c.plots %}
<div style="display:inline-block;vertical-align:top;box-sizing:border-box;width:50%;min-width:320px;padding:0 6px 8px"><img src="cid:plot{{ loop.index0 }}" alt="{{ alt }}" style="display:block;width:100%"></div>
{% endfor %}
</div>
{% endif %}
{% for grid in c.grids %}
<p style="margin:20px 0 6px;font-weight:600">{{ grid.caption }}</p>
<div style="overflow-x:auto">
<table style="border-collapse:collapse;width:100%;font-size:13px;font-variant-numeric:tabular-nums">
<tr>{% for heading in grid.headings %}<th style="text-align:{{ side(grid, loop.index0) }};padding:6px 8px;border-bottom:2px solid #c4cdd5;white-space:nowrap">{{ heading }}</th>{% endfor %}</tr>
{% for row in grid.rows %}
{% set bad = loop.index0 in grid.bad %}
<tr{% if bad %} style="background:#fdecea;color:#8f1d14;font-weight:600"{% endif %}>{% for cell in row %}<td style="text-align:{{ side(grid, loop.index0) }};padding:6px 8px;border-bottom:1px solid #e6e9ec;vertical-align:top{% if cell|length < 24 %};white-space:nowrap{% endif %}">{{ cell }}</td>{% endfor %}</tr>
{% endfor %}
</table>
</div>
{% endfor %}
{% if c.links %}
<p style="margin:18px 0 0">{% for name, url in c.links %}<a href="{{ url }}" style="color:#0b5cad;margin-right:18px">{{ name }}</a>{% endfor %}</p>
{% endif %}
</div></div></body></html>
"""  # noqa: E501
)
