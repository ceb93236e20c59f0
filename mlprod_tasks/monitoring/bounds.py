"""The bounds in force: declared, learned from the reference, or set by a person."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING

from mlprod_tasks.declaration import Pipeline, Watch
from mlprod_tasks.declaration.rhythm import TickName, tick_named
from mlprod_tasks.documents.formatting import format_number
from mlprod_tasks.monitoring import last_year, learned
from mlprod_tasks.monitoring.holidays import BY_CALENDAR, is_holiday
from mlprod_tasks.monitoring.kinds import KINDS
from mlprod_tasks.platform.ledger import Intervention, Measurement
from mlprod_tasks.promotion.operator_actions import interventions

if TYPE_CHECKING:
    from mlprod_tasks.models.reference_profile import ReferenceHistory, ReferenceProfile
    from mlprod_tasks.platform import Platform

BOUND, UNBOUND = "bound", "unbound"
HOLIDAY = "not judged on a holiday"
SERIES = "feature_level"  # watched by season, and as what follows from the last ticks of the reference


class CannotBeBound(ValueError):
    """A bound that a person asked for is not valid."""


@dataclass(frozen=True)
class Bound:
    """The lowest and highest value that a watched value may have.

    slice: '' for every watched slice. origin: 'declared', 'learned', 'declared and learned', 'nothing to learn from', 'what the
    reference reaches' (for a profile that keeps no history), 'not judged on a holiday', or 'set by' and who; '' if the value is
    not watched. since: the tick from which a person's bound applies; set_by: that person. holidays: the number of other
    holidays from which it is learned; unjudged: why nothing is judged on a holiday. last_year: whether the change that the same
    weeks of last year brought is added.
    """

    what: str
    slice: str = ""
    low: float | None = None
    high: float | None = None
    origin: str = ""
    reason: str = ""
    since: TickName | None = None
    set_by: str = ""
    holidays: int = 0
    unjudged: str = ""
    last_year: bool = False

    @property
    def subject(self) -> str:
        return subject(self.what, self.slice)

    def broken_by(self, value: float) -> bool:
        return (self.low is not None and value < self.low) or (self.high is not None and value > self.high)


def subject(what: str, slice: str = "") -> str:
    """The key of a watched value: 'what' or 'what/slice'.

    It is used in the ledger's interventions and in a profile's history.
    """
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
    since: TickName | None = None,
) -> Bound:
    """Replace the declared and learned bounds of `what` from tick `since` on.

    The new bounds apply until they are cleared. slice: a feature, table, metric or step as in the ledger; '' for every watched
    slice. since: by default the newest measured tick. Measuring that tick again applies the new bounds; earlier ticks keep
    their verdict, in whatever order they are measured. Raises: CannotBeBound.
    """
    _check(pipeline, what, slice, by)
    if low is None and high is None:
        raise CannotBeBound(f"{pipeline.name}: {subject(what, slice)}: give low, high or both; to remove a bound, clear it")
    for given in (low, high):
        if given is not None and not math.isfinite(given):
            raise CannotBeBound(f"{pipeline.name}: {subject(what, slice)}: {given} is not a finite number")
    if low is not None and high is not None and low >= high:
        raise CannotBeBound(
            f"{pipeline.name}: {subject(what, slice)}: low {format_number(low)} is not below high {format_number(high)}"
        )
    row = _intervention(pipeline, BOUND, what, slice, by, reason, since, platform)
    row.low, row.high = low, high
    platform.ledger.put(row)
    return _bound_of_row(row)


def clear_bound(
    pipeline: Pipeline, what: str, slice: str, by: str, reason: str, platform: Platform, since: TickName | None = None
) -> Bound | None:
    """Restore the declared and learned bounds from tick `since` on.

    Returns: the bound removed, None if there was none. Raises: CannotBeBound.
    """
    _check(pipeline, what, slice, by)
    row = _intervention(pipeline, UNBOUND, what, slice, by, reason, since, platform)
    ended = edited(pipeline, platform, row.tick).get(subject(what, slice))
    if ended is not None:
        platform.ledger.put(row)
    return ended


def edited(pipeline: Pipeline, platform: Platform, day: TickName | None = None) -> dict[str, Bound]:
    """The bounds set by people that apply at a tick (None: the newest), by subject.

    Reads the ledger only.
    """
    bounds: dict[str, Bound] = {}
    for row in interventions(pipeline, platform, BOUND, UNBOUND):
        if day is not None and row.tick is not None and row.tick > day:
            continue
        about = subject(row.what or "", row.slice or "")
        bounds.pop(about, None)
        if row.kind == BOUND:
            bounds[about] = _bound_of_row(row)
    return bounds


def bounds_in_force(pipeline: Pipeline, platform: Platform, day: TickName | None = None) -> tuple[Bound, ...]:
    """All bounds at a tick (None: the newest).

    Those learned from the champion's reference are given per slice.
    """
    from mlprod_tasks.models.reference_profile import ReferenceProfile

    champion = platform.registry.champion(pipeline)
    profile = None
    if champion is not None:
        profile = ReferenceProfile.from_json(platform.registry.reference_profile(pipeline, champion.version))
    day = day or _newest_tick(pipeline, None, platform) or platform.clock.now().date()
    return Bounds(pipeline, day, profile, edited(pipeline, platform, day)).all()


def in_force(
    pipeline: Pipeline,
    day: TickName,
    platform: Platform,
    profile: ReferenceProfile | None = None,
    past: ReferenceHistory | None = None,
) -> Bounds:
    """The bounds that apply at a tick.

    Bounds are learned from the history of `profile`, that of the version that scored the tick, or from `past` for values that
    the model's reference does not have.
    """
    return Bounds(pipeline, day, profile, edited(pipeline, platform, day), past)


@dataclass(frozen=True)
class Bounds:
    """The bounds of one tick. Pure.

    They follow from the declaration, the reference's history and what people set.
    """

    pipeline: Pipeline
    day: TickName
    profile: ReferenceProfile | None = None
    edited: Mapping[str, Bound] = field(default_factory=dict)
    past: ReferenceHistory | None = None

    def of(self, what: str, slice: str = "", watched: bool = True, quiet: float | None = None) -> Bound:
        """The bound of one value.

        A person's bound comes first: that of the slice, then that of all slices. Otherwise it is the wider of the declared
        and the learned bound: the declared one says what would matter, the learned one what is unusual.
        watched: whether the declaration applies bounds to this slice. quiet: what the reference's ticks reach, for a profile
        that keeps no history of them.
        """
        by_people = self.edited
        of_slice = by_people.get(subject(what, slice))
        if of_slice is not None:
            return of_slice
        watch = self._watches.get(what) if watched else None
        if watch is not None and what in by_people:
            return replace(by_people[what], slice=slice)
        if watch is None:
            return Bound(what, slice)
        if self._is_holiday and what in BY_CALENDAR:
            return self._of_holiday(watch, slice)
        spread, by_last_year = self._expected(watch, slice)
        if spread is None:
            return _declared_bound(watch, slice, None if self._histories else quiet)
        return replace(self._around(watch, slice, spread), last_year=by_last_year)

    def all(self) -> tuple[Bound, ...]:
        """All bounds, watched or set by a person, in the declaration's order."""
        bounds = {}
        for watch in self.pipeline.watches:
            for slice in self._slices(watch) or ("",):
                bounds[subject(watch.what, slice)] = self.of(watch.what, slice)
        return tuple((bounds | dict(self.edited)).values())

    def _around(self, watch: Watch, slice: str, spread: learned.Spread) -> Bound:
        rules = learned.windows(self.pipeline, watch.what)
        k = watch.learned.k if watch.learned is not None else None
        season = self.pipeline.schedule.season(self.day)
        return _wider_bound(
            watch, slice, learned.limits(watch.what, spread, season, tail=self._tails[watch.what], windows=rules, k=k)
        )

    def _of_holiday(self, watch: Watch, slice: str) -> Bound:
        """The bound on a holiday, learned from other holidays of the reference, or of the years before it."""
        key = subject(watch.what, slice)
        history = next((one for one in self._histories if key in one.values), None)
        if watch.learned is None or history is None:
            return Bound(watch.what, slice, origin=HOLIDAY, unjudged="it is a holiday, and the bound is one of ordinary days")
        alike = self._values(history, key, holiday=True)
        spread = learned.learn(watch.what, [value for _, value in alike])
        ordinary, by_last_year = self._expected(watch, slice)
        if spread is None and ordinary is not None and (course := self._course(key)) is not None:
            spread = last_year.on_holidays(*course, self.pipeline.schedule.season(self.day), ordinary)
        if spread is None:
            known = sum(value is not None for _, value in alike)
            why = f"it is a holiday, and the reference has {known} of the {learned.FEWEST_TICKS} that a comparison takes"
            return Bound(watch.what, slice, origin=HOLIDAY, unjudged=why)
        return replace(self._around(watch, slice, spread), holidays=len(spread.off), last_year=by_last_year)

    def _expected(self, watch: Watch, slice: str) -> tuple[learned.Spread | None, bool]:
        """What is learned of ordinary ticks, and whether the same weeks of last year tell more than the reference alone."""
        spread = self._learned_spread(watch, slice)
        if spread is None:
            return None, False
        far = 0 if self.profile is None else self.pipeline.schedule.ticks_between(tick_named(self.profile.last), self.day)
        forecast = learned.forecast(spread, far) if watch.what == SERIES and self.profile is not None else None
        course = self._course(subject(watch.what, slice)) if watch.what in last_year.LEVELS else None
        ahead = None if course is None else last_year.expected(course[0], self._reference, far, len(spread.centres) > 1)
        if ahead is None or (forecast is not None and (not ahead.by_last_year or forecast.sd <= ahead.error)):
            return forecast or spread, False
        return last_year.moved(spread, ahead), ahead.by_last_year

    def _course(self, key: str) -> tuple[last_year.Course, last_year.Floats] | None:
        """A value on each tick of the training set, and on holidays, if it is several times as long as the reference."""
        years = None if self.profile is None else self.profile.years
        return None if years is None or key not in years.values else last_year.course_of(self.pipeline, years, key)

    @cached_property
    def _reference(self) -> range:
        """The places of the reference's ticks in the training set."""
        assert self.profile is not None
        assert self.profile.years is not None
        start, count = self.profile.years.days[0], self.pipeline.schedule.ticks_between
        return range(count(start, tick_named(self.profile.first)), count(start, tick_named(self.profile.last)) + 1)

    def _values(self, history: ReferenceHistory, key: str, holiday: bool) -> list[tuple[TickName, float | None]]:
        """The values of the reference's ticks that are holidays, or of those that are not."""
        every = list(zip(history.days, history.values[key], strict=True))
        if key.partition("/")[0] not in BY_CALENDAR:
            return every
        return [(day, value) for day, value in every if is_holiday(self.pipeline, day) == holiday]

    @cached_property
    def _is_holiday(self) -> bool:
        return is_holiday(self.pipeline, self.day)

    @cached_property
    def _histories(self) -> tuple[ReferenceHistory, ...]:
        histories = (None if self.profile is None else self.profile.history, self.past)
        return tuple(history for history in histories if history is not None)

    @cached_property
    def _watches(self) -> dict[str, Watch]:
        return {watch.what: watch for watch in self.pipeline.watches}

    @cached_property
    def _tails(self) -> dict[str, float]:
        with_learned = [watch for watch in self.pipeline.watches if watch.learned is not None]
        ticks = max((len(history.ticks) for history in self._histories), default=0)
        return {watch.what: learned.tail(self.pipeline, watch.what, len(self._slices(watch)), ticks) for watch in with_learned}

    def _learned_spread(self, watch: Watch, slice: str) -> learned.Spread | None:
        if watch.learned is None:
            return None
        key = subject(watch.what, slice)
        history = next((one for one in self._histories if key in one.values), None)
        if history is None:
            return None
        schedule, ordinary = self.pipeline.schedule, self._values(history, key, holiday=False)
        values = [value for _, value in ordinary]
        if not watch.learned.by_weekday and (watch.what != SERIES or schedule.seasons == 1):
            return learned.learn(watch.what, values)
        seasons = [schedule.season(name) for name, _ in ordinary]
        return learned.learn(watch.what, values, seasons, schedule.seasons)

    def _slices(self, watch: Watch) -> tuple[str, ...]:
        """The slices of a watch that have a history."""
        keys = dict.fromkeys(key for history in self._histories for key in history.values)
        names = tuple(key.partition("/")[2] for key in keys if key.partition("/")[0] == watch.what)
        if not watch.only_important or self.profile is None:
            return names
        important = {column.name for column in self.profile.features if column.important}
        return tuple(name for name in names if name in important)


