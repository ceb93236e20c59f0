"""The domain classifier, which detects a joint shift of all features.

It tries to tell the rows of a tick from those of the reference.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mlprod_tasks.documents.formatting import format_count
from mlprod_tasks.models.reference_profile import SampledRows

if TYPE_CHECKING:
    from mlprod_tasks.models.reference_profile import ReferenceProfile

FOLDS = 4
ROUNDS = 40
SEED = 7
# A feature whose PSI is this high on an ordinary tick of the reference (weekday, weather) would tell every tick apart.
OF_THE_TICK = 0.25
MOST_NAMED = 3


class CannotTell(ValueError):
    """The rows cannot be compared: too few rows, or no suitable feature."""


@dataclass(frozen=True)
class Told:
    """Out-of-fold ROC AUC of tick against reference with its interval.

    rows: how many of the tick were used.
    """

    auc: float
    interval: tuple[float, float]
    rows: int
    detail: str


def tell_apart(profile: ReferenceProfile, tick: SampledRows) -> Told:
    """Train boosted trees to tell sampled tick rows from reference rows.

    Returns the cross-validated AUC. 0.5: no row can be told from the reference's; 1: every row can. Features that would tell
    every tick of the reference apart (median PSI of its ticks above OF_THE_TICK) are left out; each is watched separately. The
    interval is DeLong's.

    Raises: CannotTell.
    """
    from mlprod_tasks.statistics.auc_interval import area

    assert profile.sampled is not None
    names = [
        column.name
        for column in profile.features
        if column.name in tick.columns and (not column.tick_psi or float(np.median(column.tick_psi)) <= OF_THE_TICK)
    ]
    if not names:
        raise CannotTell("every feature differs from tick to tick in the reference as well")
    before, now = _codes(profile.sampled, names), _codes(tick, names)
    if min(len(before), len(now)) < 2 * FOLDS:
        raise CannotTell(f"{format_count(len(now), 'row')} of the tick and {len(before):,} of the reference are too few")
    codes = np.concatenate([before, now])
    is_tick = np.repeat([False, True], [len(before), len(now)])
    score, gain = _out_of_fold(codes, is_tick)
    auc = area(is_tick, score)
    ranked = [names[at] for at in np.argsort(-gain, kind="stable")[:MOST_NAMED] if gain[at] > 0]
    return Told(auc.value, (auc.low, auc.high), len(now), f"{len(names)} features; the strongest: {', '.join(ranked)}")


def _codes(rows: SampledRows, names: list[str]) -> NDArray[np.uint8]:
    at = [rows.columns.index(name) for name in names]
    return rows.codes[:, at]


def _out_of_fold(codes: NDArray[np.uint8], is_tick: NDArray[np.bool_]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Each row's score by trees not trained on it, and each feature's total gain."""
    import lightgbm

    parameters = {
        "objective": "binary",
        "learning_rate": 0.15,
        "num_leaves": 8,
        "min_data_in_leaf": 20,
        "feature_fraction": 0.5,
        "is_unbalance": True,
        "seed": SEED,
        "num_threads": 1,
        "deterministic": True,
        "verbosity": -1,
    }
    data = lightgbm.Dataset(codes.astype(np.float32), is_tick, free_raw_data=False, params=parameters).construct()
    folds = np.random.default_rng(SEED).permutation(len(codes)) % FOLDS
    score, gain = np.zeros(len(codes)), np.zeros(codes.shape[1])
    for fold in range(FOLDS):
        booster = lightgbm.train(parameters, data.subset(np.flatnonzero(folds != fold).tolist()), ROUNDS)
        left_out = folds == fold
        score[left_out] = np.asarray(booster.predict(codes[left_out], num_threads=1))
        gain += booster.feature_importance("gain")
    return score, gain
