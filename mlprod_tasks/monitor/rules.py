"""The rules: what follows from measurements. Pure; the same measurements give the same rulings in any order."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from mlprod_tasks.declaration import Retraining, Rule
from mlprod_tasks.monitor.kinds import KINDS
from mlprod_tasks.platform.ledger import Measurement

DAY = timedelta(days=1)
STALE_TICKS = 30  # evidence older than this counts for nothing
MOST_NAMED = 20  # measurements kept with a fired rule, the worst ones

NOTHING, ALERT, RETRAIN = "nothing", "alert", "retrain"
# A training that was asked for by a ruling is known by its reason.
ASKED = "Retrain: "


@dataclass(frozen=True)
class Fired:
    """A rule that fired, with the ticks that breached it and their breached measurements, the newest and worst first."""

    rule: Rule
    ticks: tuple[date, ...]
    measurements: tuple[Measurement, ...]

    def as_json(self) -> dict[str, Any]:
        return {
            "rule": self.rule.name,
            "watch": self.rule.watch,
            "action": self.rule.action,
            "breaches": self.rule.breaches,
            "of": self.rule.of,
            "ticks": [str(tick) for tick in self.ticks],
            "measurements": [_as_json(measurement) for measurement in self.measurements],
        }


@dataclass(frozen=True)
class Ruling:
    """What the rules say at one tick."""

    tick: date
    action: str
    reason: str
    fired: tuple[Fired, ...] = ()


def fold(
    rules: Sequence[Rule],
    retraining: Retraining,
    label_delay_ticks: int,
    measurements: Iterable[Measurement],
    ticks: Iterable[date],
    retrained: Iterable[date] = (),
) -> list[Ruling]:
    """Rule on each of `ticks`, in the order of time.

    A ruling rests on what was known at its tick: inputs measured on ticks up to it, outcomes of ticks up to
    `label_delay_ticks` before it; and on the retrainings ruled before, none of which may be younger than the cooldown.
    retrained: ticks of retrainings that none of these rulings asked for: earlier ones, and those started by hand.
    """
    known = _counted(measurements)
    rulings: list[Ruling] = []
    asked: list[date] = list(retrained)
    for tick in sorted(set(ticks)):
        fired = tuple(f for rule in rules if (f := _fires(rule, known.get(rule.watch, {}), tick, label_delay_ticks)))
        last = max((day for day in asked if day <= tick), default=None)
        ruling = _ruling(tick, fired, last, retraining.cooldown)
        if ruling.action == RETRAIN:
            asked.append(tick)
        rulings.append(ruling)
    return rulings


def _counted(measurements: Iterable[Measurement]) -> dict[str, dict[date, list[Measurement]]]:
    """By what and tick, those that say something: a value, or that what must be there is missing."""
    known: dict[str, dict[date, list[Measurement]]] = {}
    for one in measurements:
        if one.value is not None or one.breached:
            known.setdefault(one.what, {}).setdefault(one.tick, []).append(one)
    return known


def _fires(rule: Rule, known: Mapping[date, Sequence[Measurement]], tick: date, delay: int) -> Fired | None:
    """Whether enough of the last ticks breach the watch.

    Only with news: a tick without a value of its own fires nothing. And only of one model: what its predecessor did is not
    held against the version that scored the newest tick.
    """
    newest = tick - delay * DAY if KINDS[rule.watch].family == "outcome" else tick
    if newest not in known:
        return None
    version = known[newest][0].model_version
    oldest = newest - max(STALE_TICKS, rule.of) * DAY
    same = sorted((day for day in known if oldest < day <= newest and known[day][0].model_version == version), reverse=True)
    breached = tuple(day for day in same[: rule.of] if any(one.breached for one in known[day]))
    if len(breached) < rule.breaches:
        return None
    worst = [one for day in breached for one in sorted(known[day], key=_by_excess) if one.breached]
    return Fired(rule, breached, tuple(worst[:MOST_NAMED]))


def _by_excess(one: Measurement) -> tuple[float, str]:
    """The furthest outside of its bounds first, what is missing before all."""
    if one.value is None:
        return float("-inf"), one.slice
    above = one.value - one.high if one.high is not None else float("-inf")
    below = one.low - one.value if one.low is not None else float("-inf")
    return -max(above, below), one.slice


def _ruling(tick: date, fired: tuple[Fired, ...], last: date | None, cooldown: timedelta) -> Ruling:
    if not fired:
        return Ruling(tick, NOTHING, "No rule fired.")
    said = "; ".join(_said(one) for one in fired)
    if not any(one.rule.action == RETRAIN for one in fired):
        return Ruling(tick, ALERT, f"Alert: {said}.", fired)
    if last is not None and tick - last < cooldown:
        until = last + timedelta(days=-(-cooldown // DAY))
        waits = f"retraining waits: the last one was as of {last}, and its cooldown ends at {until}"
        return Ruling(tick, ALERT, f"Alert: {said}; {waits}.", fired)
    return Ruling(tick, RETRAIN, f"{ASKED}{said}.", fired)


def _said(fired: Fired) -> str:
    rule, first = fired.rule, fired.measurements[0]
    often = f", breached on {len(fired.ticks)} of the last {rule.of} ticks" if rule.of > 1 else ""
    more = len(fired.measurements) - 1 if rule.of == 1 else 0
    others = f", and {more} more" if more else ""
    return f"{rule.name} ({first.sentence}{others}{often})"


def _as_json(one: Measurement) -> dict[str, Any]:
    return {
        "tick": str(one.tick),
        "what": one.what,
        "slice": one.slice,
        "value": one.value,
        "reference": one.reference,
        "low": one.low,
        "high": one.high,
        "n": one.n,
        "model_version": one.model_version,
        "sentence": one.sentence,
    }