def _declared_bound(watch: Watch, slice: str, quiet: float | None) -> Bound:
    if quiet is not None and watch.high is not None and quiet > watch.high:
        return Bound(watch.what, slice, watch.low, quiet, "what the reference reaches")
    declared = watch.low is not None or watch.high is not None
    return Bound(watch.what, slice, watch.low, watch.high, "declared" if declared else "nothing to learn from")


def _wider_bound(watch: Watch, slice: str, limits: tuple[float | None, float | None]) -> Bound:
    low, high = limits
    if watch.low is None and watch.high is None:
        return Bound(watch.what, slice, low, high, "learned")
    # A side without a declared bound does not matter, however unusual the value is.
    both_low = watch.low if low is None or watch.low is None else min(low, watch.low)
    both_high = watch.high if high is None or watch.high is None else max(high, watch.high)
    origin = "declared" if (both_low, both_high) == (watch.low, watch.high) else "declared and learned"
    return Bound(watch.what, slice, both_low, both_high, origin)


def _bound_of_row(row: Intervention) -> Bound:
    return Bound(row.what or "", row.slice or "", row.low, row.high, f"set by {row.by}", row.reason, row.tick, set_by=row.by)


def _intervention(
    pipeline: Pipeline, kind: str, what: str, slice: str, by: str, reason: str, since: TickName | None, platform: Platform
) -> Intervention:
    at: datetime = platform.clock.now()
    about = subject(what, slice)
    key = "/".join([about, by, at.isoformat()])
    return Intervention(
        id=f"{pipeline.name}/{kind}/{hashlib.sha256(key.encode()).hexdigest()[:20]}",
        pipeline=pipeline.name,
        kind=kind,
        by=by,
        at=at,
        subject=about,
        reason=reason,
        tick=since or _newest_tick(pipeline, what, platform),
        what=what,
        slice=slice,
    )


