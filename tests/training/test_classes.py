"""Training on classes: what cannot be trained on is refused with the reason, and what is unknown is counted."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from mlprod_tasks import declaration as ml
from mlprod_tasks.evaluation.results import Evaluation
from mlprod_tasks.models import fallback
from mlprod_tasks.models.class_rule import ClassRule
from mlprod_tasks.models.load_model import load_model
from mlprod_tasks.models.model import Model
from mlprod_tasks.promotion.reproduce import reproduce
from mlprod_tasks.reporting.write import report
from mlprod_tasks.training import sample_weights
from mlprod_tasks.training.assemble import NotTrainable, assemble
from mlprod_tasks.training.records import Assembled
from mlprod_tasks.training.workspace import TrainingFolder, read_window
from tests.support.reason_shop import BROKEN, CLASSES, KEPT, REASONS, reason_shop, reasons
from tests.support.trained_shop import Shop, raw_tables


@pytest.fixture
def shop_of(filled_home: Path, tmp_path: Path) -> Callable[..., Shop]:
    def make(change: Callable[[pa.Table], pa.Table] = lambda returns: returns, pipeline: ml.Pipeline = REASONS) -> Shop:
        return reason_shop(filled_home, tmp_path, returns=change(reasons(*raw_tables())), pipeline=pipeline)

    return make


def with_reasons(returns: pa.Table, values: object) -> pa.Table:
    return returns.set_column(returns.column_names.index("reason"), "reason", pa.array(values, pa.string()))


def changed(change: Callable[[np.ndarray], object]) -> Callable[[pa.Table], pa.Table]:
    return lambda returns: with_reasons(returns, change(returns["reason"].to_numpy(zero_copy_only=False)))


def assembled(shop: Shop) -> Assembled:
    return assemble(shop.pipeline, shop.tick(), "one", "a test", shop.platform)


def trained(shop: Shop) -> Model:
    shop.trained("one")
    model = load_model(TrainingFolder(shop.platform, "one").model)
    assert isinstance(model, Model)
    return model


def test_a_null_reason_is_no_outcome_and_is_counted(shop_of):
    made = assembled(shop_of(changed(lambda reasons: [None if i % 5 == 0 else one for i, one in enumerate(reasons)])))
    assert made.classes is not None
    for name, rows in made.rows.named():
        assert made.unlabelled[name] > 0.15 * rows
        assert sum(made.classes[name].values()) == rows
        assert set(made.classes[name]) == set(CLASSES)


def test_outcomes_of_one_class_are_refused(shop_of):
    shop = shop_of(changed(lambda reasons: [KEPT] * len(reasons)))
    with pytest.raises(
        NotTrainable, match=r"has outcomes of one class only: all 2,\d\d\d are 'kept'. Check label.sql 'reason'"
    ):
        assembled(shop)


def test_no_outcome_of_a_declared_class_is_refused(shop_of):
    label = replace(REASONS.label, classes=("Kept", "Broken"))
    with pytest.raises(NotTrainable, match=r"has no outcome of a declared class: there are .*, but label\.classes differ"):
        assembled(shop_of(pipeline=replace(REASONS, label=label, value=ml.ClassValue())))


def test_a_label_with_a_class_for_every_row_is_refused(shop_of):
    shop = shop_of(changed(lambda reasons: [f"complaint {i}" for i in range(len(reasons))]))
    with pytest.raises(NotTrainable, match=r"outcomes of 2,\d\d\d classes, and at most 1,000 can be told apart"):
        assembled(shop)


def test_a_label_of_another_type_is_refused_and_not_converted(shop_of):
    label = replace(REASONS.label, sql="CAST(tick AS DATE)")
    with pytest.raises(Exception, match="gives no class, a text or a whole number: derive one from it"):
        assembled(shop_of(pipeline=replace(REASONS, label=label)))


def test_whole_numbers_are_classes_by_their_digits(shop_of):
    label = replace(REASONS.label, sql="CASE reason WHEN 'kept' THEN 9 ELSE 10 END")
    model = trained(shop_of(pipeline=replace(REASONS, label=label, value=ml.ClassValue())))
    assert model.rule == ClassRule(("9", "10"))


def test_classes_that_vanish_or_appear_are_counted_and_told(shop_of, caplog):
    def change(returns: pa.Table) -> pa.Table:
        days = returns["tick"].to_pylist()
        first, last = min(days), max(days)
        values = [
            "gone"
            if day < first + timedelta(days=2) and i % 3
            else "new"
            if day > last - timedelta(days=8) and i % 4 == 0
            else one
            for i, (day, one) in enumerate(zip(days, returns["reason"].to_pylist(), strict=True))
        ]
        return with_reasons(returns, values)

    shop = shop_of(change)
    model = trained(shop)
    folder = TrainingFolder(shop.platform, "one")
    evaluation, rows = folder.read(Evaluation), read_window(folder, "test")
    assert model.rule is not None
    assert set(model.rule.classes) == {*CLASSES, "gone"}
    assert evaluation.classes is not None
    assert evaluation.classes["new"] > 50
    predicted = model.predict(rows)
    assert "gone" in predicted.score.classes
    outcome = rows["label"].to_numpy(zero_copy_only=False)
    assert evaluation.model["accuracy"].value == pytest.approx(np.mean(outcome == predicted.decision))
    assert evaluation.model["accuracy"].value < 1 - np.mean(outcome == "new")


def test_a_class_of_three_rows_is_learned_and_told(shop_of, caplog):
    shop = shop_of(changed(lambda reasons: ["rare" if i in (20, 900, 1500) else one for i, one in enumerate(reasons)]))
    with caplog.at_level("WARNING"):
        model = trained(shop)
    assert "fewer than 10 training rows are 'rare'" in caplog.text
    assert model.rule is not None
    assert model.rule.classes[-1] == "zu groß / zu klein"
    assert "rare" in model.rule.classes


def test_two_hundred_classes_with_long_names_are_trained_on(shop_of):
    names = [f"{i:03} ünd \"so\" 'weiter' {'x' * 200}" for i in range(200)]
    random = np.random.default_rng(0)
    value = ml.ClassValue()
    model = ml.Model(candidates=(ml.LightGBM(max_trees=2),), threads=1)
    shop = shop_of(
        changed(lambda reasons: random.choice(names, len(reasons))),
        replace(REASONS, value=value, model=model, gates=(ml.AtMost("log_loss", 9.0),)),
    )
    assert trained(shop).rule is not None
    assert report(shop.pipeline, "one", shop.platform).pictures > 3


def test_the_class_with_the_largest_expected_value_is_predicted(shop_of):
    shop = shop_of()
    model = trained(shop)
    predicted = model.predict(read_window(TrainingFolder(shop.platform, "one"), "test"))
    classes = predicted.score.classes
    worth = [[-5 if (said, real) == (KEPT, BROKEN) else 1 if said == real else -1 for said in classes] for real in classes]
    expected = predicted.score.shares @ np.array(worth)
    assert (predicted.decision == np.array(classes, object)[expected.argmax(axis=1)]).all()
    assert (predicted.decision != predicted.score.likeliest).any()


def test_balanced_weights_give_every_class_the_same_total():
    found = {name: replace(REASONS, model=replace(REASONS.model, weights=name)) for name in ("none", "balanced")}
    y = np.array([0] * 90 + [1] * 10)
    weighted, _ = sample_weights.weights(found["balanced"], y, None, y)
    assert weighted is not None
    assert (weighted[0], weighted[-1]) == (pytest.approx(100 / 180), pytest.approx(5.0))
    assert sample_weights.weights(found["none"], y, None, y) == (None, None)


def test_the_fallback_is_the_smoothed_share_of_each_class(shop_of):
    shop = shop_of()
    trained(shop)
    folder = TrainingFolder(shop.platform, "one")
    table = fallback.load(folder.fallback)
    rows = read_window(folder, "train").to_pandas()
    overall = rows.label.value_counts(normalize=True)
    for channel in ("phone", None, "unheard"):
        of_channel = rows[rows.channel.isna()] if channel is None else rows[rows.channel == channel]
        counts = of_channel.label.value_counts()
        score = table.predict({"channel": [channel]}).score
        for name in CLASSES:
            expected = (counts.get(name, 0) + 50 * overall[name]) / (len(of_channel) + 50)
            assert score.aligned((name,))[0, 0] == pytest.approx(expected), (channel, name)


def test_a_model_of_classes_is_promoted_and_reproduced(shop_of):
    shop = shop_of()
    promoted = shop.promoted("one")
    again = reproduce(shop.pipeline, promoted.model_version, shop.platform)
    assert again.identical
    (of_test,) = (one for one in again.compared if one.what == "rows test")
    assert all(f"{name!r}" in of_test.recorded for name in CLASSES)
    assert "positive" not in again.text()
