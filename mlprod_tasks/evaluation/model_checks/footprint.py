"""Measure how long the model takes to score, and how large it is."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pyarrow as pa

from mlprod_tasks.declaration import Latency, ModelSize
from mlprod_tasks.documents.formatting import format_count, format_number
from mlprod_tasks.evaluation.gates.names import check_of
from mlprod_tasks.evaluation.model_checks import AnyModel
from mlprod_tasks.evaluation.results import CheckResult
from mlprod_tasks.models.stored_rows import Rows

ROUNDS, CALLS, WARMING = 5, 30, 3
SECONDS_A_ROUND = 1.0
DISTINCT = 64  # different frames, so that no cache helps


def latency(gate: Latency, model: AnyModel, rows: Rows) -> CheckResult:
    """Measure the milliseconds to score `gate.rows` rows: the median of the best round.

    A busy machine makes calls slower, never faster, so the best round is closest to the model's own time.
    """
    starts = np.linspace(0, rows.num_rows - 1, DISTINCT).astype(np.int64)
    taken = rows.take(pa.array(((starts[:, None] + np.arange(gate.rows)) % rows.num_rows).ravel()))
    frames = [taken.slice(i * gate.rows, gate.rows).combine_chunks() for i in range(DISTINCT)]
    for frame in frames[:WARMING]:
        model.predict(frame)
    rounds = [_round(model, frames, first) for first in range(ROUNDS)]
    best = min(rounds, key=lambda times: float(np.median(times)))
    p50, p95 = (float(np.quantile(best, q)) for q in (0.5, 0.95))
    sentence = (
        f"{gate.rows:,} {'row is' if gate.rows == 1 else 'rows are'} scored in {format_number(p50)} ms (median of {len(best)} "
        f"calls, p95 {format_number(p95)} ms, in the best of {ROUNDS} rounds)"
    )
    return CheckResult(*check_of(gate), p50, sum(map(len, rounds)), sentence)


def _round(model: AnyModel, frames: list[pa.Table], first: int) -> list[float]:
    """Return the milliseconds of each call of a round; a slow model gets fewer calls."""
    times: list[float] = []
    until = time.perf_counter() + SECONDS_A_ROUND
    while len(times) < CALLS and (not times or time.perf_counter() < until):
        frame = frames[(first * CALLS + len(times)) % len(frames)]
        began = time.perf_counter()
        model.predict(frame)
        times.append(1000 * (time.perf_counter() - began))
    return times


def size(gate: ModelSize, folder: Path) -> CheckResult:
    """Measure the megabytes of the saved model's files."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    megabytes = sum(path.stat().st_size for path in files) / 1e6
    sentence = f"the saved model takes {format_number(megabytes)} MB in {format_count(len(files), 'file')}"
    return CheckResult(*check_of(gate), megabytes, len(files), sentence)
