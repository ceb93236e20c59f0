"""What adapting scores is worth on the real year: the champions of a kept replay, at each tick what was known of outcomes.

Whatever the replay's champions scored is adapted as production would have done it, by the same functions: a layer answers only
if it would have been better on the ticks before, and that of a new champion starts from its test. Beside it, what the same
layers had given if they had always answered. Defaults were chosen on ticks up to June.

`python -m benchmarks.adaptation FOLDER`, after `python -m benchmarks.replay --home FOLDER`: tables in Markdown, at last
what other gates of the layer had given on the ticks up to June, by which the defaults of `ml.Adapt` were chosen.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from copy import copy
from dataclasses import dataclass, replace
from datetime import date, datetime
from functools import cache, partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from benchmarks.hindsight import Replayed
from benchmarks.size import sized
from mlprod_tasks import declaration as ml
from mlprod_tasks import features
from mlprod_tasks.adaptation.fold import Evidence, Folded, KnownTick, Learners, judged, tried_layers
from mlprod_tasks.adaptation.kinds import kind_of
from mlprod_tasks.adaptation.row_by_row import kept_rows, learners_of, numbers_of
from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.models import decision_value
from mlprod_tasks.models.feature_frame import outcome_of
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.ledger import Promotion
from mlprod_tasks.statistics.block_bootstrap import ratio
from mlprod_tasks.statistics.metrics import Estimate, log_losses

Floats = NDArray[np.float64]
BLOCK = 14
CHOSEN_ON = date(2013, 6, 30)  # the last tick on which defaults were chosen
ADAPT = sized(ml.Adapt(), ml.Adapt(half_life=3.0, fewest=2, window=4))
STRICT = replace(ADAPT, window=sized(56, 4), confidence=0.8)  # asks for a gain that is certain
# Learners that take row by row, beside it: of the weather when the tick is scored, at three rates.
WEATHER = ("dep_hour", "weather_precip", "weather_visib", "weather_wind_speed", "weather_pressure")
LEARNERS = tuple(ml.RowByRow(WEATHER, rate, f"weather at {rate:g}") for rate in (0.0003, 0.001, 0.003))


GATES = sized(
    [
        ml.Adapt(window=window, confidence=confidence, fewest=fewest)
        for window in (56, 28)
        for confidence in (0.8, 0.5, 0.2, 0.0)
        for fewest in (10, 5)
    ],
    [ADAPT],
)


class Replay(Protocol):
    """The labelled rows of some ticks, and what any version says of them and said of its reference. rows: sorted by tick."""

    pipeline: Pipeline
    platform: Platform
    rows: pa.Table

    def model(self, version: int) -> Any:
        """The model of a version."""

    def reference_rows(self, version: int) -> pa.Table:
        """The rows of a version's reference with its predictions."""


@dataclass(frozen=True)
class Scores:
    """Scores and values of all rows, (rows,), one way or another; answers: (ticks,) whether the layer did."""

    name: str
    score: Floats
    value: Floats
    answers: NDArray[np.bool_]


@dataclass(frozen=True)
class Year:
    """The rows of a replay with an outcome. at: the number of each row's tick; outcome: a number, or 1.0 and 0.0, (rows,)."""

    days: Sequence[date]
    at: NDArray[np.int64]
    outcome: Floats


def print_adaptation(replayed: Replayed, others: Sequence[tuple[str, Platform]] = ()) -> None:
    """For each course of champions: calibration by tick, log loss and value with and without adaptation.

    others: further platforms on which all ticks may be scored again, by the version that was champion there.
    """
    year = year_of(replayed)
    print("### Adapted between trainings\n")
    for name, beside, versions in courses(replayed, others):
        print_head(name, replayed.pipeline)
        known = cache(partial(evidence_of, beside, ADAPT, year))
        plain, gated, always = adapted(beside, ADAPT, year, versions, known)
        _, strict, _ = adapted(beside, STRICT, year, versions, known)
        _, *learned = adapted(beside, replace(ADAPT, learners=LEARNERS), year, versions)
        ways = [plain, gated, replace(strict, name="adapted if certain"), always]
        ways += [replace(one, name=f"{one.name}, with learners") for one in learned]
        for part, ticks in parts(replayed.days):
            for way in ways:
                print(f"| {part}, {way.name} | {cells(year, way, ways[0], ticks)} |")
        print()
    print(f"Intervals by blocks of {BLOCK} ticks. Defaults were chosen on ticks up to {CHOSEN_ON:%-d %B}.\n")


def print_gates(replayed: Replayed, others: Sequence[tuple[str, Platform]] = ()) -> None:
    """For each course of champions: what each of GATES gives on the ticks on which defaults are chosen."""
    year = year_of(replayed)
    _, ticks = parts(replayed.days)[0]
    print("### Gates of the layer, on the ticks on which defaults are chosen\n")
    for name, beside, versions in courses(replayed, others):
        print_head(name, replayed.pipeline)
        known = cache(partial(evidence_of, beside, ADAPT, year))
        for adapt in GATES:
            plain, gated, _ = adapted(beside, adapt, year, versions, known)
            gate = f"window={adapt.window}, confidence={adapt.confidence}, fewest={adapt.fewest}"
            print(f"| {gate} | {cells(year, gated, plain, ticks)} |", flush=True)
        print()


