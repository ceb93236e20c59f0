"""Measure how many scored rows have other features now than when they were scored."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mlprod_tasks import features
from mlprod_tasks.declaration import Lookup, Pipeline, Tick
from mlprod_tasks.declaration.reads import resting_on
from mlprod_tasks.features.differences import differ
from mlprod_tasks.monitoring.measurement import Reading
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.ledger import Scoring

WHAT = "changed_features"
MOST_NAMED = 3
POSITION = "_logged"


def compared_tick(pipeline: Pipeline, tick: Tick) -> Tick:
    """The tick whose rows are compared after `tick`: the newest whose partitions are not read again (`refresh_ticks`)."""
    refreshed = max((table.refresh_ticks for table in pipeline.tables), default=0)
    return pipeline.schedule.tick(max(pipeline.schedule.shift(tick.name, -refreshed), pipeline.schedule.first))


def changed_features(pipeline: Pipeline, tick: Tick, logged: pa.Table, platform: Platform) -> Reading:
    """The share of rows whose features, as a training reads them now, differ from those that they were scored with.

    Causes are rows of the source that changed, moved or vanished after the tick was scored, and late ones of tables with
    late='use'. A scored row that is gone differs, too. Left out are rows of the fallback, which has only some features, and
    features from reference tables, which are read as they are now.

    tick: the one that the rows are of. logged: a sample of its logged predictions.
    """
    scoring = platform.ledger.get(Scoring, pipeline.name, tick.name)
    if scoring is not None and scoring.features_digest != pipeline.digest:
        return Reading(WHAT, None, 0, why=f"the declaration has changed since {tick} was scored")
    own = logged.filter(pc.invert(logged["fallback"])) if logged.num_rows else logged
    names = [name for name in _without_look_ups(pipeline) if name in logged.column_names]
    if own.num_rows == 0 or not names:
        return Reading(WHAT, None, 0, why=f"{tick} has no predictions of a model to compare")
    now = features.build(pipeline, pipeline.schedule.range(tick.name), platform, only=names).table
    key = list(pipeline.entity_table.key)
    numbered = own.select([*key, *names]).append_column(POSITION, pa.array(np.arange(own.num_rows)))
    there = now.select(key).append_column("_now", pa.array(np.arange(now.num_rows)))
    pairs = numbered.select([*key, POSITION]).join(there, key, join_type="inner")
    before, after = own.take(pairs[POSITION]), now.take(pairs["_now"])
    by_feature, changed = Counter[str](), np.zeros(pairs.num_rows, bool)
    for name in names:
        differs = differ(after[name].combine_chunks(), before[name].combine_chunks())
        changed |= differs
        by_feature[name] += int(differs.sum())
    gone = own.num_rows - pairs.num_rows
    differing = int(changed.sum()) + gone
    return Reading(WHAT, differing / own.num_rows, own.num_rows, reference=0.0, detail=_detail(tick, by_feature, gone))


def _without_look_ups(pipeline: Pipeline) -> list[str]:
    """The features that do not depend on a reference table."""
    looked_up = {name for feature in pipeline.features if isinstance(feature, Lookup) for name in feature.columns}
    resting = resting_on(looked_up, pipeline.features)
    return [name for name in pipeline.feature_names if name not in resting]


def _detail(tick: Tick, by_feature: Counter[str], gone: int) -> str:
    most = [f"{name!r} in {n:,}" for name, n in by_feature.most_common(MOST_NAMED) if n]
    most += [f"{gone:,} rows are gone"] if gone else []
    return f"rows of {tick}" + (f": {', '.join(most)}" if most else "")
