"""Lines of text files in any encoding, compressed or not."""

from __future__ import annotations

import codecs
import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path
from typing import IO, cast

BOM = b"\xef\xbb\xbf"
UTF_8 = "utf-8"
LINE = " line"  # a column of rows that were read with it: the line that each begins at, from 1; no declared column is called so


class Malformed(ValueError):
    """A text file cannot be read. The message gives the line and the counts, never a value."""


def is_compressed(path: Path) -> bool:
    return path.suffix == ".gz"


def is_utf_8(encoding: str) -> bool:
    """Whether it is UTF-8, by any of Python's names; a byte order mark is skipped anyway."""
    return codecs.lookup(encoding).name in (UTF_8, "utf-8-sig")


@contextmanager
def opened(path: Path) -> Iterator[IO[bytes]]:
    """Open a file to read its bytes, decompressed. Raises: Malformed if they end before they should; OSError."""
    try:
        with path.open("rb") as file:
            yield cast("IO[bytes]", gzip.GzipFile(fileobj=file)) if is_compressed(path) else file
    except (EOFError, gzip.BadGzipFile, zlib.error):
        raise Malformed("its gzip compression is damaged or cut off") from None


def lines_in_utf_8(file: IO[bytes], encoding: str) -> Iterator[str]:
    """Yield the lines as UTF-8, each byte as one character, so that a file in UTF-8 need not be valid; without byte order mark.

    Separators, quotes and line breaks are the same bytes in UTF-8. Raises: Malformed if another encoding does not fit.
    """
    if is_utf_8(encoding):
        if file.read(len(BOM)) != BOM:
            file.seek(0)
        yield from TextIOWrapper(file, encoding="latin-1", newline="")
        return
    number = 0
    try:
        for number, line in enumerate(TextIOWrapper(file, encoding=encoding, newline=""), 1):
            yield line.removeprefix("\ufeff" if number == 1 else "").encode(errors="surrogatepass").decode("latin-1")
    except UnicodeError:
        # Text is decoded some thousand bytes ahead, so the line is only about right.
        raise Malformed(f"near line {number + 1} it is not text in {encoding}") from None
