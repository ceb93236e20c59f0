"""Find a planted value in every file below a folder, however it is written there."""

import base64
import gzip
import hashlib
import json
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import quote

import pyarrow.parquet as pq


def forms(planted: str) -> set[bytes]:
    """The bytes by which a text may stand in a file; in lower case, for a search in lower case."""
    variants = {planted, planted.lower(), planted.upper()}
    found = {text.encode(code) for text in variants for code in ("utf-8", "utf-16-le", "utf-16-be")}
    found |= {json.dumps(text)[1:-1].encode() for text in variants} | {quote(text).encode() for text in variants}
    found |= {text.encode().hex().encode() for text in variants}
    for text in variants:
        for shift in range(3):  # base64 of a longer text that holds it, at each place within three bytes
            encoded = base64.b64encode(b"\0" * shift + text.encode())
            found.add(encoded[(0, 2, 3)[shift] : len(encoded) // 4 * 4 - 4])
    return {one.lower() for one in found}


def unkeyed_hashes(whole: str) -> set[bytes]:
    """Hashes of a whole value without a key: who knows the names finds the person by them."""
    return {hashlib.new(kind, whole.encode()).hexdigest().encode() for kind in ("md5", "sha1", "sha256", "blake2b")}


def places(folder: Path, wanted: Iterable[bytes]) -> list[str]:
    """The files below a folder that hold one of these bytes, in lower case; archives and Parquet files are opened."""
    needles = tuple(wanted)
    found = []
    for file in sorted(folder.rglob("*")):
        if file.is_file():
            read = [str(file).lower().encode(), *contents(file)]
            found += [f"{file.relative_to(folder)}: {needle!r}" for needle in needles if any(needle in one for one in read)]
    return found


def contents(file: Path) -> Iterator[bytes]:
    """The bytes of a file in lower case, as they stand and decoded."""
    raw = file.read_bytes()
    yield raw.lower()
    if raw[:4] == b"PAR1":
        try:
            table = pq.ParquetFile(file).read()
        except (OSError, ValueError):
            return
        yield repr((table.schema.metadata, table.to_pydict())).lower().encode(errors="backslashreplace")
    elif raw[:2] == b"\x1f\x8b":
        yield gzip.decompress(raw).lower()
    elif zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            for name in archive.namelist():
                yield archive.read(name).lower()
    elif raw[:1] == b"\x78":
        try:
            yield zlib.decompress(raw).lower()
        except zlib.error:
            return
