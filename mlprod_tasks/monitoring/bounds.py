"""The bounds in force: declared, learned from the reference's own ticks, or set by a person."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from functools import cached_property
from typing import TYPE_CHECKING

from mlprod_tasks.declaration import Pipeline, Watch
from mlprod_tasks.monitoring import learned
from mlprod_tasks.monitoring.kinds import KINDS
from mlprod_tasks.platform.ledger import Intervention, Measurement
from mlprod_tasks.promotion.operator_actions import interventions

if TYPE_CHECKING:
    from mlprod_tasks.models.reference_profile import ReferenceHistory, ReferenceProfile
    from mlprod_tasks.platform import Platform

BOUND, UNBOUND = "bound", "unbound"


class CannotBeBound(ValueError):
    """A bound that a person set cannot be one."""


@dataclass(frozen=True)
class Bound:
    """What a watched value may be. `slice` '' stands for every slice that is watched.

    origin: 'declared', 'learned', 'declared and learned', 'nothing to learn from', 'what the reference reaches' (of a profile
    that keeps no history), or 'set by' and who; '' where it is not watched. since: the tick from which a person's bound holds;
    set_by: that person.
    """

    what: str
    slice: str = ""
    low: float | None = None
    high: float | None = None
    origin: str = ""
    reason: str = ""
    since: date | None = None
    set_by: str = ""

    @property
    def subject(self) -> str:
        return subject(self.what, self.slice)

    def broken_by(self, value: float) -> bool:
        return (self.low is not None and value < self.low) or (self.high is not None and value > self.high)


def subject(what: str, slice: str = "") -> str:
    """How what is watched is called in the ledger's interventions and in a profile's history: 'what' or 'what/slice'."""
    return f"{what}/{slice}" if slice else what


def set_bound(
    pipeline: Pipeline,
    what: str,
    slice: str,
    low: float | None,
    high: float | None,
    by: str,
    reason: str,
    platform: Platform,
    since: date | None = None,
) -> Bound:
    """Hold `what` to these bounds instead of the declared and learned ones, from tick `since` on, until they are cleared.

    slice: a feature, table, metric or step as in the ledger; '' for every watched slice. since: by default the newest tick at
    which it is measured; measuring that tick again judges it anew, and ticks before it keep their verdict in whatever order
    they are measured. Raises: CannotBeBound.
    """
    _check(pipeline, what, slice, by)
    if low is None and high is None:
        raise CannotBeBound(f"{pipeline.name}: {subject(what, slice)}: give low, high or both; to take a bound back, clear it")
    for given in (low, high):
        if given is not None and not math.isfinite(given):
            raise CannotBeBound(f"{pipeline.name}: {subject(what, slice)}: {given} is no number to hold it to")
    if low is not None and high is not None and low >= high:
        raise CannotBeBound(f"{pipeline.name}: {subject(what, slice)}: low {low:g} is not below high {high:g}")
    row = _intervention(pipeline, BOUND, what, slice, by, reason, since, platform)
    row.low, row.high = low, high
    platform.ledger.put(row)
    return _edited(row)


def clear_bound(
    pipeline: Pipeline, what: str, slice: str, by: str, reason: str, platform: Platform, since: date | None = None
) -> Bound | None:
    """Let the declared and learned bounds hold again from tick `since` on; the bound that ends, None where there was none.

    Raises: CannotBeBound.
    """
    _check(pipeline, what, slice, by)
    row = _intervention(pipeline, UNBOUND, what, slice, by, reason, since, platform)
    ended = edited(pipeline, platform, row.tick).get(subject(what, slice))
    if ended is not None:
        platform.ledger.put(row)
    return ended


def edited(pipeline: Pipeline, platform: Platform, day: date | None = None) -> dict[str, Bound]:
    """The bounds that people set and that hold at a tick (None: at the newest), by subject. From the ledger alone."""
    held: dict[str, Bound] = {}
    for row in interventions(pipeline, platform, BOUND, UNBOUND):
        if day is not None and row.tick is not None and row.tick > day:
            continue
        about = subject(row.what or "", row.slice or "")
        held.pop(about, None)
        if row.kind == BOUND:
            held[about] = _edited(row)
    return held


def bounds_in_force(pipeline: Pipeline, platform: Platform, day: date | None = None) -> tuple[Bound, ...]:
    """Every bound at a tick (None: the newest); the learned ones slice by slice, from the champion's reference."""
    from mlprod_tasks.models.reference_profile import ReferenceProfile

    champion = platform.registry.champion(pipeline)
    profile = None
    if champion is not None:
        profile = ReferenceProfile.from_json(platform.registry.reference_profile(pipeline, champion.version))
    day = day or _newest(pipeline, None, platform) or platform.clock.now().date()
    return Bounds(pipeline, day, profile, edited(pipeline, platform, day)).all()


