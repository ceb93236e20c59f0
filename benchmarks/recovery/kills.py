"""Kill -9 at seeded moments of each step."""

from __future__ import annotations

import random
from collections.abc import Iterator

from benchmarks.recovery.child import chosen
from benchmarks.recovery.place import Place
from benchmarks.recovery.trial import TO_END, TURNS, Line, Reference, Trial, first_line, healed
from benchmarks.recovery.work import PHASES


def killed_steps(place: Place, expected: Reference, trials: int, seed: int, only: str = "") -> Iterator[Line]:
    """A line for each step, each with that many trials."""
    works = [work.name for phase in PHASES for work in phase.works if work.name in expected.usual]
    for work in works:
        line = Line(f"`{work}` killed")
        if only in line.name:
            for number in range(trials):
                line.trials.append(_killed(place, work, expected, random.Random(f"{seed} {work} {number}")))
            yield line


def _killed(place: Place, work: str, expected: Reference, chance: random.Random) -> Trial:
    for _ in range(TURNS):
        place.restore(work)
        moment = chosen(expected.usual[work].moments, chance)
        ended = place.run(work, moment)
        if ended.killed:
            return healed(place, work, expected, f"killed at {moment}", ended, chance.random() < TO_END)
        if ended.error:
            return Trial(told=(f"it failed before it was killed at {moment}: {first_line(ended)}",))
    return Trial(missed=True)
