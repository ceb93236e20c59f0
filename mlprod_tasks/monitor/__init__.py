"""Watch data, predictions, outcomes and the business result of each tick, and decide what follows."""

from mlprod_tasks.monitor.decide import Decided, decide, open_alarms
from mlprod_tasks.monitor.measure import Measured, PredictionsMissing, measure
from mlprod_tasks.monitor.profile import ReferenceProfile, make_profile, profile_of

__all__ = [
    "Decided",
    "Measured",
    "PredictionsMissing",
    "ReferenceProfile",
    "decide",
    "make_profile",
    "measure",
    "open_alarms",
    "profile_of",
]
