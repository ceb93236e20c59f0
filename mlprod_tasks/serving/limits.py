"""The limits of one replica of the service."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """How much one replica takes on.

    body_bytes, rows: per request. explained: rows per request to explain. under_way: requests at the same time.
    rows_a_second: rows per API key, on average; burst: rows per API key at once. body_seconds: how long a body may take to
    arrive.
    """

    body_bytes: int = 1_000_000
    rows: int = 1_000
    explained: int = 20
    under_way: int = 256
    rows_a_second: float = 5_000.0
    burst: float = 10_000.0
    body_seconds: float = 10.0
