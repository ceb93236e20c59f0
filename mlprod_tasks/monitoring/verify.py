"""Check that production models reproduce their logged and golden predictions, and that rows keep their features."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from sqlalchemy import delete

from mlprod_tasks.adaptation.apply import AdaptationLost, adapted_by
from mlprod_tasks.declaration import Pipeline, Tick
from mlprod_tasks.models.fallback import FallbackModel
from mlprod_tasks.models.feature_frame import ModelInputError, Predictions
from mlprod_tasks.models.predicted_columns import ADAPTATION, differ, read_logged, single_score
from mlprod_tasks.monitoring.bounds import in_force
from mlprod_tasks.monitoring.changed_features import WHAT as CHANGED
from mlprod_tasks.monitoring.changed_features import changed_features, compared_tick
from mlprod_tasks.monitoring.measurement import Reading, judged
from mlprod_tasks.platform import Platform, names
from mlprod_tasks.platform.engine import engine
from mlprod_tasks.platform.lake import listed
from mlprod_tasks.platform.ledger import Fallback, Measurement, Scoring
from mlprod_tasks.platform.model_files import BrokenArtifact
from mlprod_tasks.platform.sql import identifier
from mlprod_tasks.scoring.variants import decided_from, row_thresholds

log = logging.getLogger(__name__)

NO_VERSION = 0  # for a measurement without any model


class FallbackLost(LookupError):
    """Logged predictions come from a fallback that is no longer in the ledger."""


CANNOT_ANSWER = (AdaptationLost, BrokenArtifact, FallbackLost, ModelInputError)


@dataclass(frozen=True)
class Verified:
    """The result of a tick's checks.

    replayed, canned, changed_features: the shares of rows that differ, None if the check was not possible.
    """

    tick: str
    rows: int
    replayed: float | None
    canned: float | None
    sentences: tuple[str, ...]
    breaches: tuple[str, ...]
    changed_features: float | None = None


def verify(pipeline: Pipeline, tick: Tick, platform: Platform) -> Verified:
    """Score logged and golden predictions again, and compare bit for bit.

    These are a sample of the tick's logged predictions, and the champion's golden ones. The sample is always the same. Each row
    is scored from its logged features by the version that scored it, or by that version's fallback. The champion is read from
    the registry again: its files must exist and be the registered ones. A model that cannot be read, or that cannot read its
    logged features any more, is a breach just like a difference.

    Also, the features of a sample of logged rows are computed from the lake as it is now, for the newest tick whose partitions
    are no longer read again: what a training would learn from should be what the rows were scored with.

    Running it again replaces the tick's checks. Raises: RegistryUnreachable, since that says nothing about the models.
    """
    checks = [
        _check_logged(pipeline, tick, platform),
        _check_golden(pipeline, platform),
        _check_features(pipeline, tick, platform),
    ]
    bounds, at = in_force(pipeline, tick.name, platform), platform.clock.now()
    rows = [judged(reading, pipeline, tick, version, at, bounds) for reading, version in checks]
    with platform.ledger.exclusive(f"{pipeline.name}/measurements/{tick}") as session:
        mine = (Measurement.pipeline == pipeline.name) & (Measurement.tick == tick.name)
        session.execute(delete(Measurement).where(mine & Measurement.what.in_([row.what for row in rows])))
        session.add_all(rows)
    replayed, canned, features = rows
    breaches = tuple(row.sentence for row in rows if row.breached)
    for row in rows:
        log.log(logging.WARNING if row.breached else logging.INFO, "%s: %s", pipeline.name, row.sentence)
    sentences = tuple(row.sentence for row in rows)
    return Verified(str(tick), replayed.n + canned.n, replayed.value, canned.value, sentences, breaches, features.value)


def _check_logged(pipeline: Pipeline, tick: Tick, platform: Platform) -> tuple[Reading, int]:
    """The share of logged predictions that differ now, and the main version.

    That is the version that made most of them.
    """
    wanted = pipeline.monitoring.replayed_rows
    scoring = platform.ledger.get(Scoring, pipeline.name, tick.name)
    version = scoring.model_version if scoring is not None else NO_VERSION
    if wanted == 0:
        return Reading("replayed", None, 0, why="monitoring.replayed_rows is 0, so this check is off"), version
    rows = _sample(pipeline, tick, wanted, platform)
    if rows.num_rows == 0:
        return Reading("replayed", None, 0, why="the tick has no predictions"), version
    n, different, example = rows.num_rows, 0, ""
    try:
        for model, group, name in _by_model(pipeline, rows, platform):
            differing = _differing_rows(model, group, limited=pipeline.capacity is not None)
            different += len(differing)
            if len(differing) and not example:
                example = _example(pipeline.entity_table.key, group.slice(int(differing[0]), 1), model, name)
    except CANNOT_ANSWER as error:
        return Reading("replayed", None, n, why=str(error), missing=True), version
    return Reading("replayed", different / n, n, reference=0.0, detail=_detail(different, n, example)), version


def _check_features(pipeline: Pipeline, tick: Tick, platform: Platform) -> tuple[Reading, int]:
    """The share of logged rows whose features are others now, and the version that scored them."""
    wanted, compared = pipeline.monitoring.replayed_rows, compared_tick(pipeline, tick)
    scoring = platform.ledger.get(Scoring, pipeline.name, compared.name)
    version = scoring.model_version if scoring is not None else NO_VERSION
    if wanted == 0:
        return Reading(CHANGED, None, 0, why="monitoring.replayed_rows is 0, so this check is off"), version
    return changed_features(pipeline, compared, _sample(pipeline, compared, wanted, platform), platform), version


def _check_golden(pipeline: Pipeline, platform: Platform) -> tuple[Reading, int]:
    """The share of the champion's golden predictions that differ now, and its version."""
    champion = platform.registry.champion(pipeline)
    if champion is None:
        return Reading("canned", None, 0, why="there is no champion"), NO_VERSION
    name = f"version {champion.version}"
    try:
        model = platform.registry.load_stored(champion)
        file = platform.registry.golden_predictions(champion)
        if file is None:
            why = f"{name} was registered without golden predictions, by an older release; the next champion has some"
            return Reading("canned", None, 0, why=why), champion.version
        rows = pq.read_table(file)
        differing = _differing_rows(model, rows)
    except CANNOT_ANSWER as error:
        return Reading("canned", None, 0, why=str(error), missing=True), champion.version
    example = _example((), rows.slice(int(differing[0]), 1), model, name) if len(differing) else ""
    detail = _detail(len(differing), rows.num_rows, example)
    return Reading("canned", len(differing) / rows.num_rows, rows.num_rows, reference=0.0, detail=detail), champion.version


