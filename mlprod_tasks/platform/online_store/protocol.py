"""The protocol of an online store: values by key, replaced one whole generation at a time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol


class StoreUnavailable(RuntimeError):
    """The online store did not answer. Says where it is, without its password."""


@dataclass(frozen=True)
class StoredValues:
    """The result of one read: all values are of the same generation."""

    generation: int
    values: list[bytes | None]


class OnlineStore(Protocol):
    """Values by key, for each use case a generation of them that is replaced as a whole.

    A reader sees one generation, never parts of two. A writer that dies leaves the old generation; of two writers that start
    from the same one, the second is refused. Every method raises StoreUnavailable.
    """

    remote: bool  # whether a read goes to another machine, which may be slow

    def read(self, pipeline: str, keys: Sequence[bytes]) -> StoredValues | None:
        """The values of some keys, None for each missing one. None where there is no generation."""
        ...

    def replace(
        self, pipeline: str, base: int | None, put: Iterable[tuple[bytes, bytes]], removed: Iterable[bytes]
    ) -> int | None:
        """Make the next generation: that of `base` (None: nothing) with some values put in and some keys removed.

        Returns: its number, always higher than any before; None where the generation is no longer `base`: nothing is changed.
        Where StoreUnavailable is raised, the next generation may exist or not; trying again is safe.
        """
        ...

    def close(self) -> None:
        """Close all connections."""
        ...
