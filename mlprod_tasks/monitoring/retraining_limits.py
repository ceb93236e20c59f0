"""What holds an action back: cooldown, budget, a training, another champion."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import timedelta

from mlprod_tasks.declaration import Retraining, Schedule
from mlprod_tasks.declaration.rhythm import TickName
from mlprod_tasks.platform.ledger import Promotion
from mlprod_tasks.promotion.history import champion_stack

BUDGET_DAYS = 30
BUDGET = timedelta(days=BUDGET_DAYS)


@dataclass
class Restraint:
    """Why an action must wait at a tick, in words; '' if it need not. Cooldown and budget are days, not ticks.

    schedule: of the ticks.
    retrained: the ticks of retrainings so far. under_way: the tick and the state of each training that has not ended.
    """

    retraining: Retraining
    schedule: Schedule
    retrained: list[TickName] = field(default_factory=list)
    under_way: tuple[tuple[TickName, str], ...] = ()
    promotions: tuple[Promotion, ...] = ()

    def on_training(self, tick: TickName) -> str:
        """Why a retraining must wait.

        Only ticks up to this one count, so that later ticks do not change earlier rulings.
        """
        before, cooldown = [day for day in self.retrained if day <= tick], self.retraining.cooldown
        last = max(before, default=None)
        if last is not None and self.schedule.elapsed(last, tick) < cooldown:
            until = self.schedule.first_after(last, cooldown)
            return f"retraining waits: the last one was as of {last}, and its cooldown ends at {until}"
        most = self.retraining.most_a_month
        if sum(self.schedule.elapsed(day, tick) < BUDGET for day in before) >= most:
            return f"retraining waits: the budget of {most} in {BUDGET_DAYS} days is spent"
        for as_of, doing in self.under_way:
            if as_of < tick:  # a training that the tick itself requested does not hold it back
                return f"retraining waits: the training as of {as_of} {doing}"
        return ""

    def on_switch(self, tick: TickName, version: int) -> str:
        champions = self._champions(tick)
        if champions and champions[-1] != version:
            return f"the fallback waits: version {version} was measured, but version {champions[-1]} is champion now"
        return ""

    def on_rollback(self, tick: TickName, version: int) -> str:
        champions = self._champions(tick)
        if champions and champions[-1] != version:
            return f"the rollback waits: version {version} was measured, but version {champions[-1]} is champion now"
        if len(champions) < 2:
            return f"the rollback waits: there was no champion before version {version}"
        return ""

    def _champions(self, tick: TickName) -> list[int]:
        """The champion at a tick, last, after those that a rollback would go back to."""
        effective = [one for one in self.promotions if one.effective <= tick]
        return champion_stack(sorted(effective, key=lambda one: (one.effective, one.at)))


def budget_spent(tick: TickName, retrained: Iterable[TickName], most: int, schedule: Schedule) -> bool:
    """Whether any 30 days around a tick already have `most` retrainings without it."""
    days = sorted(day for day in retrained if abs(schedule.elapsed(day, tick)) < BUDGET)
    firsts = [day for day in [*days, tick] if day <= tick]
    return any(sum(first <= day and schedule.elapsed(first, day) < BUDGET for day in days) >= most for first in firsts)
