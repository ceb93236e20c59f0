"""How surely and how soon each kind of shift is found, and how often nothing is: real flights, shifts put into them.

The shipped model and features, watched as every use case is that declares nothing of its own. Quiet ticks are free of any
shift: the rows of the test window and of the four weeks after it, shuffled over their ticks, the reference's among them. A
shift is put into the ticks from one on; it is found at the first tick at which a rule fires that does not fire without it, a
tick's outcomes counted as known when its labels are complete. Beside it the same on the days as they really were, whose weather
and season are shifts of their own.

`python -m benchmarks.power [--task regression] [--own] [--shuffles N]`: tables in Markdown; some minutes on two idle cores.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from datetime import date
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from benchmarks.features import fill
from benchmarks.power_tasks import ASKED, Change, Injected, Rows, World, with_column, with_predictions
from benchmarks.size import sized
from mlprod_tasks import declaration as ml
from mlprod_tasks import features, steps
from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.models.model_facts import ModelFacts
from mlprod_tasks.models.reference_profile import ReferenceProfile
from mlprod_tasks.monitoring import loss_model
from mlprod_tasks.monitoring.bounds import Bounds
from mlprod_tasks.monitoring.diagnosis import causes, diagnose
from mlprod_tasks.monitoring.estimate import estimates
from mlprod_tasks.monitoring.inputs import inputs
from mlprod_tasks.monitoring.known_faults import with_known_faults
from mlprod_tasks.monitoring.measurement import Reading, judged
from mlprod_tasks.monitoring.observe import observe
from mlprod_tasks.monitoring.outcomes import columns, outcomes, promised_of
from mlprod_tasks.monitoring.profile import important_features, profile_of
from mlprod_tasks.monitoring.rules import NOTE, fold
from mlprod_tasks.monitoring.tick_rows import TickRows
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.engine import engine
from mlprod_tasks.platform.ledger import Measurement
from mlprod_tasks.platform.settings import from_environment
from mlprod_tasks.statistics.intervals import wilson
from mlprod_tasks.training import segments
from mlprod_tasks.training.split import TEST, TRAIN, VALIDATION
from mlprod_tasks.training.workspace import TrainingFolder, read_window

REPOSITORY = Path(__file__).parents[1]
AS_OF, AFTER = sized(("2013-05-06", 28), ("2013-03-10", 11))
BEFORE, LONGEST = 5, 5  # quiet ticks before a shift; ticks after which it counts as not found
MOST_FALSE_ALARMS = 1 / 50
MILES_TO_KM = 1.609344

_own_shifts = False  # of this run: whether shifts of rows are left out
_world: World  # of this run: what is forked is shared, not sent


@dataclass(frozen=True)
class Found:
    """What came of one injection: ticks until it was found, None for never, and what it was called then."""

    at: tuple[str, str]
    delay: int | None
    called: str


@dataclass(frozen=True)
class Course:
    """One shuffle, or the days as they were: which quiet ticks raised which rules, and every injection."""

    quiet: tuple[frozenset[str], ...]
    found: tuple[Found, ...]


def main() -> int:
    """Print the tables; what is being done goes to standard error."""
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--shuffles", type=int, default=sized(12, 1))
    asked.add_argument("--small", action="store_true", help="a few ticks: only to see that it runs")
    asked.add_argument("--task", choices=tuple(ASKED), default="binary", help="what the flights are asked for")
    asked.add_argument("--own", action="store_true", help="only shifts of the task's own scores and outcomes")
    asked.add_argument("--shipped", action="store_true", help="the use case's own watches and rules instead of the defaults")
    given = asked.parse_args()
    logging.basicConfig(level=logging.ERROR)
    began = time.perf_counter()
    global _world, _own_shifts
    _own_shifts = given.own
    _world = world(given.task, shipped=given.shipped)
    print(f"rows, model and scores: {time.perf_counter() - began:.0f} s", file=sys.stderr)
    with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("fork")) as pool:
        real = pool.submit(on_real_days)
        shuffled = []
        for course in pool.map(on_shuffled_days, range(given.shuffles)):
            shuffled.append(course)
            print(f"{len(shuffled)} of {given.shuffles}: {time.perf_counter() - began:.0f} s", file=sys.stderr)
        print_quiet(shuffled, real.result())
        print_found(shuffled, real.result())
    return 0


def world(task: str, shipped: bool) -> World:
    """Train the shipped model as of AS_OF, and score its test window and the ticks after it."""
    pipeline = ASKED[task].declared(ml.load(REPOSITORY / "pipelines" / "flight_delays.py"))
    with tempfile.TemporaryDirectory() as home:
        platform = Platform(from_environment({"MLPROD_HOME": home, "MLPROD_PIPELINES": home}))
        fill(pipeline, platform, 1)
        tick = pipeline.schedule.tick(AS_OF)
        steps.assemble(pipeline, tick, AS_OF, "a benchmark", platform)
        folder = TrainingFolder(platform, AS_OF)
        train, validation = (read_window(folder, name) for name in (TRAIN, VALIDATION))
        reference = read_window(folder, TEST, labelled=False)
        ticks = pipeline.schedule.range(tick.name, pipeline.schedule.shift(tick.name, AFTER - 1))
        complete = pipeline.schedule.tick(pipeline.schedule.shift(tick.name, AFTER - 1 + pipeline.label_delay_ticks))
        labels = features.labels(pipeline, ticks, complete, platform)
        after = features.build(pipeline, ticks, platform).table
    key = list(pipeline.entity_table.key)
    after = after.join(labels.select([*key, "label"]), keys=key, join_type="left outer").sort_by("tick")
    model = segments.fit_all(pipeline, train, validation, ModelFacts())
    needed = [*pipeline.feature_names, "tick", "label"]
    if not shipped:
        pipeline = replace(pipeline, watches=ml.WATCHES, rules=ml.RULES, monitoring=ml.Monitoring())
    return World(
        pipeline, model, *(scored(model, rows.select(needed)).combine_chunks() for rows in (reference.sort_by("tick"), after))
    )


def scored(model: Any, rows: Rows) -> Rows:
    """The rows with what the model says of them, as scoring logs it."""
    return with_predictions(rows, model.predict(rows), decides=model.threshold is not None)


def on_shuffled_days(seed: int) -> Course:
    """One shuffle of all rows: the quiet ticks, and every injection from the same tick on."""
    random = np.random.default_rng(seed)
    every = pa.concat_tables([_world.reference, _world.after])
    mixed = every.drop_columns(["tick"]).take(random.permutation(every.num_rows)).append_column("tick", every["tick"])
    n = _world.reference.num_rows
    mixed = mixed.combine_chunks()
    return course(replace(_world, reference=mixed.slice(0, n), after=mixed.slice(n)), random, [BEFORE])


def on_real_days() -> Course:
    """The days as they were, and every injection from each of several of them on."""
    return course(_world, np.random.default_rng(0), list(range(BEFORE, AFTER - LONGEST, 7)))


def course(
    world: World, random: np.random.Generator, starts: Sequence[int], shifts: Sequence[Injected] | None = None
) -> Course:
    """The ticks of a world as they are, and with every shift put in from each of `starts` on."""
    shifts = shifts_of(world.pipeline.task) if shifts is None else shifts
    profile = profile_of(world.pipeline, world.reference, world.model.importance)
    days = sorted(set(world.after["tick"].to_pylist()))
    with engine(threads=1) as con:
        watched = Watched(con, world.pipeline, profile)
        ticks = {day: world.after.filter(pc.equal(world.after["tick"], day)) for day in days}
        quiet = {day: watched.measured(day, rows) for day, rows in ticks.items()}
        fired = watched.fired(quiet)
        found = [find(world, watched, ticks, quiet, fired, days[start:], shift, random) for start in starts for shift in shifts]
    return Course(tuple(fired.values()), tuple(found))


def find(
    world: World,
    watched: Watched,
    ticks: Mapping[date, Rows],
    quiet: Mapping[date, list[Measurement]],
    fired: Mapping[date, frozenset[str]],
    days: Sequence[date],
    shift: Injected,
    random: np.random.Generator,
) -> Found:
    """Put a shift into the ticks of `days` until a rule fires that does not fire without it."""
    nth = int(random.integers(1000))  # which of several features: the same one at each tick
    known = {day: rows for day, rows in quiet.items() if day < days[0]}
    for delay, day in enumerate(days[:LONGEST]):
        known[day] = watched.measured(day, shift.change(world, ticks[day], nth, random))
        if watched.fired(known)[day] - fired[day]:
            called = diagnose(world.pipeline, known[day])
            return Found((shift.kind, shift.size), delay, called[0].kind if called else "")
    return Found((shift.kind, shift.size), None, "")


@dataclass(frozen=True)
class Watched:
    """What production's monitor does with a tick, without lake and ledger."""

    con: Any
    pipeline: Pipeline
    profile: ReferenceProfile

    def measured(self, day: date, rows: Rows) -> list[Measurement]:
        """Everything that is measured of a tick, when its labels are complete."""
        tick, bounds = self.pipeline.schedule.tick(day), Bounds(self.pipeline, day, self.profile)
        self.con.register("tick_rows", rows)
        promised_by = promised_of(self.profile)
        promised = None if promised_by is None else promised_by(self.con, "tick_rows", self.pipeline)
        only: dict[str, bool] = {watch.what: watch.only_important for watch in self.pipeline.watches}
        together = "domain_auc" in only
        seen = observe(self.con, "tick_rows", self.profile, sampled=together)
        compared = list(inputs(self.profile, seen, only, together=together))
        faults = with_known_faults(TickRows(self.con, "tick_rows"), self.profile, seen, compared, self.pipeline.features)
        readings = [*faults, *self._estimated(promised)]
        known = rows.filter(rows["label"].is_valid()).select([*columns(self.pipeline, self.profile), "label"])
        readings += outcomes(self.pipeline, self.profile, known, rows.num_rows, promised)
        measurements = [judged(one, self.pipeline, tick, 1, tick.end, bounds) for one in readings]
        found = causes(self.pipeline, measurements)
        for one in measurements:
            one.cause = found.get((one.what, one.slice), "")
        return measurements

    def _estimated(self, promised: Any) -> list[Reading]:
        """What is estimated before labels arrive."""
        if promised is not None:
            return list(estimates(self.profile, promised))
        numbers = self.profile.numbers
        return [] if numbers is None else list(loss_model.estimates(self.con, "tick_rows", numbers))

    def fired(self, measurements: Mapping[date, list[Measurement]]) -> dict[date, frozenset[str]]:
        """The rules that fire at each tick and are no notes, outcomes counted as known at their own tick."""
        rows = [one for of_tick in measurements.values() for one in of_tick]
        rulings = fold(self.pipeline.rules, self.pipeline.retraining, self.pipeline.schedule, 0, rows, list(measurements))
        return {ruling.tick: frozenset(one.rule.name for one in ruling.fired if one.action != NOTE) for ruling in rulings}


