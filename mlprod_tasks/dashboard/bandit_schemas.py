"""The page's JSON about bandits: what their arms earned, and how units were shared among them over time."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ArmRow:
    """An arm of a bandit.

    rewards: how many are known; mean: of the metric, None without one; best: the probability of being the best; share: of the
    units from now on; both None before there is a version, share also if features choose. shares: at each of the bandit's
    ticks.
    """

    name: str
    rewards: int
    mean: float | None
    best: float | None
    share: float | None
    shares: tuple[float, ...]


@dataclass(frozen=True)
class BanditRow:
    """A bandit.

    starts, ends: the first tick that is given arms, and the last one, if it was declared. ended: the first one that is not,
    if it was ended. version: how many ticks of rewards it knows; last: the newest of these. ticks: from which on each
    version's shares held; none if features choose. rows: from which it learns. may_end: whether rows or requests to come are
    still given arms. untold: why rewards tell no arm from another, if they do not.
    frozen: since when its shares stay as they are, and why, if they do. cost: what choosing among the arms cost so far, with
    intervals, as a sentence; empty while it cannot be told.
    """

    name: str
    by: str
    reason: str
    starts: str
    ends: str | None
    ended: str | None
    ended_by: str
    end_reason: str
    metric: str
    unit: str
    policy: str
    version: int
    last: str | None
    arms: tuple[ArmRow, ...]
    ticks: tuple[str, ...]
    rows: str
    may_end: bool
    untold: str
    frozen: str
    cost: str


@dataclass(frozen=True)
class DeclaredBandit:
    """The bandit that may be started. actions: its arms, if they are declared; empty if arms are versions and thresholds."""

    policy: str
    metric: str
    actions: tuple[str, ...]