def _newest_tick(pipeline: Pipeline, what: str | None, platform: Platform) -> TickName | None:
    """The newest tick at which `what` (None: anything) is measured."""
    from sqlalchemy import func, select

    query = select(func.max(Measurement.tick)).where(Measurement.pipeline == pipeline.name)
    if what is not None:
        query = query.where(Measurement.what == what)
    with platform.ledger.session() as session:
        return session.scalar(query)


def _check(pipeline: Pipeline, what: str, slice: str, by: str) -> None:
    if what not in KINDS:
        raise CannotBeBound(f"{pipeline.name}: {what!r} is not a measurement; they are {_listed(KINDS)}")
    if slice and not KINDS[what].by:
        raise CannotBeBound(f"{pipeline.name}: {what} has no slices, so {slice!r} is not one of them")
    if slice and KINDS[what].by == "feature" and slice not in pipeline.feature_names:
        raise CannotBeBound(f"{pipeline.name}: {slice!r} is not a feature; they are {_listed(pipeline.feature_names)}")
    if not slice and KINDS[what].by and what not in {watch.what for watch in pipeline.watches}:
        raise CannotBeBound(f"{pipeline.name}: {what} has no Watch; name the {KINDS[what].by} to bound")
    if not by.strip():
        raise CannotBeBound(f"{pipeline.name}: {subject(what, slice)}: say who changes the bound")


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names)
