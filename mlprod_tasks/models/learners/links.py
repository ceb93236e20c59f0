"""The scale on which a learner adds up what features contribute, and the way back to predictions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from mlprod_tasks.models.learners.rows import Floats, expit

# Log-odds of a probability, the logarithm of a predicted number, the number itself, or of a class the logarithm of its
# probability minus the mean of those of all classes.
Link = Literal["logit", "log", "identity", "softmax"]
LOGIT: Link = "logit"
LOG: Link = "log"
IDENTITY: Link = "identity"
SOFTMAX: Link = "softmax"


def written(link: Link) -> dict[str, str]:
    """Return a link as plain values beside those of a learner: none for log-odds, as learners were stored without numbers."""
    return {} if link == LOGIT else {"link": link}


def read(stored: Mapping[str, Any]) -> Link:
    """Return the link that `written` put among the values of a learner."""
    link: Link = stored.get("link", LOGIT)
    return link


def predicted(link: Link, added: Floats) -> Floats:
    """Return the predictions of sums of contributions, (n,)."""
    if link == LOGIT:
        return expit(added)
    return np.exp(added) if link == LOG else added
