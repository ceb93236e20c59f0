"""What was known of outcomes at each tick, summed up for the layer of one version.

At a tick, the outcomes of the ticks before are read as they were known when it started: as far as they came in early, and all
of those whose delay has passed. What is kept is written once: corrections that come later do not change what was learned.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mlprod_tasks import features
from mlprod_tasks.adaptation.fold import KnownTick
from mlprod_tasks.adaptation.kinds import kind_of
from mlprod_tasks.adaptation.row_by_row import OWN as OWN_COLUMNS
from mlprod_tasks.adaptation.row_by_row import kept_rows, numbers_of
from mlprod_tasks.adaptation.written_once import write_once
from mlprod_tasks.declaration import Adapt, Pipeline
from mlprod_tasks.declaration.rhythm import TickName, tick_named
from mlprod_tasks.declaration.task import PROBABILITIES
from mlprod_tasks.experiments.own_rows import is_own
from mlprod_tasks.models.feature_frame import not_finite, outcome_of
from mlprod_tasks.models.predicted_columns import RAW_PROBABILITIES, RAW_SCORE, SCORE, read_scores
from mlprod_tasks.platform import Platform, names
from mlprod_tasks.platform.lake import TableMissing
from mlprod_tasks.platform.ledger import Publication
from mlprod_tasks.platform.tick_columns import tick_array

log = logging.getLogger(__name__)
OWN = ("model_version", "fallback", "experiment", "variant", "propensity")  # by which rows of the version itself are told

Known = dict[TickName, dict[TickName, KnownTick]]  # by the tick at which it was known, and the tick it is of


@dataclass(frozen=True)
class _Scored:
    """The rows of a tick: keys and tick, (n,), the champion's own scores, (n,) or ClassScores, and what learners read."""

    keys: pa.Table
    score: Any
    values: list[NDArray[np.float64]]


def evidence(
    pipeline: Pipeline, adapt: Adapt, version: int, model: Any, first: TickName, now: TickName, platform: Platform
) -> Known:
    """Return what was known at each tick up to `now` of the rows of ticks from `first` on, for a version; read what is missing.

    A tick waits, and is not read, until its partitions of labels are published. first: of the ticks that the version did not
    see when it was trained. model: that version.
    """
    schedule, delay = pipeline.schedule, pipeline.label_delay_ticks
    oldest = max(first, schedule.shift(now, -(2 * adapt.window + 2 * delay)), schedule.first)
    if oldest >= now:
        return {}
    wanted = schedule.names(schedule.shift(oldest, 1), now)
    known = recorded(pipeline, version, wanted, platform)
    published = _published(pipeline, oldest, now, platform)
    missing = [
        at
        for at in wanted
        if at not in known and published.issuperset(schedule.names(max(schedule.shift(at, 1 - delay), wanted[0]), at))
    ]
    if not missing:
        return known
    rows = _Rows(pipeline, version, model, platform)
    rows.read(sorted({of for at in missing for of in _before(pipeline, at, oldest)}))
    read = {at: _known_at(pipeline, adapt, at, _before(pipeline, at, oldest), rows, platform) for at in missing}
    return known | _record(pipeline, version, read, platform)


def recorded(pipeline: Pipeline, version: int, wanted: Sequence[TickName], platform: Platform) -> Known:
    """Return what is recorded for a version at some ticks; a tick at which nothing was known is there, too."""
    try:
        rows = platform.lake.rows(names.adaptation_evidence(pipeline), wanted)
    except TableMissing:
        return {}
    read = () if pipeline.adapt is None else pipeline.adapt.features
    return _read(rows.filter(pc.equal(rows["model_version"], version)), read)


def _before(pipeline: Pipeline, at: TickName, oldest: TickName) -> list[TickName]:
    """The ticks whose outcomes are read at a tick: those that become complete by it, and younger ones."""
    schedule = pipeline.schedule
    return schedule.names(max(schedule.shift(at, -pipeline.label_delay_ticks), oldest), schedule.shift(at, -1))


