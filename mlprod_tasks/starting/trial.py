"""What a trial of a use case found."""

from __future__ import annotations

from dataclasses import dataclass

from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.declaration.rhythm import TickName
from mlprod_tasks.evaluation.gate import GateVerdict
from mlprod_tasks.platform import Platform
from mlprod_tasks.starting.history import History


@dataclass(frozen=True)
class Refusal:
    """A tick's batch of a table that the audit refused, and the first reasons."""

    table: str
    tick: TickName
    reason: str


@dataclass(frozen=True)
class Trial:
    """What a trial found.

    pipeline: as it was run. rows: published rows of each table. gates: all verdicts. passed: whether a model was promoted as in
    production. decisions: one line for each replayed tick; empty if nothing was scored, which `stopped` explains. seconds: of
    each stage.
    """

    pipeline: Pipeline
    platform: Platform
    history: History
    rows: dict[str, int]
    refusals: tuple[Refusal, ...]
    training_id: str
    gates: tuple[GateVerdict, ...]
    passed: bool
    decisions: tuple[str, ...]
    stopped: str
    left_out: tuple[str, ...]
    seconds: dict[str, float]
