"""When to train again: never, every 30 days, by drift, by the estimated loss or by the realised loss, each with and without
adapting scores between trainings.

A first model is trained as of the first tick. Then each policy goes through the same ticks with production's own functions:
its champion scores the rows of a tick, these are measured against the champion's reference, and the policy's rules ask for a
training or do not, with the declared cooldown and budget. A training has the declared windows and labels known by then, and is
refused if a `NotWorseThanChampion` gate of the use case fails on its test window. Trainings as of one tick are shared by all
policies that ask for them. What adapting gives is computed as in `benchmarks.adaptation`.

The policy that is recommended is chosen on the first ticks, which do not judge it: the fewest trainings of those whose value,
with adaptation, is not lower than the best one's for certain.

`python -m benchmarks.retraining [USE_CASE ...]`: tables in Markdown; about half an hour for the flights on two busy cores.
"""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from benchmarks import features as flights_in_lake
from benchmarks.adaptation import Scores, Year, adapted, known_by, shown
from benchmarks.power import Watched
from benchmarks.power_tasks import with_predictions
from benchmarks.simple_rules import PIPELINES, new_platform
from benchmarks.size import SMALL, sized
from demo import grocery_database
from mlprod_tasks import declaration as ml
from mlprod_tasks import features, workflows
from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.declaration.gate import HIGHER_IS_BETTER
from mlprod_tasks.models import decision_value
from mlprod_tasks.models.feature_frame import outcome_of
from mlprod_tasks.models.model_facts import ModelFacts
from mlprod_tasks.models.tasks import task_of
from mlprod_tasks.monitoring.kinds import of_family
from mlprod_tasks.monitoring.profile import profile_of
from mlprod_tasks.monitoring.relevance import OF_SHIFTS
from mlprod_tasks.monitoring.rules import STALE_TICKS, fold
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.engine import engine
from mlprod_tasks.platform.ledger import Measurement
from mlprod_tasks.statistics.block_bootstrap import ratio
from mlprod_tasks.statistics.metrics import log_losses
from mlprod_tasks.training import segments
from mlprod_tasks.training.split import windows_of

NEVER, MONTHLY, DRIFT, ESTIMATED, REALISED = (
    "never", "every 30 days", "by drift", "by estimated loss", "by realised loss",
)  # fmt: skip
ADAPT = sized(ml.Adapt(), ml.Adapt(half_life=3.0, fewest=2, window=4))
BLOCK = 14
MONTH = sized(timedelta(days=30), timedelta(days=2))
# What stands for the estimated loss where a use case has no such rule: bounds learned from the reference's ticks.
ESTIMATES: Mapping[str, tuple[ml.Watch, ...]] = {
    "binary": tuple(ml.Watch(what, learned=ml.Learned()) for what in ("estimated_roc_auc", "estimated_value")),
    "regression": (ml.Watch("estimated_mae", high=1.1, learned=ml.Learned()),),
    "multiclass": (ml.Watch("estimated_log_loss", high=1.05, learned=ml.Learned()),),
}


@dataclass(frozen=True)
class Asked:
    """The ticks of a use case. chosen_until: the last tick of those on which a policy is chosen."""

    first: date
    last: date
    chosen_until: date
    platform: Callable[[Path, Pipeline, date], Platform]


def of_flights(home: Path, pipeline: Pipeline, last: date) -> Platform:
    platform = flights_in_lake.lake(home)
    flights_in_lake.fill(pipeline, platform, 1)
    return platform


def of_groceries(home: Path, pipeline: Pipeline, last: date) -> Platform:
    platform = new_platform(home, "grocery", grocery_database.fill)
    end = pipeline.schedule.shift(last, pipeline.label_delay_ticks)
    workflows.ingest(pipeline, pipeline.schedule.range(pipeline.schedule.first, end), platform)
    return platform


ASKED = {
    "flight_delays": Asked(
        *sized(
            (date(2013, 5, 1), date(2013, 12, 29), date(2013, 6, 30)),
            (date(2013, 3, 10), date(2013, 3, 13), date(2013, 3, 11)),
        ),
        of_flights,
    ),
    "household_spend": Asked(date(2017, 7, 3), date(2017, 12, 4), date(2017, 8, 28), of_groceries),
}


