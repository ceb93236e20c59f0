"""Text that every database, mail and terminal can take: no U+0000, no half of a surrogate pair, no hidden characters."""

from __future__ import annotations

import re

NUL = "\0"  # SQLite, Parquet and CSV hold it in a text, PostgreSQL does not
# Control characters, line and paragraph separators, marks that turn the direction of writing, halves of surrogate pairs.
HIDDEN = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def storable(text: str) -> bool:
    """Whether every database can store the text: it has no U+0000 and no half of a surrogate pair."""
    if NUL in text:
        return False
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def visible(text: str, kept: str = "\n\r\t") -> str:
    r"""The text with hidden characters written as escapes, such as \x00; those in `kept` stay."""
    if text.isprintable():
        return text
    return HIDDEN.sub(lambda found: found[0] if found[0] in kept else _escape(found[0]), text)


def one_line(text: str) -> str:
    """The text in one line: each run of white space is a space, and hidden characters are escaped."""
    return visible(" ".join(text.split()), kept="")


def is_one_line(text: str) -> bool:
    """Whether the text has no line breaks and nothing hidden, but for white space around it."""
    return HIDDEN.search(text.strip()) is None


def _escape(character: str) -> str:
    return character.encode("unicode_escape", "surrogatepass").decode()
