"""The whole real year: which alarms fire when, and what retraining by the monitor is worth.

The shipped use case is ingested, audited and published as it would be, a first model is trained as of 1 May on January to
April, and every tick from then to the end of the year is scored, measured and decided by the steps that production runs; a
retraining that the rules ask for is trained as of its tick, judged by the gates, and scores from the next tick on. Beside it,
over the same logged features: the first model left alone, and a training on the first of each month whatever the monitor says,
judged by the same gates.

Of the shipped gates those with a bound of their own are left out (AtLeast, AtMost, Stable): the season decides whether they are
reached, and they would refuse the first model. What compares with the constant and with the champion stays.

`python -m benchmarks.replay [--last DAY] [--picture FILE]`: the tables in Markdown; half an hour on two idle cores.
"""

from __future__ import annotations

import argparse
import logging
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from benchmarks.adaptation import print_adaptation, print_gates
from benchmarks.alarm_rules import print_candidates
from benchmarks.flights_year import FIRST_SMALL, begun, platform_of
from benchmarks.hindsight import Replayed, print_calibration, print_hindsight
from benchmarks.size import SMALL, sized
from mlprod_tasks import declaration as ml
from mlprod_tasks import features, steps, workflows
from mlprod_tasks.declaration import Pipeline, Tick
from mlprod_tasks.evaluation.gate import GatesRefused
from mlprod_tasks.models import decision_value
from mlprod_tasks.monitoring.decide import decide
from mlprod_tasks.platform import Platform, names
from mlprod_tasks.platform.ledger import Decision, Measurement, Promotion, Training
from mlprod_tasks.statistics.metrics import roc_auc

REPOSITORY = Path(__file__).parents[1]
FIRST = sized(date(2013, 5, 1), FIRST_SMALL)
LAST = sized(date(2013, 12, 29), date(2013, 3, 13))
DAY = timedelta(days=1)
ALONE, MONITOR, MONTHLY = "left alone", "retrained by the monitor", "retrained every month"
MONTHS = ("", "", "", "", "", "May", "June", "July", "August", "September", "October", "November", "December")


@dataclass(frozen=True)
class Course:
    """One way through the year: the score and decision of every labelled row, and the trainings that it took."""

    name: str
    score: NDArray[np.float64]
    decision: NDArray[np.bool_]
    trained: tuple[date, ...]
    refused: tuple[date, ...]


def main() -> int:
    """Print what happened; what is being done goes to standard error."""
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--last", type=date.fromisoformat, default=LAST, help="the last tick")
    asked.add_argument("--picture", type=Path, help="where to draw it, as PNG")
    asked.add_argument("--home", type=Path, help="keep what was done in this folder, and read it from there the next time")
    asked.add_argument("--small", action="store_true", help="a few ticks: only to see that it runs")
    given = asked.parse_args()
    logging.basicConfig(level=logging.ERROR)
    with nullcontext(given.home) if given.home else tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "monitor"
        pipeline, platform = begun(home, FIRST, replayed, told=told)
        shutil.copytree(home, beside := Path(folder) / "monthly")
        days = [FIRST + n * DAY for n in range((given.last - FIRST).days + 1)]
        retrained = run_monitor(pipeline, platform, days)
        rows = labelled(pipeline, platform, days)
        courses = [
            course(ALONE, pipeline, platform, rows, [], []),
            logged(pipeline, platform, rows, retrained),
            run_monthly(pipeline, platform_of(beside), rows, days),
        ]
        print_hindsight(Replayed(pipeline, platform, days, rows))
        print_candidates(Replayed(pipeline, platform, days, rows), platform.ledger.all(Measurement, pipeline=pipeline.name))
        print_calibration(rows, {one.name: one.score for one in courses})
        print_adaptation(Replayed(pipeline, platform, days, rows), [(MONTHLY, platform_of(beside))])
        print_gates(Replayed(pipeline, platform, days, rows), [(MONTHLY, platform_of(beside))])
        print_alarms(pipeline, platform, days)
        print_months(pipeline, rows, courses)
        print_summary(pipeline, rows, courses)
        if given.picture:
            given.picture.write_bytes(drawn(pipeline, platform, rows, courses))
    return 0