def shifted(sds: float) -> Change:
    """An important number of every row is larger by so many standard deviations of the reference."""

    def change(world: World, rows: Rows, nth: int, random: np.random.Generator) -> Rows:
        name = nth_of(numbers(world), nth)
        values, known = rows[name].to_pandas(), world.reference[name].to_pandas()
        moved = pa.array(values + sds * float(known.std()), pa.float64(), from_pandas=True)
        kind = rows.schema.field(name).type
        return scored(
            world.model, with_column(rows, name, (pc.round(moved) if pa.types.is_integer(kind) else moved).cast(kind))
        )

    return change


def nulled(share: float) -> Change:
    """An important feature is missing in that share of the rows."""

    def change(world: World, rows: Rows, nth: int, random: np.random.Generator) -> Rows:
        name = nth_of(important(world), nth)
        flags = random.random(rows.num_rows) < share
        return scored(world.model, with_column(rows, name, pc.if_else(flags, None, rows[name])))

    return change


def in_kilometres(world: World, rows: Rows, nth: int, random: np.random.Generator) -> Rows:
    moved = pc.round(pc.multiply(rows["distance"].cast(pa.float64()), MILES_TO_KM))
    return scored(world.model, with_column(rows, "distance", moved.cast(rows.schema.field("distance").type)))