def in_force(
    pipeline: Pipeline,
    day: date,
    platform: Platform,
    profile: ReferenceProfile | None = None,
    past: ReferenceHistory | None = None,
) -> Bounds:
    """The bounds that hold at a tick.

    Those learned are from the history of `profile`, the one of the version that scored it, or from `past`, which tells of what
    the model's reference knows nothing.
    """
    return Bounds(pipeline, day, profile, edited(pipeline, platform, day), past)


@dataclass(frozen=True)
class Bounds:
    """The bounds of one tick. Pure: the declaration, the reference's history and what people set are all they rest on."""

    pipeline: Pipeline
    day: date
    profile: ReferenceProfile | None = None
    edited: Mapping[str, Bound] = field(default_factory=dict)
    past: ReferenceHistory | None = None

    def of(self, what: str, slice: str = "", watched: bool = True, quiet: float | None = None) -> Bound:
        """The bound of one value.

        A person's bound comes first: of the slice, then of all slices. Else the declared one and the learned one, of
        both the wider: a fixed bound says what would matter, the learned one what is out of the ordinary.
        watched: whether the declaration holds this slice to its bounds. quiet: what the reference's ticks reach, for a
        profile that keeps no history of them.
        """
        given = self.edited
        own = given.get(subject(what, slice))
        if own is not None:
            return own
        watch = self._watches.get(what) if watched else None
        if watch is not None and what in given:
            return _of_slice(given[what], slice)
        if watch is None:
            return Bound(what, slice)
        spread = self._spread(watch, slice)
        if spread is None:
            return _fixed(watch, slice, None if self._histories else quiet)
        rules = learned.windows(self.pipeline, what)
        k = watch.learned.k if watch.learned is not None else None
        limits = learned.limits(what, spread, self.day.weekday(), tail=self._tails[what], windows=rules, k=k)
        return _wider(watch, slice, limits)

    def all(self) -> tuple[Bound, ...]:
        """The bound of everything that is watched or bound by a person, in the declaration's order."""
        found = {}
        for watch in self.pipeline.watches:
            for slice in self._slices(watch) or ("",):
                found[subject(watch.what, slice)] = self.of(watch.what, slice)
        return tuple((found | dict(self.edited)).values())

    @cached_property
    def _histories(self) -> tuple[ReferenceHistory, ...]:
        there = (None if self.profile is None else self.profile.history, self.past)
        return tuple(history for history in there if history is not None)

    @cached_property
    def _watches(self) -> dict[str, Watch]:
        return {watch.what: watch for watch in self.pipeline.watches}

    @cached_property
    def _tails(self) -> dict[str, float]:
        learnt = [watch for watch in self.pipeline.watches if watch.learned is not None]
        ticks = max((len(history.ticks) for history in self._histories), default=0)
        return {watch.what: learned.tail(self.pipeline, watch.what, len(self._slices(watch)), ticks) for watch in learnt}

    def _spread(self, watch: Watch, slice: str) -> learned.Spread | None:
        if watch.learned is None:
            return None
        key = subject(watch.what, slice)
        history = next((one for one in self._histories if key in one.values), None)
        if history is None:
            return None
        return learned.learn(watch.what, history.days, history.values[key], watch.learned.by_weekday)

    def _slices(self, watch: Watch) -> tuple[str, ...]:
        """The slices of a watch that there is a history of."""
        keys = dict.fromkeys(key for history in self._histories for key in history.values)
        names = tuple(key.partition("/")[2] for key in keys if key.partition("/")[0] == watch.what)
        if not watch.only_important or self.profile is None:
            return names
        important = {column.name for column in self.profile.features if column.important}
        return tuple(name for name in names if name in important)


