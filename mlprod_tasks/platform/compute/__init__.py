"""Where independent pieces of one computation run: in this process, or on the executors of a Spark cluster.

The same code computes a piece either way, and results come in the order of the pieces, so they are the same bits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from mlprod_tasks.platform.settings import Settings

Piece = TypeVar("Piece")
Result = TypeVar("Result")
# Computes pieces one after the other, a result each: a function of a module, or a partial of one, so that it can be sent. It
# may be called with any of the pieces, more than once with the same, and twice at once: what it writes it replaces as a whole.
Work = Callable[[Iterator[Piece]], Iterator[Result]]


class NotComputed(Exception):
    """Pieces were not computed, for a reason that is none of theirs: where they should run cannot be reached, or differs."""


class Compute(Protocol):
    """Runs work."""

    def map(self, work: Work[Piece, Result], pieces: Sequence[Piece], what: str) -> Iterator[Result]:
        """Yield the result of each piece, in their order. what: is told while it takes long, such as 'features of flights'.

        Raises: whatever the work raises; NotComputed.
        """


class Local:
    """This process."""

    def map(self, work: Work[Piece, Result], pieces: Sequence[Piece], what: str) -> Iterator[Result]:
        return work(iter(pieces))


def compute_of(settings: Settings) -> Compute:
    """What MLPROD_ENGINE asks for."""
    if settings.engine == "local":
        return Local()
    from mlprod_tasks.platform.compute.open_exchange import exchange
    from mlprod_tasks.platform.compute.spark import Spark

    return Spark(settings.spark_master, partial(exchange, settings, "pieces"))
