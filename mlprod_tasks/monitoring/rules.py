"""The rules: what to do about measurements.

Pure: the result does not depend on the order of the measurements.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from mlprod_tasks.declaration import Retraining, Rule, Schedule
from mlprod_tasks.declaration.monitoring import Breach
from mlprod_tasks.declaration.rhythm import TickName
from mlprod_tasks.documents.formatting import format_number
from mlprod_tasks.monitoring import relevance
from mlprod_tasks.monitoring.kinds import KINDS
from mlprod_tasks.monitoring.retraining_limits import Restraint
from mlprod_tasks.monitoring.tick_means import tick_mean
from mlprod_tasks.platform.ledger import Measurement, Promotion

STALE_TICKS = 30  # evidence older than this does not count
MOST_NAMED = 20  # the worst measurements kept with each condition of a fired rule

NOTHING, NOTE, ALERT, RETRAIN, FALLBACK, ROLLBACK = ACTIONS = ("nothing", "note", "alert", "retrain", "fallback", "rollback")
ASKED = "Retrain: "  # the beginning of a training's reason

Known = Mapping[str, Mapping[TickName, Sequence[Measurement]]]


@dataclass(frozen=True)
class Evidence:
    """The evidence for one condition of a rule at a tick.

    newest: the newest tick whose measurements are known. ticks: the last ticks with a value, the newest first, as many as the
    condition covers; empty if `newest` has no value. breached: those of them that count as breached; measurements: what
    breached them, the newest and worst first. mean: of a condition on the mean of ticks, that mean in words.
    """

    condition: Breach
    newest: TickName
    ticks: tuple[TickName, ...] = ()
    breached: tuple[TickName, ...] = ()
    measurements: tuple[Measurement, ...] = ()
    mean: str = ""

    @property
    def holds(self) -> bool:
        return len(self.breached) >= self.condition.breaches


@dataclass(frozen=True)
class Fired:
    """A rule that fired, with the evidence for each condition.

    held: why its action waits, or ''. harmless: why what moved does not matter, so that it is a note; or ''.
    """

    rule: Rule
    evidence: tuple[Evidence, ...]
    held: str = ""
    harmless: str = ""

    @property
    def action(self) -> str:
        """What it asks for."""
        return NOTE if self.harmless else self.rule.action

    @property
    def ticks(self) -> tuple[TickName, ...]:
        """Every tick that breached a condition, the newest first."""
        return tuple(sorted({tick for one in self.evidence for tick in one.breached}, reverse=True))

    @property
    def measurements(self) -> tuple[Measurement, ...]:
        """The breaching measurements by condition, the newest and worst first."""
        return tuple(measurement for one in self.evidence for measurement in one.measurements[:MOST_NAMED])

    @property
    def version(self) -> int:
        """The model version that was measured."""
        return self.evidence[0].measurements[0].model_version

    @property
    def cause(self) -> str:
        """The most frequent cause among the newest breaches."""
        newest = max(one.tick for one in self.measurements)
        causes = Counter(one.cause for one in self.measurements if one.tick == newest and one.cause)
        return min(causes, key=lambda cause: (-causes[cause], cause), default="")

    def as_json(self) -> dict[str, Any]:
        return {
            "rule": self.rule.name,
            "watch": self.rule.watch,
            "action": self.action,
            "breaches": self.rule.breaches,
            "of": self.rule.of,
            "cause": self.cause,
            "held": self.held,
            "harmless": self.harmless,
            "ticks": [str(tick) for tick in self.ticks],
            "measurements": [_as_json(measurement) for measurement in self.measurements],
        }


@dataclass(frozen=True)
class Ruling:
    """What the rules say at one tick. retrain: whether they want a training."""

    tick: TickName
    action: str
    reason: str
    fired: tuple[Fired, ...] = ()
    retrain: bool = False

    @property
    def training_reason(self) -> str:
        return f"{ASKED}{_describe_rules([one for one in self.fired if one.action != NOTE])}."


def fold(
    rules: Sequence[Rule],
    retraining: Retraining,
    schedule: Schedule,
    label_delay_ticks: int,
    measurements: Iterable[Measurement],
    ticks: Iterable[TickName],
    retrained: Iterable[TickName] = (),
    under_way: Iterable[tuple[TickName, str]] = (),
    promotions: Iterable[Promotion] = (),
) -> list[Ruling]:
    """Rule on each of `ticks`, in order of time.

    A ruling uses what was known at its tick: inputs of ticks up to it, outcomes of ticks up to `label_delay_ticks` before it,
    the retrainings so far, which count for cooldown and budget, and who was champion.
    retrained: ticks of retrainings that none of these rulings wants: earlier ones, and those started by hand.
    under_way: the tick and the state of each training that has not ended.
    """
    known = counted(measurements)
    restraint = Restraint(retraining, schedule, list(retrained), tuple(under_way), tuple(promotions))
    rulings: list[Ruling] = []
    for tick in sorted(set(ticks)):
        fired = tuple(f for rule in rules if (f := fires(rule, known, tick, label_delay_ticks, schedule)))
        fired = _with_notes(rules, fired, known, tick, label_delay_ticks, schedule)
        ruling = _ruling(tick, fired, restraint)
        if ruling.retrain:
            restraint.retrained.append(tick)
        rulings.append(ruling)
    return rulings


def counted(measurements: Iterable[Measurement]) -> Known:
    """The measurements that count, by what and tick.

    They have a value, or a required value is missing.
    """
    known: dict[str, dict[TickName, list[Measurement]]] = {}
    for one in measurements:
        if one.value is not None or one.breached:
            known.setdefault(one.what, {}).setdefault(one.tick, []).append(one)
    return known


def fires(rule: Rule, known: Known, tick: TickName, delay: int, schedule: Schedule) -> Fired | None:
    """The rule with its evidence if all its conditions hold at the tick.

    Otherwise None.
    """
    all_evidence = tuple(evidence(condition, known, tick, delay, schedule) for condition in rule.conditions)
    return Fired(rule, all_evidence) if all(one.holds for one in all_evidence) else None


def _with_notes(
    rules: Sequence[Rule], fired: tuple[Fired, ...], known: Known, tick: TickName, delay: int, schedule: Schedule
) -> tuple[Fired, ...]:
    """The fired rules, those about shifts that do not matter as notes."""
    performance = [one for one in rules if one.watch in relevance.PERFORMANCE]
    if any(one.rule in performance for one in fired):
        return fired
    oldest = schedule.shift(tick, -STALE_TICKS - delay)
    newest_outcome = schedule.shift(tick, -delay)
    whats = {one.watch for one in performance}

    def why(one: Fired) -> str:
        breaching = [measured for evidence in one.evidence for measured in evidence.measurements]
        return relevance.why_harmless(
            one.rule.conditions, whats, known, tick, newest_outcome, one.version, oldest
        ) or relevance.why_seasonal(breaching, known, tick, one.version)

    return tuple(replace(one, harmless=why(one)) for one in fired)


def evidence(condition: Breach, known: Known, tick: TickName, delay: int, schedule: Schedule) -> Evidence:
    """The evidence for a condition at a tick.

    It needs a new value: a tick without one fires nothing. It covers one model only: measurements of other versions than the
    one that scored the newest tick do not count.
    """
    by_tick, newest = known.get(condition.watch, {}), newest_known(condition.watch, tick, delay, schedule)
    if newest not in by_tick:
        return Evidence(condition, newest)
    version = by_tick[newest][0].model_version
    oldest = schedule.shift(newest, -max(STALE_TICKS, condition.of, condition.mean_of))
    of_version = [day for day in by_tick if oldest < day <= newest and by_tick[day][0].model_version == version]
    if condition.mean_of > 1:
        return _evidence_of_mean(condition, newest, by_tick, sorted(of_version, reverse=True)[: condition.mean_of])
    last = tuple(sorted(of_version, reverse=True)[: condition.of])
    counting = {day: _breaches(condition, by_tick[day]) for day in last}
    breached = tuple(day for day in last if len({one.slice for one in counting[day]}) >= condition.least)
    return Evidence(condition, newest, last, breached, tuple(one for day in breached for one in counting[day]))


def _evidence_of_mean(
    condition: Breach, newest: TickName, by_tick: Mapping[TickName, Sequence[Measurement]], last: Sequence[TickName]
) -> Evidence:
    """The evidence for a condition on the mean of ticks: breached if its whole interval is outside of the newest bounds.

    Of values per feature, at least `condition.least` features must be. A tick counts by its rows.
    """
    by_slice: dict[str, list[Measurement]] = {}
    for day in last:
        for one in by_tick[day]:
            if one.value is not None and (one.important or not condition.only_important):
                by_slice.setdefault(one.slice, []).append(one)
    outside: list[Measurement] = []
    words = ""
    breached = 0
    for rows in by_slice.values():
        mean = tick_mean([row.value for row in rows if row.value is not None], [row.n for row in rows])
        bound = rows[0]
        if mean is None or not (
            (bound.low is not None and mean.high < bound.low) or (bound.high is not None and mean.low > bound.high)
        ):
            continue
        breached += 1
        outside += rows
        ends = f"90 % interval {format_number(mean.low)} to {format_number(mean.high)}"
        words = words or f"the mean of the last {len(rows)} ticks is {format_number(mean.value)}, {ends}"
    if breached < condition.least:
        return Evidence(condition, newest, tuple(last))
    newest_first = sorted(outside, key=lambda one: (one.tick, excess(one)), reverse=True)
    return Evidence(condition, newest, tuple(last), tuple(last), tuple(newest_first), words)


def newest_known(what: str, tick: TickName, delay: int, schedule: Schedule) -> TickName:
    """The newest tick that is fully known when a tick is decided.

    Outcomes wait for labels; checks and requests wait for the next tick.
    """
    lag = {"outcome": delay, "check": 1, "request": 1}.get(KINDS[what].family, 0)
    return schedule.shift(tick, -lag)


def excess(one: Measurement) -> float:
    """How far a measurement is outside its bounds, in its own unit.

    Infinite if a required value is missing.
    """
    if one.value is None:
        return float("inf")
    above = one.value - one.high if one.high is not None else float("-inf")
    below = one.low - one.value if one.low is not None else float("-inf")
    return max(above, below)


def _breaches(condition: Breach, rows: Sequence[Measurement]) -> list[Measurement]:
    """The measurements of one tick that breach a condition, the worst first.

    Missing values come first, then those furthest outside.
    """
    counting = [one for one in rows if one.breached and (one.important or not condition.only_important)]
    return sorted(counting, key=lambda one: (-excess(one), one.slice))


def _ruling(tick: TickName, fired: tuple[Fired, ...], restraint: Restraint) -> Ruling:
    if not fired:
        return Ruling(tick, NOTHING, "No rule fired.")
    strongest, why_held, waiting = NOTE, {}, {}
    for one in fired:
        action, why = _allowed(tick, one, restraint)
        strongest = max(strongest, action, key=ACTIONS.index)
        why_held[one.rule.name] = why
        if why:
            waiting[why] = True  # a dict, so that each reason appears once
    retrain = any(one.action in (RETRAIN, FALLBACK, ROLLBACK) for one in fired) and not restraint.on_training(tick)
    fired = tuple(replace(one, held=why_held[one.rule.name]) for one in fired)
    reasons = "; ".join([_describe_rules(fired), *waiting])
    head = ASKED if strongest == RETRAIN else f"{strongest.capitalize()}: "
    return Ruling(tick, strongest, f"{head}{reasons}.", fired, retrain)


def _allowed(tick: TickName, fired: Fired, restraint: Restraint) -> tuple[str, str]:
    """The strongest action allowed for a fired rule, and why a stronger one is not."""
    wanted, reasons = fired.action, []
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


def _describe_rules(fired: Sequence[Fired]) -> str:
    """The rules that fired; notes come last, if there are others."""
    alarms_first = sorted(fired, key=lambda one: one.action == NOTE)
    return "; ".join(map(_describe_rule, alarms_first))


def _describe_rule(one: Fired) -> str:
    harmless = f", a note: {one.harmless}" if one.harmless else ""
    return f"{one.rule.name} ({' and '.join(map(_describe_evidence, one.evidence))}{harmless})"


def _describe_evidence(one: Evidence) -> str:
    condition = one.condition
    if one.mean:
        return f"{one.mean}; newest: {one.measurements[0].sentence}"
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
