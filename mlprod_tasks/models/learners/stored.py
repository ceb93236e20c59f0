"""Store scikit-learn's trees without pickle (skops).

Types are checked before anything is constructed.
"""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Iterable, Iterator
from typing import Any

SCHEMA = "schema.json"
# The types in the state of a tree, besides the tree itself.
PLAIN = (
    "builtins.bool", "builtins.dict", "builtins.float", "builtins.int", "builtins.list", "builtins.str", "builtins.tuple",
    "numpy.float64", "numpy.int64", "numpy.ndarray",
)  # fmt: skip
OLDEST = (1980, 1, 1, 0, 0, 0)  # the earliest date in a zip


class ForbiddenType(ValueError):
    """A model file has types that no model of mlprod has."""


def dump(trees: Any) -> bytes:
    """Return a skops file, with the same bytes for the same trees at any time."""
    import skops.io

    return _reproducible(skops.io.dumps(trees))


def load(content: bytes, allowed: Iterable[str], what: str) -> Any:
    """Load the content of a skops file.

    allowed: full names of the types it may have besides PLAIN ones. what: the file, for errors.

    Raises: ForbiddenType, before anything of the file is constructed.
    """
    import skops.io

    trusted = {*PLAIN, *allowed}
    with zipfile.ZipFile(io.BytesIO(content)) as opened:
        named = set(_types(json.loads(opened.read(SCHEMA))))
    # skops trusts some types under other names than those in the schema, so both lists are checked.
    for types in (named, set(skops.io.get_untrusted_types(data=content))):
        if types - trusted:
            raise ForbiddenType(
                f"{what} has {', '.join(sorted(types - trusted))}, which no model of mlprod has: it was written by another "
                "program, or another version of mlprod. Nothing was loaded; train again, or restore the file"
            )
    return skops.io.loads(content, trusted=sorted(trusted))


def _types(node: Any) -> Iterator[str]:
    """Yield the full name of every type in a schema, at any depth."""
    if isinstance(node, dict):
        if "__class__" in node:
            yield f"{node.get('__module__')}.{node['__class__']}"
        for one in node.values():
            yield from _types(one)
    elif isinstance(node, list):
        for one in node:
            yield from _types(one)


def _reproducible(content: bytes) -> bytes:
    """Return the archive with its parts numbered in order, not by memory address, and without the time of writing."""
    with zipfile.ZipFile(io.BytesIO(content)) as opened:
        parts = {name: opened.read(name) for name in opened.namelist()}
    schema = parts.pop(SCHEMA).decode()
    numbers: dict[str, str] = {}

    def numbered(match: re.Match[str]) -> str:
        return match[1] + numbers.setdefault(match[2], str(len(numbers)))

    schema = re.sub(r'("__id__": |"file": ")([0-9a-f-]+)', numbered, schema)
    named = {numbers[name.split(".")[0]] + "." + name.split(".")[1]: part for name, part in parts.items()}
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as written:
        for name in (SCHEMA, *sorted(named, key=lambda name: int(name.split(".")[0]))):
            entry = zipfile.ZipInfo(name, OLDEST)
            entry.compress_type = zipfile.ZIP_DEFLATED
            written.writestr(entry, schema.encode() if name == SCHEMA else named[name], compresslevel=1)
    return archive.getvalue()
