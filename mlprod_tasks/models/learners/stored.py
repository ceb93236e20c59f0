"""Files of scikit-learn's trees without pickle (skops), checked against a short list before anything is constructed."""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Iterable, Iterator
from typing import Any

SCHEMA = "schema.json"
# The types that the state of a tree consists of, besides the tree itself.
PLAIN = (
    "builtins.bool", "builtins.dict", "builtins.float", "builtins.int", "builtins.list", "builtins.str", "builtins.tuple",
    "numpy.float64", "numpy.int64", "numpy.ndarray",
)  # fmt: skip
OLDEST = (1980, 1, 1, 0, 0, 0)  # the earliest date that a zip can hold


class ForbiddenType(ValueError):
    """A model file that holds types which no model of mlprod has."""


def dump(trees: Any) -> bytes:
    """Give a skops file: the same bytes for the same trees, whenever they are written."""
    import skops.io

    return _repeatable(skops.io.dumps(trees))


def load(content: bytes, allowed: Iterable[str], what: str) -> Any:
    """Load the content of a skops file.

    allowed: full names of the types it may hold besides PLAIN ones. what: the file, for errors.

    Raises: ForbiddenType, before anything of the file is constructed.
    """
    import skops.io

    trusted = {*PLAIN, *allowed}
    with zipfile.ZipFile(io.BytesIO(content)) as opened:
        named = set(_types(json.loads(opened.read(SCHEMA))))
    # skops trusts some types that it names differently from the schema, so both lists are checked.
    for found in (named, set(skops.io.get_untrusted_types(data=content))):
        if found - trusted:
            raise ForbiddenType(
                f"{what} holds {', '.join(sorted(found - trusted))}, which no model of mlprod has: it was not written by "
                "mlprod, or by another version of it. Nothing of it was loaded; train again, or restore the file"
            )
    return skops.io.loads(content, trusted=sorted(trusted))


def _types(node: Any) -> Iterator[str]:
    """The full name of every type that a schema names, at any depth."""
    if isinstance(node, dict):
        if "__class__" in node:
            yield f"{node.get('__module__')}.{node['__class__']}"
        for one in node.values():
            yield from _types(one)
    elif isinstance(node, list):
        for one in node:
            yield from _types(one)


def _repeatable(content: bytes) -> bytes:
    """The same archive with its parts numbered in order instead of by memory address, and without the time of writing."""
    with zipfile.ZipFile(io.BytesIO(content)) as opened:
        parts = {name: opened.read(name) for name in opened.namelist()}
    schema = parts.pop(SCHEMA).decode()
    numbers: dict[str, str] = {}

    def numbered(found: re.Match[str]) -> str:
        return found[1] + numbers.setdefault(found[2], str(len(numbers)))

    schema = re.sub(r'("__id__": |"file": ")([0-9a-f-]+)', numbered, schema)
    named = {numbers[name.split(".")[0]] + "." + name.split(".")[1]: part for name, part in parts.items()}
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as written:
        for name in (SCHEMA, *sorted(named, key=lambda name: int(name.split(".")[0]))):
            entry = zipfile.ZipInfo(name, OLDEST)
            entry.compress_type = zipfile.ZIP_DEFLATED
            written.writestr(entry, schema.encode() if name == SCHEMA else named[name], compresslevel=1)
    return made.getvalue()