def kept(home: Path, last: date = LAST) -> Replayed:
    """The replay that was kept in a folder."""
    platform = platform_of(home / "monitor")
    pipeline = replayed(ml.load(REPOSITORY / "pipelines" / "flight_delays.py"))
    days = [FIRST + n * DAY for n in range((last - FIRST).days + 1)]
    return Replayed(pipeline, platform, days, labelled(pipeline, platform, days))


def replayed(shipped: Pipeline) -> Pipeline:
    """The shipped use case without the gates that have a bound of their own."""
    gates = tuple(gate for gate in shipped.gates if not isinstance(gate, ml.AtLeast | ml.AtMost | ml.Stable))
    if SMALL:  # so few rows pass none of the others
        return replace(shipped, gates=(ml.AtLeast("roc_auc", 0.5),), backtest=None)
    return replace(shipped, gates=gates, backtest=None)


def run_monitor(pipeline: Pipeline, platform: Platform, days: Sequence[date]) -> list[tuple[date, bool]]:
    """Score, measure and decide each tick; train where the rules ask for it. The ticks of trainings, and if they passed."""
    retrained = []
    for day in days:
        tick = pipeline.schedule.tick(day)
        steps.score(pipeline, tick, platform)
        steps.measure(pipeline, tick, platform)
        decided = decide(pipeline, tick, platform)
        if decided.action != "nothing":
            told(f"{day}: {decided.action}: {decided.reason[:160]}")
        if decided.retrain_now:
            retrained.append((day, promoted(pipeline, day, decided.training_reason, platform, decided_at=tick)))
    return retrained


def promoted(pipeline: Pipeline, day: date, reason: str, platform: Platform, decided_at: Tick | None = None) -> bool:
    """Train as of a tick; whether the gates let it become champion."""
    try:
        workflows.train(pipeline, pipeline.schedule.tick(day), reason, platform, decided_at=decided_at)
    except GatesRefused as error:
        told(f"{day}: refused: {error}")
        return False
    return True


def run_monthly(pipeline: Pipeline, platform: Platform, rows: pa.Table, days: Sequence[date]) -> Course:
    firsts = [day for day in days if day.day == 1 and day > FIRST]
    said = []
    for day in firsts:
        told(f"monthly training as of {day}")
        said.append((day, promoted(pipeline, day, "a month has passed", platform)))
    return course(MONTHLY, pipeline, platform, rows, [d for d, good in said if good], [d for d, good in said if not good])


def labelled(pipeline: Pipeline, platform: Platform, days: Sequence[date]) -> pa.Table:
    """The logged predictions, with their features, of all rows whose outcome is known; the monitor's own scores among them."""
    ticks = pipeline.schedule.range(days[0], days[-1])
    as_of = pipeline.schedule.tick(days[-1] + pipeline.label_delay_ticks * DAY)
    key = list(pipeline.entity_table.key)
    known = features.labels(pipeline, ticks, as_of, platform).select([*key, "label"])
    table = platform.lake.rows(names.predictions(pipeline))
    return table.join(known, key, join_type="inner").sort_by([("tick", "ascending"), *((k, "ascending") for k in key)])


def logged(pipeline: Pipeline, platform: Platform, rows: pa.Table, retrained: Sequence[tuple[date, bool]]) -> Course:
    """What the monitored use case really scored."""
    score = rows["score"].to_numpy()
    decision = np.asarray(rows["decision"].to_numpy(zero_copy_only=False), bool)
    good, bad = (tuple(day for day, passed in retrained if passed is wanted) for wanted in (True, False))
    return Course(MONITOR, score, decision, good, bad)


