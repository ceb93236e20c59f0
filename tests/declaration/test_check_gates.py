"""Rules of gates: each broken alone is refused with the gate, the field, the value and what to do."""

from dataclasses import replace
from typing import Any

import pytest
from pydantic import ValidationError

from mlprod_tasks import declaration as ml

BACKTEST = {"backtest": ml.Backtest(windows=5)}
UP = {
    "doc": "a longer delay history must not lower the score",
    "feature": "plane_mean_arr_delay_7d",
    "direction": "up",
    "by": 30.0,
}


def monotonic(**changes: Any) -> ml.Monotonic:
    return ml.Monotonic(**(UP | changes))


def invariance(**changes: Any) -> ml.Invariance:
    given: dict[str, Any] = {"doc": "the airport must not matter", "change": {"origin": "'JFK'"}}
    return ml.Invariance(**(given | changes))


REFUSED: dict[str, tuple[ml.gate.Gate, str]] = {
    "a slice's AUC above one": (ml.WorstSlice("roc_auc", 1.2), "gate WorstSlice('roc_auc'): bound 1.2 is outside of [0, 1]"),
    "a slice's calibration of nothing": (ml.WorstSlice("calibration", 0.0), "bound 0.0 must lie in (0, 1]"),
    "slices of no rows": (ml.WorstSlice("roc_auc", 0.5, least_rows=0), "least_rows 0 must be positive"),
    "stable in nothing": (ml.Stable("roc_auc"), "gate Stable('roc_auc', than=None): declare either bound or than"),
    "stable in two ways": (ml.Stable("roc_auc", bound=0.5, than="baseline"), "declare either bound or than"),
    "stable in per cent": (ml.Stable("roc_auc", bound=60.0), "bound 60.0 is outside of [0, 1]"),
    "a tolerance of the baseline": (
        ml.Stable("roc_auc", than="baseline", tolerance=0.1),
        "tolerance 0.1 is for than='champion'",
    ),
    "a negative tolerance": (ml.Stable("roc_auc", than="champion", tolerance=-0.1), "tolerance -0.1 may not be negative"),
    "stable in no window": (ml.Stable("roc_auc", bound=0.5, windows=0), "windows 0 must be positive"),
    "stable in more windows than there are": (
        ml.Stable("roc_auc", bound=0.5, windows=6),
        "windows 6 are more than the 5 of Pipeline.backtest",
    ),
    "nulls in per cent": (ml.AvailableAtPrediction(most_nulls=10.0), "most_nulls 10.0 must be a share"),
    "available in no tick": (ml.AvailableAtPrediction(ticks=0), "ticks 0 must be positive"),
    "power like chance": (ml.NoLeakageSuspicion(most=0.5), "most 0.5 must lie in (0.5, 1]"),
    "a share of no power": (ml.NoLeakageSuspicion(most_share=0.0), "most_share 0.0 must lie in (0, 1]"),
    "no time": (ml.Latency(0.0), "gate Latency(rows=1): most_ms 0.0 must be positive"),
    "no rows": (ml.Latency(1.0, rows=0), "rows 0 must be positive"),
    "no megabytes": (ml.ModelSize(0.0), "most_mb 0.0 must be positive"),
    "an invariance without text": (invariance(doc=" "), "doc is empty"),
    "an invariance of nothing": (invariance(change={}), "change is empty"),
    "an invariance of no feature": (invariance(change={"airport": "1"}), "change: 'airport' is not a feature"),
    "an invariance of two expressions": (invariance(change={"origin": "'JFK'; 1"}), "change of 'origin': sql"),
    "an invariance that reads a raw column": (
        invariance(change={"distance": "flight_number"}),
        "change of 'distance' reads 'flight_number', which is no feature",
    ),
    "a negative tolerance of scores": (invariance(tolerance=-0.1), "tolerance -0.1 may not be negative"),
    "an invariance that nothing keeps": (invariance(most_share=1.0), "most_share 1.0 must be a share in [0, 1)"),
    "a story for a name": (
        monotonic(doc="long " * 40),
        "doc has 199 characters; it names the gate, so it may have at most 150",
    ),
    "monotonic in no feature": (monotonic(feature="delay"), "feature 'delay' is not a feature"),
    "monotonic in text": (monotonic(feature="dest"), "feature 'dest' is categorical: only a number can be raised"),
    "monotonic by nothing": (monotonic(by=0.0), "by 0.0 must be positive"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_gate_that_cannot_work_is_refused(case: str, flights_pipeline: ml.Pipeline) -> None:
    gate, said = REFUSED[case]
    with pytest.raises(ValidationError) as refused:
        replace(flights_pipeline, gates=(gate,), **BACKTEST)
    assert said in str(refused.value)
    assert "gate " in str(refused.value)


def test_every_kind_of_gate_can_be_declared_beside_the_others(flights_pipeline: ml.Pipeline) -> None:
    gates = (
        ml.NotWorseThanChampion("roc_auc", 0.01),
        ml.NotWorseThanChampion("roc_auc", 0.03, surely=True),
        ml.WorstSlice("roc_auc", 0.55),
        ml.WorstSlice("calibration", 0.1),
        ml.WorstSlice("value_per_1000", -500.0),
        ml.Stable("roc_auc", bound=0.6),
        ml.Stable("roc_auc", than="baseline"),
        ml.Stable("roc_auc", than="champion", tolerance=0.01, windows=5),
        ml.AvailableAtPrediction(),
        ml.NoLeakageSuspicion(),
        ml.Latency(5.0),
        ml.Latency(50.0, rows=1000),
        ml.ModelSize(20.0),
        ml.SamePredictions(),
        invariance(),
        monotonic(),
        monotonic(doc="an older plane must not score lower", feature="plane_built", direction="down", by=5.0),
        monotonic(doc="wind must not lower the score", feature="weather_wind_speed", by=5.0),
        ml.KpiAtLeast(0.0, worst_week=-1000.0),
    )
    again = replace(flights_pipeline, gates=gates, **BACKTEST)
    assert again.gates == gates
    assert again.digest != replace(again, gates=gates[:-1]).digest


def test_worst_slices_are_of_one_size(flights_pipeline: ml.Pipeline) -> None:
    with pytest.raises(ValidationError, match="WorstSlice with least_rows 300, 500: all need the same"):
        replace(flights_pipeline, gates=(ml.WorstSlice("roc_auc", 0.5), ml.WorstSlice("log_loss", 0.5, least_rows=300)))


def test_stability_needs_a_backtest(flights_pipeline: ml.Pipeline) -> None:
    with pytest.raises(ValidationError, match=r"it needs a backtest: declare Pipeline\.backtest"):
        replace(flights_pipeline, gates=(ml.Stable("roc_auc", bound=0.5),), backtest=None)


def test_a_worst_week_needs_a_week(flights_pipeline: ml.Pipeline) -> None:
    short = replace(flights_pipeline.split, test=ml.days(6))
    with pytest.raises(ValidationError, match=r"KpiAtMost\(\): worst_week needs a test window of a whole week"):
        replace(flights_pipeline, split=short, gates=(ml.KpiAtMost(0.0, worst_week=1.0),))
    assert replace(flights_pipeline, split=short, gates=(ml.KpiAtMost(0.0),)).gates


@pytest.mark.parametrize(
    "gates",
    [
        (ml.Latency(1.0), ml.Latency(2.0)),
        (ml.KpiAtLeast(1.0), ml.KpiAtLeast(2.0)),
        (invariance(), invariance(tolerance=0.1)),
        (invariance(doc="the same"), monotonic(doc=" the same ")),
        (ml.Stable("roc_auc", than="baseline"), ml.Stable("roc_auc", than="baseline", windows=3)),
    ],
)
def test_two_gates_on_the_same_are_refused(gates: tuple[ml.gate.Gate, ...], flights_pipeline: ml.Pipeline) -> None:
    with pytest.raises(ValidationError, match="is declared 2 times"):
        replace(flights_pipeline, gates=gates, **BACKTEST)
