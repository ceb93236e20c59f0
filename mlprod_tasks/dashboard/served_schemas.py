"""What the page is told of answers on request: rollouts, what was found at them, and the rows that people decide."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class RolloutRow:
    """How requests are answered from `at` on. share: of the entities, that a canary answers. band: scores left to people."""

    at: str
    by: str
    reason: str
    mode: str
    challenger: int | None
    share: float
    automation: str
    band: tuple[float, float] | None


@dataclass(frozen=True)
class CheckRow:
    """What was found last of a challenger at one share of a ramp. passed: None where there was too little to tell."""

    at: str
    share: float
    what: str
    passed: bool | None
    champion_value: float | None
    challenger_value: float | None
    bound: float | None
    champion_rows: int
    challenger_rows: int
    sentence: str


@dataclass(frozen=True)
class RampChecks:
    """What was found at the last ramp, in the order of its shares."""

    challenger: int
    rows: tuple[CheckRow, ...]


@dataclass(frozen=True)
class ReviewRow:
    """A row whose decision was left to people. at: when it was asked for. decision: None where nobody has decided."""

    request_id: str
    row: int
    key: str
    score: float | None
    version: int | None
    at: str
    decision: bool | None
    by: str
    reason: str
    decided_at: str | None


@dataclass(frozen=True)
class ServingDetail:
    """Answers on request: how they are rolled out, and what of them is left to people.

    rollout: in force; None where there never was one, and the champion answers. ramp: its shares, as declared or by
    default. reviews: the oldest of those that are open, oldest first. decided: the newest decisions, newest first.
    """

    rollout: RolloutRow | None
    rollouts: tuple[RolloutRow, ...]  # newest first
    ramp: tuple[float, ...]
    checks: RampChecks | None
    open_reviews: int
    reviews: tuple[ReviewRow, ...]
    decided: tuple[ReviewRow, ...]
