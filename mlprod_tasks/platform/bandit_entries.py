"""The tables of the ledger about bandits: their arms, what each tick was given, what was known by then, and freezes."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import String
from sqlalchemy.orm import Mapped, mapped_column

from mlprod_tasks.declaration.rhythm import TickName
from mlprod_tasks.platform.ledger import Line, Row


class BanditRun(Row):
    """A bandit: its arms and its declaration, written before its first row, and how it ended."""

    __tablename__ = "bandits"
    pipeline: Mapped[str] = mapped_column(String(63), primary_key=True)
    name: Mapped[str] = mapped_column(String(63), primary_key=True)
    at: Mapped[datetime]
    by: Mapped[Line]
    reason: Mapped[Line]
    plan: Mapped[dict[str, Any]]  # the declaration, and the arms
    salt: Mapped[str] = mapped_column(String(16))  # of the units' arms
    starts: Mapped[TickName]  # the first tick whose rows are given arms
    ends: Mapped[TickName | None]  # the last tick, if one was declared
    ended: Mapped[TickName | None] = mapped_column(default=None)  # the first tick that is given no arms, if it was ended
    ended_at: Mapped[datetime | None] = mapped_column(default=None)
    ended_by: Mapped[Line] = mapped_column(default="")
    end_reason: Mapped[Line] = mapped_column(default="")


class BanditState(Row):
    """What a bandit knew when the rewards of one more tick were complete. A version stays as it is, whatever comes later."""

    __tablename__ = "bandit_states"
    pipeline: Mapped[str] = mapped_column(String(63), primary_key=True)
    name: Mapped[str] = mapped_column(String(63), primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True)  # how many ticks of rewards are in it
    through: Mapped[TickName]  # the last one of these
    tick: Mapped[TickName]  # from whose start on they were complete
    at: Mapped[datetime]
    rewards: Mapped[dict[str, Any]]  # of the last tick alone
    best: Mapped[dict[str, Any]]  # with which probability each arm is the best
    shares: Mapped[dict[str, Any]]  # of each arm; empty if it chooses by features


class BanditTick(Row):
    """By which version of its state a bandit gave the rows of a tick their arms: the same if the tick is scored again."""

    __tablename__ = "bandit_ticks"
    pipeline: Mapped[str] = mapped_column(String(63), primary_key=True)
    name: Mapped[str] = mapped_column(String(63), primary_key=True)
    tick: Mapped[TickName] = mapped_column(primary_key=True)
    version: Mapped[int]
    at: Mapped[datetime]


class BanditFreeze(Row):
    """When a bandit was frozen: from then on its shares stay those of one version of its state."""

    __tablename__ = "bandit_freezes"
    pipeline: Mapped[str] = mapped_column(String(63), primary_key=True)
    name: Mapped[str] = mapped_column(String(63), primary_key=True)
    at: Mapped[datetime] = mapped_column(primary_key=True)
    by: Mapped[Line]
    reason: Mapped[Line]
    version: Mapped[int]  # that gives rows their arms
    since: Mapped[TickName]  # the first tick that it gives them
    until: Mapped[TickName | None] = mapped_column(default=None)  # the first one that it does not, once it is thawed
    thawed_at: Mapped[datetime | None] = mapped_column(default=None)
    thawed_by: Mapped[Line] = mapped_column(default="")
    thaw_reason: Mapped[Line] = mapped_column(default="")

    @property
    def sentence(self) -> str:
        """What holds while it is frozen."""
        why = f": {self.reason}" if self.reason else ""
        return f"{self.by} froze it at {self.since}{why}; shares stay those of version {self.version}, and nothing is learned"
