"""What a docstring of the declaration says: about the class, and about each of its fields."""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Described:
    """The prose of a docstring, as Markdown, and the meaning of each field that it lists as `field: meaning`."""

    prose: str
    fields: dict[str, str]


def described(thing: Any, fields: Collection[str] = ()) -> Described:
    """Read the docstring of a class or function.

    A field's meaning begins with its name and a colon at the start of a line, and goes on to the next field or empty line. That
    of an inherited field is in the docstring of the class that declares it.
    """
    prose: list[str] = []
    bases = [base for base in getattr(thing, "__bases__", ()) if dataclasses.is_dataclass(base)]
    meanings = {name: meaning for base in bases for name, meaning in described(base, fields).fields.items()}
    current = ""
    for line in (inspect.getdoc(thing) or "").splitlines():
        begins = re.match(r"(\w+): (.*)", line)
        if begins and begins[1] in fields:
            current = begins[1]
            meanings[current] = begins[2]
        elif current and line.strip():
            meanings[current] += f" {line.strip()}"
        else:
            current = ""
            prose.append(line)
    return Described("\n".join(prose).strip(), meanings)
