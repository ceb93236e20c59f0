"""An experiment in a ledger to show: two weeks against another version, and a hold-out, read at each tick."""

from dataclasses import replace
from datetime import date, datetime, timedelta
from typing import Any

from mlprod_tasks import declaration as ml
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.experiment_entries import ExperimentReading, ExperimentRun
from tests.support.seeded_ledger import DAY, moment

SAVED = ml.UnitMetric("saved", "value", "what deciding saved", unit="USD")
LATE = ml.UnitMetric("late", "outcome", "flights that were late", of="proportion", better="lower")
DECLARED = ml.Experiments((SAVED, LATE), guardrails=(ml.Guardrail("saved", 2.0),))
PLANNED, A_DAY = 4200, 330


def declared(pipeline: ml.Pipeline) -> ml.Pipeline:
    """The pipeline, with metrics of experiments."""
    return replace(pipeline, experiments=DECLARED)


def compared(metric: str, variant: str, control: float, difference: float, half: float, p: float | None) -> dict[str, Any]:
    more = {"better": difference * 0.9, "better_low": difference * 0.9 - half / 2, "better_high": difference * 0.9 + half / 2}
    return {
        "metric": metric, "variant": variant, "control": control, "treated": control + difference, "difference": difference,
        "low": difference - half, "high": difference + half, "lift": difference / control, "p": p,
        **(more if metric == "saved" else dict.fromkeys(more)), "explained": None,
        "adjusted_p": None if metric == "saved" else p,
    }  # fmt: skip


def fading(days: int) -> dict[str, Any]:
    """A difference that fades with the days since a unit's first row."""
    by_age = [{"value": 1.9 - 0.1 * age, "low": 0.4 - 0.1 * age, "high": 3.4 - 0.1 * age} for age in range(days)]
    return {
        "variant": "3@0.4", "slope": {"value": -0.1, "low": -0.15, "high": -0.05}, "p": 0.001, "later": by_age[-1],
        "ages": list(range(days)), "by_age": by_age, "sentence": "the difference of 3@0.4 falls: it may not last",
    }  # fmt: skip


def seed(
    platform: Platform,
    pipeline: ml.Pipeline,
    starts: date,
    *,
    name: str = "cheaper",
    days: int = 14,
    at: datetime | None = None,
) -> None:
    """Write an experiment of two weeks that was read on its first `days` days, from the third on; whole, it is better."""
    wanted = {"metric": "saved", "difference": 0.8, "alpha": 0.05, "power": 0.8, "design": "always_valid"}
    variants = [
        {"name": "control", "version": 2, "share": 0.45, "threshold": None, "held_out": False},
        {"name": "3@0.4", "version": 3, "share": 0.45, "threshold": 0.4, "held_out": False},
        {"name": "fallback", "version": 2, "share": 0.1, "threshold": None, "held_out": True},
    ]
    usual = {"first": str(starts - 14 * DAY), "last": str(starts - DAY), "units": 12_000, "mean": 8.1, "sd": 11.0}
    plan = {
        "wanted": wanted,
        "variants": variants,
        "periods": 2,
        "units": PLANNED,
        "expected": 4500,
        "seen": 0.78,
        "usual": usual,
    }
    run = ExperimentRun(
        pipeline=pipeline.name, name=name, at=at or moment(starts - DAY), by="ada", reason="is it worth its price?", plan=plan,
        salt="1f2e3d4c5b6a7988", starts=starts, ends=starts + 13 * DAY,
    )  # fmt: skip
    readings = []
    for day in range(3, days + 1):
        n, final = A_DAY * day, day == 14
        found = "3@0.4: saved 9.4 USD against 8.1 USD" if final else f"no difference so far: {n // 4:,} of {PLANNED:,} units"
        half = 2.6 * 11 * (2 / n) ** 0.5
        reading = {
            "tick": str(starts + (day + 1) * DAY), "first": str(starts), "last": str(starts + (day - 1) * DAY),
            "verdict": "better" if final else "running",
            "sentence": found,
            "look": day / 14, "final": final, "sample_ratio": 0.4321, "problems": [], "novelty": [fading(day)],
            "rows": {"control": [n + 20, 20], "3@0.4": [n + 31, 31], "fallback": [n // 4, 0]},
            "units": {"control": n, "3@0.4": n, "fallback": n // 4},
            "compared": [
                compared("saved", "3@0.4", 8.1, 1.3 + 1.2 / day, half, 0.004),
                compared("late", "3@0.4", 0.22, 0.001, 0.02, 0.9),
                compared("saved", "fallback", 8.1, -3.0 - 2 / day, 2 * half, 0.0001),
            ],
        }  # fmt: skip
        tick = starts + (day + 1) * DAY
        readings.append(
            ExperimentReading(
                pipeline=pipeline.name, name=name, tick=tick, at=moment(tick) + timedelta(hours=2), verdict=reading["verdict"],
                look=reading["look"], reading=reading,
            )
        )  # fmt: skip
    platform.ledger.put(run, *readings)
