"""What scoring a tick costs around the model: the score step, lake to lake, over a bare `Booster.predict` of the same rows.

One tick of real flights, repeated to a million rows, a champion of 200 trees with 63 leaves. The step reads the raw tables,
makes the features, scores, calibrates, and replaces the tick in the lake; the bare call predicts from a matrix that is ready
in memory. Goal: at most 1.5.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from benchmarks.champion import train_champion
from benchmarks.features import fill
from benchmarks.size import sized
from mlprod_tasks import features
from mlprod_tasks.declaration import AtLeast, LightGBM, Pipeline, load
from mlprod_tasks.platform import Platform, names
from mlprod_tasks.platform.settings import from_environment
from mlprod_tasks.scoring.answers import Answers
from mlprod_tasks.scoring.prediction_rows import prediction_rows
from mlprod_tasks.scoring.score import score

REPOSITORY = Path(__file__).parents[1]
GOAL = 1.5
ROWS = sized(1_000_000, 2_000)
TICK = sized("2013-06-17", "2013-03-11")
REPEATS = sized(3, 1)


def declared() -> Pipeline:
    """The flights with a champion of one size, and nothing published."""
    shipped = load(REPOSITORY / "pipelines" / "flight_delays.py")
    trees = LightGBM(
        learning_rate=0.02,
        max_trees=200,
        early_stopping_rounds=None,
        num_leaves=63,
        min_data_in_leaf=20,
        feature_fraction=0.4,
        lambda_l2=10,
    )
    recipe = replace(shipped.model, candidates=(trees,), search=None, warm_update=False)
    return replace(shipped, publish=None, model=recipe, gates=(AtLeast("roc_auc", 0.5),))


def main() -> int:
    """Print the table."""
    pipeline = declared()
    with tempfile.TemporaryDirectory() as home:
        platform = Platform(from_environment({"MLPROD_HOME": home, "MLPROD_PIPELINES": home}))
        fill(pipeline, platform, 1)
        tick = pipeline.schedule.tick(TICK)
        train_champion(pipeline, tick, "one", platform)
        enlarge(pipeline, platform)
        ticks = pipeline.schedule.range(TICK)
        model = platform.registry.load(pipeline, 1)
        made = features.build(pipeline, ticks, platform)
        matrix = model.matrix(made.table)
        by_fallback = np.zeros(made.table.num_rows, bool)
        answer = Answers(made.table, model.predict(made.table), 1, by_fallback, None)
        timed: dict[str, Callable[[], object]] = {
            "`Booster.predict`, matrix in memory": lambda: model.raw(matrix),
            "features from the raw tables": lambda: features.build(pipeline, ticks, platform),
            "prediction from the feature table": lambda: model.predict(made.table),
            "predictions into the lake": lambda: write(pipeline, platform, answer),
            "the whole score step, lake to lake": lambda: score(pipeline, tick, platform),
        }
        seconds = {name: min(once(call) for _ in range(REPEATS)) for name, call in timed.items()}
    bare = next(iter(seconds.values()))
    print(
        f"### Batch scoring, {ROWS:,} rows, {model.trees} trees\n\n| part | seconds | over the bare call |\n| --- | --- | --- |"
    )
    for name, taken in seconds.items():
        print(f"| {name} | {taken:.2f} | {taken / bare:.2f}x |")
    ratio = seconds["the whole score step, lake to lake"] / bare
    print(f"\nGoal for the whole step: at most {GOAL}x; {'met' if ratio <= GOAL else 'MISSED'}.\n")
    return 0


def enlarge(pipeline: Pipeline, platform: Platform) -> None:
    """Repeat the tick's flights, each copy under its own key."""
    name, ticks = names.raw(pipeline, pipeline.entity_name), pipeline.schedule.range(TICK)
    day = platform.lake.rows(name, [ticks.first])
    rows = pa.concat_tables([day] * (ROWS // day.num_rows + 1)).slice(0, ROWS)
    keys = pa.array(np.char.add(rows["flight_id"].to_numpy(zero_copy_only=False).astype(str), np.arange(ROWS).astype(str)))
    rows = rows.set_column(rows.column_names.index("flight_id"), "flight_id", keys)
    platform.lake.replace_ticks(
        name, ticks, rows.set_column(rows.column_names.index("tick"), "tick", pa.array([ticks.first] * ROWS))
    )


def write(pipeline: Pipeline, platform: Platform, answer: Answers) -> None:
    rows = prediction_rows(pipeline, answer)
    platform.lake.replace_ticks(names.predictions(pipeline), pipeline.schedule.range(TICK), rows)


def once(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


if __name__ == "__main__":
    sys.exit(main())
