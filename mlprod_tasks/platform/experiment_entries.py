"""The tables of the ledger about experiments: their plans and what they showed."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import String
from sqlalchemy.orm import Mapped, mapped_column

from mlprod_tasks.declaration.rhythm import TickName
from mlprod_tasks.platform.ledger import Line, Row

ROLLED_OUT = ("canary", "blue-green")  # modes of a rollout in which another version answers, so that no experiment can run


class ExperimentRun(Row):
    """An experiment: its plan, written before its first row, and how it ended."""

    __tablename__ = "experiments"
    pipeline: Mapped[str] = mapped_column(String(63), primary_key=True)
    name: Mapped[str] = mapped_column(String(63), primary_key=True)
    at: Mapped[datetime]
    by: Mapped[Line]
    reason: Mapped[Line]
    plan: Mapped[dict[str, Any]]
    salt: Mapped[str] = mapped_column(String(16))  # gives its units their variants
    starts: Mapped[TickName]  # the first tick whose rows are assigned
    ends: Mapped[TickName]  # the last tick, as planned
    ended: Mapped[TickName | None] = mapped_column(default=None)  # the first tick that is not assigned, if it was ended
    ended_at: Mapped[datetime | None] = mapped_column(default=None)
    ended_by: Mapped[Line] = mapped_column(default="")
    end_reason: Mapped[Line] = mapped_column(default="")
    concluded_at: Mapped[datetime | None] = mapped_column(default=None)  # when the plan's consequence was drawn
    conclusion: Mapped[str] = mapped_column(default="")  # what that was
    # Its units are those whose place in [0, 1), by the layer's salt, is not below units_from and below units_to.
    layer_salt: Mapped[str] = mapped_column(String(16), default="")
    units_from: Mapped[float] = mapped_column(default=0.0)
    units_to: Mapped[float] = mapped_column(default=1.0)


class ExperimentReading(Row):
    """What an experiment showed at a tick."""

    __tablename__ = "experiment_readings"
    pipeline: Mapped[str] = mapped_column(String(63), primary_key=True)
    name: Mapped[str] = mapped_column(String(63), primary_key=True)
    tick: Mapped[TickName] = mapped_column(primary_key=True)  # the tick at which it was read
    at: Mapped[datetime]
    verdict: Mapped[str] = mapped_column(String(20))  # running, better, worse, no difference, harmful, void
    look: Mapped[float | None]  # the share of the planned information, if a verdict could be given
    reading: Mapped[dict[str, Any]]