def renamed(share: float) -> Change:
    """That share of the rows has a carrier that nobody knows."""

    def change(world: World, rows: Rows, nth: int, random: np.random.Generator) -> Rows:
        flags = random.random(rows.num_rows) < share
        return scored(world.model, with_column(rows, "carrier", pc.if_else(flags, "new", rows["carrier"])))

    return change


def thinned(share: float) -> Change:
    """Only that share of the rows comes."""

    def change(world: World, rows: Rows, nth: int, random: np.random.Generator) -> Rows:
        return rows.take(np.sort(random.permutation(rows.num_rows)[: int(share * rows.num_rows)]))

    return change


def important(world: World) -> list[str]:
    """The features that make up most of the model's gain, the greatest first."""
    chosen = important_features(world.model.importance)
    return sorted(chosen, key=lambda name: -world.model.importance[name])


def numbers(world: World) -> list[str]:
    """The important ones that are numbers and no codes."""
    kinds, codes = world.reference.schema, world.pipeline.model.categorical
    return [
        name
        for name in important(world)
        if name not in codes and (pa.types.is_integer(kinds.field(name).type) or pa.types.is_floating(kinds.field(name).type))
    ]


def nth_of(names: Sequence[str], nth: int) -> str:
    return names[nth % len(names)]


OF_ROWS = (
    *(Injected("an important number moves", f"{sds:g} SD", shifted(sds), goal=sds == 1) for sds in (0.25, 0.5, 1.0)),
    *(
        Injected("nulls in an important feature", f"{share:.0%}", nulled(share), goal=share == 0.1)
        for share in (0.02, 0.05, 0.1)
    ),
    Injected("a unit changes", "miles to km", in_kilometres, goal=True),
    *(Injected("unknown categories", f"{share:.0%}", renamed(share)) for share in (0.02, 0.1)),
    *(Injected("rows are missing", f"{1 - share:.0%}", thinned(share)) for share in (0.75, 0.5)),
)


