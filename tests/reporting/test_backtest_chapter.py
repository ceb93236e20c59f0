"""A fold's row in the backtest's table says what its outcomes were, for every task."""

from dataclasses import replace
from datetime import date

import pytest

from mlprod_tasks.evaluation.results import Fold
from mlprod_tasks.models.model_facts import DateRange, PerWindow
from mlprod_tasks.reporting.chapters.backtest import _row

WINDOW = DateRange(date(2024, 1, 1), date(2024, 1, 31))
FOLD = Fold(date(2024, 3, 1), PerWindow(WINDOW, WINDOW, WINDOW), rows=200, positives=50, model={}, baseline={})


@pytest.mark.parametrize(
    ("fold", "said"),
    [
        (FOLD, "200\n25.0% positive"),
        (replace(FOLD, positives=0, mean_outcome=7.5), "200\nmean outcome 7.5"),
        (replace(FOLD, positives=0, classes={"late": 50, "on time": 150}), "200\non time 75.0 %, late 25.0 %"),
    ],
    ids=["binary", "regression", "multiclass"],
)
def test_what_the_outcomes_of_a_fold_were(fold: Fold, said: str) -> None:
    assert _row(fold, (), other=False)[1] == said
