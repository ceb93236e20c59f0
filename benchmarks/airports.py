"""How good the shipped use cases of airports are against simple rules, on windows later than their training, with a gap."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date

import numpy as np
import pandas as pd
from sklearn.metrics import log_loss, mean_absolute_error, r2_score

from benchmarks.simple_rules import PIPELINES, Comparing, Figures, Scores, compare_use_cases, scored
from benchmarks.size import sized
from demo.airport_database import fill
from mlprod_tasks.declaration import ClassValue, load
from mlprod_tasks.platform.ledger import Training

# Parameters and calibration were chosen on windows that end before July.
AS_OF = sized((date(2013, 8, 26), date(2013, 10, 28), date(2013, 12, 30)), (date(2013, 4, 1),))
ERRORS: Scores = {"mean absolute error": mean_absolute_error, "R2": r2_score}


def departures(training: Training, rows: pd.DataFrame, trained: pd.DataFrame) -> Figures:
    """How many flights leave in an hour, against the plan and the past."""
    season = trained.groupby(["airport", "hour_of_week"], observed=True)["label"].mean()
    of_season = season.reindex(pd.MultiIndex.from_frame(rows[["airport", "hour_of_week"]])).fillna(trained["label"].mean())
    rules = {
        "as planned": rows["planned_count_1h"].to_numpy(),
        "mean of the airport's hour of the week": of_season.to_numpy(),
        "as in the same hour a week ago": rows["week_ago_count_1h"].to_numpy(),
        "as in the last hour": rows["departed_count_1h"].to_numpy(),
    }
    model = dict(zip(ERRORS, (training.metrics[name] for name in ("mae", "r2")), strict=True))
    return {"model": model} | dict(scored(rows["label"].to_numpy(float), rules, ERRORS))


def arrival_status(training: Training, rows: pd.DataFrame, trained: pd.DataFrame) -> Figures:
    """How flights end, against shares of the training."""
    outcome, classes = rows["label"].to_numpy(str), sorted(trained["label"].unique())
    whole = trained["label"].value_counts(normalize=True)[classes]
    by = ["airline", "dep_hour"]
    counts = trained.groupby([*by, "label"], observed=True).size().unstack(fill_value=0)[classes]
    shares = (counts + 50 * whole).div(counts.sum(axis=1) + 50, axis=0)
    rules = {
        "shares of the training": np.tile(whole.to_numpy(), (len(rows), 1)),
        "shares of airline and hour": shares.reindex(pd.MultiIndex.from_frame(rows[by])).fillna(whole).to_numpy(),
    }
    figures = {
        name: {"log loss": float(log_loss(outcome, of, labels=classes)), "lost": lost(outcome, classes, of)}
        for name, of in rules.items()
    }
    model = {"log loss": training.metrics["log_loss"], "lost": -training.metrics["value_per_1000"]}
    return {"model": model} | figures


def lost(outcome: np.ndarray, classes: list[str], shares: np.ndarray) -> float:
    """Points lost per 1,000 flights if the class with the largest expected worth is told, as the use case declares it."""
    value = load(PIPELINES / "arrival_status.py").value
    assert isinstance(value, ClassValue)
    worth = np.array(
        [
            [value.right if told == came else value.pairs.get(told, {}).get(came, value.wrong) for came in classes]
            for told in classes
        ]
    )
    told = (shares @ worth.T).argmax(axis=1)
    return float(-1000 * worth[told, np.searchsorted(classes, outcome)].mean())


COMPARING: Mapping[str, Comparing] = {"departures": departures, "arrival_status": arrival_status}


def main() -> None:
    compare_use_cases("airport", fill, dict.fromkeys(COMPARING, AS_OF), COMPARING)


if __name__ == "__main__":
    main()
