"""Declarations of several classes: what fits them, and what is refused by name."""

from dataclasses import replace

import pytest
from pydantic import ValidationError

from mlprod_tasks import declaration as ml
from mlprod_tasks.declaration.recorded import read, text_of
from mlprod_tasks.declaration.source_text import source_text
from tests.support.reason_shop import BROKEN, CLASSES, KEPT, REASONS, SERVED_REASONS
from tests.support.shop import SHOP


def test_what_is_not_declared_is_that_of_classes():
    assert (REASONS.watches, REASONS.rules) == (ml.MULTICLASS_WATCHES, ml.MULTICLASS_RULES)
    asked = replace(SERVED_REASONS, watches=ml.WATCHES, rules=ml.RULES)
    served = asked.watches[len(ml.MULTICLASS_WATCHES) :]
    assert served == (*ml.REQUEST_WATCHES, ml.Watch("online_class_psi", high=0.25, learned=ml.Learned()))
    assert {rule.watch for rule in asked.rules[len(ml.MULTICLASS_RULES) :]} == {watch.what for watch in served}
    with pytest.raises(ValidationError, match="watch 'online_class_psi' is not measured for task 'binary'"):
        replace(SHOP, serving=ml.Serving(), watches=(ml.Watch("online_class_psi", high=0.2),))
    bare = ml.Pipeline(
        name="reasons", alert_to=("shop@example.com",), schedule=REASONS.schedule, tables=REASONS.tables, entity="orders",
        label=REASONS.label, task="multiclass",
    )  # fmt: skip
    assert (bare.value, bare.fallback, bare.choose_by) == (ml.ClassValue(), ml.ShareTable(by=("channel",)), "log_loss")
    assert [type(gate).__name__ for gate in bare.gates] == ["BetterThanBaseline", "NotWorseThanChampion", "NoLeakageSuspicion"]


@pytest.mark.parametrize(
    ("changes", "refusal"),
    [
        (
            {"label": SHOP.label},
            "label: kind 'yes_no' is a condition that is true or false, but task 'multiclass' predicts one of",
        ),
        (
            {"label": replace(REASONS.label, sql="settled_at")},
            "label: sql 'settled_at' is timestamp, and a class is a text or a",
        ),
        ({"label": replace(REASONS.label, classes=(KEPT,))}, "label.classes has only 'kept': declare at least two"),
        ({"label": replace(REASONS.label, classes=(KEPT, KEPT, "x"))}, "label.classes: 'kept' is declared 2 times"),
        ({"label": replace(REASONS.label, classes=("a", "b"))}, 'value.pairs: it\'s "broken", kept is no class'),
        ({"value": SHOP.value}, "value: CostMatrix does not fit task 'multiclass'; declare ClassValue"),
        ({"value": ml.ClassValue(right=0)}, "value: right 0 must be more than wrong 0: a right prediction must pay"),
        (
            {"value": ml.ClassValue(pairs={KEPT: {BROKEN: 3}})},
            "value.pairs: predicting 'kept' when 'it\\'s \"broken\"' comes is worth 3, more than predicting it rightly, 1",
        ),
        ({"fallback": SHOP.fallback}, "fallback: RateTable does not fit task 'multiclass'; declare ShareTable"),
        (
            {"model": ml.Model(candidates=(ml.LinearRegression(),))},
            "LinearRegression is not there for task 'multiclass'; there are Averaging",
        ),
        (
            {"model": ml.Model(candidates=(ml.XGBoost(objective="poisson"),))},
            "model.candidates 'xgboost': objective is for task 'regression'; leave it out",
        ),
        ({"model": ml.Model(weights=3.0)}, "model.weights 3.0 weights a positive: for task 'multiclass' declare 'balanced'"),
        ({"model": ml.Model(coverage=0.9)}, "model.coverage 0.9 is of predicted numbers, and task 'multiclass' has none"),
        (
            {"gates": (ml.AtLeast("roc_auc", 0.6),)},
            "gate AtLeast('roc_auc'): it is no metric of task 'multiclass'; AtLeast has",
        ),
        ({"watches": (ml.Watch("roc_auc", low=0.6),)}, "watch 'roc_auc' is not measured for task 'multiclass'"),
        ({"top_k": 0}, "top_k 0 must be at least 1"),
        (
            {"gates": (ml.Monotonic("dearer breaks no more", "amount", "down", 5.0),)},
            "gate Monotonic('dearer breaks no more'): say which class's probability must not fall or rise, with of=...",
        ),
        (
            {
                "label": replace(REASONS.label, classes=CLASSES),
                "gates": (ml.Invariance("the day is nothing", {"weekday": "1"}, of="lost"),),
            },
            "gate Invariance('the day is nothing'): of='lost' is no class; classes are",
        ),
    ],
    ids=lambda value: None if isinstance(value, dict) else value[:60],
)
def test_what_does_not_fit_classes_is_refused_by_name(changes, refusal):
    with pytest.raises(ValidationError) as error:
        replace(REASONS, **changes)
    assert refusal in str(error.value)


def test_a_class_of_behaviour_is_for_classes_only():
    with pytest.raises(ValidationError, match=r"of='kept' names a class, and task 'binary' predicts none: leave it out"):
        replace(SHOP, gates=(ml.Monotonic("dearer comes back", "amount", "up", 5.0, of=KEPT),))


def test_classes_are_of_labels_of_classes_only():
    with pytest.raises(ValidationError, match=r"label\.classes are of kind 'class', not 'yes_no'"):
        replace(SHOP, label=replace(SHOP.label, classes=CLASSES))


def test_whether_something_happens_is_no_class():
    outcome = ml.Outcome("returns", {"order_id": "order_id"}, ml.Any(), within=ml.days(2))
    with pytest.raises(
        ValidationError, match="label: Any is a condition that is true or false, and task 'multiclass' does not predict that"
    ):
        replace(REASONS, label=outcome)


def test_a_declaration_of_classes_is_recorded_and_printed_as_itself():
    assert read(text_of(REASONS)) == REASONS
    printed: dict[str, object] = {}
    exec(source_text(REASONS), printed)
    assert printed["pipeline"] == REASONS
