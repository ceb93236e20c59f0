"""The trials of a search, which its workers share as records, on one machine or on several.

Each place of the budget is used once, even if workers are killed.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from mlprod_tasks.declaration.search import Range, Search
from mlprod_tasks.platform.shared_records import SharedRecords
from mlprod_tasks.training.search_study import (
    EndedTrial,
    as_text,
    first_parameters,
    from_text,
    is_worse_than_median,
    next_parameters,
    seed_of,
)

log = logging.getLogger(__name__)
# Records, in a folder for each candidate: whoever writes 'PLACE-ATTEMPT.claim' makes that trial, and 'PLACE.ended' is its end.
CLAIM, END = ".claim", ".ended"
TIMES_LOST = 3  # a trial that kills its worker so often counts as used

Place = tuple[str, int]  # a candidate, and a place in its budget


@dataclass(frozen=True)
class Claim:
    """A trial to make: candidate, place in the candidate's budget, and values to try.

    attempt: how often its worker was lost. values: the losses so far, by step.
    """

    candidate: str
    place: int
    attempt: int
    parameters: dict[str, Any]
    began: float  # seconds since 1970
    values: dict[int, float] = field(default_factory=dict)


@dataclass(frozen=True)
class _Claimed:
    """A claim as others see it."""

    place: int
    attempt: int
    sign: str
    parameters: dict[str, Any]
    began: float


@dataclass(frozen=True)
class _Standing:
    """What there is of the trials: those that ended, those under way, and how often the others were lost."""

    ended: Mapping[Place, EndedTrial]
    running: Mapping[Place, _Claimed]
    times_lost: Mapping[Place, int]

    def ended_of(self, candidate: str) -> list[EndedTrial]:
        """In order of their places."""
        return [self.ended[place] for place in sorted(self.ended) if place[0] == candidate]

    def used(self, candidate: str) -> set[int]:
        """The places of a candidate's budget that nobody may claim."""
        given_up = (place for place, times in self.times_lost.items() if times >= TIMES_LOST)
        return {number for name, number in (*self.ended, *self.running, *given_up) if name == candidate}


