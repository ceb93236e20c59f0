"""Act on the best rows of each tick only, as many as there is room for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.models.feature_frame import Predictions

Floats = NDArray[np.float64]


def within_capacity(pipeline: Pipeline, rows: Any, predicted: Predictions) -> Predictions:
    """Return predictions that act on no more rows of a tick than the declared capacity; the same without one.

    rows: the scored rows, with `tick` and the entity's key, in any order: running it again decides the same. Rows that the
    model does not act on take no place.
    """
    if pipeline.capacity is None:
        return predicted
    place = places(pipeline, rows, np.where(predicted.decision, predicted.score, -np.inf))
    return replace(predicted, decision=predicted.decision & (place < pipeline.capacity.per_tick))


def places(pipeline: Pipeline, rows: Any, score: Floats) -> NDArray[np.int64]:
    """Return the place of each row among the scores of its tick, (n,), the highest 0; of equal ones by hash of key and tick."""
    tick, lot = _codes(rows["tick"]), _lots(rows, [*pipeline.entity_table.key, "tick"])
    order = np.lexsort((lot, -score, tick))
    starts = np.flatnonzero(np.diff(tick[order], prepend=-1))
    place = np.empty(len(score), np.int64)
    place[order] = np.arange(len(score)) - np.repeat(starts, np.diff(np.append(starts, len(score))))
    return place


def _codes(ticks: Any) -> NDArray[np.int64]:
    """Return a number for each row's tick, (n,), the same for the same tick."""
    coded = pa.chunked_array([ticks]) if isinstance(ticks, pa.Array) else ticks
    return np.asarray(pc.index_in(coded, pc.unique(coded)).to_numpy(), np.int64)


def _lots(rows: Any, names: Sequence[str]) -> NDArray[np.uint64]:
    """Return a number for each row that depends on these columns only, (n,)."""
    from pandas.util import hash_array

    texts = [rows[name].cast(pa.string()).fill_null("").to_numpy(zero_copy_only=False).astype(object) for name in names]
    together = texts[0]
    for more in texts[1:]:
        together = together + "\x1f" + more
    return np.asarray(hash_array(together, categorize=False), np.uint64)
