"""What decisions are worth, and the threshold that is worth most."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlprod_tasks import value
from mlprod_tasks.declaration import CostMatrix

COSTS = CostMatrix(true_positive=120, false_positive=-40, false_negative=-5, true_negative=1)


def test_each_decision_is_worth_its_cell_of_the_matrix():
    decision, outcome = np.array([True, True, False, False]), np.array([True, False, True, False])
    assert value.of_decisions(COSTS, decision, outcome).tolist() == [120, -40, -5, 1]


@given(st.lists(st.tuples(st.integers(0, 20), st.booleans()), min_size=1, max_size=40))
def test_no_threshold_is_worth_more_than_the_best(rows):
    score, outcome = np.array([s / 20 for s, _ in rows]), np.array([o for _, o in rows])

    def worth(threshold: float) -> float:
        return float(value.of_decisions(COSTS, score >= threshold, outcome).sum())

    best = worth(value.best_threshold(COSTS, score, outcome))
    assert best == pytest.approx(max(worth(t) for t in [*np.linspace(0, 1, 41), value.NEVER]))


def test_acting_on_none_or_on_all_can_be_best():
    score = np.array([0.2, 0.9])
    assert value.best_threshold(COSTS, score, np.array([False, False])) == value.NEVER
    assert not (np.array([1.0]) >= value.NEVER).any()
    assert value.best_threshold(COSTS, score, np.array([True, True])) == value.ALWAYS


def test_the_threshold_lies_between_two_scores_so_that_rounding_moves_no_decision():
    assert value.best_threshold(COSTS, np.array([0.2, 0.6]), np.array([False, True])) == pytest.approx(0.4)


def test_break_even_is_where_the_expected_value_of_acting_is_that_of_waiting():
    p = value.break_even(COSTS)
    assert p * 120 + (1 - p) * -40 == pytest.approx(p * -5 + (1 - p) * 1)
    assert value.break_even(CostMatrix(120, -40)) == 0.25