def shifts_of(task: str) -> tuple[Injected, ...]:
    """Those of rows, which every task has, and those of the task's scores and outcomes."""
    every = ASKED[task].shifts if _own_shifts else (*OF_ROWS, *ASKED[task].shifts)
    return sized(every, every[-1:])


def print_quiet(shuffled: Sequence[Course], real: Course) -> None:
    """How often a rule fires where nothing was put in."""
    print("### Alarms where nothing was put in\n")
    print("| ticks | pipeline-days | with an alarm | share, 95 % interval | which rules |")
    print("| --- | --- | --- | --- | --- |")
    for name, courses in (("shuffled, free of shift", shuffled), ("as they were", [real])):
        days = [rules for one in courses for rules in one.quiet]
        alarms = sum(map(bool, days))
        low, high = wilson(alarms, len(days))
        which = Counter(rule for rules in days for rule in rules).most_common()
        named = ", ".join(f"{rule} {n}" for rule, n in which) or "none"
        print(f"| {name} | {len(days)} | {alarms} | {alarms / len(days):.3f} [{low:.3f}, {high:.3f}] | {named} |")
    days = [rules for one in shuffled for rules in one.quiet]
    rate = sum(map(bool, days)) / len(days)
    print(f"\nAt most {MOST_FALSE_ALARMS:.3f} of the shuffled ones: {verdict(rate <= MOST_FALSE_ALARMS)}.\n")


def print_found(shuffled: Sequence[Course], real: Course) -> None:
    """For each shift how surely and how soon it is found."""
    print("### Shifts that were put in\n")
    print("| shift | size | found at the first tick | median delay, ticks | called | real days: at the first tick | goal |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for shift in shifts_of(_world.pipeline.task):
        at = (shift.kind, shift.size)
        ours = [found for one in shuffled for found in one.found if found.at == at]
        days = [found for found in real.found if found.at == at]
        goal = verdict(first(ours) == 1) if shift.goal else ""
        cells = [shift.kind, shift.size, f"{first(ours):.0%}", delay(ours), called(ours), f"{first(days):.0%}", goal]
        print(f"| {' | '.join(cells)} |")


def first(found: Sequence[Found]) -> float:
    return sum(one.delay == 0 for one in found) / len(found)


def delay(found: Sequence[Found]) -> str:
    """The median of ticks after the first, of those never found too."""
    middle = median(LONGEST if one.delay is None else one.delay for one in found)
    return f"{middle:g}" if middle < LONGEST else f"more than {LONGEST - 1}"


def called(found: Sequence[Found]) -> str:
    names = Counter(one.called for one in found if one.called).most_common(2)
    return ", ".join(f"{name} {n}/{len(found)}" for name, n in names)


def verdict(kept: bool) -> str:
    return "kept" if kept else "MISSED"


if __name__ == "__main__":
    sys.exit(main())
