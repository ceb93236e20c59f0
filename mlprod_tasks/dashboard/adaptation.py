"""Show the layer that keeps scores right between trainings: what it is now, what it gains, and where it answered."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal

from mlprod_tasks.dashboard.schemas import AdaptationDetail, AdaptedTick, Chart, ChartLine, WatchedSeries
from mlprod_tasks.dashboard.series import Ticks
from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.platform import Platform

if TYPE_CHECKING:
    from mlprod_tasks.adaptation.state import AdaptationState


def adaptation(pipeline: Pipeline, shown: Ticks, platform: Platform) -> AdaptationDetail | None:
    """Read the layer's states of the shown ticks from the lake; None if none is declared, or none is recorded at them."""
    if pipeline.adapt is None or not shown.days:
        return None
    from mlprod_tasks.adaptation.state import every  # loads libraries that most pages do not need

    by_tick = {one.tick: one for one in every(pipeline, platform, list(shown.days))}  # of a tick, the newest version's
    if not by_tick:
        return None
    states = [by_tick.get(day) for day in shown.days]
    now = by_tick[max(by_tick)]
    return AdaptationDetail(
        parameters=_parameters(pipeline, now),
        learned=now.learned,
        rows=now.rows,
        newest=None if now.newest is None else str(now.newest),
        charts=_charts(pipeline, states),
        by_tick=tuple(
            AdaptedTick(str(one.tick), one.model_version, one.answers, _by(pipeline, one), one.why)
            for one in reversed(states)
            if one is not None
        ),
    )


def _parameters(pipeline: Pipeline, state: AdaptationState) -> tuple[tuple[str, float], ...]:
    """What the layer is, for people: without what scales a learner's inputs, which stands behind its weights."""
    from mlprod_tasks.adaptation.kinds import kind_of

    if state.learner:
        names = ("intercept", "slope", *(f"weight of {name}" for name in state.features))
    else:
        names = kind_of(pipeline).parameter_names(state.classes)
    return tuple(zip(names, state.parameters, strict=False))


def _by(pipeline: Pipeline, state: AdaptationState) -> str:
    if state.half_life is None:
        return f"learner {state.learner}"
    return f"half-life {state.half_life:g} {pipeline.schedule.unit}{'s' * (state.half_life != 1)}"


def _charts(pipeline: Pipeline, states: Sequence[AdaptationState | None]) -> tuple[Chart, Chart]:
    loss = "squared error" if pipeline.task == "regression" else "log loss"
    of_score: Literal["number", "share"] = "number" if pipeline.task == "regression" else "share"
    gain = _line(states, lambda one: one.gain, lambda one: one.low, lambda one: one.high)
    moved = _line(states, lambda one: one.shift if one.answers else 0.0)
    return (
        Chart(
            "adaptation-gain", "", "What it would have gained", f"share of the {loss}, on the ticks before",
            "", "share", False, (ChartLine("gain", "gain", "measured", gain),),
        ),
        Chart(
            "adaptation-moved", "", "How far it moves scores", "adapted mean minus the champion's",
            "", of_score, False, (ChartLine("moved", "moved", "measured", moved),),
        ),
    )  # fmt: skip


Read = Callable[["AdaptationState"], float | None]


def _line(
    states: Sequence[AdaptationState | None], value: Read, low: Read | None = None, high: Read | None = None
) -> WatchedSeries:
    def values(read: Read | None) -> tuple[float | None, ...]:
        return tuple(None if one is None or read is None else read(one) for one in states)

    nothing = values(None)
    return WatchedSeries(
        name="", values=values(value), low=nothing, high=nothing, interval_low=values(low), interval_high=values(high),
        reference=nothing, n=tuple(None if one is None else one.rows for one in states), breached=(), told={}, causes={},
    )  # fmt: skip