@dataclass
class World:
    """All that policies share: rows with features and outcomes, and every model that one of them has asked for."""

    pipeline: Pipeline
    platform: Platform
    days: Sequence[date]
    every: pa.Table  # of the whole history, sorted by tick, with `label` and `label_known_at`, null where nothing came
    rows: pa.Table  # those of `days` with an outcome
    models: list[Any] = field(default_factory=list)
    as_of: dict[date, int] = field(default_factory=dict)  # the version of each training
    _references: dict[int, pa.Table] = field(default_factory=dict)
    _measured: dict[tuple[int, date], list[Measurement]] = field(default_factory=dict)
    _watched: dict[int, Watched] = field(default_factory=dict)

    def model(self, version: int) -> Any:
        return self.models[version]

    def reference_rows(self, version: int) -> pa.Table:
        return self._references[version]

    def trained(self, day: date) -> int:
        """The version that is trained as of a tick."""
        if day not in self.as_of:
            began, tick = time.perf_counter(), self.pipeline.schedule.tick(day)
            windows = windows_of(self.pipeline, tick, self.platform)
            known = self.every.filter(known_by(self.pipeline, self.every, tick.start))
            train, validation, test = (between(known, one.first, one.last) for _, one in windows.named())
            model = segments.fit_all(self.pipeline, train, validation, ModelFacts())
            version = self.as_of[day] = len(self.models)
            self.models.append(model)
            self._references[version] = with_predictions(test, model.predict(test), decides=model.threshold is not None)
            told(f"trained as of {day}: {time.perf_counter() - began:.0f} s")
        return self.as_of[day]

    def measured(self, version: int, day: date) -> list[Measurement]:
        """What a version's monitor measures of a tick; outcomes as if they were known."""
        if (version, day) not in self._measured:
            model, rows = self.models[version], between(self.every, day, day)
            rows = with_predictions(rows, model.predict(rows), decides=model.threshold is not None)
            with engine(threads=1) as con:
                of_tick = self._watcher(version, con).measured(day, rows.combine_chunks())
            for one in of_tick:
                one.model_version = version
            self._measured[version, day] = of_tick
        return self._measured[version, day]

    def _watcher(self, version: int, con: Any) -> Watched:
        if version not in self._watched:
            rows = self._references[version]
            rows = sized(rows, between(rows, self.days[0] - timedelta(days=8), self.days[-1]))
            profile = profile_of(self.pipeline, rows, dict(self.models[version].importance))
            self._watched[version] = Watched(con, self.pipeline, profile)
        return replace(self._watched[version], con=con)

    def refused(self, version: int, champion: int) -> bool:
        """Whether a new version fails a `NotWorseThanChampion` gate on its test window."""
        rows = self._references[version]
        ours, theirs = (self._metrics(one, rows) for one in (version, champion))
        for gate in self.pipeline.gates:
            if isinstance(gate, ml.NotWorseThanChampion):
                sign = 1 if HIGHER_IS_BETTER[gate.metric] else -1
                if sign * (ours[gate.metric] - theirs[gate.metric]) < -gate.tolerance:
                    return True
        return False

    def _metrics(self, version: int, rows: pa.Table) -> Mapping[str, float]:
        predicted, outcome = self.models[version].predict(rows), outcome_of(rows)
        worth = decision_value.worth(self.pipeline.value, rows, predicted.score, outcome).of(predicted.decision)
        return task_of(self.pipeline).sample(self.pipeline, outcome, predicted, worth).points


@dataclass(frozen=True)
class Course:
    """A way through the ticks. versions: the champion of each; trained: the ticks of trainings; refused: those in vain."""

    policy: str
    versions: tuple[int, ...]
    trained: tuple[date, ...]
    refused: tuple[date, ...]


def world_of(pipeline: Pipeline, asked: Asked, home: Path) -> World:
    platform, schedule = asked.platform(home, pipeline, asked.last), pipeline.schedule
    told(f"{pipeline.name}: in the lake")
    ticks, key = schedule.range(schedule.first, asked.last), [*pipeline.entity_table.key, "tick"]
    complete = schedule.tick(schedule.shift(asked.last, pipeline.label_delay_ticks))
    labels = features.labels(pipeline, ticks, complete, platform).select([*key, "label", "label_known_at"])
    built = features.build(pipeline, ticks, platform).table
    order = [(one, "ascending") for one in ("tick", *key[:-1])]
    every = (
        built.select([*key, *pipeline.feature_names]).join(labels, key, join_type="left outer").sort_by(order).combine_chunks()
    )
    days = schedule.names(asked.first, asked.last)
    rows = between(every, asked.first, asked.last)
    told(f"{every.num_rows:,} rows with features")
    return World(pipeline, platform, days, every, rows.filter(rows["label"].is_valid()).combine_chunks())


