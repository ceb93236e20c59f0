"""Estimates of an AUC before labels, on data and models of others, against what came true and against NannyML's own.

NannyML's wheel has scores and outcomes: car loans that were made, with a shift in the middle, and the census of Massachusetts
over years. Estimated is each chunk of the later rows: from scores as they are, and from what they meant on the reference, as
monitoring does it. Of an interval it is counted how often it holds what came true. NannyML is installed below build/ at the
first run, as for `benchmarks.drift_tools`.

`python -m benchmarks.foreign_estimates`: a table in Markdown. `--small`: without NannyML, on scores that were made.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.drift_tools import environment
from benchmarks.size import SMALL, sized
from mlprod_tasks.models.reference_profile import ScoreCurve
from mlprod_tasks.monitoring.estimate import Promised
from mlprod_tasks.monitoring.recalibration import chances, recalibration
from mlprod_tasks.platform.engine import engine
from mlprod_tasks.statistics.metrics import Estimate, roc_auc

HERE = Path(__file__).parent
CHUNK = sized(5_000, 500)


def main() -> int:
    """Print the table."""
    print("| scores of | chunks | estimated from | mean distance to what came true | largest | intervals that hold it |")
    print("| --- | ---: | --- | ---: | ---: | ---: |")
    for name, reference, current, others in made() if SMALL else read():
        chunks = [current.slice(first, CHUNK) for first in range(0, current.num_rows - CHUNK + 1, CHUNK)]
        came = np.array([roc_auc(labels(one), scores(one)) for one in chunks])
        curves = meant(reference)
        for way, used in (("scores as they are", ()), ("what they meant on the reference", curves)):
            found = [estimated(one, used) for one in chunks]
            held = sum(one.low <= true <= one.high for one, true in zip(found, came, strict=True))
            line(name, len(chunks), way, np.array([one.value for one in found]) - came, f"{held} of {len(chunks)}")
        if others:
            line(name, len(chunks), "NannyML's CBPE", np.array(others[: len(chunks)]) - came, "")
    return 0


def line(name: str, chunks: int, way: str, off: np.ndarray, held: str) -> None:
    print(f"| {name} | {chunks} | {way} | {np.abs(off).mean():.4f} | {np.abs(off).max():.4f} | {held} |", flush=True)


def read() -> Iterator[tuple[str, pa.Table, pa.Table, list[float]]]:
    """Each of NannyML's sets: its name, reference and later rows, and NannyML's estimates."""
    with tempfile.TemporaryDirectory() as folder:
        command = [environment(), HERE / "foreign_estimates_others.py", folder, str(CHUNK)]
        ran = subprocess.run(command, capture_output=True, text=True, check=False)
        if ran.returncode:
            sys.exit(ran.stderr)
        theirs: Mapping[str, list[float]] = json.loads(ran.stdout.splitlines()[-1])
        for name, estimates in theirs.items():
            reference, current = (pq.read_table(Path(folder) / f"{name}.{part}.parquet") for part in ("reference", "current"))
            yield name, reference, current, estimates


def made() -> Iterator[tuple[str, pa.Table, pa.Table, list[float]]]:
    """Scores whose log odds are twice what they should be."""
    random = np.random.default_rng(1)
    odds = random.normal(0, 1, 10 * CHUNK)
    label = random.random(len(odds)) < 1 / (1 + np.exp(-odds))
    rows = pa.table({"score": 1 / (1 + np.exp(-2 * odds)), "label": label})
    yield "made", rows.slice(0, 5 * CHUNK), rows.slice(5 * CHUNK), []


def meant(reference: pa.Table) -> tuple[ScoreCurve, ...]:
    """What scores meant on the reference, whose chunks are its ticks."""
    with engine() as connection:
        at = np.arange(reference.num_rows) // CHUNK
        connection.register("scored", reference.append_column("tick", pa.array(at)))
        return recalibration(connection, "scored")


def estimated(rows: pa.Table, curves: tuple[ScoreCurve, ...]) -> Estimate:
    """The AUC that a chunk's scores promise."""
    score = scores(rows)
    return Promised(score, score >= 0.5, np.ones(len(score)), chances(score, curves)).estimate("roc_auc")


def scores(rows: pa.Table) -> np.ndarray:
    return np.asarray(rows["score"].to_numpy(), np.float64)


def labels(rows: pa.Table) -> np.ndarray:
    return np.asarray(rows["label"].to_numpy(zero_copy_only=False), bool)


if __name__ == "__main__":
    sys.exit(main())