def _fixed(watch: Watch, slice: str, quiet: float | None) -> Bound:
    if quiet is not None and watch.high is not None and quiet > watch.high:
        return Bound(watch.what, slice, watch.low, quiet, "what the reference reaches")
    declared = watch.low is not None or watch.high is not None
    return Bound(watch.what, slice, watch.low, watch.high, "declared" if declared else "nothing to learn from")


def _wider(watch: Watch, slice: str, limits: tuple[float | None, float | None]) -> Bound:
    low, high = limits
    if watch.low is None and watch.high is None:
        return Bound(watch.what, slice, low, high, "learned")
    # A side without a fixed bound does not matter, however far out of the ordinary it is.
    both_low = watch.low if low is None or watch.low is None else min(low, watch.low)
    both_high = watch.high if high is None or watch.high is None else max(high, watch.high)
    origin = "declared" if (both_low, both_high) == (watch.low, watch.high) else "declared and learned"
    return Bound(watch.what, slice, both_low, both_high, origin)


def _of_slice(bound: Bound, slice: str) -> Bound:
    return replace(bound, slice=slice)


def _edited(row: Intervention) -> Bound:
    return Bound(row.what or "", row.slice or "", row.low, row.high, f"set by {row.by}", row.reason, row.tick, set_by=row.by)


def _intervention(
    pipeline: Pipeline, kind: str, what: str, slice: str, by: str, reason: str, since: date | None, platform: Platform
) -> Intervention:
    at: datetime = platform.clock.now()
    about = subject(what, slice)
    written = "/".join([about, by, at.isoformat()])
    return Intervention(
        id=f"{pipeline.name}/{kind}/{hashlib.sha256(written.encode()).hexdigest()[:20]}",
        pipeline=pipeline.name,
        kind=kind,
        by=by,
        at=at,
        subject=about,
        reason=reason,
        tick=since or _newest(pipeline, what, platform),
        what=what,
        slice=slice,
    )


def _newest(pipeline: Pipeline, what: str | None, platform: Platform) -> date | None:
    """The newest tick at which it is measured."""
    from sqlalchemy import func, select

    query = select(func.max(Measurement.tick)).where(Measurement.pipeline == pipeline.name)
    if what is not None:
        query = query.where(Measurement.what == what)
    with platform.ledger.session() as session:
        return session.scalar(query)


def _check(pipeline: Pipeline, what: str, slice: str, by: str) -> None:
    if what not in KINDS:
        raise CannotBeBound(f"{pipeline.name}: nothing is called {what!r}; what is watched is {_listed(KINDS)}")
    if slice and not KINDS[what].by:
        raise CannotBeBound(f"{pipeline.name}: {what} has no slices, and so no {slice!r}")
    if slice and KINDS[what].by == "feature" and slice not in pipeline.feature_names:
        raise CannotBeBound(f"{pipeline.name}: {slice!r} is not a feature; they are {_listed(pipeline.feature_names)}")
    if not slice and KINDS[what].by and what not in {watch.what for watch in pipeline.watches}:
        raise CannotBeBound(f"{pipeline.name}: {what} has no Watch; name the {KINDS[what].by} that is to be held")
    if not by.strip():
        raise CannotBeBound(f"{pipeline.name}: {subject(what, slice)}: say who changes this bound")


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names)
