"""How long the model takes to answer, and how large it is."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pyarrow as pa

from mlprod_tasks.declaration import Latency, ModelSize
from mlprod_tasks.evaluation.gates.names import check_of
from mlprod_tasks.evaluation.model_checks import AnyModel
from mlprod_tasks.evaluation.results import CheckResult

ROUNDS, CALLS, WARMING = 5, 30, 3
SECONDS_A_ROUND = 1.0
DISTINCT = 64  # different frames, so that no cache answers


def latency(gate: Latency, model: AnyModel, rows: pa.Table) -> CheckResult:
    """Milliseconds to score `gate.rows` rows at once: the median of a round's calls, in the best of several rounds.

    A busy machine makes calls slower, never faster: the best round is the nearest to what the model itself takes.
    """
    starts = np.linspace(0, rows.num_rows - 1, DISTINCT).astype(np.int64)
    frames = [rows.take(pa.array((start + np.arange(gate.rows)) % rows.num_rows)).combine_chunks() for start in starts]
    for frame in frames[:WARMING]:
        model.predict(frame)
    rounds = [_round(model, frames, first) for first in range(ROUNDS)]
    best = min(rounds, key=lambda took: float(np.median(took)))
    p50, p95 = (float(np.quantile(best, q)) for q in (0.5, 0.95))
    told = (
        f"{gate.rows:,} {'row is' if gate.rows == 1 else 'rows are'} scored in {p50:.3g} ms (median of {len(best)} calls, p95 "
        f"{p95:.3g} ms, in the best of {ROUNDS} rounds)"
    )
    return CheckResult(*check_of(gate), p50, sum(map(len, rounds)), told)


def _round(model: AnyModel, frames: list[pa.Table], first: int) -> list[float]:
    """Milliseconds of each call of a round, which is cut short where the model is slow."""
    took: list[float] = []
    until = time.perf_counter() + SECONDS_A_ROUND
    while len(took) < CALLS and (not took or time.perf_counter() < until):
        frame = frames[(first * CALLS + len(took)) % len(frames)]
        began = time.perf_counter()
        model.predict(frame)
        took.append(1000 * (time.perf_counter() - began))
    return took


def size(gate: ModelSize, folder: Path) -> CheckResult:
    """Megabytes of the saved model's files."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    megabytes = sum(path.stat().st_size for path in files) / 1e6
    told = f"the saved model takes {megabytes:.3g} MB in {len(files)} {'file' if len(files) == 1 else 'files'}"
    return CheckResult(*check_of(gate), megabytes, len(files), told)
