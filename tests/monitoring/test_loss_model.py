"""Errors estimated before labels arrive: right where errors depend on known features, by data whose true errors are known."""

from math import pi, sqrt

import numpy as np
import pyarrow as pa
import pytest

from mlprod_tasks.models.reference_profile import LossModel, ReferenceNumbers
from mlprod_tasks.monitoring import loss_model
from mlprod_tasks.monitoring.measurement import Reading
from mlprod_tasks.platform.engine import engine

PLACES = ("north", "south", "west")
SD = {"north": 2.0, "south": 6.0, "west": 15.0}
OF_NORMAL = sqrt(2 / pi)  # the mean absolute error of a normal error with standard deviation 1


def made(n: int, seed: int, shares: tuple[float, ...] = (0.6, 0.3, 0.1), size: float = 1.0) -> pa.Table:
    """Predictions whose errors are normal, with a standard deviation by place and by size."""
    random = np.random.default_rng(seed)
    place, amount = random.choice(PLACES, n, p=shares), random.uniform(0, size, n)
    score = 10 * amount
    sd = np.array([SD[one] for one in place]) * (1 + amount)
    known = pa.array(place, pa.string(), mask=random.random(n) < 0.0)
    return pa.table({"place": known, "amount": amount, "score": score, "label": score + random.normal(0, sd), "sd": sd})


def reference(rows: pa.Table) -> ReferenceNumbers:
    error = rows["label"].to_numpy() - rows["score"].to_numpy()
    with engine() as con:
        con.register("reference", rows)
        learned = loss_model.fit(con, "reference", ("place", "amount"))
    mae, rmse = float(np.abs(error).mean()), float(np.sqrt((error**2).mean()))
    return ReferenceNumbers(None, 0.0, 1.0, mae, rmse, 0.0, losses=learned)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def known() -> ReferenceNumbers:
    return reference(made(8000, 1))


def estimated(known: ReferenceNumbers, rows: pa.Table) -> dict[str, Reading]:
    with engine() as con:
        con.register("tick", rows)
        return {one.what: one for one in loss_model.estimates(con, "tick", known)}


@pytest.mark.parametrize(
    ("shares", "size"),
    [((0.6, 0.3, 0.1), 1.0), ((0.1, 0.2, 0.7), 1.0), ((0.98, 0.01, 0.01), 1.0), ((0.6, 0.3, 0.1), 0.3)],
    ids=["as the reference", "more of the hard ones", "nearly only easy ones", "small amounts"],
)
def test_what_is_estimated_is_the_error_that_such_rows_have(known, shares, size):
    rows = made(4000, 2, shares, size)
    sd, found = rows["sd"].to_numpy(), estimated(known, rows)
    assert found["estimated_mae"].value == pytest.approx(OF_NORMAL * sd.mean() / known.mae, rel=0.06)
    assert found["estimated_rmse"].value == pytest.approx(sqrt((sd**2).mean()) / known.rmse, rel=0.08)
    assert found["estimated_mae"].reference == known.mae


def test_the_interval_holds_the_realised_error_in_about_95_of_100_ticks(known):
    held = {"estimated_mae": 0, "estimated_rmse": 0}
    for seed in range(100):
        rows = made(400, 100 + seed)
        error = np.abs(rows["label"].to_numpy() - rows["score"].to_numpy())
        realised = {"estimated_mae": error.mean() / known.mae, "estimated_rmse": sqrt((error**2).mean()) / known.rmse}
        for what, one in estimated(known, rows).items():
            assert one.interval is not None
            held[what] += one.interval[0] <= realised[what] <= one.interval[1]
    assert all(88 <= n <= 100 for n in held.values()), held


def test_pieces_estimate_what_the_whole_does_and_so_does_a_mean_over_rows_in_plain_numpy(known):
    rows, errors = made(5000, 4), loss_model.EstimatedErrors(known)
    with engine() as con:
        con.register("tick", rows)
        pieces = [
            f"(SELECT * FROM tick WHERE {one})"
            for one in ("amount > 0.7", "amount <= 0.7 AND place <> 'west'", "false", "amount <= 0.7 AND place = 'west'")
        ]
        apart = errors.merge([errors.read(con, piece) for piece in pieces])
    assert {one.what: one for one in apart} == estimated(known, rows)
    model = known.losses
    x = loss_model._matrix(rows, (*model.features, "score"), dict(model.categories))
    absolute = loss_model._predicted(loss_model._unpacked(model.absolute), x)
    assert apart[0].value == pytest.approx(float(np.maximum(absolute, 0).mean()) / known.mae, rel=1e-8)


def test_labels_play_no_part_so_a_concept_shift_is_not_found(known):
    rows = made(1000, 3)
    moved = rows.set_column(rows.column_names.index("label"), "label", pa.array(np.full(1000, 1e6)))
    assert {what: one.value for what, one in estimated(known, moved).items()} == {
        what: one.value for what, one in estimated(known, rows).items()
    }


def test_unknown_categories_and_missing_values_have_an_estimate_too(known):
    rows = made(200, 4)
    rows = rows.set_column(0, "place", pa.array(["east", None] * 100)).set_column(
        1, "amount", pa.array([None] * 200, pa.float64())
    )
    assert all(one.value is not None and one.value > 0 for one in estimated(known, rows).values())


def test_too_few_rows_missing_features_and_a_perfect_reference_say_why(known):
    few = estimated(known, made(29, 5))["estimated_mae"]
    assert (few.value, few.why) == (None, "the model itself answered 29 rows, too few for an estimate; at least 30 are needed")
    lacking = estimated(known, made(100, 5).drop_columns(["amount"]))["estimated_rmse"]
    assert (lacking.value, lacking.why) == (None, "its rows lack amount")
    assert reference(made(199, 6)).losses is None
    assert estimated(reference(made(199, 6)), made(100, 7)) == {}


def test_the_same_rows_in_any_order_teach_the_same(known):
    rows = made(8000, 1)
    again = reference(rows.take(np.random.default_rng(0).permutation(8000)))
    assert isinstance(known.losses, LossModel)
    assert again.losses == known.losses
