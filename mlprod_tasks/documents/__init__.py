"""Documents: the same content as one self-contained HTML file and as Markdown."""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from mlprod_tasks.documents.mail_content import Grid

if TYPE_CHECKING:
    from jinja2 import Template

TEMPLATE = Path(__file__).parent / "templates" / "document.html"
# Characters that Markdown would interpret.
SPECIAL = re.compile(r"([\\`*<>\[\]|~&$])|(?<![A-Za-z0-9])(_)|(_)(?![A-Za-z0-9])")
INTERVAL = re.compile(r"([^\s\[]+) (\[[^\]]*\])")
OPENS_A_BLOCK = re.compile(r"^(\s*)([#+\-=]|\d+[.)])")


@dataclass(frozen=True)
class Paragraph:
    text: str
    state: Literal["plain", "good", "bad"] = "plain"


@dataclass(frozen=True)
class Listing:
    """Points, each a sentence."""

    items: tuple[str, ...]


@dataclass(frozen=True)
class Tiles:
    """The key numbers, shown first: name, number, what to compare it with."""

    tiles: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True)
class Picture:
    """A PNG. name: the file's name without suffix. alt: what it shows, in words. wide: over the whole width."""

    name: str
    png: bytes
    alt: str
    wide: bool = False

    @property
    def uri(self) -> str:
        return f"data:image/png;base64,{base64.b64encode(self.png).decode('ascii')}"


@dataclass(frozen=True)
class NotMade:
    """A part that is missing, and why."""

    what: str
    why: str


@dataclass(frozen=True)
class Links:
    """Addresses to go on to, relative to the document: the words to click, the address, a sentence on what is there."""

    links: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True)
class Card:
    """One thing among many that look alike, such as a column.

    kind: a word on what it is. facts: names and values. charts: captions, each with a chart of `small_charts`. warning: what to
    look at.
    """

    title: str
    kind: str
    note: str = ""
    facts: tuple[tuple[str, str], ...] = ()
    charts: tuple[tuple[str, str], ...] = ()
    warning: str = ""


@dataclass(frozen=True)
class Cards:
    """Cards side by side, under a caption."""

    caption: str
    cards: tuple[Card, ...]


Block = Paragraph | Listing | Tiles | Grid | Picture | NotMade | Links | Cards


@dataclass(frozen=True)
class Section:
    """A part with a heading. name: its anchor, unique in the document."""

    name: str
    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Document:
    title: str
    subtitle: str
    sections: tuple[Section, ...]

    @property
    def not_made(self) -> tuple[NotMade, ...]:
        return tuple(block for section in self.sections for block in section.blocks if isinstance(block, NotMade))

    @property
    def pictures(self) -> tuple[Picture, ...]:
        return tuple(block for section in self.sections for block in section.blocks if isinstance(block, Picture))


def html(document: Document, contents: bool = True) -> str:
    """Render one HTML file with its style and pictures inside. It loads nothing and runs no scripts; all text is escaped."""
    return _template().render(d=document, contents=contents, kind=lambda block: type(block).__name__)


def markdown(document: Document) -> str:
    """Render Markdown (CommonMark with tables) with links to the pictures in the folder `plots`."""
    parts = [f"# {_plain(document.title)}", _plain(document.subtitle)]
    for section in document.sections:
        parts.append(f"## {_plain(section.title)}")
        parts += [_block_markdown(block) for block in section.blocks]
    return "\n\n".join(part for part in parts if part) + "\n"


def _block_markdown(block: Block) -> str:
    match block:
        case Paragraph():
            return _plain(block.text)
        case Listing():
            return "\n".join(f"- {_plain(item)}" for item in block.items)
        case Tiles():
            return "\n".join(
                f"- {_plain(name)}: **{_plain(value)}**{f' ({_plain(note)})' if note else ''}"
                for name, value, note in block.tiles
            )
        case Links():
            return "\n".join(
                f"- [{_plain(words)}]({address}) {_plain(about)}".rstrip() for words, address, about in block.links
            )
        case Cards():
            lines = [
                f"- **{_plain(card.title)}** ({_plain(card.kind)}) {_plain(_card_text(card))}".rstrip() for card in block.cards
            ]
            return "\n".join([f"{_plain(block.caption)}\n" if block.caption else "", *lines]).strip()
        case Picture():
            return f"![{_plain(block.alt)}](plots/{block.name}.png)"
        case NotMade():
            return f"Not made: {_plain(block.what)}. {_plain(block.why)}"
        case Grid():
            sides = ["---:" if i in block.numeric else "---" for i in range(len(block.headings))]
            lines = [f"| {' | '.join(map(cell, row))} |" for row in (block.headings, *block.rows)]
            table = "\n".join([lines[0], f"| {' | '.join(sides)} |", *lines[1:]])
            return f"{_plain(block.caption)}\n\n{table}" if block.caption else table


def _card_text(card: Card) -> str:
    """What a card says besides its charts."""
    facts = "; ".join(f"{name} {value}" for name, value in card.facts)
    return ". ".join(part for part in (card.note, facts, card.warning) if part)


def _plain(text: str) -> str:
    """Escape text for Markdown, in one line."""
    escaped = cell(text)
    return OPENS_A_BLOCK.sub(lambda match: f"{match[1]}{match[2][:-1]}\\{match[2][-1]}", escaped)


def cell(text: str) -> str:
    """Escape text for a cell of a Markdown table."""
    return SPECIAL.sub(lambda match: f"\\{match[0]}", " ".join(text.split()))


def _above(cell: str) -> str:
    """The first part of a cell: before a line break, or before an interval in brackets."""
    match = INTERVAL.fullmatch(cell)
    return match[1] if match else cell.partition("\n")[0]


def _below(cell: str) -> str:
    """The rest of a cell, shown below in a smaller font."""
    match = INTERVAL.fullmatch(cell)
    return match[2] if match else cell.partition("\n")[2]


@cache
def _template() -> Template:
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined)
    environment.filters |= {"above": _above, "below": _below}
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
