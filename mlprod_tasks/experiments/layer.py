"""The layers of a use case: experiments that run at once (Tang et al., KDD 2010).

What answers a row has two parts, a version and a threshold, and each is a layer. Experiments that vary the same part have units
of their own; those that vary different ones may have the same units, as each has a salt of its own.
"""

from __future__ import annotations

from collections.abc import Sequence

from mlprod_tasks.platform.experiment_entries import ExperimentRun

LEAST = 1e-9  # of the units: less is rounding


class NoRoom(ValueError):
    """The experiments of a layer leave no range of units that is wide enough; the message says how much they leave."""


def free_range(share: float, taken: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Return the first range of units of that share which overlaps none of those taken, each [low, high) in [0, 1].

    Raises: NoRoom.
    """
    at, widest = 0.0, 0.0
    for low, high in [*sorted(taken), (1.0, 1.0)]:
        widest = max(widest, low - at)
        if low - at >= share - LEAST:
            return at, min(low, at + share)
        at = max(at, high)
    raise NoRoom(f"it asks for {share:.0%} of the units, and the widest range that is free has {max(0.0, widest):.0%}")


def share_units(one: ExperimentRun, other: ExperimentRun) -> bool:
    """Whether two experiments of a use case assign some of the same units at once."""
    same = one.units_from < other.units_to and other.units_from < one.units_to
    return same and (_begins_within(one, other) or _begins_within(other, one))


def _begins_within(one: ExperimentRun, other: ExperimentRun) -> bool:
    """Whether an experiment begins while another one runs; one that was ended before its first tick never did."""
    before_its_end = one.starts <= other.ends and (other.ended is None or one.starts < other.ended)
    return one.starts != one.ended and other.starts <= one.starts and before_its_end
