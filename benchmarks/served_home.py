"""An installation to be asked: the real year in the lake, two trained versions, a full online store, a canary, API keys.

Everything that is sent, too: real flights as a program would send them, and their features for servers that compute none.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.champion import train_champion
from benchmarks.features import fill
from benchmarks.power_tasks import ASKED
from benchmarks.size import sized
from mlprod_tasks.declaration import AtLeast, AtMost, Pipeline, load
from mlprod_tasks.declaration.gate import Gate
from mlprod_tasks.declaration.source_text import source_text
from mlprod_tasks.online import OnlineFeatures
from mlprod_tasks.online.fill import fill_online
from mlprod_tasks.platform import Platform, names
from mlprod_tasks.platform.settings import from_environment
from mlprod_tasks.promotion import history as champion
from mlprod_tasks.rollout import routing
from mlprod_tasks.serving.keys import make_key

REPOSITORY = Path(__file__).parents[1]
# As of which the challenger and the champion are trained.
FIRST, TICK = sized(("2013-06-17", "2013-06-24"), ("2013-03-04", "2013-03-11"))
SHARE = 0.1
KEYS = 8  # a key may ask for so many rows a second; callers that load a service have one each
# What any model passes.
GATES: dict[str, Gate] = {
    "binary": AtLeast("roc_auc", 0.5), "regression": AtMost("mae", 10_000.0), "multiclass": AtLeast("accuracy", 0.0),
}  # fmt: skip
NUMBER, MOMENT = "#NUMBER#", "#MOMENT#"  # in the bodies, where wrk writes what makes a row differ from every other


@dataclass(frozen=True)
class Home:
    """Where it is, what it serves, and the keys to it."""

    folder: Path
    pipeline: Pipeline
    platform: Platform
    keys: tuple[str, ...]

    @property
    def variables(self) -> dict[str, str]:
        """The environment of a process that works on it."""
        return {
            "MLPROD_HOME": str(self.folder),
            "MLPROD_PIPELINES": str(self.platform.settings.pipelines),
            "MLFLOW_TRACKING_URI": self.platform.settings.mlflow_url,
        }

    @property
    def champion(self) -> int:
        return champion.promotions(self.pipeline, self.platform)[-1].model_version

    @property
    def moment(self) -> datetime:
        """As of when rows are scored: the store stands there, so that nothing is stale."""
        return self.pipeline.schedule.tick(TICK).start


def home(folder: Path, task: str = "binary") -> Home:
    """Make it, which takes a minute; one that is there already is used again.

    task: whether flights are late, how many minutes, or which of four classes of punctuality; each from the same features.
    """
    pipeline = declared(task, folder / "pipelines")
    platform = Platform(from_environment({"MLPROD_HOME": str(folder), "MLPROD_PIPELINES": str(folder / "pipelines")}))
    kept = folder / "keys.json"
    if not kept.exists():
        fill(pipeline, platform, 1)
        trained = replace(pipeline, publish=None, backtest=None, gates=(GATES[task],))
        for day in (FIRST, TICK):
            train_champion(trained, pipeline.schedule.tick(day), f"as-of-{day}", platform)
        fill_online(pipeline, pipeline.schedule.tick(TICK), platform)
        routing.roll_out(
            pipeline, platform, mode="canary", challenger=1, share=SHARE, by="a benchmark", reason="both versions answer"
        )
        made = [make_key([pipeline.name], f"caller {n}", "a benchmark", platform)[0] for n in range(KEYS)]
        kept.write_text(json.dumps(made))
    return Home(folder, pipeline, platform, tuple(json.loads(kept.read_text())))


def declared(task: str, folder: Path) -> Pipeline:
    """The shipped use case asked for a task, written to a folder of pipelines, from which the service reads it.

    Raises: RuntimeError if the folder's use case is of another task.
    """
    shipped = load(REPOSITORY / "pipelines" / "flight_delays.py")
    file = folder / f"{shipped.name}.py"
    if not file.exists():
        folder.mkdir(parents=True, exist_ok=True)
        file.write_text(source_text(replace(ASKED[task].declared(shipped), serving=shipped.serving)))
    pipeline = load(file)
    if pipeline.task != task:
        raise RuntimeError(f"{folder} is of task {pipeline.task}: give another --home")
    return pipeline


def rows_of(home: Home, most: int) -> list[dict[str, Any]]:
    """The newest flights before the tick, as JSON has them."""
    tick = home.pipeline.schedule.tick(TICK).name
    name = names.raw(home.pipeline, home.pipeline.entity_name)
    needed = OnlineFeatures(home.pipeline, home.platform.online_store).fields.needed
    days = [home.pipeline.schedule.shift(tick, -ago) for ago in range(most // 900 + 2)]
    read = home.platform.lake.rows(name, days, list(needed))
    return [{name: _plain(value) for name, value in row.items()} for row in read.to_pylist()][-most:]


def asked(home: Home, rows: Sequence[dict[str, Any]]) -> list[str]:
    """A body for each row, asked of the service; NUMBER and MOMENT stand where every request may differ."""
    key = home.pipeline.entity_table.key[0]
    arrival = "sched_arr_at"
    return [
        json.dumps(
            {
                "rows": [row | {key: f"{row[key]}{NUMBER}", arrival: row[arrival][:14] + MOMENT}],
                "moment": home.moment.isoformat(),
            }
        )
        for row in rows
    ]


def features_of(home: Home, rows: Sequence[dict[str, Any]]) -> list[tuple[Any, ...]]:
    """Each row's features, which the other servers are given ready-made."""
    made = OnlineFeatures(home.pipeline, home.platform.online_store).rows(rows, home.moment)
    return [one.values for one in made]


def _plain(value: Any) -> Any:
    return value.astimezone(UTC).isoformat() if isinstance(value, datetime) else value
