"""Which rules would give better alarms: candidates judged in hindsight by half-year, on a kept replay.

    python -m benchmarks.replay --home FOLDER
    python -m benchmarks.alarm_rules FOLDER

Every tick is measured again once, with models and scores as they were; then each candidate decides all ticks, as
`python -m benchmarks.hindsight FOLDER --again` does with the use case's own rules. The replay itself judges them by what it
measured. A candidate would be chosen on the ticks to June and judged on those from July on. What an alarm and a bad week are is
said in `mlprod_tasks.monitoring.hindsight`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path

from benchmarks.hindsight import Replayed, measured_again
from mlprod_tasks.declaration import Rule
from mlprod_tasks.declaration.rhythm import TickName
from mlprod_tasks.monitoring.diagnosis import DATA_FAULTS
from mlprod_tasks.monitoring.hindsight import around, weeks
from mlprod_tasks.monitoring.relevance import OF_SHIFTS
from mlprod_tasks.monitoring.rules import NOTE, Fired, Ruling, fold
from mlprod_tasks.platform.ledger import Measurement

SECOND_HALF = date(2013, 7, 1)

Alarms = Mapping[int, Sequence[Fired]]  # what fires on each tick, notes left out
Counts = Callable[[int, Fired], bool]


def candidates(rules: Sequence[Rule], measured: Sequence[Measurement], replayed: Replayed) -> Iterator[tuple[str, Alarms]]:
    """Each candidate, and the alarms that it gives."""
    now = alarms(rules, measured, replayed)
    yield "as declared", now
    yield "newest tick of a mean outside, too", picked(now, lambda tick, one: _newest_outside(one))
    for ticks in (2, 3):
        yield f"{ticks} ticks in a row, but for faults", picked(now, lambda tick, one, n=ticks: _in_a_row(now, tick, one, n))
    yield "two rules at once, but for faults", picked(now, lambda tick, one: _is_fault(one) or len(now[tick]) > 1)
    yield "no shifts", picked(now, lambda tick, one: one.rule.watch not in OF_SHIFTS)
    yield "performance alone", picked(now, lambda tick, one: one.rule.mean_of > 1)
    for ticks in (10, 14):
        longer = [replace(rule, mean_of=ticks) if rule.mean_of > 1 else rule for rule in rules]
        yield f"means of {ticks} ticks", alarms(longer, measured, replayed)
    twice = [replace(rule, breaches=2, of=3) if rule.watch == "null_share" else rule for rule in rules]
    yield "nulls on two of three ticks", alarms(twice, measured, replayed)
    yield "first tick of an incident", {tick: fired for tick, fired in now.items() if tick - 1 not in now}


def alarms(rules: Sequence[Rule], measured: Sequence[Measurement], replayed: Replayed) -> Alarms:
    """The alarms by some rules."""
    pipeline = replayed.pipeline
    number: dict[TickName, int] = {day: at for at, day in enumerate(replayed.days)}
    delay = pipeline.label_delay_ticks
    rulings: list[Ruling] = fold(rules, pipeline.retraining, pipeline.schedule, delay, measured, replayed.days)
    fired = {number[one.tick]: [f for f in one.fired if f.action != NOTE] for one in rulings}
    return {tick: of_tick for tick, of_tick in fired.items() if of_tick}


def picked(given: Alarms, counts: Counts) -> Alarms:
    """Those that count."""
    kept_ones = {tick: [one for one in fired if counts(tick, one)] for tick, fired in given.items()}
    return {tick: fired for tick, fired in kept_ones.items() if fired}


def _is_fault(one: Fired) -> bool:
    return one.rule.watch in DATA_FAULTS


def _newest_outside(one: Fired) -> bool:
    return one.rule.mean_of <= 1 or any(row.breached for row in one.measurements if row.tick == one.evidence[0].newest)


def _in_a_row(now: Alarms, tick: int, one: Fired, ticks: int) -> bool:
    before = range(tick - ticks + 1, tick)
    return _is_fault(one) or all(any(one.rule.name == other.rule.name for other in now.get(at, ())) for at in before)


def cells(given: Alarms, replayed: Replayed, bad: Sequence[bool], ticks: range) -> str:
    """Alarms, precision, recall and quiet ticks in a part of the year."""
    n, delay = len(replayed.days), replayed.pipeline.label_delay_ticks
    mine = [tick for tick in given if tick in ticks]
    right = [tick for tick in mine if any(replayed.worse(one.version, around(tick, delay, n)) for one in given[tick])]
    in_part = [week for week, is_bad in zip(weeks(n), bad, strict=True) if is_bad and (week.start + week.stop) // 2 in ticks]
    noticed = [week for week in in_part if any(tick in given for tick in range(week.start, week.stop + delay))]
    precision = f"{len(right) / len(mine):.2f}" if mine else ""
    recall = f"{len(noticed)} of {len(in_part)}"
    return f"{len(mine)} | {precision} | {recall} | {len(ticks) - len(mine)} of {len(ticks)}"


def print_candidates(replayed: Replayed, measured: Sequence[Measurement]) -> None:
    """Print a row for each candidate."""
    n = len(replayed.days)
    split = sum(day < SECOND_HALF for day in replayed.days)
    bad = [bool(replayed.worse(replayed.version_at[(part.start + part.stop) // 2], part)) for part in weeks(n)]
    parts = {"to June": range(split), "July on": range(split, n), "all": range(n)}
    heads = "".join(f" alarms, {name} | precision | bad weeks noticed | ticks without |" for name in parts)
    print(
        f"### Which rules would give better alarms?\n\n| rules |{heads}\n| --- |{' ---: | ---: | ---: | ---: |' * len(parts)}"
    )
    for name, fired in candidates(replayed.pipeline.rules, measured, replayed):
        print(f"| {name} | {' | '.join(cells(fired, replayed, bad, ticks) for ticks in parts.values())} |")
    print(flush=True)


def main(read: Callable[[Path], Replayed]) -> int:
    """Print them by what is measured now."""
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("home", type=Path, help="the folder of a kept replay")
    given = asked.parse_args()
    replayed = read(given.home)
    print_candidates(replayed, measured_again(replayed))
    return 0


if __name__ == "__main__":
    from benchmarks.replay import kept

    sys.exit(main(kept))
