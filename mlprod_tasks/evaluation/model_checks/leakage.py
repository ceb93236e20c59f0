"""Check for leakage: features that alone predict the outcome or carry the model."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mlprod_tasks.evaluation.gates.names import POWER_ALONE, POWER_LOST
from mlprod_tasks.evaluation.model_checks import AnyModel, spread
from mlprod_tasks.evaluation.results import CheckResult
from mlprod_tasks.models.feature_frame import inputs_of, outcome_of, read
from mlprod_tasks.models.stored_rows import Rows
from mlprod_tasks.models.tasks import task_of_outcomes

log = logging.getLogger(__name__)

BINS = 100
ROWS_A_BIN = 50  # at least, of the training rows
SMOOTHING = 20.0  # rows with the overall rate that are added to each bin
MOST_TRAINING_ROWS, MOST_TEST_ROWS, MOST_SHUFFLED_ROWS = 200_000, 50_000, 5_000
SECONDS_BETWEEN_LINES = 5
LEAST_POWER = 0.05  # of a model that can rest on a feature


def alone(train_rows: Rows, test_rows: Rows, features: Sequence[str], categorical: Sequence[str]) -> list[CheckResult]:
    """Measure the power (ROC AUC, or rank correlation of numbers) of each feature alone on the test rows, largest first.

    A row's score is the smoothed mean outcome of the training rows in its category or quantile bin. Nulls have their own bin;
    a category without training rows scores the overall mean.
    """
    train_rows, test_rows = spread(train_rows, MOST_TRAINING_ROWS), spread(test_rows, MOST_TEST_ROWS)
    inputs = inputs_of(train_rows.schema, features)
    y, outcome = outcome_of(train_rows), outcome_of(test_rows)
    task = task_of_outcomes(outcome)
    results = []
    known_columns, new_columns = (read(rows, inputs, categorical) for rows in (train_rows, test_rows))
    for wanted, known, new in zip(inputs, known_columns, new_columns, strict=True):
        groups = _categories if wanted.kind == "text" or wanted.name in categorical else _bins
        known_codes, new_codes, codes = groups(known, new)
        score = task.by_group(y, partial(_rates, known_codes, new_codes, codes))
        power = task.power(outcome, score)
        measured = f"a {task.declared.power} of {power:.4g}"
        sentence = f"feature {wanted.name!r} alone has {measured} on {test_rows.num_rows:,} test rows"
        results.append(CheckResult(POWER_ALONE, wanted.name, power, test_rows.num_rows, sentence))
    return sorted(results, key=lambda one: -(one.value or 0.0))


def lost(model: AnyModel, test_rows: Rows, seed: int) -> list[CheckResult]:
    """Measure the share of the model's power lost by shuffling each feature, largest first.

    Power is ROC AUC above 0.5, or rank correlation; the share is 0 for a model with less than LEAST_POWER, of which
    chance takes any share.
    """
    rows = spread(test_rows, MOST_SHUFFLED_ROWS)
    outcome, n = outcome_of(rows), rows.num_rows
    task = task_of_outcomes(outcome)
    whole, nothing = task.power(outcome, model.predict(rows).score), task.declared.no_power
    results, logged_at = [], time.monotonic()
    for i, name in enumerate(model.feature_names):
        order = np.random.default_rng((seed, i)).permutation(n)
        shuffled = rows.set_column(rows.column_names.index(name), name, rows[name].take(pa.array(order)))
        without = task.power(outcome, model.predict(shuffled).score)
        powerless = whole - nothing < LEAST_POWER
        share = 0.0 if powerless else min(1.0, (whole - without) / (whole - nothing))
        part = "which is hardly any power" if powerless else f"{share:.0%} of its power"
        goes = f"goes from {whole:.4g} to {without:.4g}, {part}"
        sentence = f"without {name!r} the model's {task.declared.power} {goes}"
        results.append(CheckResult(POWER_LOST, name, share, n, sentence))
        if time.monotonic() - logged_at > SECONDS_BETWEEN_LINES:
            logged_at = time.monotonic()
            log.info("leakage: %d of %d features shuffled", i + 1, len(model.feature_names))
    return sorted(results, key=lambda one: -(one.value or 0.0))


def _bins(known: pa.Array, new: pa.Array) -> tuple[np.ndarray, np.ndarray, int]:
    """Return the quantile bins of training and test rows as codes, and the number of codes; the last is for nulls."""
    x, new_x = known.to_numpy(zero_copy_only=False), new.to_numpy(zero_copy_only=False)
    finite = x[np.isfinite(x)]
    bins = int(np.clip(len(x) // ROWS_A_BIN, 2, BINS))
    # A value that many rows share has its own bin, as it is both the lower and the upper edge.
    edges = np.unique(np.quantile(finite, np.linspace(0, 1, bins + 1)[1:-1])) if len(finite) else np.empty(0)
    last = 2 * len(edges) + 1

    def codes(values: np.ndarray) -> np.ndarray:
        code = np.searchsorted(edges, values, side="left") + np.searchsorted(edges, values, side="right")
        return np.where(np.isnan(values), last, code)

    return codes(x), codes(new_x), last + 1


def _categories(known: pa.Array, new: pa.Array) -> tuple[np.ndarray, np.ndarray, int]:
    """Return the same by category; the last two codes are for nulls and for categories without training rows."""
    values = pc.unique(known).drop_null()

    def codes(given: pa.Array) -> np.ndarray:
        code = pc.fill_null(pc.index_in(given, value_set=values), len(values) + 1).to_numpy(zero_copy_only=False)
        return np.where(given.is_null().to_numpy(zero_copy_only=False), len(values), code)

    return codes(known), codes(new), len(values) + 2


def _rates(known: np.ndarray, new: np.ndarray, codes: int, y: np.ndarray) -> np.ndarray:
    rows, positives = np.bincount(known, minlength=codes), np.bincount(known, weights=y, minlength=codes)
    rates = (positives + SMOOTHING * y.mean()) / (rows + SMOOTHING)
    return np.asarray(rates[new], np.float64)