def between(rows: pa.Table, first: Any, last: Any) -> pa.Table:
    low, high = (pa.scalar(one, rows.schema.field("tick").type) for one in (first, last))
    return rows.filter(pc.and_(pc.greater_equal(rows["tick"], low), pc.less_equal(rows["tick"], high)))


def policies(pipeline: Pipeline) -> dict[str, tuple[ml.Rule, ...] | None]:
    """The rules by which each policy trains; None: by the clock."""
    outcomes, estimated = set(of_family("outcome")), {one.what for one in ESTIMATES[pipeline.task]}
    moved = [one for one in pipeline.rules if one.watch in OF_SHIFTS - outcomes]
    lost = [one for one in pipeline.rules if one.watch in outcomes and one.action == "retrain"]
    return {
        NEVER: (),
        MONTHLY: None,
        DRIFT: tuple(replace(one, action="retrain") for one in moved),
        ESTIMATED: tuple(ml.Rule(what, what, "retrain", mean_of=7) for what in sorted(estimated)),
        REALISED: tuple(lost),
    }


def watching_estimates(pipeline: Pipeline) -> Pipeline:
    """The use case, also watched by its estimated loss, with the bounds that a policy needs."""
    there = {one.what for one in ESTIMATES[pipeline.task]}
    watches = tuple(one for one in pipeline.watches if one.what not in there)
    rules = tuple(one for one in pipeline.rules if one.watch not in there)
    if SMALL:  # so few rows pass no gate, and measuring takes as long as there are features
        pipeline = replace(pipeline, gates=(ml.NotWorseThanChampion("roc_auc"),), backtest=None, features=pipeline.features[:5])
    return replace(pipeline, watches=(*watches, *ESTIMATES[pipeline.task]), rules=rules)


def gone_through(world: World, policy: str, rules: Sequence[ml.Rule] | None) -> Course:
    """Let a policy decide at each tick; a new champion scores from the next tick on."""
    pipeline, schedule = world.pipeline, world.pipeline.schedule
    champion, versions, trained, refused = world.trained(world.days[0]), list[int](), list[date](), list[date]()
    measured: dict[date, list[Measurement]] = {}
    for at, day in enumerate(world.days):
        versions.append(champion)
        if rules is None:
            wants = schedule.elapsed(max(trained, default=world.days[0]), day) >= MONTH
        elif rules:
            measured[day] = world.measured(champion, day)
            recent = [one for before in world.days[max(0, at - STALE_TICKS) : at + 1] for one in measured[before]]
            (ruling,) = fold(rules, pipeline.retraining, schedule, pipeline.label_delay_ticks, recent, [day], trained)
            wants = ruling.retrain
        else:
            wants = False
        if wants:
            trained.append(day)
            new = world.trained(day)
            if world.refused(new, champion):
                refused.append(day)
            else:
                champion = new
    told(f"{policy}: {len(trained)} trainings, {len(refused)} refused")
    return Course(policy, tuple(versions), tuple(trained), tuple(refused))


def compare(pipeline: Pipeline, asked: Asked, home: Path) -> None:
    """Print what each policy is worth."""
    world = world_of(watching_estimates(pipeline), asked, home)
    at = np.searchsorted(np.array(world.days, "datetime64[D]"), world.rows["tick"].to_numpy().astype("datetime64[D]"))
    year = Year(world.days, at, outcome_of(world.rows).astype(np.float64))
    courses = [gone_through(world, name, rules) for name, rules in policies(world.pipeline).items()]
    ways = {one.policy: adapted(world, ADAPT, year, one.versions)[:2] for one in courses}
    print(f"### {pipeline.name}\n")
    for one in courses:
        days = ", ".join(f"{day:%-d %b}" + (" (refused)" if day in one.refused else "") for day in one.trained)
        print(f"- {one.policy}: {days or 'no training'}")
    early = [tick for tick, day in enumerate(world.days) if day <= asked.chosen_until]
    late = [tick for tick, day in enumerate(world.days) if day > asked.chosen_until]
    for words, ticks in (("chosen on", early), ("judged on", late)):
        print(f"\n{words} {world.days[ticks[0]]} to {world.days[ticks[-1]]}\n")
        print_part(world.pipeline, year, courses, ways, ticks)
    print(f"\nChosen on the first part: {chosen(year, courses, ways, early)}.\n")


