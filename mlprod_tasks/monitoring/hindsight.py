"""Judge alarms in hindsight: was the model really worse when a rule fired, and did a rule fire when it was?

A model is compared with its own reference by what a change of the season alone does not move: how well scores rank the rows
of one tick, how much log loss they save over the best constant, and what their decisions are worth beyond the best decision
that is the same for all rows. A tick is judged by the rows around it, from the label delay before it to AHEAD ticks after
it. Pure: ticks are numbered 0 to n - 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np
from numpy.typing import NDArray

from mlprod_tasks.statistics.block_bootstrap import ratio
from mlprod_tasks.statistics.metrics import CannotBeMeasured, Estimate, log_losses, roc_auc

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

AHEAD = 7  # ticks after an alarm within which it must come true
WEEK = 7  # ticks that are judged together as good or bad
BLOCK = 14  # neighbouring ticks that are drawn together for intervals
FEWEST_OF_A_CLASS = 10  # of a tick, for its AUC


@dataclass(frozen=True)
class Loss:
    """How much worse than on its reference a model may be before it counts as worse.

    roc_auc: of the rows of one tick. log_loss: per row, in nats, of what is saved over the best constant. value: what decisions
    lose against the best decision that is the same for all rows, as a share of the reference's value per row.
    """

    roc_auc: float = 0.03
    log_loss: float = 0.02
    value: float = 0.1


@dataclass(frozen=True)
class TickSums:
    """Sums over the rows of one tick that have an outcome.

    roc_auc: within the tick; None if one class has fewer than FEWEST_OF_A_CLASS rows. log_loss, value, acted, waited: sums of
    log losses, of the decisions' worth, and of the worth of acting on all rows and on none.
    """

    rows: int
    positives: int
    roc_auc: float | None
    log_loss: float
    value: float
    acted: float
    waited: float


@dataclass(frozen=True)
class Quality:
    """How good a model was on some ticks: see `Loss` for the three. value: per row, of its decisions; None: not known."""

    rows: int
    roc_auc: float | None
    saved: float
    advantage: float
    value: float


@dataclass(frozen=True)
class AlarmRecord:
    """How often one rule, or all together, was right.

    fired: ticks on which it fired; precision: share of them that came true; recall: share of bad weeks in which it fired;
    delay: median ticks from the begin of a bad spell to the first alarm, of the spells that were noticed. Estimates are None
    without alarms, or bad weeks. Intervals are by blocks of BLOCK ticks.
    """

    fired: int
    bad_weeks: int
    precision: Estimate | None
    recall: Estimate | None
    delay: float | None


def tick_sums(outcome: Bools, score: Floats, value: Floats, acted: Floats, waited: Floats) -> TickSums:
    """Return the sums of one tick.

    outcome, score: (n,); value, acted, waited: the worth of each row's decision, of acting on it and of waiting, (n,) each.
    """
    positives, n = int(outcome.sum()), len(outcome)
    ranked = min(positives, n - positives) >= FEWEST_OF_A_CLASS
    losses = float(log_losses(outcome.astype(np.float64), score).sum())
    auc = roc_auc(outcome, score) if ranked else None
    return TickSums(n, positives, auc, losses, float(value.sum()), float(acted.sum()), float(waited.sum()))


def quality(ticks: Sequence[TickSums]) -> Quality:
    """Return how good a model was on some ticks together.

    Raises: CannotBeMeasured if they have no rows.
    """
    rows = sum(one.rows for one in ticks)
    if not rows:
        raise CannotBeMeasured("none of the ticks has rows with an outcome")
    ranked = [(one.roc_auc, one.rows) for one in ticks if one.roc_auc is not None]
    auc = sum(area * n for area, n in ranked) / sum(n for _, n in ranked) if ranked else None
    share = sum(one.positives for one in ticks) / rows
    constant = -sum(p * float(np.log(p)) for p in (share, 1 - share) if p > 0)
    value, acted, waited = (sum(getattr(one, name) for one in ticks) / rows for name in ("value", "acted", "waited"))
    return Quality(rows, auc, constant - sum(one.log_loss for one in ticks) / rows, value - max(acted, waited), value)


def worse(now: Quality, reference: Quality, loss: Loss) -> tuple[str, ...]:
    """Return in what a model is worse than on its reference, by more than the declared loss; empty if in nothing."""
    found = []
    if now.roc_auc is not None and reference.roc_auc is not None and now.roc_auc < reference.roc_auc - loss.roc_auc:
        found.append("roc_auc")
    if now.saved < reference.saved - loss.log_loss:
        found.append("log_loss")
    if now.advantage < -loss.value * abs(reference.value):
        found.append("value")
    return tuple(found)


def around(tick: int, delay: int, ticks: int) -> range:
    """The ticks by which an alarm is judged: from the label delay before it to AHEAD after it."""
    return range(max(0, tick - delay), min(ticks, tick + AHEAD + 1))


def before(tick: int, delay: int) -> range:
    """The last WEEK ticks whose outcomes are known at a tick: what an alarm about outcomes speaks of."""
    return range(max(0, tick - delay - WEEK + 1), max(0, tick - delay) + 1)


def weeks(ticks: int) -> list[range]:
    """The ticks in parts of WEEK; what is left at the end joins the last part."""
    starts = list(range(0, max(1, ticks - WEEK + 1), WEEK))
    return [range(first, until) for first, until in zip(starts, [*starts[1:], ticks], strict=True)]


def judge(fired: Sequence[int], true: Bools, bad: Sequence[bool], delay: int) -> AlarmRecord:
    """Judge one rule.

    fired: the ticks on which it fired. true: by tick, whether an alarm there comes true, (n,). bad: of each of `weeks`, whether
    the model was worse. A week is noticed if the rule fires in it or within the label delay after it.
    """
    n = len(true)
    alarm = np.zeros(n, bool)
    alarm[list(fired)] = True
    parts = weeks(n)
    noticed = [bool(alarm[week.start : week.stop + delay].any()) for week in parts]
    is_bad = np.asarray(bad, bool)
    precision = ratio((alarm & true).astype(float), alarm.astype(float), BLOCK) if alarm.any() else None
    caught = is_bad & np.asarray(noticed)
    recall = ratio(caught.astype(float), is_bad.astype(float), BLOCK // WEEK) if is_bad.any() else None
    return AlarmRecord(int(alarm.sum()), int(is_bad.sum()), precision, recall, _delay(alarm, parts, is_bad, delay))


def _delay(alarm: Bools, parts: Sequence[range], bad: Bools, delay: int) -> float | None:
    """Median ticks from the begin of each run of bad weeks to the first alarm in it."""
    waited = []
    for at, week in enumerate(parts):
        if not bad[at] or (at and bad[at - 1]):
            continue
        last = at
        while last + 1 < len(parts) and bad[last + 1]:
            last += 1
        hits = np.flatnonzero(alarm[week.start : parts[last].stop + delay])
        if len(hits):
            waited.append(int(hits[0]))
    return float(median(waited)) if waited else None