def _published(pipeline: Pipeline, after: TickName, last: TickName, platform: Platform) -> set[TickName]:
    within = (Publication.tick > after) & (Publication.tick <= last)
    found = platform.ledger.all(Publication, within, pipeline=pipeline.name, table_name=pipeline.label.table)
    return {row.tick for row in found}


class _Rows:
    """Rows of ticks as a version scored them, or would have scored them before it became champion."""

    def __init__(self, pipeline: Pipeline, version: int, model: Any, platform: Platform) -> None:
        self.pipeline, self.version, self.model, self.platform = pipeline, version, model, platform
        self.features = () if pipeline.adapt is None else pipeline.adapt.features
        self.of: dict[TickName, _Scored] = {}

    def read(self, ticks: Sequence[TickName]) -> None:
        """Read the rows of ticks."""
        logged = self._logged(ticks)
        self.of |= logged
        for first, last in _runs(self.pipeline, [tick for tick in ticks if tick not in logged]):
            built = features.build(self.pipeline, self.pipeline.schedule.range(first, last), self.platform)
            read = [one.name for one in self.model.inputs if one.name not in self.model.codes]
            refused = not_finite(built.table, read) | dict(built.failed)
            kept = np.ones(built.table.num_rows, bool)
            kept[list(refused)] = False
            rows = built.table.filter(pa.array(kept))
            self._add(rows, self.model.predict(rows).score)

    def _logged(self, ticks: Sequence[TickName]) -> dict[TickName, _Scored]:
        """The rows of ticks that the version itself answered, with its own scores."""
        name = names.predictions(self.pipeline)
        try:
            there = {field.name for field in self.platform.lake.table(name).schema().fields}
        except TableMissing:
            return {}
        classes = self.pipeline.task == "multiclass"
        scores = (PROBABILITIES, RAW_PROBABILITIES) if classes else (SCORE, RAW_SCORE)
        columns = [one for one in (*self._key, *OWN, *scores, *self.features) if one in there]
        rows = self.platform.lake.rows(name, ticks, columns)
        rows = rows.filter(pc.equal(rows["model_version"], self.version))
        rows = rows.filter(pa.array(is_own(rows)))
        own = rows[scores[0]]
        if scores[1] in there:  # what was scored before adapt was declared has none
            own = pc.coalesce(rows[scores[1]], own)
        found = _Rows(self.pipeline, self.version, self.model, self.platform)
        found._add(rows, read_scores(own.to_pylist()) if classes else own.to_numpy())
        return found.of

    def _add(self, rows: pa.Table, score: Any) -> None:
        keys, values = rows.select(self._key), numbers_of(rows, self.features)
        for tick in pc.unique(keys["tick"]).to_pylist():
            mine = pc.equal(keys["tick"], tick)
            here = np.asarray(mine.to_numpy(zero_copy_only=False), bool)
            self.of[tick] = _Scored(keys.filter(mine), score[here], [one[here] for one in values])

    @property
    def _key(self) -> list[str]:
        return [*self.pipeline.entity_table.key, "tick"]


def _runs(pipeline: Pipeline, ticks: Sequence[TickName]) -> Iterable[tuple[TickName, TickName]]:
    """Ticks, in order, as runs of neighbours: the first and the last of each."""
    runs: list[list[TickName]] = []
    for tick in ticks:
        if runs and pipeline.schedule.shift(runs[-1][-1], 1) == tick:
            runs[-1].append(tick)
        else:
            runs.append([tick])
    return [(run[0], run[-1]) for run in runs]


