"""What a declaration says of the model's behaviour is tried on real rows."""

import numpy as np
import pytest

from mlprod_tasks import declaration as ml


def test_the_share_of_rows_that_break_a_rule_is_counted_and_the_worst_is_shown(trained):
    up = ml.Monotonic("a higher amount must not lower the score", "amount", "up", by=50.0, most_share=0.9)
    down = ml.Monotonic("a higher amount must not raise the score", "amount", "down", by=50.0)
    first, second = trained.checked(up, down)
    assert first.passed
    assert not second.passed
    rows = trained.rows().to_pandas()
    rows = rows[rows["amount"].notna()]
    before = trained.loaded().predict(rows).score
    after = trained.loaded().predict(rows.assign(amount=rows["amount"] + 50)).score
    assert first.value == pytest.approx((after < before - 1e-12).mean())
    assert second.value == pytest.approx((after > before + 1e-12).mean())
    worst = rows.iloc[int(np.argmax(after - before))]
    assert f"{int((after > before + 1e-12).sum()):,} of {len(rows):,} test rows" in second.sentence
    assert f"order_id {worst['order_id']!r}: the score goes from {before[np.argmax(after - before)]:.4f}" in second.sentence
    assert f"when amount goes from {worst['amount']:.3g} to {worst['amount'] + 50:.3g}" in second.sentence


def test_a_change_that_must_not_matter_but_does_is_caught(trained):
    doc = "the channel must not matter"
    moved, tolerated, nothing, same = trained.checked(
        ml.Invariance(doc, {"channel": "'phone'"}),
        ml.Invariance(f"{doc} by much", {"channel": "'phone'"}, tolerance=1.0),
        ml.Invariance(f"{doc} where it stays", {"channel": "channel"}),
        ml.Invariance("an amount of the same size must not matter", {"amount": "round(amount, 6)", "weekday": "weekday"}),
    )
    assert not moved.passed
    rows = trained.rows().to_pandas()
    others = rows[rows["channel"] != "phone"]
    change = np.abs(trained.loaded().predict(others.assign(channel="phone")).score - trained.loaded().predict(others).score)
    assert moved.n == len(others)
    assert moved.value == pytest.approx((change > 1e-12).mean())
    assert "when channel goes from " in moved.sentence
    assert tolerated.passed
    assert not nothing.passed
    assert "NothingToCheck: the channel must not matter where it stays: channel := channel changes none of" in nothing.sentence
    assert same.passed, same.sentence


def test_a_behaviour_that_cannot_be_tried_fails(trained):
    wrong, empty = trained.checked(
        ml.Invariance("must not matter", {"channel": "no_such_column"}), ml.Invariance("may be", {"amount": "'text'"})
    )
    assert "could not be evaluated" in wrong.sentence
    assert "no_such_column" in wrong.sentence
    assert "ModelInputError: feature 'amount' should be number" in empty.sentence