class Trials:
    """The trials of a search, by candidate, as records that workers share.

    key: a hash of what losses depend on besides the parameters: the records are of one key. spaces, declared: by candidate, the
    ranges and the declared values of its fields.

    A trial of a killed worker is made again, as soon as the records show that it is dead; one of a living worker is never taken
    away. If a worker was taken to be dead and was not, a trial may be made twice: the first end counts.
    """

    def __init__(
        self,
        records: SharedRecords,
        key: str,
        search: Search,
        spaces: Mapping[str, Mapping[str, Range]],
        declared: Mapping[str, Mapping[str, Any]],
        seed: int,
        worker: int = 0,
    ) -> None:
        self.records, self.key, self.search, self.seed, self.worker = records, key, search, seed, worker
        self.spaces, self.declared = spaces, declared
        self._sign = ""
        self._parsed: dict[str, tuple[str, _Claimed | EndedTrial]] = {}  # by record; what is written never changes

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Show within the block that this worker lives. Only then it may claim."""
        with self.records.at_work(self.worker) as self._sign:
            yield

    def claim(self) -> Claim | None:
        """Claim the next free place of the budget.

        None if there is none, or no time left.
        """
        while (standing := self._standing()) and (place := self._free_place(standing)) is not None:
            if (claim := self._claimed(place, standing)) is not None:
                return claim
        return None

    def tell(self, claim: Claim, state: str, loss: float | None = None, note: str = "") -> None:
        """End a trial as 'complete', 'pruned' or 'failed'. One that is not ended when its worker stops, is made again."""
        end = {
            "sign": self._sign,
            "parameters": as_text(self.spaces[claim.candidate], claim.parameters),
            "loss": loss,
            "state": state,
            "note": note,
            "began": claim.began,
            "seconds": self.records.now() - claim.began,
            "values": claim.values,
        }
        if not self.records.create(f"{claim.candidate}/{claim.place}{END}", json.dumps(end).encode()):
            log.info("%s trial %d was made by another worker meanwhile: that counts", claim.candidate, claim.place + 1)

    def is_worse_than_median(self, claim: Claim) -> bool:
        """Whether a trial under way is worse than others were at the same step."""
        return is_worse_than_median(claim.values, [one for one in self.ended() if one.candidate == claim.candidate])

    def ended(self) -> list[EndedTrial]:
        """Return every trial that ended, by candidate and place."""
        ended = self._read()[1]
        return [ended[place] for name in self.spaces for place in sorted(ended) if place[0] == name]

    def over(self) -> bool:
        """Whether no trial is running and none will follow."""
        standing = self._standing()
        return not standing.running and self._free_place(standing) is None

    def seconds_left(self) -> float:
        """Return what is left of the declared minutes, used while any worker ran."""
        return float("inf") if self.search.minutes is None else self._seconds_left(self._standing())

    def _free_place(self, standing: _Standing) -> Place | None:
        used = {name: standing.used(name) for name in self.spaces}
        late = self._seconds_left(standing) <= 0
        for name in sorted(used, key=lambda name: len(used[name])):  # the candidate with the fewest trials first
            place = next(place for place in range(len(used[name]) + 1) if place not in used[name])
            # The declared values are always tried, to have something to compare with.
            if place == 0 or not (late or (self.search.trials is not None and place >= self.search.trials)):
                return name, place
        return None

    def _claimed(self, at: Place, standing: _Standing) -> Claim | None:
        """Claim a place; None if another worker was faster."""
        (name, place), space = at, self.spaces[at[0]]
        if place == 0:
            parameters = first_parameters(space, self.declared[name])
        else:
            running = [one.parameters for (other, _), one in sorted(standing.running.items()) if other == name]
            parameters = next_parameters(space, standing.ended_of(name), running, seed_of(self.seed, name, place))
        claim = Claim(name, place, standing.times_lost.get(at, 0), parameters, self.records.now())
        written = {"sign": self._sign, "parameters": as_text(space, parameters), "began": claim.began}
        record = f"{name}/{place}-{claim.attempt}{CLAIM}"
        return claim if self.records.create(record, json.dumps(written).encode()) else None

    def _seconds_left(self, standing: _Standing) -> float:
        if self.search.minutes is None:
            return float("inf")
        spans = [(one.began, one.began + one.seconds) for one in standing.ended.values()]
        spans += [(one.began, self.records.now()) for one in standing.running.values()]
        spent, until = 0.0, 0.0
        for begin, end in sorted(spans):
            spent += max(0.0, end - max(begin, until))
            until = max(until, end)
        return 60 * self.search.minutes - spent

    def _standing(self) -> _Standing:
        claims, ended = self._read()
        open_claims = {place: attempts for place, attempts in claims.items() if place not in ended}
        living = self.records.living() if open_claims else set()
        running = {place: made[-1] for place, made in open_claims.items() if made[-1].sign in living}
        if running.keys() != open_claims.keys():
            # A worker that had stopped when the living were asked for, may have ended its trial after the records were read.
            ended = self._read()[1]
            running = {place: claimed for place, claimed in running.items() if place not in ended}
        lost = {place: len(made) for place, made in open_claims.items() if place not in ended and place not in running}
        return _Standing(ended, running, lost)

    def _read(self) -> tuple[dict[Place, list[_Claimed]], dict[Place, EndedTrial]]:
        """The claims of each place, by attempt, and the trials that ended."""
        for record, content in self.records.read().items():
            if record not in self._parsed:
                self._parsed[record] = self._parse(PurePosixPath(record), json.loads(content))
        claims: dict[Place, list[_Claimed]] = {}
        ended: dict[Place, EndedTrial] = {}
        for name, one in self._parsed.values():
            if isinstance(one, EndedTrial):
                ended[name, one.place] = one
            else:
                claims.setdefault((name, one.place), []).append(one)
        for made in claims.values():
            made.sort(key=lambda one: one.attempt)
        return claims, ended

    def _parse(self, record: PurePosixPath, written: dict[str, Any]) -> tuple[str, _Claimed | EndedTrial]:
        """A record's candidate, and what it says."""
        name = record.parent.name
        sign, parameters = written.pop("sign"), from_text(self.spaces[name], written.pop("parameters"))
        if record.suffix == CLAIM:
            place, attempt = (int(number) for number in record.stem.split("-"))
            return name, _Claimed(place, attempt, sign, parameters, written["began"])
        values = {int(step): loss for step, loss in written.pop("values").items()}
        worker = int(sign.partition("-")[0])
        return name, EndedTrial(name, int(record.stem), parameters, worker=worker, values=values, **written)
