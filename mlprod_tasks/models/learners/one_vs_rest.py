"""Several classes by one learner of a yes or no for each: the class against all others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from mlprod_tasks.models.learners import fitted
from mlprod_tasks.models.learners.fitted import FittedLearner
from mlprod_tasks.models.learners.links import LOGIT
from mlprod_tasks.models.learners.rows import Floats, LearnerRows, to_sum_one

KIND = "one_vs_rest"
TINY = 1e-12  # where every learner is sure that it is not its class, all are as likely


@dataclass(frozen=True)
class OneVsRest:
    """A fitted learner for each class, in the order of their codes."""

    members: tuple[FittedLearner, ...] = field(repr=False)
    link = LOGIT
    kind = KIND

    def predict(self, x: Floats) -> Floats:
        """Return each class's probability, scaled so that rows sum to 1, (n, classes)."""
        shares = np.empty((len(x), len(self.members)))
        for i, member in enumerate(self.members):
            shares[:, i] = member.predict(x)
        return to_sum_one(np.maximum(shares, TINY))

    def contributions(self, x: Floats) -> None:
        """Return None: probabilities that are scaled together have no exact contributions."""
        return

    @property
    def importance(self) -> Floats | None:
        """The mean of the members' shares; None if one has none."""
        shares = [member.importance for member in self.members]
        known = [one for one in shares if one is not None]
        return np.mean(known, axis=0) if len(known) == len(shares) else None

    @property
    def size(self) -> int:
        return sum(member.size for member in self.members)

    @property
    def trees(self) -> int:
        return sum(member.trees for member in self.members)

    def save(self, folder: Path) -> None:
        fitted.write(folder, KIND, classes=len(self.members))
        for i, member in enumerate(self.members):
            member.save(folder / str(i))


def load(folder: Path, threads: int | None, load_member: Callable[[Path, int | None], FittedLearner]) -> OneVsRest:
    """Load the model that `save` wrote."""
    return OneVsRest(tuple(load_member(folder / str(i), threads) for i in range(fitted.read(folder)["classes"])))


def fit_one_vs_rest(
    train: LearnerRows, validation: LearnerRows, fit: Callable[[LearnerRows, LearnerRows], FittedLearner]
) -> OneVsRest:
    """Fit a learner of a yes or no for each class. y: codes of classes."""
    classes = range(train.class_count)
    return OneVsRest(tuple(fit(*(replace(rows, y=rows.y == code) for rows in (train, validation))) for code in classes))
