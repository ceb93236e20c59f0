"""Which arm of a bandit a request is given: drawn by its unit from the newest version of the bandit's state.

The same unit and version give the same arm in a batch and on every replica. The unit alone decides, before any feature is
looked up, unless the policy chooses by features.
"""

from __future__ import annotations

import logging
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from functools import cached_property
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.declaration.rhythm import TickName
from mlprod_tasks.experiments.assignment import SCALE, first_hash, salted
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.bandit_entries import BanditFreeze, BanditRun, BanditState
from mlprod_tasks.serving.experiments import Assignment, by_hash, unit_reader

if TYPE_CHECKING:
    from mlprod_tasks.bandits.policy import RowShares
    from mlprod_tasks.bandits.state import State

log = logging.getLogger(__name__)
AFTER_ALL = "9"  # comes after the name of any tick within a day, as `date.max` does after a day


@dataclass(frozen=True)
class BanditSplit:
    """What a replica knows of a bandit by one version of its state. See `RequestSplit`.

    control: the version that must be champion; None if arms are actions: whichever it is. assignments: of each arm; ends: the
    first hash beyond the share of each arm but the last; by_row: what gives shares by features, which are at these places among
    the row's.
    """

    experiment: str
    version: int
    salted: Any
    control: int | None
    first: TickName
    last: TickName
    assignments: tuple[Assignment, ...]
    ends: tuple[bytes, ...] = ()
    by_row: RowShares | None = None
    places: tuple[int, ...] = ()
    layers: frozenset[str] = frozenset()  # a bandit runs alone

    @cached_property
    def of(self) -> Callable[[str | None, Sequence[Any]], Assignment]:
        """Return what a unit is given; None is given no arm. The second argument: the values of its row's features."""
        if self.by_row is None:
            return by_hash(self.experiment, self.salted, self.ends, self.assignments)
        return _by_features(self.experiment, self.salted, self.by_row, self.places, self.assignments)


def _by_features(
    experiment: str, salted: Any, by_row: RowShares, places: Sequence[int], assignments: Sequence[Assignment]
) -> Callable[[str | None, Sequence[Any]], Assignment]:
    nothing = Assignment(experiment)

    def of(unit: str | None, values: Sequence[Any] = ()) -> Assignment:
        if unit is None or not values:
            return nothing
        hashed = salted.copy()
        hashed.update(unit.encode())
        shares = by_row.of_row([_number(values[place]) for place in places])
        arm = min(bisect_right(list(accumulate(shares)), int.from_bytes(hashed.digest()) / SCALE), len(shares) - 1)
        one = assignments[arm]
        return Assignment(one.experiment, one.variant, one.name, shares[arm], one.state, one.action)

    return of


@dataclass
class _Followed:
    """A bandit whose versions were read, in order.

    split: by the newest that could be used; None if none could. tried: how many versions might be used then; -1 before.
    """

    states: list[BanditState] = field(default_factory=list)
    split: BanditSplit | None = None
    tried: int = -1


class FollowedBandits:
    """Follows the bandits of use cases: each look at the ledger reads the versions that are new."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._followed: dict[tuple[str, str], _Followed] = {}

    def splits(self, pipeline: Pipeline) -> tuple[BanditSplit, ...]:
        """Return the bandits that give requests arms now or later. One that was ended gives none from then on.

        With a version that cannot be used, the last good one stays in use; without one, a bandit gives no arms.
        """
        declared = pipeline.experiments is not None and pipeline.experiments.bandit is not None
        if not declared or unit_reader(pipeline) is None:
            return ()
        tick = pipeline.schedule.last_at(self._platform.clock.now()).name
        runs = self._platform.ledger.all(BanditRun, pipeline=pipeline.name)
        going_on = [run for run in runs if run.ended is None and (run.ends is None or run.ends >= tick)]
        known = {(pipeline.name, run.name): run for run in going_on}
        self._followed = {key: one for key, one in self._followed.items() if key[0] != pipeline.name or key in known}
        frozen = self._platform.ledger.all(BanditFreeze, BanditFreeze.thawed_at.is_(None), pipeline=pipeline.name)
        held = {one.name: one.version for one in frozen} if known else {}
        found = (
            self._split(pipeline, run, self._followed.setdefault(key, _Followed()), held.get(run.name))
            for key, run in known.items()
        )
        return tuple(split for split in found if split is not None)

    def _split(self, pipeline: Pipeline, run: BanditRun, followed: _Followed, held: int | None) -> BanditSplit | None:
        """Return what gives arms by the newest version that can be used. held: the last one that may be, if it is frozen."""
        new = self._platform.ledger.all(
            BanditState, BanditState.version > len(followed.states), pipeline=pipeline.name, name=run.name
        )
        followed.states += sorted(new, key=lambda one: one.version)
        newest = len(followed.states) if held is None else min(held, len(followed.states))
        # The newest that can be used; those that were there before were tried, unless it was frozen at an earlier one.
        tried = followed.tried if newest >= followed.tried else -1
        for version in range(newest, tried, -1):
            try:
                followed.split = split_of(pipeline, run, followed.states[:version])
                log.info("%s: bandit %s gives arms by version %d", pipeline.name, run.name, version)
                break
            except Exception:
                log.exception("%s: version %d of bandit %s cannot be used", pipeline.name, version, run.name)
        followed.tried = newest
        return followed.split


def split_of(pipeline: Pipeline, run: BanditRun, states: Sequence[BanditState]) -> BanditSplit:
    """Return what a replica needs of a bandit that knows these versions, in order.

    Raises: ValueError, KeyError or TypeError if they cannot be read.
    """
    from mlprod_tasks.bandits.give import salt_of  # loads libraries that serving without bandits does not need
    from mlprod_tasks.bandits.run import plan_of
    from mlprod_tasks.bandits.state import at_version

    plan = plan_of(run)
    state = at_version(plan, states)
    last: TickName = run.ends if run.ends is not None else date.max if isinstance(run.starts, date) else AFTER_ALL
    control = None if plan.acts else plan.variants[0].version
    split = BanditSplit(
        run.name, state.version, salted(salt_of(run, state)), control, run.starts, last, _assignments(run.name, state)
    )  # fmt: skip
    shares = state.shares()
    if shares is None:
        places = tuple(pipeline.feature_names.index(name) for name in plan.bandit.features)
        by_row = state.by_features()
        by_row.of_row([0.0] * len(places))  # fails here, and not with the first request
        return replace(split, by_row=by_row, places=places)
    ends = tuple(first_hash(float(end)) for end in shares.cumsum()[:-1])
    return replace(split, ends=ends)


def _assignments(name: str, state: State) -> tuple[Assignment, ...]:
    """What each arm is; its propensity is the share of the arm, None if that depends on the row."""
    plan, shares = state.plan, state.shares()
    found = []
    for i, arm in enumerate(plan.arms):
        share = None if shares is None else float(shares[i])
        if plan.acts:
            found.append(Assignment(name, None, plan.variants[0].name, share, state.version, arm))
        else:
            found.append(Assignment(name, plan.variants[i], arm, share, state.version))
    return tuple(found)


def _number(value: Any) -> float:
    """A feature as a number, as `logged.feature_values` reads it: a null, or what is no finite number, counts as 0."""
    number = 0.0 if value is None else float(value)
    return number if number - number == 0.0 else 0.0
