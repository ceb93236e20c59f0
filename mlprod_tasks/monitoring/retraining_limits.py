"""What holds an action back: cooldown, budget, a training under way, a champion that is not the one that was measured."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date, timedelta

from mlprod_tasks.declaration import Retraining
from mlprod_tasks.platform.ledger import Promotion
from mlprod_tasks.promotion.history import champion_stack

DAY = timedelta(days=1)
BUDGET_DAYS = 30


@dataclass
class Restraint:
    """Why an action must wait at a tick, in words; '' where it need not.

    retrained: the ticks of retrainings so far. under_way: trainings that have not ended: as of which tick, and what they do.
    """

    retraining: Retraining
    retrained: list[date] = field(default_factory=list)
    under_way: tuple[tuple[date, str], ...] = ()
    promotions: tuple[Promotion, ...] = ()

    def on_training(self, tick: date) -> str:
        """Only what lies at or before the tick counts, so that later ticks change no earlier ruling."""
        before, cooldown = [day for day in self.retrained if day <= tick], self.retraining.cooldown
        last = max(before, default=None)
        if last is not None and tick - last < cooldown:
            until = last + timedelta(days=-(-cooldown // DAY))
            return f"retraining waits: the last one was as of {last}, and its cooldown ends at {until}"
        most = self.retraining.most_a_month
        if sum(tick - day < BUDGET_DAYS * DAY for day in before) >= most:
            return f"retraining waits: the budget of {most} in {BUDGET_DAYS} days is spent"
        for as_of, doing in self.under_way:
            if as_of < tick:  # what a tick asked for itself does not hold it back
                return f"retraining waits: the training as of {as_of} {doing}"
        return ""

    def on_switch(self, tick: date, version: int) -> str:
        standing = self._standing(tick)
        if standing and standing[-1] != version:
            return f"the fallback waits: version {version} was measured, and version {standing[-1]} is champion by now"
        return ""

    def on_rollback(self, tick: date, version: int) -> str:
        standing = self._standing(tick)
        if standing and standing[-1] != version:
            return f"the rollback waits: version {version} was measured, and version {standing[-1]} is champion by now"
        if len(standing) < 2:
            return f"the rollback waits: there is no champion before version {version}"
        return ""

    def _standing(self, tick: date) -> list[int]:
        """The versions that stand one upon the other at a tick, its champion last."""
        effective = [one for one in self.promotions if one.effective <= tick]
        return champion_stack(sorted(effective, key=lambda one: (one.effective, one.at)))


def budget_spent(tick: date, retrained: Iterable[date], most: int) -> bool:
    """Whether some 30 days around a tick hold `most` retrainings without it."""
    days = sorted(day for day in retrained if abs(day - tick) < BUDGET_DAYS * DAY)
    firsts = [day for day in [*days, tick] if day <= tick]
    return any(sum(first <= day < first + BUDGET_DAYS * DAY for day in days) >= most for first in firsts)
