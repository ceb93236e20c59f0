"""The rules: what follows from measurements. Pure; the same measurements give the same rulings in any order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from mlprod_tasks.declaration import Retraining, Rule
from mlprod_tasks.declaration.monitoring import Breach
from mlprod_tasks.monitoring.kinds import KINDS
from mlprod_tasks.monitoring.retraining_limits import Restraint
from mlprod_tasks.platform.ledger import Measurement, Promotion

DAY = timedelta(days=1)
STALE_TICKS = 30  # evidence older than this counts for nothing
MOST_NAMED = 20  # measurements kept with each condition of a fired rule, the worst ones

NOTHING, NOTE, ALERT, RETRAIN, FALLBACK, ROLLBACK = ACTIONS = ("nothing", "note", "alert", "retrain", "fallback", "rollback")
ASKED = "Retrain: "  # how the reason of a training begins, for people

Known = Mapping[str, Mapping[date, Sequence[Measurement]]]


@dataclass(frozen=True)
class Evidence:
    """How one condition of a rule stands at a tick.

    `newest` is the tick whose measurements are the news; `ticks` are the last ones with a value, the newest first, as many
    as the condition looks at, none where there is no news; `breached` those of them that count as breached, `measurements`
    what breached them, the newest and worst first.
    """

    condition: Breach
    newest: date
    ticks: tuple[date, ...] = ()
    breached: tuple[date, ...] = ()
    measurements: tuple[Measurement, ...] = ()

    @property
    def holds(self) -> bool:
        return len(self.breached) >= self.condition.breaches


@dataclass(frozen=True)
class Fired:
    """A rule that fired, with what each of its conditions rests on, and why its action waits, where it does."""

    rule: Rule
    evidence: tuple[Evidence, ...]
    held: str = ""

    @property
    def ticks(self) -> tuple[date, ...]:
        """Every tick that breached a condition, the newest first."""
        return tuple(sorted({tick for one in self.evidence for tick in one.breached}, reverse=True))

    @property
    def measurements(self) -> tuple[Measurement, ...]:
        """What breached, condition by condition, the newest and worst first."""
        return tuple(measurement for one in self.evidence for measurement in one.measurements[:MOST_NAMED])

    @property
    def version(self) -> int:
        """The model version that was measured."""
        return self.evidence[0].measurements[0].model_version

    @property
    def cause(self) -> str:
        """The kind of shift that most of the newest breaches have as their cause."""
        newest = max(one.tick for one in self.measurements)
        causes = Counter(one.cause for one in self.measurements if one.tick == newest and one.cause)
        return min(causes, key=lambda cause: (-causes[cause], cause), default="")

    def as_json(self) -> dict[str, Any]:
        return {
            "rule": self.rule.name,
            "watch": self.rule.watch,
            "action": self.rule.action,
            "breaches": self.rule.breaches,
            "of": self.rule.of,
            "cause": self.cause,
            "held": self.held,
            "ticks": [str(tick) for tick in self.ticks],
            "measurements": [_as_json(measurement) for measurement in self.measurements],
        }


@dataclass(frozen=True)
class Ruling:
    """What the rules say at one tick. `retrain`: whether a training follows; `version`: which one was measured."""

    tick: date
    action: str
    reason: str
    fired: tuple[Fired, ...] = ()
    retrain: bool = False

    @property
    def training_reason(self) -> str:
        return f"{ASKED}{_told(self.fired)}."


def fold(
    rules: Sequence[Rule],
    retraining: Retraining,
    label_delay_ticks: int,
    measurements: Iterable[Measurement],
    ticks: Iterable[date],
    retrained: Iterable[date] = (),
    under_way: Iterable[tuple[date, str]] = (),
    promotions: Iterable[Promotion] = (),
) -> list[Ruling]:
    """Rule on each of `ticks`, in the order of time.

    A ruling rests on what was known at its tick: inputs measured on ticks up to it, outcomes of ticks up to
    `label_delay_ticks` before it; on the retrainings ruled before, which cooldown and budget count; and on who was champion.
    retrained: ticks of retrainings that none of these rulings asked for: earlier ones, and those started by hand.
    under_way: trainings that have not ended, as the tick as of which they are and what they do.
    """
    known = counted(measurements)
    restraint = Restraint(retraining, list(retrained), tuple(under_way), tuple(promotions))
    rulings: list[Ruling] = []
    for tick in sorted(set(ticks)):
        fired = tuple(f for rule in rules if (f := fires(rule, known, tick, label_delay_ticks)))
        ruling = _ruling(tick, fired, restraint)
        if ruling.retrain:
            restraint.retrained.append(tick)
        rulings.append(ruling)
    return rulings


def counted(measurements: Iterable[Measurement]) -> Known:
    """By what and tick, those that say something: a value, or that what must be there is missing."""
    known: dict[str, dict[date, list[Measurement]]] = {}
    for one in measurements:
        if one.value is not None or one.breached:
            known.setdefault(one.what, {}).setdefault(one.tick, []).append(one)
    return known


def fires(rule: Rule, known: Known, tick: date, delay: int) -> Fired | None:
    """The rule with its evidence, if all its conditions hold at the tick."""
    found = tuple(evidence(condition, known, tick, delay) for condition in rule.conditions)
    return Fired(rule, found) if all(one.holds for one in found) else None


def evidence(condition: Breach, known: Known, tick: date, delay: int) -> Evidence:
    """What a condition rests on at a tick.

    Only with news: a tick without a value of its own fires nothing. And only of one model: what its predecessor did is not
    held against the version that scored the newest tick.
    """
    there, newest = known.get(condition.watch, {}), newest_known(condition.watch, tick, delay)
    if newest not in there:
        return Evidence(condition, newest)
    version = there[newest][0].model_version
    oldest = newest - max(STALE_TICKS, condition.of) * DAY
    same = sorted((day for day in there if oldest < day <= newest and there[day][0].model_version == version), reverse=True)
    last = tuple(same[: condition.of])
    counting = {day: _breaches(condition, there[day]) for day in last}
    breached = tuple(day for day in last if len({one.slice for one in counting[day]}) >= condition.least)
    return Evidence(condition, newest, last, breached, tuple(one for day in breached for one in counting[day]))


def newest_known(what: str, tick: date, delay: int) -> date:
    """The newest tick of which all is known when a tick is decided: outcomes wait for labels, checks and requests a day."""
    lag = {"outcome": delay, "check": 1, "request": 1}.get(KINDS[what].family, 0)
    return tick - lag * DAY


def excess(one: Measurement) -> float:
    """How far a measurement lies outside of its bounds, in its own unit; infinite where what must be there is missing."""
    if one.value is None:
        return float("inf")
    above = one.value - one.high if one.high is not None else float("-inf")
    below = one.low - one.value if one.low is not None else float("-inf")
    return max(above, below)


def _breaches(condition: Breach, rows: Sequence[Measurement]) -> list[Measurement]:
    """What counts as a breach of the condition on one tick, the furthest outside first, what is missing before all."""
    counting = [one for one in rows if one.breached and (one.important or not condition.only_important)]
    return sorted(counting, key=lambda one: (-excess(one), one.slice))


def _ruling(tick: date, fired: tuple[Fired, ...], restraint: Restraint) -> Ruling:
    if not fired:
        return Ruling(tick, NOTHING, "No rule fired.")
    strongest, held, waiting = NOTE, {}, {}
    for one in fired:
        action, why = _allowed(tick, one, restraint)
        strongest = max(strongest, action, key=ACTIONS.index)
        held[one.rule.name] = why
        if why:
            waiting[why] = True  # said once
    retrain = any(one.rule.action in (RETRAIN, FALLBACK, ROLLBACK) for one in fired) and not restraint.on_training(tick)
    fired = tuple(Fired(one.rule, one.evidence, held[one.rule.name]) for one in fired)
    said = "; ".join([_told(fired), *waiting])
    head = ASKED if strongest == RETRAIN else f"{strongest.capitalize()}: "
    return Ruling(tick, strongest, f"{head}{said}.", fired, retrain)


def _allowed(tick: date, fired: Fired, restraint: Restraint) -> tuple[str, str]:
    """The strongest of what a fired rule asks for that may be done, and why no more."""
    wanted, reasons = fired.rule.action, []
    if wanted in (FALLBACK, ROLLBACK):
        why = restraint.on_switch(tick, fired.version) if wanted == FALLBACK else restraint.on_rollback(tick, fired.version)
        if not why:
            return wanted, ""
        reasons.append(why)
    if wanted in (RETRAIN, FALLBACK, ROLLBACK):
        if not (why := restraint.on_training(tick)):
            return RETRAIN, "; ".join(reasons)
        return ALERT, "; ".join([*reasons, why])
    return wanted, ""


def _told(fired: Sequence[Fired]) -> str:
    return "; ".join(_said(one) for one in fired)


def _said(fired: Fired) -> str:
    told = " and ".join(_condition(one) for one in fired.evidence)
    return f"{fired.rule.name} ({told})"


def _condition(one: Evidence) -> str:
    condition = one.condition
    often = f", breached on {len(one.breached)} of the last {condition.of} ticks" if condition.of > 1 else ""
    more = len(one.measurements) - 1 if condition.of == 1 else 0
    return f"{one.measurements[0].sentence}{f', and {more} more' if more else ''}{often}"


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
        "cause": one.cause,
        "sentence": one.sentence,
    }