def print_part(
    pipeline: Pipeline,
    year: Year,
    courses: Sequence[Course],
    ways: Mapping[str, tuple[Scores, ...]],
    ticks: Sequence[int],
) -> None:
    loss_words = "squared error" if pipeline.task == "regression" else "log loss"
    unit, plain = pipeline.value.unit, ways[NEVER][0]
    print(
        f"| policy | scores | trainings | mean of abs(mean outcome - mean score) by tick | {loss_words} | {unit} per 1,000 | "
        f"more than never | for each training |\n| --- | --- | --- | --- | --- | --- | --- | --- |"
    )
    n = by_tick(year, np.ones(len(year.outcome)), ticks)
    block = min(BLOCK, max(1, len(ticks) // 6))
    for one in courses:
        count = sum(year.days.index(day) in ticks for day in one.trained)
        for way in ways[one.policy]:
            apart = np.abs(by_tick(year, year.outcome - way.score, ticks)) / np.maximum(n, 1)
            lost = by_tick(year, losses(pipeline, year.outcome, way.score), ticks)
            more = ratio(1000 * by_tick(year, way.value - plain.value, ticks), n, block)
            cells = [
                one.policy, way.name, str(count), f"{apart.mean():.4g}", f"{lost.sum() / n.sum():.5g}",
                f"{1000 * by_tick(year, way.value, ticks).sum() / n.sum():,.0f}",
                "" if way is plain else shown(more, "{:+,.0f}"),
                f"{more.value / count:+,.0f}" if count else "",
            ]  # fmt: skip
            print(f"| {' | '.join(cells)} |")


def chosen(year: Year, courses: Sequence[Course], ways: Mapping[str, tuple[Scores, ...]], ticks: Sequence[int]) -> str:
    """The policy with the fewest trainings on some ticks of those that are not worse than the best for certain, scores adapted.

    Of equally many, the one with the most value there.
    """
    n = by_tick(year, np.ones(len(year.outcome)), ticks)
    best = max(courses, key=lambda one: by_tick(year, ways[one.policy][1].value, ticks).sum())
    block = min(BLOCK, max(1, len(ticks) // 6))

    def not_worse(one: Course) -> bool:
        less = by_tick(year, ways[best.policy][1].value - ways[one.policy][1].value, ticks)
        return one is best or ratio(less, n, block).low <= 0

    def cost(one: Course) -> tuple[int, float]:
        trainings = sum(year.days.index(day) in ticks for day in one.trained)
        return trainings, -float(by_tick(year, ways[one.policy][1].value, ticks).sum())

    return min(filter(not_worse, courses), key=cost).policy


def losses(pipeline: Pipeline, outcome: NDArray[np.float64], score: NDArray[np.float64]) -> NDArray[np.float64]:
    return (outcome - score) ** 2 if pipeline.task == "regression" else log_losses(outcome, score)


def by_tick(year: Year, each: NDArray[np.float64], ticks: Sequence[int]) -> NDArray[np.float64]:
    return np.asarray(np.bincount(year.at, each, minlength=len(year.days))[ticks], np.float64)


def told(what: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {what}", file=sys.stderr, flush=True)


def main() -> int:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("use_cases", nargs="*", metavar="USE_CASE", help=f"of {', '.join(ASKED)}; all by default")
    asked.add_argument("--small", action="store_true", help="a few ticks: only to see that it runs")
    given = asked.parse_args()
    logging.basicConfig(level=logging.ERROR)
    if unknown := [one for one in given.use_cases if one not in ASKED]:
        sys.exit(f"no ticks are listed for {', '.join(unknown)}; there are {', '.join(ASKED)}")
    for name in given.use_cases or sized(tuple(ASKED), ("flight_delays",)):
        with tempfile.TemporaryDirectory() as home:
            compare(ml.load(PIPELINES / f"{name}.py"), ASKED[name], Path(home))
    return 0


if __name__ == "__main__":
    sys.exit(main())
