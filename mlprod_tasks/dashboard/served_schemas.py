"""The page's JSON about requests: rollouts, the checks of a challenger, and the review queue."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class RolloutRow:
    """How requests are answered from `at` on. share: of entities that a canary answers. band: scores that people decide."""

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
    """The newest result of one check of a challenger at one share of a ramp. passed: None if there were too few rows.

    name: of what is checked.
    """

    at: str
    share: float
    what: str
    name: str
    passed: bool | None
    champion_value: float | None
    challenger_value: float | None
    bound: float | None
    champion_rows: int
    challenger_rows: int
    sentence: str


@dataclass(frozen=True)
class RampChecks:
    """The checks of the last ramp, in the order of its shares."""

    challenger: int
    rows: tuple[CheckRow, ...]


@dataclass(frozen=True)
class ReviewRow:
    """A row that people decide. at: time of the request.

    decision: None until somebody decides. prediction, decided_class: of classes what the model said, and what it is.
    """

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
    prediction: str | None = None
    decided_class: str | None = None


@dataclass(frozen=True)
class ServingDetail:
    """How requests are answered, and the rows that people decide.

    rollout: the one in force; None if there has been none, so that the champion answers. ramp: its shares, declared or by
    default. reviews: the oldest open ones, oldest first. decided: the newest decisions, newest first. automations: the ways in
    which people may decide instead; empty if nothing is decided. classes: those that people choose among; empty of a yes or no.
    """

    rollout: RolloutRow | None
    rollouts: tuple[RolloutRow, ...]  # newest first
    ramp: tuple[float, ...]
    checks: RampChecks | None
    open_reviews: int
    reviews: tuple[ReviewRow, ...]
    decided: tuple[ReviewRow, ...]
    automations: tuple[str, ...]
    classes: tuple[str, ...]