def course(
    name: str, pipeline: Pipeline, platform: Platform, rows: pa.Table, trained: Sequence[date], refused: Sequence[date]
) -> Course:
    """What the first model would have scored, and from each training's tick on that training's."""
    known = {p.effective: p.model_version for p in platform.ledger.all(Promotion, pipeline=pipeline.name)}
    ticks = rows["tick"].to_numpy()
    score, decision = np.empty(rows.num_rows), np.empty(rows.num_rows, bool)
    starts = [FIRST, *trained]
    for first, until in zip(starts, [*starts[1:], date.max], strict=True):
        version = known[first]
        model = platform.registry.load_model(platform.registry.version(names.registered_model(pipeline), version))
        mine = (ticks >= np.datetime64(first)) & (ticks < np.datetime64(until))
        predicted = model.predict(rows.filter(pa.array(mine)))
        score[mine], decision[mine] = predicted.score, predicted.decision
    return Course(name, score, decision, tuple(trained), tuple(refused))


def by_month(rows: pa.Table) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    months = pc.month(rows["tick"]).to_numpy()
    for month in range(1, 13):
        if (mine := months == month).any():
            yield MONTHS[month], mine
    yield "all", np.ones(len(months), bool)


def daily_auc(rows: pa.Table, score: NDArray[np.float64], mine: NDArray[np.bool_]) -> float:
    """The mean of the ticks' own AUC: what ranking within a day is worth; ticks of one class only are left out."""
    ticks, outcome = rows["tick"].to_numpy()[mine], outcomes(rows)[mine]
    found = []
    for tick in np.unique(ticks):
        same = ticks == tick
        if 0 < outcome[same].sum() < same.sum():
            found.append(roc_auc(outcome[same], score[mine][same]))
    return float(np.mean(found))


def worth(pipeline: Pipeline, rows: pa.Table, one: Course, mine: NDArray[np.bool_]) -> float:
    """Value per 1,000 rows."""
    picked = rows.filter(pa.array(mine))
    each = decision_value.worth(pipeline.value, picked, one.score[mine], outcomes(rows)[mine]).of(one.decision[mine])
    return 1000 * float(np.mean(each))


def outcomes(rows: pa.Table) -> NDArray[np.bool_]:
    return np.asarray(rows["label"].to_numpy(zero_copy_only=False), bool)


def print_alarms(pipeline: Pipeline, platform: Platform, days: Sequence[date]) -> None:
    print("### What the monitor said\n\n| rule | action | ticks on which it was an alarm | ticks on which it was a note |")
    print("| --- | --- | --- | ---: |")
    decisions, never = platform.ledger.all(Decision, pipeline=pipeline.name), []
    for rule in pipeline.rules:
        found = [(d.tick, one["action"] == "note") for d in decisions for one in d.rules if one["rule"] == rule.name]
        if found:
            notes = sum(note for _, note in found)
            print(f"| {rule.name} | {rule.action} | {spans([tick for tick, note in found if not note])} | {notes} |")
        else:
            never.append(rule.name)
    quiet = len(days) - sum(map(alarmed, decisions))
    print(f"\nNever: {', '.join(never)}.\n\n{quiet} of {len(days)} ticks without an alarm.\n")
    print("| trained as of | because | gates | test AUC |\n| --- | --- | --- | --- |")
    for one in sorted(platform.ledger.all(Training, pipeline=pipeline.name), key=lambda one: one.at):
        auc = one.metrics.get("roc_auc")
        print(f"| {one.as_of} | {why(one)} | {one.state} | {'' if auc is None else f'{auc:.3f}'} |")


def alarmed(decision: Decision) -> bool:
    """Whether any rule was more than a note."""
    return any(one["action"] != "note" for one in decision.rules)


def why(training: Training) -> str:
    return f"Retrain: {', '.join(training.rules)}" if training.rules else training.reason


def spans(fired: Sequence[date]) -> str:
    """Runs of days: '3 May, 24 to 28 June'."""
    runs: list[list[date]] = []
    for day in sorted(fired):
        if runs and day - runs[-1][-1] == DAY:
            runs[-1].append(day)
        else:
            runs.append([day])
    return ", ".join(f"{r[0]:%-d %b}" if len(r) == 1 else f"{r[0]:%-d %b} to {r[-1]:%-d %b}" for r in runs) or "never"


