"""Records as JSON: frozen dataclasses with a schema version."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from mlprod_tasks.platform.files import write_json

if TYPE_CHECKING:
    from pydantic import TypeAdapter


class UnreadableRecord(ValueError):
    """A record was written by a newer release or is invalid.

    The message says which, and what to do.
    """


@dataclass(frozen=True)
class Versioned:
    """A record that later releases must be able to read.

    It is a dataclass of plain values, dates and other such dataclasses.

    version: of the schema; the default is the one that this release writes. To change a schema, set `version` to the next
    number in the subclass, and convert earlier versions in `upgraded`.
    """

    version: int = field(default=1, kw_only=True)

    @classmethod
    def upgraded(cls, written: dict[str, Any], version: int) -> dict[str, Any]:
        """Convert a record of an earlier version to the current schema.

        Records of release 0.4 and before have no version; they count as version 0.
        """
        return written


R = TypeVar("R", bound=Versioned)


def to_json(record: Any) -> dict[str, Any]:
    """Convert a record, or a dataclass that is part of one, to plain JSON values.

    NaN becomes null.
    """
    plain: dict[str, Any] = json.loads(_adapter(type(record)).dump_json(record))  # type: ignore[arg-type]  # a class is hashable
    return plain


def from_json(kind: type[R], written: Mapping[str, Any], name: str = "") -> R:
    """Read a record written by `to_json`, in this release or an earlier one.

    name: the record's name in errors, such as its file. Raises: UnreadableRecord.
    """
    from pydantic import ValidationError

    version, latest = written.get("version", 0), kind.version
    called = name or f"a record {kind.__name__}"
    if version > latest:
        raise UnreadableRecord(
            f"{called} has version {version}, but this release reads versions up to {latest}: a newer mlprod wrote it. "
            "Upgrade mlprod to read it"
        )
    plain = dict(written)
    if version < latest:
        plain = {**kind.upgraded(plain, version), "version": latest}
    try:
        read: R = _adapter(kind).validate_python(plain)  # type: ignore[arg-type]  # a class is hashable
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise UnreadableRecord(
            f"{called} is not a valid {kind.__name__} of version {latest}: {where}: {first['msg']}"
        ) from error
    return read


def read_record(kind: type[R], path: Path) -> R | None:
    """Read the record in a file; None if there is no file. Raises: UnreadableRecord."""
    if not path.is_file():
        return None
    return from_json(kind, json.loads(path.read_text(encoding="utf-8")), str(path))


def write_record(record: Versioned, path: Path) -> None:
    """Write a record to a file, atomically."""
    write_json(path, to_json(record))


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    from pydantic import TypeAdapter  # imported here: it takes a quarter of a second, and not every process reads records

    return TypeAdapter(kind)
