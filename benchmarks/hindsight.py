"""Judge the alarms of a kept replay by what came true: `python -m benchmarks.hindsight HOME [--again]`, after
`python -m benchmarks.replay --home HOME`. The rules of the judging are in `mlprod_tasks.monitoring.hindsight`.

`--again` measures and decides every tick again with the code and the declaration as they are now, models and scores as they
were: what other rules would have said of the same year. Nothing is trained, so that no cooldown counts.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from benchmarks.power_tasks import with_predictions
from mlprod_tasks import features
from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.declaration.rhythm import TickName
from mlprod_tasks.models import decision_value
from mlprod_tasks.monitoring.diagnosis import DATA_FAULTS
from mlprod_tasks.monitoring.hindsight import (
    AHEAD,
    WEEK,
    AlarmRecord,
    Loss,
    Quality,
    TickSums,
    around,
    before,
    judge,
    quality,
    tick_sums,
    weeks,
    worse,
)
from mlprod_tasks.monitoring.profile import profile_of
from mlprod_tasks.monitoring.record import reference_of
from mlprod_tasks.monitoring.relevance import OF_SHIFTS
from mlprod_tasks.monitoring.rules import fold
from mlprod_tasks.platform import Platform, names
from mlprod_tasks.platform.engine import engine
from mlprod_tasks.platform.ledger import Decision, Measurement, Scoring
from mlprod_tasks.statistics.block_bootstrap import ratio
from mlprod_tasks.statistics.metrics import Estimate, log_losses

DAY = timedelta(days=1)
LOSS = Loss()


@dataclass
class Replayed:
    """A replay: the labelled rows of its ticks, and what any version says of them.

    rows: sorted by tick, with `label`.
    """

    pipeline: Pipeline
    platform: Platform
    days: Sequence[date]
    rows: pa.Table
    _sums: dict[int, dict[int, TickSums]] = field(default_factory=dict)
    _references: dict[int, Quality] = field(default_factory=dict)
    _every: pa.Table | None = None

    def __post_init__(self) -> None:
        scored = self.platform.ledger.all(Scoring, pipeline=self.pipeline.name)
        versions = {one.tick: one.model_version for one in scored}
        self.version_at = [versions[day] for day in self.days]
        self._at = np.searchsorted(np.array(self.days, "datetime64[D]"), self.rows["tick"].to_numpy().astype("datetime64[D]"))

    def of_version(self, version: int, ticks: Sequence[int]) -> Quality:
        """How good a version is, or would have been, on some ticks."""
        known = self._sums.setdefault(version, {})
        wanted = [tick for tick in ticks if tick not in known]
        if wanted:
            known.update(sums_of(self.pipeline, self.model(version), self.rows, self._at, wanted))
        return quality([known[tick] for tick in ticks])

    def reference(self, version: int) -> Quality:
        """How good a version was on its reference."""
        if version not in self._references:
            rows = self.reference_rows(version)
            rows = rows.filter(rows["label"].is_valid())
            days, at = np.unique(rows["tick"].to_numpy().astype("datetime64[D]"), return_inverse=True)
            sums = sums_of(self.pipeline, self.model(version), rows, at, range(len(days)))
            self._references[version] = quality(list(sums.values()))
        return self._references[version]

    def model(self, version: int) -> Any:
        return self.platform.registry.load(self.pipeline, version)

    def importance(self, version: int) -> Mapping[str, float]:
        return dict(self.model(version).importance)

    def scored_rows(self, tick: int) -> pa.Table:
        """The rows of a tick as they were scored; those without an outcome have no label."""
        if self._every is None:
            key = list(self.pipeline.entity_table.key)
            every = self.platform.lake.rows(names.predictions(self.pipeline))
            every = every.join(self.rows.select([*key, "label"]), key, join_type="left outer")
            self._every = every.sort_by([("tick", "ascending"), *((one, "ascending") for one in key)]).combine_chunks()
        return self._every.filter(pc.equal(self._every["tick"], pa.scalar(self.days[tick], self._every["tick"].type)))

    def reference_rows(self, version: int) -> pa.Table:
        """The rows of a version's reference with its predictions and labels."""
        profile = reference_of(self.pipeline, version, self.platform)
        ticks, key = self.pipeline.schedule.range(profile.first, profile.last), list(self.pipeline.entity_table.key)
        complete = self.pipeline.schedule.tick(date.fromisoformat(profile.last) + self.pipeline.label_delay_ticks * DAY)
        labels = features.labels(self.pipeline, ticks, complete, self.platform).select([*key, "label"])
        rows = features.build(self.pipeline, ticks, self.platform).table.join(labels, key, join_type="left outer")
        rows = rows.sort_by([("tick", "ascending"), *((one, "ascending") for one in key)]).combine_chunks()
        return with_predictions(rows, self.model(version).predict(rows))

    def worse(self, version: int, ticks: Sequence[int]) -> tuple[str, ...]:
        return worse(self.of_version(version, ticks), self.reference(version), LOSS)


