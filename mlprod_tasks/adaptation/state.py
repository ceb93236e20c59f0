"""What adapts the scores of a tick: a version for each tick and champion, recorded when it is first scored.

It follows from what was known of outcomes by then, so it is the same in whatever order ticks are scored, and whoever asks.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pyarrow as pa

from mlprod_tasks.adaptation.evidence import evidence
from mlprod_tasks.adaptation.fold import TOLD, Folded, folded
from mlprod_tasks.adaptation.kinds import kind_of
from mlprod_tasks.adaptation.layers import Layer
from mlprod_tasks.adaptation.row_by_row import RowByRowLayer, learners_of
from mlprod_tasks.adaptation.written_once import write_once
from mlprod_tasks.declaration import Adapt, Pipeline
from mlprod_tasks.declaration.rhythm import TickName, tick_named
from mlprod_tasks.documents.formatting import format_count
from mlprod_tasks.platform import Platform, names
from mlprod_tasks.platform.lake import TableMissing
from mlprod_tasks.platform.tick_columns import tick_array
from mlprod_tasks.promotion import history

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class AdaptationState:
    """What adapts the scores of a tick.

    answers: whether it does, or the champion's own scores stand; why: in words; parameters: as the module of the task writes
    them, for these classes; half_life: in ticks, None of a learner that takes row by row; learned, rows: of how many ticks and
    rows; newest: the last one of these; tried: on how many ticks; gain, low, high: by which share the loss was lower on these
    than the champion's, with its interval; shift: by how much the mean score of the newest tick would move; learner: the name
    of the one that takes row by row, and features, that it reads; '' if it is the layer of a few numbers.
    """

    tick: TickName
    model_version: int
    answers: bool
    why: str
    parameters: tuple[float, ...]
    classes: tuple[str, ...]
    half_life: float | None
    learned: int
    rows: int
    newest: TickName | None
    tried: int
    gain: float | None
    low: float | None
    high: float | None
    shift: float
    learner: str = ""
    features: tuple[str, ...] = ()

    def layer(self, pipeline: Pipeline) -> Layer | RowByRowLayer | None:
        """Return what adapts scores; None if the champion's own stand."""
        if not self.answers:
            return None
        if self.learner:
            return RowByRowLayer(self.parameters, pipeline.task == "binary", self.features)
        made: Layer = kind_of(pipeline).layer(self.parameters, self.classes)
        return made

    @cached_property
    def name(self) -> str:
        """How rows name it that it adapted."""
        return str(self.tick)


def state_for(pipeline: Pipeline, tick: TickName, version: int, model: Any, platform: Platform) -> AdaptationState:
    """Return what adapts the scores of a tick by a version: as recorded, or from what is known by now, which is then recorded.

    model: that version.
    """
    used = recorded(pipeline, tick, version, platform)
    return used if used is not None else _record(pipeline, state_at(pipeline, tick, version, model, platform), platform)


def state_at(pipeline: Pipeline, tick: TickName, version: int, model: Any, platform: Platform) -> AdaptationState:
    """Return what follows from what was known of outcomes when a tick started."""
    adapt, schedule = _declared(pipeline), pipeline.schedule
    first = first_unseen(pipeline, version, model, platform)
    known = evidence(pipeline, adapt, version, model, first, tick, platform)

    def position(name: TickName) -> int:
        return schedule.ticks_between(schedule.first, name)

    by_position = {position(at): {position(of): one for of, one in of_tick.items()} for at, of_tick in known.items()}
    learners = learners_of(pipeline, model.feature_names)
    found = folded(kind_of(pipeline), adapt, by_position, pipeline.label_delay_ticks, position(tick), learners)
    half_life, learner = (None, learners[found.chosen].declared) if isinstance(found.chosen, str) else (found.chosen, None)
    newest = schedule.shift(schedule.first, found.learned[-1]) if found.learned else None
    rule = model.rule
    gain = found.gain
    return AdaptationState(
        tick, version, found.wins(adapt), _why(pipeline, adapt, found, tick, newest), found.parameters,
        () if rule is None else rule.classes, half_life, len(found.learned), found.rows, newest, found.tried,
        None if gain is None else gain.value, None if gain is None else gain.low, None if gain is None else gain.high,
        found.shift, "" if learner is None else learner.name, () if learner is None else learner.features,
    )  # fmt: skip


def first_unseen(pipeline: Pipeline, version: int, model: Any, platform: Platform) -> TickName:
    """Return the first tick whose outcomes a version was not trained with: that of its test, or the first that it scored."""
    windows = model.facts.windows
    if windows is not None:
        return tick_named(str(windows.test.first))
    effective = [one.effective for one in history.promotions(pipeline, platform) if one.model_version == version]
    return min(effective, default=pipeline.schedule.first)


