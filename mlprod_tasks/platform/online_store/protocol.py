"""What an online store is: values a look-up away, replaced a whole generation at a time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol


class StoreUnavailable(RuntimeError):
    """The online store did not answer. Says where it is, without its password."""


@dataclass(frozen=True)
class StoredValues:
    """What one look saw: every value is of the one generation."""

    generation: int
    values: list[bytes | None]


class OnlineStore(Protocol):
    """Values by key, for each use case a generation of them that is replaced as a whole.

    A reader sees a generation or the next one, never parts of two. A writer that dies leaves the generation that was there;
    of two writers who start from the same one, one is told that it came second. Every method raises StoreUnavailable.
    """

    remote: bool  # whether a look goes to another machine, which may keep it waiting

    def read(self, pipeline: str, keys: Sequence[bytes]) -> StoredValues | None:
        """The values of some keys, None for each that is not there. None where no generation is there."""
        ...

    def replace(
        self, pipeline: str, base: int | None, put: Iterable[tuple[bytes, bytes]], removed: Iterable[bytes]
    ) -> int | None:
        """Make the next generation: that of `base` (None: nothing) with some values put in its place and some keys removed.

        Returns: its number, always higher than any before; None where the generation is no longer `base`: nothing is changed.
        Where StoreUnavailable is raised the next generation may be there or not; to do the same again is safe.
        """
        ...

    def close(self) -> None:
        """Let go of connections."""
        ...