def _known_at(
    pipeline: Pipeline, adapt: Adapt, at: TickName, ticks: Sequence[TickName], rows: _Rows, platform: Platform
) -> dict[TickName, KnownTick]:
    """Sum up what was known of ticks when another one started."""
    schedule, key = pipeline.schedule, [*pipeline.entity_table.key, "tick"]
    found = features.labels(pipeline, schedule.range(ticks[0], ticks[-1]), schedule.tick(at), platform)
    labels = found.filter(found["label"].is_valid()).select([*key, "label"])
    known: dict[TickName, KnownTick] = {}
    for of in ticks:
        scored = rows.of.get(of)
        if scored is None:
            continue
        n = scored.keys.num_rows
        complete = schedule.ticks_between(of, at) >= pipeline.label_delay_ticks
        numbered = scored.keys.append_column("_row", pa.array(np.arange(n)))
        with_outcome = numbered.join(labels.filter(pc.equal(labels["tick"], of)), key, join_type="inner").sort_by(
            [(name, "ascending") for name in key]  # a fixed order, so that sums round the same way each time
        )
        m = with_outcome.num_rows
        sums = kept = np.empty((0, 0))
        if m and m >= adapt.coverage * n:
            mine = np.asarray(with_outcome["_row"].to_numpy(), np.int64)
            outcome = outcome_of(with_outcome)
            sums = kind_of(pipeline).summed(scored.score[mine], outcome)
            kept = kept_rows(scored.score[mine], outcome, [one[mine] for one in scored.values])
        known[of] = KnownTick(n, m, sums, complete, kept)
    return known


def _record(pipeline: Pipeline, version: int, read: Known, platform: Platform) -> Known:
    """Write what was read, unless another process was first; return what is recorded."""
    name, ticks = names.adaptation_evidence(pipeline), sorted(read)
    write_once(pipeline, name, _rows(pipeline, version, read), version, ticks, platform)
    return recorded(pipeline, version, ticks, platform)


def _rows(pipeline: Pipeline, version: int, read: Mapping[TickName, Mapping[TickName, KnownTick]]) -> pa.Table:
    """What is known as rows of the lake: one for each tick that it is of, or one that says that nothing is known."""
    flat = [(at, of, one) for at, known in read.items() for of, one in known.items()]
    flat += [(at, at, KnownTick(0, 0, np.empty((0, 0)), False)) for at, known in read.items() if not known]
    learned = [] if pipeline.adapt is None else list(pipeline.adapt.features)
    return pa.table(
        {
            "tick": tick_array([at for at, _, _ in flat], pipeline.schedule),
            "model_version": pa.array([version] * len(flat), pa.int32()),
            "of_tick": tick_array([of for _, of, _ in flat], pipeline.schedule),
            "rows": pa.array([one.rows for *_, one in flat], pa.int64()),
            "known": pa.array([one.known for *_, one in flat], pa.int64()),
            "complete": pa.array([one.complete for *_, one in flat], pa.bool_()),
            "width": pa.array([one.sums.shape[1] for *_, one in flat], pa.int32()),
            "sums": pa.array([one.sums.ravel().tolist() for *_, one in flat], pa.list_(pa.float64())),
            "kept_features": pa.array([learned] * len(flat), pa.list_(pa.string())),
            "kept": pa.array([one.kept.ravel().tolist() for *_, one in flat], pa.list_(pa.float64())),
        }
    )


def _read(rows: pa.Table, read: Sequence[str]) -> Known:
    """What was recorded. read: features that learners read now: rows that were kept with others teach them nothing."""
    found: Known = {}
    for row in rows.to_pylist():
        at, of, width = tick_named(str(row["tick"])), tick_named(str(row["of_tick"])), row["width"]
        known = found.setdefault(at, {})
        if row["rows"]:
            sums = np.array(row["sums"], np.float64).reshape(-1, width) if width else np.empty((0, 0))
            kept = np.array(row.get("kept") or [], np.float64)
            same = len(kept) > 0 and tuple(row["kept_features"]) == tuple(read)
            rows_kept = kept.reshape(-1, OWN_COLUMNS + len(read)) if same else np.empty((0, 0))
            known[of] = KnownTick(row["rows"], row["known"], sums, row["complete"], rows_kept)
    return found
