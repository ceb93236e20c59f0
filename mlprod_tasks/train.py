"""Fit the model: trees with early stopping, then calibration and threshold on the validation window."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mlprod_tasks import assemble, calibration, fallback, value
from mlprod_tasks.calibration import Calibration
from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.inputs import Input, inputs_of, matrix, read
from mlprod_tasks.model import Model, cores_for
from mlprod_tasks.platform import Platform
from mlprod_tasks.split import TRAIN, VALIDATION
from mlprod_tasks.training_folder import TrainingFolder, failing, update

log = logging.getLogger(__name__)

TRAINED = "trained.json"
ROUNDS_BETWEEN_LINES = 50
# What early stopping goes by: trees are to rank, calibration comes after them. Log loss also moves with the share of positives,
# which differs between windows.
METRIC = "auc"


@dataclass(frozen=True)
class Trained:
    """A fitted model, in home/trainings/<training_id>/model. digest is of its files."""

    training_id: str
    run_id: str
    digest: str
    trees: int
    threshold: float
    seconds: float


def train(pipeline: Pipeline, training_id: str, platform: Platform) -> Trained:
    """Fit model and fallback to the assembled set, save them, and open the training's MLflow run.

    The same set, declaration and threads give the same model, bit for bit.

    Raises: StepMissing before `assemble`.
    """
    began = time.perf_counter()
    folder = TrainingFolder(platform, training_id)
    with failing(training_id, platform):
        assembled = folder.read(assemble.MANIFEST, "assemble")
        facts = {
            "pipeline": pipeline.name,
            "declaration": pipeline.digest,
            "training_id": training_id,
            **{name: assembled[name] for name in ("as_of", "windows", "versions")},
        }
        train_rows, validation_rows = (read_window(folder, split) for split in (TRAIN, VALIDATION))
        model = fit(pipeline, train_rows, validation_rows, facts)
        digest = model.save(folder.model)
        outcome = train_rows["label"].to_numpy(zero_copy_only=False)
        fallback.fit(pipeline.fallback, pipeline.value, train_rows, outcome).save(folder.fallback)
        run_id = platform.registry.start_run(pipeline, training_id)
        params = {**asdict(pipeline.model), "trees": model.trees, "threshold": model.threshold, "as_of": assembled["as_of"]}
        params |= {f"window.{name}": "..".join(ticks) for name, ticks in assembled["windows"].items()}
        params |= {f"rows.{name}": n for name, n in assembled["rows"].items()}
        platform.registry.log(run_id, params=params)
        update(training_id, platform, run_id=run_id)
        trained = Trained(training_id, run_id, digest, model.trees, model.threshold, time.perf_counter() - began)
        folder.write(TRAINED, asdict(trained))
    log.info("%s: %d trees in %.1f s, acts from %.3f on", pipeline.name, trained.trees, trained.seconds, trained.threshold)
    return trained


def read_window(folder: TrainingFolder, split: str, *, labelled: bool = True) -> pa.Table:
    """The rows of one window of the assembled set, those without a label only when asked for."""
    wanted = pc.field("split") == split
    return pq.read_table(folder.training_set, filters=wanted & pc.field("label").is_valid() if labelled else wanted)


def fit(pipeline: Pipeline, train_rows: pa.Table, validation_rows: pa.Table, facts: Mapping[str, Any]) -> Model:
    """Fit to rows with features and `label`. Category codes come from training rows alone."""
    # A waiting OpenMP thread that spins takes its core from other tasks. Read when LightGBM is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    inputs = inputs_of(train_rows.schema, pipeline.feature_names)
    train_columns = read(train_rows, inputs)
    codes = _codes(pipeline, train_columns, inputs)
    x, validation_x = matrix(train_columns, inputs, codes), matrix(read(validation_rows, inputs), inputs, codes)
    y, validation_y = (rows["label"].to_numpy(zero_copy_only=False).astype(bool) for rows in (train_rows, validation_rows))
    booster = boost(pipeline, inputs, codes, (x, y), (validation_x, validation_y))
    uncalibrated = Model(inputs, codes, booster, Calibration("none"), 0.5, pipeline.model.threads, facts)
    raw = uncalibrated.raw(validation_x)
    fitted = calibration.fit(pipeline.model.calibration, raw, validation_y)
    threshold = value.best_threshold(pipeline.value, fitted(raw), validation_y)
    facts = {**facts, "training_rate": float(np.mean(y)), "validation_rate": float(np.mean(validation_y))}
    return Model(inputs, codes, booster, fitted, threshold, pipeline.model.threads, facts)


Rows = tuple[np.ndarray, np.ndarray]


def boost(
    pipeline: Pipeline, inputs: tuple[Input, ...], codes: Mapping[str, Any], train_rows: Rows, validation_rows: Rows
) -> str:
    """Boosted trees, stopped where the validation window no longer improves, as LightGBM's text."""
    import lightgbm

    lightgbm.register_logger(log, info_method_name="debug")
    names = [wanted.name for wanted in inputs]
    params = parameters(pipeline)
    # 'auto' would take no column of a plain matrix as categorical.
    categorical = [name for name in names if name in codes]
    x, y = train_rows
    data = lightgbm.Dataset(x, y, feature_name=names, categorical_feature=categorical, params=params)
    validation = data.create_valid(validation_rows[0], validation_rows[1])
    booster = lightgbm.train(
        params,
        data,
        num_boost_round=pipeline.model.max_trees,
        valid_sets=[validation],
        valid_names=["validation"],
        callbacks=[
            lightgbm.early_stopping(pipeline.model.early_stopping_rounds, first_metric_only=True, verbose=False),
            _progress,
        ],
    )
    return str(booster.model_to_string(num_iteration=booster.best_iteration))


def parameters(pipeline: Pipeline) -> dict[str, Any]:
    """The declaration in LightGBM's words."""
    declared = pipeline.model
    return {
        "objective": "binary",
        "metric": [METRIC],
        "learning_rate": declared.learning_rate,
        "num_leaves": declared.num_leaves,
        "min_data_in_leaf": declared.min_data_in_leaf,
        "feature_fraction": declared.feature_fraction,
        "bagging_fraction": declared.bagging_fraction,
        "bagging_freq": 1 if declared.bagging_fraction < 1 else 0,
        "lambda_l2": declared.lambda_l2,
        "num_threads": cores_for(declared.threads),
        "seed": declared.seed,
        "deterministic": True,
        "force_row_wise": True,
        "verbosity": -1,
    }


def _codes(pipeline: Pipeline, columns: list[pa.Array], inputs: tuple[Input, ...]) -> dict[str, tuple[Any, ...]]:
    """The values of each categorical feature, sorted. Text can be read in no other way, so it is always categorical."""
    return {
        wanted.name: tuple(sorted(pc.unique(column).drop_null().to_pylist()))
        for column, wanted in zip(columns, inputs, strict=True)
        if wanted.name in pipeline.model.categorical or wanted.kind == "text"
    }


def _progress(env: Any) -> None:
    if (env.iteration + 1) % ROUNDS_BETWEEN_LINES == 0:
        for _, metric, score, *_ in env.evaluation_result_list:
            log.info("tree %d of at most %d: validation %s %.5f", env.iteration + 1, env.end_iteration, metric, score)
