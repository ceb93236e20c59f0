"""How much one replica takes on."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """The limits of one replica.

    body_bytes, rows: of a request. explained: rows of a request to explain. under_way: requests at the same time.
    rows_a_second: how many rows each API key may ask for on average; burst: how many of them at once. body_seconds: how long a
    body may take to arrive.
    """

    body_bytes: int = 1_000_000
    rows: int = 1_000
    explained: int = 20
    under_way: int = 256
    rows_a_second: float = 5_000.0
    burst: float = 10_000.0
    body_seconds: float = 10.0
