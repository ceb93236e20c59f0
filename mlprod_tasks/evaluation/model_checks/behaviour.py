"""Check declared behaviour on real rows: change a feature and compare the scores."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mlprod_tasks.declaration import Invariance, Monotonic
from mlprod_tasks.documents.formatting import format_number
from mlprod_tasks.evaluation.gates.names import check_of
from mlprod_tasks.evaluation.model_checks import AnyModel, spread
from mlprod_tasks.evaluation.results import CheckResult
from mlprod_tasks.models.stored_rows import Rows
from mlprod_tasks.platform.engine import engine
from mlprod_tasks.platform.sql import identifier
from mlprod_tasks.statistics.class_scores import ClassScores

SAMPLE = 2_000
ROUNDING = 1e-12  # from sums in another order


class NothingToCheck(ValueError):
    """The declared change changes no row of the test window."""


def invariance(gate: Invariance, model: AnyModel, rows: Rows, key: tuple[str, ...]) -> CheckResult:
    """Measure the share of changed rows whose score moves by more than the tolerance.

    Raises: NothingToCheck.
    """
    rows = spread(rows, SAMPLE)
    changed = _changed_values(gate.change, rows)
    scores = _scores(gate, model, rows, changed)  # first: it explains a value of the wrong type
    touched = np.zeros(rows.num_rows, bool)
    for name, values in changed.items():
        touched |= _differ(rows[name].combine_chunks(), values)
    if not touched.any():
        raise NothingToCheck(f"{gate.doc.strip()}: {_format_change(gate.change)} changes none of {rows.num_rows:,} test rows")
    by = np.abs(scores.after - scores.before)
    return _result(gate, by, gate.tolerance + ROUNDING, int(touched.sum()), scores, rows, changed, key)


def monotonic(gate: Monotonic, model: AnyModel, rows: Rows, key: tuple[str, ...]) -> CheckResult:
    """Measure the share of rows whose score moves the wrong way if the feature is raised.

    Raises: NothingToCheck.
    """
    rows = spread(rows.filter(pc.is_valid(rows[gate.feature])), SAMPLE)
    if not rows.num_rows:
        raise NothingToCheck(f"{gate.doc.strip()}: feature {gate.feature!r} is null in every test row")
    changed = {gate.feature: pc.add(rows[gate.feature].combine_chunks().cast(pa.float64(), safe=False), gate.by)}
    scores = _scores(gate, model, rows, changed)
    wrong = (scores.before - scores.after) * (1 if gate.direction == "up" else -1)
    return _result(gate, wrong, ROUNDING, rows.num_rows, scores, rows, changed, key)


def _changed_values(change: Mapping[str, str], rows: pa.Table) -> dict[str, pa.Array]:
    """Return the new values of each feature; every expression reads the original rows."""
    columns = ", ".join(f"({sql}) AS {identifier(name)}" for name, sql in change.items())
    with engine(threads=1) as connection:  # one thread keeps the order of rows
        connection.execute("SET preserve_insertion_order = true")
        connection.register("rows", rows)
        values = connection.sql(f"SELECT {columns} FROM rows").to_arrow_table()
    if values.num_rows != rows.num_rows:
        raise ValueError(
            f"change {_format_change(change)} must give one value per row, but gives {values.num_rows} for {rows.num_rows} rows"
        )
    return {name: values[name].combine_chunks() for name in change}


def _differ(before: pa.Array, after: pa.Array) -> np.ndarray:
    if pa.types.is_null(after.type):
        return np.asarray(before.is_valid().to_numpy(zero_copy_only=False), bool)
    same = pc.fill_null(pc.equal(before, after), False)
    return ~np.asarray(pc.or_(same, pc.and_(before.is_null(), after.is_null())).to_numpy(zero_copy_only=False), bool)


@dataclass(frozen=True)
class _Scores:
    """Scores before and after the change, (n, names): one, or probabilities of classes. names: what a sentence calls them."""

    before: np.ndarray
    after: np.ndarray
    names: tuple[str, ...]


def _scores(gate: Invariance | Monotonic, model: AnyModel, rows: pa.Table, changed: Mapping[str, pa.Array]) -> _Scores:
    after = rows
    for name, values in changed.items():
        after = after.set_column(after.column_names.index(name), name, values)
    both = model.predict(rows).score, model.predict(after).score
    if not isinstance(both[0], ClassScores):
        return _Scores(both[0][:, None], both[1][:, None], ("the score",))
    classes = (gate.of,) if gate.of else both[0].classes
    if not set(classes) <= set(both[0].classes):
        raise NothingToCheck(f"{gate.doc.strip()}: the model does not know the class {gate.of!r}")
    before, after = (one.aligned(classes) for one in both)
    return _Scores(before, after, tuple(f"the probability of {name!r}" for name in classes))


def _result(
    gate: Invariance | Monotonic,
    moved: np.ndarray,
    most: float,
    n: int,
    scores: _Scores,
    rows: pa.Table,
    changed: Mapping[str, pa.Array],
    key: tuple[str, ...],
) -> CheckResult:
    """Count the rows of which a score moved by more than `most`. moved: (n, names)."""
    violations = (moved > most).any(axis=1)
    at = np.unravel_index(int(np.argmax(moved)), moved.shape)
    worst, which = int(at[0]), scores.names[int(at[1])]
    share = float(violations.sum() / n)
    sentence = f"{int(violations.sum()):,} of {n:,} test rows ({share:.2%}) violate this"
    if violations.any():
        who = ", ".join(f"{name} {_format_value(rows[name][worst].as_py())}" for name in key)
        how = ", ".join(
            f"{name} goes from {_format_value(rows[name][worst].as_py())} to {_format_value(values[worst].as_py())}"
            for name, values in changed.items()
        )
        sentence += f"; the worst, {who}: {which} goes from {scores.before[at]:.4f} to {scores.after[at]:.4f} when {how}"
    return CheckResult(*check_of(gate), share, n, sentence)


def _format_change(change: Mapping[str, str]) -> str:
    return ", ".join(f"{name} := {sql}" for name, sql in change.items())


def _format_value(value: Any) -> str:
    return format_number(value) if isinstance(value, float) else "null" if value is None else repr(value)
