"""What the service is asked and what it says: the bodies of requests and answers, and refusals."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from mlprod_tasks.serving.answer import Answer
from mlprod_tasks.serving.contributions import Explanation

Headers = tuple[tuple[bytes, bytes], ...]


class Asked(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a request: rows by their fields, and the moment as of which they are scored, now where it is left out."""

    rows: list[dict[str, Any]]
    moment: datetime | None = None


class Answered(msgspec.Struct):
    """The body of an answer, rows in the order of the request."""

    request_id: str
    pipeline: str
    moment: datetime
    rows: list[Answer]


class Explained(msgspec.Struct):
    """The body of an explanation, rows in the order of the request."""

    request_id: str
    pipeline: str
    moment: datetime
    rows: list[Explanation]


class Reviewed(msgspec.Struct):
    """A row that was left to people; decision: null as long as nobody has decided."""

    row: int
    key: str
    score: float | None
    decision: bool | None
    reason: str
    decided_at: datetime | None


class Refused(Exception):
    """A request that is not answered: status, what is wrong, and headers such as Retry-After."""

    def __init__(self, status: int, error: str, problems: Any = None, headers: Headers = ()) -> None:
        super().__init__(error)
        self.status, self.error, self.problems, self.headers = status, error, problems, headers


class ClientGone(Exception):
    """Nobody waits for the answer any more."""
