"""What is watched in production, within which bounds, and what follows when it moves."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal

from mlprod_tasks.declaration.declared import declared

Watched = Literal[
    "feature_psi",  # population stability index of one feature against the champion's reference
    "score_psi",  # the same of the scores
    "null_share",  # a feature's null share minus the reference's (absolute)
    "volume",  # rows of the tick over the reference's mean rows a tick (ratio)
    "fallback_share",  # share of rows that the fallback model answered
    "label_coverage",  # share of a complete tick's rows that have an outcome
    "label_rate",  # positive share of complete ticks over the reference's (ratio)
    "roc_auc",  # realised, on complete ticks
    "calibration",  # mean outcome minus mean score on complete ticks (absolute)
    "kpi",  # the KPI over the reference's value (ratio)
]


@declared
class Watch:
    """A bound on what is watched; outside of [low, high] it is breached.

    `only_important` restricts 'feature_psi' and 'null_share' to the features that make up 80 % of the model's gain.
    """

    what: Watched
    low: float | None = None
    high: float | None = None
    only_important: bool = False


@declared
class Rule:
    """When `watch` is breached on `breaches` of the last `of` ticks that have a value, do `action`."""

    name: str
    watch: Watched
    action: Literal["alert", "retrain"]
    breaches: int = 1
    of: int = 1


@declared
class Retraining:
    """Bounds on retraining: not again within `cooldown` of the last one."""

    cooldown: timedelta
