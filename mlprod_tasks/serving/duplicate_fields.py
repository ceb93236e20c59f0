"""Find a field that a request gives twice: JSON decoders take the last one without a word."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from mlprod_tasks.serving.messages import RowProblem, ScoreRequest

REASON = "is given twice"
LONGEST_NAME = 100
SPACED_COLONS = (b" :", b"\t:", b"\n:", b"\r:")


def certainly_once(body: bytes, decoded: ScoreRequest) -> bool:
    """Whether no field can be given twice, told by counting: reading the body again takes longer than scoring.

    Each field has its name's quote before a colon, so there are at most as many fields as such pairs of characters. If there
    are not more of them than different fields, each is given once. If there are more, a text may hold them.
    """
    if any(spaced in body for spaced in SPACED_COLONS):
        return False
    fields = 1 + (decoded.moment is not None) + sum(map(len, decoded.rows))
    return body.count(b'":') == fields


def field_given_twice(body: bytes) -> RowProblem | None:
    """Return the first field that is given twice, with its row; None if there is none.

    body: JSON of a `ScoreRequest`.
    """
    found: list[str] = []

    def once(pairs: list[tuple[str, Any]]) -> Any:
        if (name := _twice(name for name, _ in pairs)) is None:
            return dict(pairs)
        found.append(name[:LONGEST_NAME])
        return _Twice(found[-1])

    # Numbers are not read: Python refuses very long ones.
    whole = json.loads(body, object_pairs_hook=once, parse_int=len, parse_float=len, strict=False)
    if not found:
        return None
    if isinstance(whole, _Twice):
        return RowProblem(None, whole.name, REASON)
    for i, row in enumerate(whole["rows"]):
        if isinstance(row, _Twice):
            return RowProblem(i, row.name, REASON)
    return RowProblem(None, found[0], REASON)  # within a field, whose value is no object in any case


@dataclass(frozen=True)
class _Twice:
    """An object that gives a field twice."""

    name: str


def _twice(names: Iterable[str]) -> str | None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    return None
