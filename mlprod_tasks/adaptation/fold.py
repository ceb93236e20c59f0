"""What a layer is at a tick: it follows from what was known of outcomes at each tick before, and from nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from mlprod_tasks.declaration import Adapt
from mlprod_tasks.statistics.block_bootstrap import ratio
from mlprod_tasks.statistics.metrics import Estimate

Floats = NDArray[np.float64]
LEAST_WEIGHT = 1e-4  # an older tick is forgotten


@dataclass(frozen=True)
class KnownTick:
    """What was known of a tick's outcomes at a later one.

    rows: that the champion answered, or would have; known: those with an outcome; sums: what the layer keeps of them; complete:
    whether the delay of outcomes had passed.
    """

    rows: int
    known: int
    sums: Floats
    complete: bool

    def counts(self, adapt: Adapt) -> bool:
        """Whether the tick is learned from."""
        return self.known > 0 and len(self.sums) > 0 and self.known >= adapt.coverage * self.rows


Evidence = Mapping[int, Mapping[int, KnownTick]]  # by the position of the tick at which it was known, and of the tick it is of


@dataclass(frozen=True)
class Folded:
    """What a layer is at a tick.

    parameters: as its kind writes them; half_life: the one by which they were fitted; learned: the positions of the ticks that
    it learned from, and rows of them; tried: on how many ticks it was tried; gain: by which share the loss was lower there
    than the champion's, None if it was not tried; shift: by how much it moves the mean score of the newest tick.
    """

    parameters: tuple[float, ...]
    half_life: float
    learned: tuple[int, ...]
    rows: int
    tried: int
    gain: Estimate | None
    shift: float

    def wins(self, adapt: Adapt) -> bool:
        """Whether it was better than the champion alone for certain."""
        return self.tried >= adapt.fewest and self.gain is not None and self.gain.low > 0


def folded(kind: ModuleType, adapt: Adapt, evidence: Evidence, delay: int, now: int) -> Folded:
    """Return what a layer is at tick `now` (test, then train: Dawid, JRSS A 147, 1984).

    For each tick of the window, layers are fitted to what was known at it, one for each half-life, and tried on its outcomes
    once these are complete. The half-life at a tick is the one whose layers had the least loss on the ticks that could be
    judged by then; before there are enough, the longest.

    delay: ticks after which outcomes are complete.
    """
    half_lives = adapt.half_lives
    first = max(now - delay - adapt.window, min((of for known in evidence.values() for of in known), default=now))
    newest: dict[int, KnownTick] = {}
    tried: dict[int, dict[float, tuple[float, ...]]] = {}
    start: dict[float, tuple[float, ...]] = dict.fromkeys(half_lives, kind.UNCHANGED)
    for at in sorted(one for one in evidence if one < first):
        _take(newest, evidence[at], adapt)
    for at in range(first, now + 1):
        _take(newest, evidence.get(at, {}), adapt)
        known = [of for of in sorted(newest) if at - adapt.window <= of < at]
        for half_life in half_lives:
            start[half_life] = _fitted(kind, adapt, newest, known, at, half_life, start[half_life])
        tried[at] = dict(start)
    complete = {of: found for of in tried if (found := evidence.get(of + delay, {}).get(of)) and found.counts(adapt)}
    losses = {of: {half: kind.loss(one.sums, tried[of][half]) for half in half_lives} for of, one in complete.items()}
    judged = [of for of in sorted(complete) if of + delay <= now]
    chosen = {at: _best(half_lives, [losses[of] for of in judged if of + delay <= at], adapt) for at in (*judged, now)}
    plain = np.array([kind.loss(complete[of].sums, kind.UNCHANGED) for of in judged])
    mine = np.array([losses[of][chosen[of]] for of in judged])
    gain = ratio(plain - mine, plain, 1, coverage=adapt.confidence) if plain.sum() > 0 else None
    learned = tuple(of for of in sorted(newest) if now - adapt.window <= of < now)
    last = newest[learned[-1]] if learned else None
    parameters = tried[now][chosen[now]] if learned else kind.UNCHANGED
    shift = 0.0 if last is None else kind.shift(last.sums, parameters)
    return Folded(parameters, chosen[now], learned, sum(newest[of].known for of in learned), len(judged), gain, shift)


def _take(newest: dict[int, KnownTick], known: Mapping[int, KnownTick], adapt: Adapt) -> None:
    newest.update({of: one for of, one in known.items() if one.counts(adapt)})


def _fitted(
    kind: ModuleType,
    adapt: Adapt,
    newest: Mapping[int, KnownTick],
    known: list[int],
    at: int,
    half_life: float,
    start: tuple[float, ...],
) -> tuple[float, ...]:
    """Fit the layer of a half-life to the ticks that are known; a layer that knows none changes nothing."""
    weighed = [(newest[of].sums, weight) for of in known if (weight := 0.5 ** ((at - 1 - of) / half_life)) >= LEAST_WEIGHT]
    if not weighed:
        return tuple(kind.UNCHANGED)
    ticks, weights = zip(*weighed, strict=True)
    return tuple(kind.fit(ticks, weights, adapt, start))


def _best(half_lives: tuple[float, ...], losses: list[dict[float, float]], adapt: Adapt) -> float:
    """The half-life with the least loss so far; of equal ones, and before there are enough ticks, the longest."""
    if len(losses) < adapt.fewest:
        return half_lives[-1]
    return min(reversed(half_lives), key=lambda half: sum(one[half] for one in losses))