def sums_of(pipeline: Pipeline, model: Any, rows: pa.Table, at: NDArray[np.int64], ticks: Sequence[int]) -> dict[int, TickSums]:
    """The sums of some ticks. at: the number of each row's tick, ascending."""
    picked = np.isin(at, list(ticks))
    some, where = rows.filter(pa.array(picked)), at[picked]
    said = model.predict(some)
    outcome = np.asarray(some["label"].to_numpy(zero_copy_only=False), bool)
    worth = decision_value.worth(pipeline.value, some, said.score, outcome)
    value = worth.of(said.decision)
    found = {}
    for tick in ticks:
        mine = slice(*np.searchsorted(where, [tick, tick + 1]))
        found[tick] = tick_sums(outcome[mine], said.score[mine], value[mine], worth.acted[mine], worth.waited[mine])
    return found


def measured_again(replayed: Replayed) -> list[Measurement]:
    """The measurements of each tick, by the code and the declaration as they are now."""
    from benchmarks.power import Watched

    pipeline, measured = replayed.pipeline, list[Measurement]()
    with engine(threads=1) as con:
        watched = {
            version: Watched(
                con, pipeline, profile_of(pipeline, replayed.reference_rows(version), replayed.importance(version))
            )
            for version in sorted(set(replayed.version_at))
        }
        for at, day in enumerate(replayed.days):
            version = replayed.version_at[at]
            of_tick = watched[version].measured(day, replayed.scored_rows(at))
            for one in of_tick:
                one.model_version = version
            measured += of_tick
    return measured


def decided_again(replayed: Replayed) -> dict[str, list[dict[str, Any]]]:
    """What fires on each tick, by the code and the declaration as they are now."""
    pipeline, measured = replayed.pipeline, measured_again(replayed)
    delay = pipeline.label_delay_ticks
    rulings = fold(pipeline.rules, pipeline.retraining, pipeline.schedule, delay, measured, replayed.days)
    return {str(ruling.tick): [one.as_json() for one in ruling.fired] for ruling in rulings}


