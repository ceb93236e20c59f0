"""Records as JSON: frozen dataclasses that say which version of their shape was written."""

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
    """A record of a newer release, or one that does not hold what it must. Says which, and what to do."""


@dataclass(frozen=True)
class Versioned:
    """A record that outlives the release that wrote it: a dataclass of plain values, dates and other such dataclasses.

    version: of its shape; the default is the one that this release writes. Whoever changes a shape declares `version` anew in
    the subclass, with the next number, and reads the earlier ones in `upgraded`.
    """

    version: int = field(default=1, kw_only=True)

    @classmethod
    def upgraded(cls, written: dict[str, Any], version: int) -> dict[str, Any]:
        """Give what an earlier version wrote the shape of today's.

        Version 0 is what names none: records of release 0.4 and before.
        """
        return written


R = TypeVar("R", bound=Versioned)


def to_json(record: Any) -> dict[str, Any]:
    """Turn a record, or a dataclass that is part of one, into plain JSON values. NaN becomes null."""
    plain: dict[str, Any] = json.loads(_adapter(type(record)).dump_json(record))  # type: ignore[arg-type]  # a class is hashable
    return plain


def from_json(kind: type[R], written: Mapping[str, Any], name: str = "") -> R:
    """Read the record that `to_json` wrote, in this release or an earlier one.

    name: what to call it in an error, such as the file that it comes from. Raises: UnreadableRecord.
    """
    from pydantic import ValidationError

    version, latest = written.get("version", 0), kind.version
    called = name or f"a record {kind.__name__}"
    if version > latest:
        raise UnreadableRecord(
            f"{called} is of version {version}, and this release reads versions up to {latest}: a newer mlprod wrote it. "
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
        raise UnreadableRecord(f"{called} is no {kind.__name__} of version {latest}: {where}: {first['msg']}") from error
    return read


def read_record(kind: type[R], path: Path) -> R | None:
    """Read the record in a file; None where there is none. Raises: UnreadableRecord."""
    if not path.is_file():
        return None
    return from_json(kind, json.loads(path.read_text(encoding="utf-8")), str(path))


def write_record(record: Versioned, path: Path) -> None:
    """Write a record to a file, whole or not at all."""
    write_json(path, to_json(record))


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    from pydantic import TypeAdapter  # takes a quarter of a second, and not every process reads records

    return TypeAdapter(kind)
