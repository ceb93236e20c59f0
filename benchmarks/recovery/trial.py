"""One trial: something befalls a step, the step is run again to its end, and what stands is compared."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from benchmarks.byte_search import forms, places
from benchmarks.recovery.child import Ended
from benchmarks.recovery.place import BUSINESS, Place
from benchmarks.recovery.source import PLANTED
from benchmarks.recovery.standing import Difference, Standing, difference, standing
from benchmarks.recovery.work import PHASES, Phase, Work, declared

NONE = Difference()
NEEDLES = forms(PLANTED)
TURNS = 3  # draws until something befalls the step
TO_END = 1 / 3  # of the trials go on to the end of the phase


@dataclass(frozen=True)
class Trial:
    """What came of one trial.

    missed: nothing befell the step, which ended before or needed nothing; told: what is wrong; error: how the step ended.
    """

    found: Difference = NONE
    leaked: int = 0
    missed: bool = False
    told: tuple[str, ...] = ()
    error: str = ""

    @property
    def failed(self) -> bool:
        return bool(self.told) or not self.found.none or self.leaked > 0


@dataclass
class Line:
    """One row of the table: all trials of one thing."""

    name: str
    trials: list[Trial] = field(default_factory=list)

    @property
    def text(self) -> str:
        hit = [one for one in self.trials if not one.missed]
        found = sum((one.found for one in hit), NONE)
        leaked = sum(one.leaked for one in hit)
        failed = sum(one.failed for one in hit)
        return f"| {self.name} | {len(hit)} | {failed} | {found.lost} | {found.doubled} | {found.altered} | {leaked} |"


@dataclass(frozen=True)
class Usual:
    """A step of a run without fault: when its moments were, the bytes that it adds to the home and reads from databases."""

    moments: Sequence[float]
    bytes_added: int
    bytes_read: dict[str, int]


@dataclass(frozen=True)
class Reference:
    """A run without fault: of each step what it usually does, and what stands after it."""

    usual: dict[str, Usual]
    standing: dict[str, Standing]


class NotReproducible(RuntimeError):
    """The run without fault failed."""


def reference(place: Place, phases: Sequence[Phase], between: dict[str, Callable[[Place], object]]) -> Reference:
    """Run everything without fault, and keep what stands before each step. between: what to do before a phase."""
    made = Reference({}, {})
    for phase in phases:
        if phase.name in between:
            between[phase.name](place)
        for work in phase.works:
            place.keep(work.name)
            used = place.used()
            for proxy in place.proxies.values():
                proxy.count()
            ended = place.run(work.name)
            if ended.error:
                raise NotReproducible(f"{work.name} failed without fault: {ended.error}\n{place.output.read_text()[-4000:]}")
            read = {name: proxy.passed for name, proxy in place.proxies.items()}
            made.usual[work.name] = Usual(ended.moments, place.used() - used, read)
            made.standing[work.name] = looked_at(place)
    return made


def looked_at(place: Place) -> Standing:
    return standing(declared(), place.platform(), place.database(BUSINESS), place.mails)


def from_here(work: str) -> Sequence[Work]:
    """The step, and those that follow it in its phase."""
    works = next(phase.works for phase in PHASES if any(one.name == work for one in phase.works))
    return works[[one.name for one in works].index(work) :]


def left(place: Place, work: str, expected: Reference, ended: Ended) -> Difference:
    """What a step that succeeded in spite of a fault left otherwise than it should: nobody runs it again."""
    return difference(expected.standing[work], looked_at(place)) if ended.succeeded else NONE


def healed(
    place: Place, work: str, expected: Reference, what: str, ended: Ended, to_end: bool, told: Sequence[str] = ()
) -> Trial:
    """Run the step again, then compare what stands and search for planted values.

    what: what befell it; ended: how it ended; to_end: also run the steps that follow it in its phase, and compare at its end;
    told: what is wrong already.
    """
    works = from_here(work) if to_end else from_here(work)[:1]
    found, wrong = left(place, work, expected, ended), list(told)
    for one in works:
        ended = place.run(one.name)
        if not ended.succeeded:
            return Trial(found, leaks(place), told=(what, *wrong, f"{one.name} did not heal: {first_line(ended)}"))
        if found.none and one in (works[0], works[-1]):
            found = difference(expected.standing[one.name], looked_at(place))
    wrong += found.where
    leaked = leaks(place)
    return Trial(found, leaked, told=(what, *wrong) if wrong or leaked else ())


def leaks(place: Place) -> int:
    """Files of the home, mails and printed text that hold a planted value."""
    return sum(len(places(folder, NEEDLES)) for folder in (place.home, place.mails, place.output.parent))


def first_line(ended: Ended) -> str:
    return "killed" if ended.killed else ended.error.splitlines()[0][:200] if ended.error else "ended"