def recorded(pipeline: Pipeline, tick: TickName, version: int, platform: Platform) -> AdaptationState | None:
    """Return what was recorded for a tick and version; None if nothing was."""
    return next((one for one in every(pipeline, platform, [tick]) if one.model_version == version), None)


def newest(pipeline: Pipeline, until: TickName, version: int, platform: Platform) -> AdaptationState | None:
    """Return the newest state of a version up to a tick; None if there is none within the window of outcomes."""
    schedule = pipeline.schedule
    oldest = max(schedule.first, schedule.shift(until, -_declared(pipeline).window))
    found = [one for one in every(pipeline, platform, schedule.names(oldest, until)) if one.model_version == version]
    return max(found, key=lambda one: one.tick, default=None)


def every(pipeline: Pipeline, platform: Platform, ticks: list[TickName] | None = None) -> list[AdaptationState]:
    """Return the recorded states, of some ticks or of all, in order."""
    try:
        rows = platform.lake.rows(names.adaptation(pipeline), ticks)
    except TableMissing:
        return []
    return sorted(map(_from_row, rows.to_pylist()), key=lambda one: (one.tick, one.model_version))


def _declared(pipeline: Pipeline) -> Adapt:
    assert pipeline.adapt is not None
    return pipeline.adapt


def _why(pipeline: Pipeline, adapt: Adapt, found: Folded, tick: TickName, newest: TickName | None) -> str:
    """Why the layer answers, or does not."""
    unit = pipeline.schedule.unit
    if newest is None:
        return f"no outcomes are known of the last {format_count(adapt.window, unit)}"
    ago = pipeline.schedule.ticks_between(newest, tick)
    old = (
        f"; the newest outcomes are those of {newest}, {format_count(ago, unit)} ago"
        if ago > pipeline.label_delay_ticks
        else ""
    )
    if found.tried < adapt.fewest or found.gain is None:
        return f"it was tried on {format_count(found.tried, unit)}, and {adapt.fewest} are needed{old}"
    measured = "squared error" if pipeline.task == "regression" else "log loss"
    gain = found.gain
    who = f"the learner {found.chosen!r}" if isinstance(found.chosen, str) else "it"
    interval = f"{adapt.confidence or TOLD:.0%} interval {-gain.high:+.1%} to {-gain.low:+.1%}"
    verdict = "" if found.wins(adapt) else ": it may well be no better than the champion alone"
    return f"on {format_count(found.tried, unit)} {who} changes the {measured} by {-gain.value:+.1%} ({interval}){verdict}{old}"


def _record(pipeline: Pipeline, state: AdaptationState, platform: Platform) -> AdaptationState:
    """Write a state, unless another process was first; return what is recorded."""
    tick, version = state.tick, state.model_version
    write_once(pipeline, names.adaptation(pipeline), _as_row(pipeline, state), version, [tick], platform)
    log.info("%s: %s: scores %s adapted: %s", pipeline.name, tick, "are" if state.answers else "are not", state.why)
    return recorded(pipeline, tick, version, platform) or state


def _as_row(pipeline: Pipeline, state: AdaptationState) -> pa.Table:
    newest = None if state.newest is None else str(state.newest)
    columns: dict[Any, Any] = {
        "tick": tick_array([state.tick], pipeline.schedule),
        "model_version": pa.array([state.model_version], pa.int32()),
        "answers": pa.array([state.answers]),
        "why": pa.array([state.why], pa.string()),
        "parameters": pa.array([list(state.parameters)], pa.list_(pa.float64())),
        "classes": pa.array([list(state.classes)], pa.list_(pa.string())),
        "half_life": pa.array([state.half_life], pa.float64()),
        "learned": pa.array([state.learned], pa.int64()),
        "rows": pa.array([state.rows], pa.int64()),
        "newest": pa.array([newest], pa.string()),
        "tried": pa.array([state.tried], pa.int64()),
        "learner": pa.array([state.learner], pa.string()),
        "features": pa.array([list(state.features)], pa.list_(pa.string())),
    }
    columns |= {name: pa.array([getattr(state, name)], pa.float64()) for name in ("gain", "low", "high", "shift")}
    return pa.table(columns)


def _from_row(row: dict[str, Any]) -> AdaptationState:
    return AdaptationState(
        **{
            **row,
            "tick": tick_named(str(row["tick"])),
            "parameters": tuple(row["parameters"]),
            "classes": tuple(row["classes"]),
            "learner": row.get("learner") or "",
            "features": tuple(row.get("features") or ()),
            "newest": None if row["newest"] is None else tick_named(row["newest"]),
        }
    )
