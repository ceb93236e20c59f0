"""What a layer is at a tick: it follows from what was known of outcomes at each tick before, and from nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from mlprod_tasks.adaptation.row_by_row import NOTHING, RowLearner
from mlprod_tasks.declaration import Adapt
from mlprod_tasks.statistics.block_bootstrap import ratio
from mlprod_tasks.statistics.metrics import Estimate

Floats = NDArray[np.float64]
LEAST_WEIGHT = 1e-4  # an older tick is forgotten
TOLD = 0.8  # the confidence of the interval that is told where a gain on average is enough


@dataclass(frozen=True)
class KnownTick:
    """What was known of a tick's outcomes at a later one.

    rows: that the champion answered, or would have; known: those with an outcome; sums: what the layer keeps of them; complete:
    whether the delay of outcomes had passed; kept: what learners keep that take row by row.
    """

    rows: int
    known: int
    sums: Floats
    complete: bool
    kept: Floats = field(default_factory=lambda: np.empty((0, 0)))

    def counts(self, adapt: Adapt) -> bool:
        """Whether the tick is learned from."""
        return self.known > 0 and len(self.sums) > 0 and self.known >= adapt.coverage * self.rows


Parameters = tuple[float, ...]
Candidate = float | str  # a half-life, or the name of a learner
Tried = dict[int, dict[Candidate, Parameters]]  # by the position of a tick
Learners = Mapping[str, RowLearner]
NO_LEARNERS: Learners = {}
Evidence = Mapping[int, Mapping[int, KnownTick]]  # by the position of the tick at which it was known, and of the tick it is of


@dataclass(frozen=True)
class Folded:
    """What a layer is at a tick.

    parameters: as its kind writes them; chosen: the half-life by which they were fitted, or the learner that they are of;
    learned: the positions of the ticks that it learned from, and rows of them; tried: on how many ticks it was tried; gain: by
    which share the loss was lower there than the champion's, None if it was not tried; shift: by how much it moves the mean
    score of the newest tick.
    """

    parameters: Parameters
    chosen: Candidate
    learned: tuple[int, ...]
    rows: int
    tried: int
    gain: Estimate | None
    shift: float

    def wins(self, adapt: Adapt) -> bool:
        """Whether it was better than the champion alone, as surely as is asked for."""
        if self.gain is None or self.tried < adapt.fewest:
            return False
        return (self.gain.low if adapt.confidence else self.gain.value) > 0


def folded(
    kind: ModuleType, adapt: Adapt, evidence: Evidence, delay: int, now: int, learners: Learners = NO_LEARNERS
) -> Folded:
    """Return what a layer is at tick `now`. delay: ticks after which outcomes are complete."""
    first = max(now - delay - adapt.window, min((of for known in evidence.values() for of in known), default=now))
    tried = tried_layers(kind, adapt, evidence, range(first, now + 1), learners)
    return judged(kind, adapt, evidence, delay, now, tried, learners)


def tried_layers(kind: ModuleType, adapt: Adapt, evidence: Evidence, ticks: range, learners: Learners = NO_LEARNERS) -> Tried:
    """Return what each candidate would have been at each of some ticks: fitted to what was known at it.

    A learner takes the rows of a tick when it first counts, from the first of `ticks` on.
    """
    start: dict[float, Parameters] = dict.fromkeys(adapt.half_lives, kind.UNCHANGED)
    said: dict[str, Parameters] = dict.fromkeys(learners, NOTHING)
    taken: set[int] = set()
    tried: Tried = {}
    newest = _newest(evidence, adapt, ticks.start - 1)
    for at in ticks:
        _take(newest, evidence.get(at, {}), adapt)
        known = [of for of in sorted(newest) if at - adapt.window <= of < at]
        # Each fit starts from the one before, so that it takes few steps.
        start = {half: _fitted(kind, adapt, newest, known, at, half, start[half]) for half in adapt.half_lives}
        fresh = [of for of in known if of not in taken]
        for of in fresh:
            said = {name: one.learn(said[name], newest[of].kept) for name, one in learners.items()}
        taken.update(fresh)
        tried[at] = dict[Candidate, Parameters]([*start.items(), *said.items()])
    return tried


def judged(
    kind: ModuleType,
    adapt: Adapt,
    evidence: Evidence,
    delay: int,
    now: int,
    tried: Tried,
    learners: Learners = NO_LEARNERS,
) -> Folded:
    """Return what a layer is at tick `now`, from what it would have been before (prequential: Dawid, JRSS A 147, 1984).

    What it would have been at a tick is tried on that tick's outcomes once they are complete. The candidate at a tick is the
    one with the least loss on the ticks that could be judged by then; before there are enough, the longest half-life. tried: at
    `now`, and at the ticks of the window before.
    """
    losses: dict[int, dict[Candidate, float]] = {}
    plain: dict[int, float] = {}
    for of in range(now - delay - adapt.window, now - delay + 1):
        found = evidence.get(of + delay, {}).get(of)
        if of in tried and found is not None and found.counts(adapt):
            losses[of] = {half: kind.loss(found.sums, tried[of][half]) for half in adapt.half_lives}
            plain[of] = kind.loss(found.sums, kind.UNCHANGED)
            for name, one in learners.items():  # what it changes on the rows that are kept: all candidates are held to the same
                changes = one.loss(found.kept, tried[of][name]) - one.loss(found.kept, NOTHING) if len(found.kept) else 0.0
                losses[of][name] = plain[of] + changes
    chosen = {at: _best(adapt, learners, [losses[of] for of in losses if of + delay <= at]) for at in (*losses, now)}
    alone, mine = np.array(list(plain.values())), np.array([losses[of][chosen[of]] for of in losses])
    gain = ratio(alone - mine, alone, 1, coverage=adapt.confidence or TOLD) if alone.sum() > 0 else None
    newest = _newest(evidence, adapt, now)
    learned = tuple(of for of in sorted(newest) if now - adapt.window <= of < now)
    parameters = tried[now][chosen[now]] if learned else tuple(kind.UNCHANGED)
    shift = _shift(kind, learners, chosen[now], newest[learned[-1]], parameters) if learned else 0.0
    return Folded(parameters, chosen[now], learned, sum(newest[of].known for of in learned), len(losses), gain, shift)


def _shift(kind: ModuleType, learners: Learners, chosen: Candidate, tick: KnownTick, parameters: Parameters) -> float:
    if not isinstance(chosen, str):
        return float(kind.shift(tick.sums, parameters))
    return learners[chosen].shift(tick.kept, parameters) if len(tick.kept) else 0.0


def _newest(evidence: Evidence, adapt: Adapt, until: int) -> dict[int, KnownTick]:
    """What was known last of each tick, by a tick."""
    newest: dict[int, KnownTick] = {}
    for at in sorted(one for one in evidence if one <= until):
        _take(newest, evidence[at], adapt)
    return newest


def _take(newest: dict[int, KnownTick], known: Mapping[int, KnownTick], adapt: Adapt) -> None:
    newest.update({of: one for of, one in known.items() if one.counts(adapt)})


def _fitted(
    kind: ModuleType,
    adapt: Adapt,
    newest: Mapping[int, KnownTick],
    known: list[int],
    at: int,
    half_life: float,
    start: Parameters,
) -> Parameters:
    """Fit the layer of a half-life to the ticks that are known; a layer that knows none changes nothing."""
    weighed = [(newest[of].sums, weight) for of in known if (weight := 0.5 ** ((at - 1 - of) / half_life)) >= LEAST_WEIGHT]
    if not weighed:
        return tuple(kind.UNCHANGED)
    ticks, weights = zip(*weighed, strict=True)
    return tuple(kind.fit(ticks, weights, adapt, start))


def _best(adapt: Adapt, learners: Learners, losses: list[dict[Candidate, float]]) -> Candidate:
    """The candidate with the least loss so far; of equal ones, and before there are enough ticks, the longest half-life."""
    if len(losses) < adapt.fewest:
        return adapt.half_lives[-1]
    candidates: list[Candidate] = [*reversed(adapt.half_lives), *learners]
    return min(candidates, key=lambda one: sum(of_tick[one] for of_tick in losses))