def print_months(pipeline: Pipeline, rows: pa.Table, courses: Sequence[Course]) -> None:
    unit = pipeline.value.unit
    heads = "".join(f" AUC, {one.name} |" for one in courses) + "".join(f" {unit} per 1,000, {one.name} |" for one in courses)
    print(f"\n### Month by month\n\n| month | rows | late |{heads}\n| --- | --- | --- |{' --- |' * 2 * len(courses)}")
    for month, mine in by_month(rows):
        aucs = "".join(f" {daily_auc(rows, one.score, mine):.3f} |" for one in courses)
        values = "".join(f" {worth(pipeline, rows, one, mine):,.0f} |" for one in courses)
        print(f"| {month} | {int(mine.sum()):,} | {outcomes(rows)[mine].mean():.2f} |{aucs}{values}")


def print_summary(pipeline: Pipeline, rows: pa.Table, courses: Sequence[Course]) -> None:
    every = np.ones(rows.num_rows, bool)
    base_auc, base_value = daily_auc(rows, courses[0].score, every), worth(pipeline, rows, courses[0], every)
    print(
        f"\n| course | trainings | refused | mean AUC of a day | {pipeline.value.unit} per 1,000 | AUC won a training | "
        f"{pipeline.value.unit} per 1,000 won a training |\n| --- | --- | --- | --- | --- | --- | --- |"
    )
    for one in courses:
        spent = len(one.trained) + len(one.refused)
        auc, money = daily_auc(rows, one.score, every), worth(pipeline, rows, one, every)
        won = f"{(auc - base_auc) / spent:+.4f} | {(money - base_value) / spent:+,.0f}" if spent else " | "
        print(f"| {one.name} | {spent} | {len(one.refused)} | {auc:.4f} | {money:,.0f} | {won} |")


def drawn(pipeline: Pipeline, platform: Platform, rows: pa.Table, courses: Sequence[Course]) -> bytes:
    """The year: late share and alarms, AUC by week, value by week, trainings marked."""
    from mlprod_tasks.documents.plot_style import BLUE, GREY, ORANGE, PURPLE, RED, panels, png

    weeks = pc.floor_temporal(rows["tick"], unit="week").to_numpy()
    starts = np.unique(weeks)
    masks = [weeks == start for start in starts]
    made, (rate, auc, money) = panels("May to December: the monitor at work", 3, 1, 10.0, 9.0)
    rate.plot(starts, [100 * outcomes(rows)[mine].mean() for mine in masks], color=GREY)
    rate.set(ylabel="late, per cent")
    colours: Mapping[str, str] = {ALONE: GREY, MONITOR: BLUE, MONTHLY: ORANGE}
    for one in courses:
        auc.plot(starts, [daily_auc(rows, one.score, mine) for mine in masks], color=colours[one.name], label=one.name)
        money.plot(starts, [worth(pipeline, rows, one, mine) for mine in masks], color=colours[one.name], label=one.name)
    fired = [d for d in platform.ledger.all(Decision, pipeline=pipeline.name) if alarmed(d)]
    top = rate.get_ylim()[1]
    rate.plot([d.tick for d in fired], [top] * len(fired), "|", color=RED, markersize=9, label="an alarm")
    for axes in (rate, auc, money):
        for day in courses[1].trained:
            axes.axvline(np.datetime64(day), color=BLUE, linewidth=0.8, linestyle=":")
        for day in courses[1].refused:
            axes.axvline(np.datetime64(day), color=PURPLE, linewidth=0.8, linestyle=":")
    auc.set(ylabel="mean AUC of a day")
    money.set(ylabel=f"{pipeline.value.unit} per 1,000 flights")
    rate.legend(frameon=False, fontsize=8)
    auc.legend(frameon=False, fontsize=8)
    return png(made)


def told(what: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {what}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
