"""What is decided about one row of a request: who answers it, and what was answered."""

from __future__ import annotations

from typing import Literal

import msgspec

from mlprod_tasks.scoring.log_row import LoggedRow
from mlprod_tasks.serving.adapter import NOT_THE_CHAMPIONS, Logged
from mlprod_tasks.serving.model_loader import LoadedVersion
from mlprod_tasks.serving.task_answers import AnsweredRow


class RouteChoice(msgspec.Struct, frozen=True):
    """The route that an entity is assigned to, the route it takes, and the version there.

    version: None if none is loaded. The routes differ if the challenger fails so often that the champion answers for it. Such
    rows still count as the challenger's. threshold: from which the version's scores are decided, None for its own.
    propensity: the probability with which a canary assigns an entity so, None without one.
    """

    assigned: Literal["champion", "challenger"]
    route: Literal["champion", "challenger"]
    version: LoadedVersion | None
    threshold: float | None = None
    propensity: float | None = None


class RowResult(msgspec.Struct, frozen=True):
    """A scored row, and its row in the log."""

    scored: AnsweredRow
    log_row: LoggedRow


class RowDecision(msgspec.Struct, frozen=True):
    """A scored row. assigned: the rollout's route, '' if it did not matter.

    failed: whether the model raised an error. propensity: see `RouteChoice`. as_assigned: whether the version answered that was
    assigned to it, or the fallback that it is held out for. own: the champion's own score and what adapted it, as they are
    logged, where it answered.
    """

    scored: AnsweredRow
    assigned: str = ""
    failed: bool = False
    propensity: float | None = None
    as_assigned: bool = False
    own: Logged = NOT_THE_CHAMPIONS


class ShadowScore(msgspec.Struct, frozen=True):
    """The score of a challenger in shadow mode.

    All None if none scored the row, score None if it failed; of classes, its probability of the class that was answered.
    """

    version: int | None = None
    score: float | None = None
    milliseconds: float | None = None


NO_SHADOW = ShadowScore()