def _sample(pipeline: Pipeline, tick: Tick, n: int, platform: Platform) -> pa.Table:
    """A sample of `n` logged predictions, by a hash of key and tick.

    It is the same every time, and differs from tick to tick.
    """
    name = names.predictions(pipeline)
    files = platform.lake.files_if_any(name, pipeline.schedule.range(tick.name))
    if not files:
        return pa.table({})
    key = [identifier(column) for column in pipeline.entity_table.key]
    hashed = f"md5(concat_ws('|', '{tick}', {', '.join(f'CAST({column} AS VARCHAR)' for column in key)}))"
    with engine(spill=platform.settings.home / "spill", lake=platform.lake) as con:
        query = f"SELECT * FROM read_parquet({listed(files)}) ORDER BY {hashed}, {', '.join(key)} LIMIT {n}"
        return con.sql(query).to_arrow_table()


def _by_model(pipeline: Pipeline, rows: pa.Table, platform: Platform) -> Iterator[tuple[Any, pa.Table, str]]:
    """Split rows by the model that scored them.

    Yields each model (version or fallback), its rows and its name.
    """
    versions, fallback = rows["model_version"].to_pylist(), rows["fallback"].to_pylist()
    states = rows[ADAPTATION].to_pylist() if ADAPTATION in rows.column_names else [None] * rows.num_rows
    groups: dict[tuple[int, bool, float | None, str | None], list[int]] = {}
    for i, by in enumerate(zip(versions, fallback, row_thresholds(pipeline, rows, platform), states, strict=True)):
        groups.setdefault(by, []).append(i)
    for (version, by_fallback, threshold, state), positions in sorted(groups.items(), key=lambda one: (one[0][:2], one[1])):
        group = rows.take(positions)
        if by_fallback:
            yield _load_fallback(pipeline, version, platform), group, f"the fallback of version {version}"
            continue
        model = adapted_by(pipeline, version, state, platform.registry.load(pipeline, version), platform)
        name = f"version {version}" + ("" if state is None else f" as adapted at {state}")
        if threshold is None:
            yield model, group, name
        else:
            yield _Deciding(model, threshold), group, f"{name} with threshold {threshold}"


@dataclass(frozen=True)
class _Deciding:
    """A model whose threshold an experiment replaced."""

    model: Any
    threshold: float

    def predict(self, rows: pa.Table) -> Predictions:
        return decided_from(self.model.predict(rows), self.threshold, np.zeros(rows.num_rows, bool))


def _load_fallback(pipeline: Pipeline, version: int, platform: Platform) -> FallbackModel:
    kept = platform.ledger.get(Fallback, pipeline.name, version)
    if kept is None:
        raise FallbackLost(f"the fallback of version {version} scored rows, but it is no longer in the ledger")
    return FallbackModel.from_json(kept.model)


def _differing_rows(model: Any, rows: pa.Table, *, limited: bool = False) -> NDArray[np.int64]:
    """Positions of the rows whose score (bit for bit), decision or class differs now.

    limited: whether there was no room to act on every row, so that the model acts on more than were decided. Raises:
    ModelInputError.
    """
    before, again = read_logged(rows), model.predict(rows)
    return np.flatnonzero(differ(before, replace(again, decision=again.decision & before.decision) if limited else again))


def _example(key: Sequence[str], row: pa.Table, model: Any, name: str) -> str:
    before, again = read_logged(row), model.predict(row)
    which = ", ".join(f"{column} {row[column][0].as_py()}" for column in key)
    answer = f"the score was {single_score(before)!r} and is {single_score(again)!r} now"
    if before.decision[0] != again.decision[0]:
        was, now = (_decision_words(one.decision[0]) for one in (before, again))
        answer += f"; the decision was {was} and is {now} now"
    return f"for example {which}, by {name}: {answer}" if which else f"for example, by {name}: {answer}"


def _decision_words(decided: Any) -> str:
    """What was decided, or the class that was predicted."""
    if isinstance(decided, str):
        return repr(decided)
    return "to act" if decided else "not to act"


def _detail(different: int, n: int, example: str) -> str:
    return f"{different:,} of {n:,} rows" + (f"; {example}" if example else "")