def print_head(course: str, pipeline: Pipeline) -> None:
    print(f"| {course} | ticks adapted | mean of abs(mean outcome - mean score) by tick | log loss | change of it | ", end="")
    print(f"{pipeline.value.unit} per 1,000 | change of it |\n| --- | --- | --- | --- | --- | --- | --- |")


def year_of(replayed: Replayed) -> Year:
    outcome = np.asarray(replayed.rows["label"].to_numpy(zero_copy_only=False), float)
    at = np.searchsorted(np.array(replayed.days, "datetime64[D]"), replayed.rows["tick"].to_numpy().astype("datetime64[D]"))
    return Year(replayed.days, at, outcome)


def courses(replayed: Replayed, others: Sequence[tuple[str, Platform]]) -> Iterator[tuple[str, Replayed, Sequence[int]]]:
    """Each course of champions: its name, the replay with its models, and the version of each tick."""
    named = {
        "left alone": (replayed.platform, [min(replayed.version_at)] * len(replayed.days)),
        "retrained by the monitor": (replayed.platform, list(replayed.version_at)),
        **{name: (platform, champions(replayed.pipeline, platform, replayed.days)) for name, platform in others},
    }
    for name, (platform, versions) in named.items():
        beside = copy(replayed)
        beside.platform = platform
        yield name, beside, versions


def champions(pipeline: Pipeline, platform: Platform, days: Sequence[date]) -> list[int]:
    """The version that was champion at each tick."""
    promoted = sorted(platform.ledger.all(Promotion, pipeline=pipeline.name), key=lambda one: (one.effective, one.at))
    return [[one.model_version for one in promoted if one.effective <= day][-1] for day in days]


def adapted(
    replayed: Replay, adapt: ml.Adapt, year: Year, versions: Sequence[int], known: Callable[[int, int], Evidence] | None = None
) -> tuple[Scores, Scores, Scores]:
    """Score all rows with the version of their tick: as it is, as production would adapt it, and always adapted.

    known: see `evidence_of`, of a version up to a tick; None reads it.
    """
    n, pipeline = len(year.outcome), replayed.pipeline
    kind, delay = kind_of(pipeline), pipeline.label_delay_ticks
    score, value = {way: np.empty(n) for way in WAYS}, {way: np.empty(n) for way in WAYS}
    answers = {way: np.zeros(len(year.days), bool) for way in WAYS}
    for version in sorted(set(versions)):
        model, ticks = replayed.model(version), [tick for tick, one in enumerate(versions) if one == version]
        learners = learners_of(replace(pipeline, adapt=adapt), model.feature_names)
        evidence = (known or partial(evidence_of, replayed, adapt, year))(version, ticks[-1])
        tried = tried_layers(kind, adapt, evidence, range(min(evidence), ticks[-1] + 1), learners)
        for tick in ticks:
            mine = slice(*np.searchsorted(year.at, [tick, tick + 1]))
            if mine.start == mine.stop:
                continue
            some = replayed.rows.slice(mine.start, mine.stop - mine.start)
            own, found = model.predict(some), judged(kind, adapt, evidence, delay, tick, tried, learners)
            layer = layer_of(kind, found, learners, numbers_of(some, adapt.features))
            for way, decide in WAYS.items():
                answers[way][tick] = decide(found, adapt)
                said = model.decided(some, layer(own.score)) if answers[way][tick] else own
                worth = decision_value.worth(pipeline.value, some, said.score, year.outcome[mine])
                score[way][mine], value[way][mine] = said.score, worth.of(said.decision)
    first, second, third = (Scores(way, score[way], value[way], answers[way]) for way in WAYS)
    return first, second, third


def layer_of(kind: Any, found: Folded, learners: Learners, values: Sequence[Floats]) -> Callable[[Floats], Floats]:
    """What the layer of a tick makes of the champion's scores. values: of each feature that learners read, by row."""
    if not isinstance(found.chosen, str):
        layer: Callable[[Floats], Floats] = kind.layer(found.parameters, ())
        return layer
    one = learners[found.chosen]
    by_row = one.layer(found.parameters, one.declared.features)
    return lambda score: by_row(score, [values[at] for at in one.at])