def print_hindsight(replayed: Replayed, *, again: bool = False) -> None:
    """For each rule, all of them, and those about the model: were alarms right, and were bad weeks noticed?"""
    days, pipeline = replayed.days, replayed.pipeline
    number = {str(day): at for at, day in enumerate(days)}
    decisions = replayed.platform.ledger.all(Decision, pipeline=pipeline.name)
    decided = decided_again(replayed) if again else {str(one.tick): list(one.rules) for one in decisions}
    fired: dict[str, list[tuple[int, int]]] = {}
    notes: dict[str, int] = {}
    for tick, rules in decided.items():
        for rule in rules:
            if rule["action"] == "note":
                notes[rule["rule"]] = notes.get(rule["rule"], 0) + 1
                continue
            fired.setdefault(rule["rule"], []).append((number[tick], rule["measurements"][0]["model_version"]))
    n, delay = len(days), pipeline.label_delay_ticks
    parts = weeks(n)
    why = [replayed.worse(replayed.version_at[(part.start + part.stop) // 2], part) for part in parts]
    bad = [bool(one) for one in why]
    of_model = [rule.name for rule in pipeline.rules if rule.watch not in DATA_FAULTS]

    def judged(rules: Sequence[str], noted: int, counts: Callable[[int], bool] = lambda tick: True) -> str:
        now, known = np.zeros(n, bool), np.zeros(n, bool)
        ticks = sorted({(tick, version) for rule in rules for tick, version in fired.get(rule, ()) if counts(tick)})
        for tick, version in ticks:
            now[tick] |= bool(replayed.worse(version, around(tick, delay, n)))
            known[tick] |= now[tick] or bool(replayed.worse(version, before(tick, delay)))
        alarms = [tick for tick, _ in ticks]
        return cells(judge(alarms, now, bad, delay), judge(alarms, known, bad, delay).precision, noted)

    print(f"### Were alarms right?\n\n{sum(bad)} of {len(bad)} weeks were bad: {spread(why)}.\n")
    print("| rule | alarms, ticks | notes, ticks | precision | precision, last week too | recall of bad weeks | delay, ticks |")
    print("| --- | ---: | ---: | --- | --- | --- | ---: |")
    for rule in pipeline.rules:
        if rule.name in fired or rule.name in notes:
            print(f"| {rule.name} | {judged([rule.name], notes.get(rule.name, 0))} |")
    print(f"| all rules about the model | {judged(of_model, 0)} |")
    print(f"| all rules | {judged(list(fired), 0)} |")
    quiet = n - len({tick for hits in fired.values() for tick, _ in hits})
    print(f"\n{quiet} of {n} ticks without an alarm. An alarm is right if the model was worse than on its reference from the")
    print(f"label delay before it to {AHEAD} ticks after it; for 'last week too', or on the last {WEEK} ticks with outcomes.\n")
    if not again:
        print_weighed(replayed, {name: [tick for tick, _ in hits] for name, hits in fired.items()}, judged)


def print_weighed(
    replayed: Replayed, fired: Mapping[str, Sequence[int]], judged: Callable[[Sequence[str], int, Callable[[int], bool]], str]
) -> None:
    """What would have been if shifts were alarms only where estimated performance or value is lower than on the reference."""
    pipeline = replayed.pipeline
    of_shifts = [rule.name for rule in pipeline.rules if rule.name in fired and rule.watch in OF_SHIFTS]
    lower = {what: _estimated_losses(replayed, what) for what in ("estimated_roc_auc", "estimated_value")}
    print("### Shifts weighed by what is estimated before labels\n")
    print(
        "| rules about shifts of inputs, scores and outcomes count | alarms, ticks | notes, ticks | precision | precision, "
        "last week too | recall of bad weeks | delay, ticks |\n| --- | ---: | ---: | --- | --- | --- | ---: |"
    )
    print(f"| always | {judged(of_shifts, 0, lambda tick: True)} |")
    for least in (0.0, LOSS.roc_auc):
        weighed = judged(of_shifts, 0, lambda tick, least=least: lower["estimated_roc_auc"][tick] > least)
        print(f"| if the estimated AUC is lower by more than {least:g} | {weighed} |")
    for least in (0.0, LOSS.value):
        weighed = judged(of_shifts, 0, lambda tick, least=least: lower["estimated_value"][tick] > least)
        print(f"| if the estimated value is lower by more than {least:.0%} of the reference's | {weighed} |")
    print()


def _estimated_losses(replayed: Replayed, what: str) -> NDArray[np.float64]:
    """How much lower an estimate is than on the reference, by tick, (n,); of a value as a share of it; -inf where unknown."""
    number: dict[TickName, int] = {day: at for at, day in enumerate(replayed.days)}
    lost = np.full(len(number), -np.inf)
    for one in replayed.platform.ledger.all(Measurement, pipeline=replayed.pipeline.name, what=what):
        if one.tick in number and one.value is not None and one.reference:
            lost[number[one.tick]] = (one.reference - one.value) / (abs(one.reference) if what == "estimated_value" else 1)
    return lost


def spread(why: Sequence[tuple[str, ...]]) -> str:
    counts = {name: sum(name in one for one in why) for name in ("roc_auc", "log_loss", "value")}
    return ", ".join(f"{name.replace('_', ' ')} {count}" for name, count in counts.items())


def cells(record: AlarmRecord, known: Estimate | None, notes: int) -> str:
    late = "" if record.delay is None else f"{record.delay:g}"
    return f"{record.fired} | {notes} | {share(record.precision)} | {share(known)} | {share(record.recall)} | {late}"


def share(one: Estimate | None) -> str:
    return "" if one is None else f"{one.value:.2f} [{one.low:.2f}, {one.high:.2f}]"


def print_calibration(rows: pa.Table, courses: Mapping[str, NDArray[np.float64]]) -> None:
    """For each course: how far the mean outcome of a tick is from the mean score, and the log loss. courses: scores, (n,)."""
    ticks, at = np.unique(rows["tick"].to_numpy(), return_inverse=True)
    outcome = np.asarray(rows["label"].to_numpy(zero_copy_only=False), float)
    n = np.bincount(at).astype(float)
    print("| course | mean of abs(mean outcome - mean score) by tick | log loss |\n| --- | --- | --- |")
    for name, score in courses.items():
        apart = np.abs(np.bincount(at, outcome - score) / n)
        loss = np.bincount(at, log_losses(outcome, score))
        of_ticks, of_rows = ratio(apart, np.ones(len(ticks)), 14), ratio(loss, n, 14)
        print(f"| {name} | {plain(of_ticks)} | {plain(of_rows)} |")
    print("\nIntervals by blocks of 14 ticks.\n")


def plain(one: Estimate) -> str:
    return f"{one.value:.4f} [{one.low:.4f}, {one.high:.4f}]"


def main(read: Callable[[Path], Replayed]) -> int:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("home", type=Path, help="the folder of a kept replay")
    asked.add_argument("--again", action="store_true", help="measure and decide again")
    given = asked.parse_args()
    replayed = read(given.home)
    print_hindsight(replayed, again=given.again)
    print_calibration(replayed.rows, {"as it was scored": replayed.rows["score"].to_numpy()})
    return 0


if __name__ == "__main__":
    from benchmarks.replay import kept

    sys.exit(main(kept))
