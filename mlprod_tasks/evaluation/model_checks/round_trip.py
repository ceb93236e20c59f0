"""Check that the model predicts the same after it was saved and loaded.

It is loaded here, in a new process, and as an MLflow package.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mlprod_tasks.declaration.task import PREDICTION, PROBABILITIES
from mlprod_tasks.documents.formatting import title
from mlprod_tasks.evaluation.gates.names import SAME
from mlprod_tasks.evaluation.model_checks import AnyModel
from mlprod_tasks.evaluation.results import CheckResult
from mlprod_tasks.models import mlflow_flavor
from mlprod_tasks.models.feature_frame import Predictions, outcome_of
from mlprod_tasks.models.predicted_columns import differ, logged_columns, read_logged, single_score
from mlprod_tasks.models.stored_rows import Rows, StoredRows
from mlprod_tasks.models.tasks import task_of_outcomes

log = logging.getLogger(__name__)

ROWS_AT_ONCE = 500_000
LONGEST = 600  # seconds for the new process
ROUNDING = 1e-9  # of a metric from sums in another order


class NotLoaded(RuntimeError):
    """A new process could not load the model or predict with it.

    The message has its error.
    """


def same_predictions(model: AnyModel, folder: Path, rows: Rows, evaluated: float) -> CheckResult:
    """Measure the share of test rows that the reloaded model predicts differently.

    Compared bit for bit.
    folder: the saved model; rows: the labelled test rows; evaluated: the first of the metrics that the task shows,
    as the evaluation measured it on them.
    Raises: NotLoaded.
    """
    expected = model.predict(rows)
    n = rows.num_rows
    outcome = outcome_of(rows)
    task = task_of_outcomes(outcome)
    again, name = task.verified(outcome, expected.score), title(task.declared.shown[0])
    if abs(again - evaluated) > ROUNDING * max(1.0, abs(evaluated)):
        sentence = f"{name} of the loaded model is {again:.6f} on {n:,} test rows; the evaluation measured {evaluated:.6f}"
        return CheckResult(SAME, "", 1.0, n, sentence)
    with tempfile.TemporaryDirectory() as temporary:
        beside = Path(temporary)
        model.save(beside / "again")
        answers = {"saved and loaded again": mlflow_flavor.load(beside / "again").predict(rows)}
        answers |= _predict_in_new_process(model, folder, rows, beside)
    off = {way: int(np.count_nonzero(differ(expected, answer))) for way, answer in answers.items()}
    way = max(off, key=lambda one: off[one])
    if off[way]:
        at = int(np.argmax(differ(expected, answers[way])))
        first, other = (single_score(one, at) for one in (expected, answers[way]))
        sentence = (
            f"{way}, the model predicts {off[way]:,} of {n:,} test rows differently, such as {other!r} instead of {first!r}"
        )
        return CheckResult(SAME, "", off[way] / n, n, sentence)
    sentence = f"{', '.join(answers)}, the model predicts all {n:,} test rows the same, bit for bit"
    return CheckResult(SAME, "", 0.0, n, sentence)


def _predict_in_new_process(model: AnyModel, folder: Path, rows: Rows, beside: Path) -> dict[str, Predictions]:
    """Predict in a new interpreter, with the saved folder and with the MLflow package that is registered."""
    package, given, written = beside / "package", beside / "rows.parquet", beside / "answers.parquet"
    mlflow_flavor.save(model, folder, package)
    names = list(model.feature_names)
    with pq.ParquetWriter(given, pa.schema([rows.schema.field(name) for name in names])) as writer:
        for batch in rows.batches(names) if isinstance(rows, StoredRows) else (rows.select(names),):
            writer.write_table(batch)
    log.info("same predictions: a new process loads the model and scores %d rows", rows.num_rows)
    # The new interpreter must import this code, from whatever working directory.
    path = os.pathsep.join([str(Path(__file__).parents[3]), *filter(None, [os.environ.get("PYTHONPATH", "")])])
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-m", __name__, str(folder), str(package), str(given), str(written)],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=LONGEST,
        check=False,
    )
    if done.returncode:
        last_line = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
        raise NotLoaded(f"a new process cannot load the model and predict: {last_line[0][:500]}")
    answers = pq.read_table(written)
    return {
        way: read_logged(_with_prefix(answers, name))
        for way, name in (("in a new process", "folder_"), ("as an MLflow package there", "package_"))
    }


def _with_prefix(answers: pa.Table, prefix: str) -> pa.Table:
    """Return the columns whose names begin with a prefix, without it."""
    names = [name for name in answers.column_names if name.startswith(prefix)]
    return answers.select(names).rename_columns([name.removeprefix(prefix) for name in names])


def answer(folder: Path, package: Path, given: Path, written: Path) -> None:
    """Load the model both ways and predict the rows of a file.

    Runs in the new process.
    """
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("DO_NOT_TRACK", "true")
    model = mlflow_flavor.load(folder)
    import mlflow.pyfunc  # takes seconds

    package_model = mlflow.pyfunc.load_model(str(package))
    parts = []
    with pq.ParquetFile(given) as opened:
        for batch in opened.iter_batches(ROWS_AT_ONCE):
            rows = pa.Table.from_batches([batch])
            own, served = model.predict(rows), package_model.predict(rows.to_pandas())
            columns = {f"folder_{name}": one for name, one in logged_columns(own).items()}
            parts.append(pa.table(columns | {f"package_{name}": one for name, one in _as_logged(served).items()}))
    pq.write_table(pa.concat_tables(parts), written)


def _as_logged(served: Any) -> dict[str, Any]:
    """Return what an MLflow package gives under the names of stored predictions; of numbers it gives no decision."""
    if PROBABILITIES in served:
        return {name: served[name].to_numpy() for name in (PREDICTION, PROBABILITIES)}
    decision = np.asarray(served["decision"] if "decision" in served else np.zeros(len(served)), bool)
    return {"score": served.iloc[:, 0].to_numpy(), "decision": decision}


if __name__ == "__main__":
    answer(*map(Path, sys.argv[1:5]))