def evidence_of(replayed: Replay, adapt: ml.Adapt, year: Year, version: int, last: int) -> Evidence:
    """What was known of a version's rows at each tick: from the first tick of its test on, which may lie before the year."""
    pipeline, kind = replayed.pipeline, kind_of(replayed.pipeline)
    key, delay, schedule = [*pipeline.entity_table.key, "tick"], pipeline.label_delay_ticks, pipeline.schedule
    reference = replayed.reference_rows(version).select([*key, *adapt.features, "score"])
    rows = replayed.rows.filter(pa.array((year.at <= last) & (replayed.rows["tick"].to_numpy() > last_tick(reference))))
    later = rows.select([*key, *adapt.features]).append_column("score", pa.array(replayed.model(version).predict(rows).score))
    scored = pa.concat_tables([reference, later])
    first, until = (pc.min_max(scored["tick"]).as_py()[end] for end in ("min", "max"))
    labels = features.labels(
        pipeline, schedule.range(first, until), schedule.tick(schedule.shift(until, delay)), replayed.platform
    ).select([*key, "label", "label_known_at"])
    counted = scored.group_by("tick").aggregate([([], "count_all")])
    rows_of = dict(zip(counted["tick"].to_pylist(), counted["count_all"].to_pylist(), strict=True))
    joined = scored.join(labels, key, join_type="inner").sort_by([(one, "ascending") for one in ("tick", *key[:-1])])
    found: dict[int, dict[int, KnownTick]] = {}
    for day, n in rows_of.items():
        mine = joined.filter(pc.equal(joined["tick"], day))
        of = schedule.ticks_between(year.days[0], day)
        for at in range(of + 1, of + delay + 1):
            start = schedule.tick(schedule.shift(day, at - of)).start
            known = mine.filter(known_by(pipeline, mine, start))
            score, outcome = known["score"].to_numpy(), outcome_of(known)
            kept = kept_rows(score, outcome, numbers_of(known, adapt.features))
            found.setdefault(at, {})[of] = KnownTick(n, known.num_rows, kind.summed(score, outcome), at == of + delay, kept)
    return found


def known_by(pipeline: Pipeline, rows: pa.Table, moment: datetime) -> pa.ChunkedArray:
    """Which rows' outcomes are known at a moment: an event strictly before it, a window that is over by then."""
    at = pa.scalar(moment, rows.schema.field("label_known_at").type)
    return (pc.less_equal if isinstance(pipeline.label, ml.Outcome) else pc.less)(rows["label_known_at"], at)


def last_tick(rows: pa.Table) -> np.datetime64:
    return np.datetime64(pc.max(rows["tick"]).as_py())


WAYS: dict[str, Callable[[Folded, ml.Adapt], bool]] = {
    "as scored": lambda found, adapt: False,
    "adapted": lambda found, adapt: found.wins(adapt),
    "always adapted": lambda found, adapt: len(found.learned) > 0,
}


def parts(days: Sequence[date]) -> list[tuple[str, list[int]]]:
    """The ticks on which defaults were chosen, those that judge them, and all."""
    early = [tick for tick, day in enumerate(days) if day <= CHOSEN_ON]
    late = [tick for tick, day in enumerate(days) if day > CHOSEN_ON]
    found = [(f"to {days[early[-1]]:%B}", early)] if early else []
    return [*found, (f"{days[late[0]]:%B} on", late), ("all", [*early, *late])] if late else found


def cells(year: Year, way: Scores, plain: Scores, ticks: Sequence[int]) -> str:
    def by_tick(each: Floats) -> Floats:
        return np.asarray(np.bincount(year.at, each, minlength=len(year.days))[ticks], np.float64)

    n = by_tick(np.ones(len(year.outcome)))
    loss, before = (by_tick(log_losses(year.outcome, one.score)) for one in (way, plain))
    apart = np.abs(by_tick(year.outcome - way.score)) / np.maximum(n, 1)
    earned, change = by_tick(way.value), by_tick(way.value - plain.value)
    said = [
        f"{int(way.answers[ticks].sum())} of {len(ticks)}",
        shown(ratio(apart, np.ones(len(ticks)), BLOCK), "{:.4f}"),
        f"{loss.sum() / n.sum():.4f}",
        "" if way is plain else shown(ratio(loss - before, before, BLOCK), "{:+.2%}"),
        f"{1000 * earned.sum() / n.sum():,.0f}",
        "" if way is plain else shown(ratio(1000 * change, n, BLOCK), "{:+,.0f}"),
    ]
    return " | ".join(said)


def shown(one: Estimate, form: str) -> str:
    return f"{form.format(one.value)} [{form.format(one.low)}, {form.format(one.high)}]"


def main(read: Callable[[Path], Replayed], beside: Callable[[Path], Platform]) -> int:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("home", type=Path, help="the folder of a kept replay")
    given = asked.parse_args()
    logging.basicConfig(level=logging.ERROR)
    replayed = read(given.home)
    monthly = given.home / "monthly"
    others = [("retrained every month", beside(monthly))] if monthly.is_dir() else []
    print_adaptation(replayed, others)
    print_gates(replayed, others)
    return 0


if __name__ == "__main__":
    from benchmarks.replay import kept, platform_of

    sys.exit(main(kept, platform_of))
