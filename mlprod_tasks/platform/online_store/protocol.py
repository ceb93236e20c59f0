"""The protocol of an online store: values by key, replaced one whole generation at a time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol


class StoreUnavailable(RuntimeError):
    """The online store did not answer.

    The message gives its address, without its password.
    """


@dataclass(frozen=True)
class StoredValues:
    """The result of a read: all values are of the same generation."""

    generation: int
    values: list[bytes | None]


class OnlineStore(Protocol):
    """Values by key. Each use case has one generation of values, which is replaced as a whole.

    A reader sees one generation, never parts of two. A writer that dies leaves the old generation; if two writers start from
    the same one, the second is refused. Every method raises StoreUnavailable.
    """

    remote: bool  # whether a read goes to another machine, so it may be slow

    def read(self, pipeline: str, keys: Sequence[bytes]) -> StoredValues | None:
        """The values of these keys, None for a missing one.

        Returns None if there is no generation.
        """
        ...

    def replace(
        self, pipeline: str, base: int | None, put: Iterable[tuple[bytes, bytes]], removed: Iterable[bytes]
    ) -> int | None:
        """Write the next generation: `base` with `put`, without the keys in `removed`.

        base: None for an empty one.

        Returns: its number, higher than all before; None, and nothing changes, if `base` is no longer the current generation.
        If StoreUnavailable is raised, the next generation may have been written or not; trying again is safe.
        """
        ...

    def close(self) -> None:
        """Close all connections."""
        ...
