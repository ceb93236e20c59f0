"""A model is promoted only against the champion that it was compared with."""

from dataclasses import replace

import pytest

from mlprod_tasks.declaration import AtLeast, NotWorseThanChampion, Stable, days
from mlprod_tasks.declaration.evaluation import Backtest
from mlprod_tasks.evaluation.backtest import backtest
from mlprod_tasks.evaluation.evaluate import evaluate
from mlprod_tasks.evaluation.gate import GatesRefused, gate
from mlprod_tasks.evaluation.results import Evaluation
from mlprod_tasks.platform.ledger import Promotion, Training
from mlprod_tasks.promotion import history
from mlprod_tasks.promotion.compared import ComparedWithAnother
from mlprod_tasks.promotion.eligible import may_become_champion, overtaken_by
from mlprod_tasks.promotion.register import promote
from mlprod_tasks.promotion.rollback import rollback
from mlprod_tasks.steps import register
from mlprod_tasks.training.workspace import TrainingFolder


def lose_alias(shop) -> None:
    shop.platform.registry.client.delete_registered_model_alias("returns", "champion")


def delete_version(shop) -> None:
    shop.platform.registry.client.delete_model_version("returns", "1")


def champion(shop) -> int:
    return shop.platform.registry.champion(shop.pipeline).version


def passed(shop, training: str, day: str):
    shop.trained(training, day)
    return gate(shop.pipeline, training, shop.platform)


@pytest.mark.parametrize("lose", [lose_alias, delete_version])
def test_a_champion_that_only_the_ledger_knows_fails_the_gate_against_it(promoted_shop, lose):
    lose(promoted_shop)
    promoted_shop.trained("two", "2024-02-12")
    with pytest.raises(
        GatesRefused, match=r"1 of 3 gates .*could not be evaluated: the ledger has version 1 .*rollback returns"
    ):
        gate(promoted_shop.pipeline, "two", promoted_shop.platform)


def test_nor_does_its_recipe_count_as_missing(promoted_shop):
    gates = (Stable("roc_auc", than="champion", windows=1),)
    shop = promoted_shop.declared(backtest=Backtest(windows=2, step=days(3)), gates=gates)
    lose_alias(shop)
    shop.trained("two", "2024-02-12")
    assert backtest(shop.pipeline, "two", shop.platform).champion_recipe == "unknown"
    with pytest.raises(GatesRefused, match="could not be evaluated: the ledger has version 1 as champion"):
        gate(shop.pipeline, "two", shop.platform)


def test_a_rollback_to_the_ledgers_champion_sets_a_lost_alias_again(promoted_shop):
    lose_alias(promoted_shop)
    done = rollback(promoted_shop.pipeline, promoted_shop.platform, to=1)
    assert (done.changed, champion(promoted_shop)) == (False, 1)
    assert "is set again" in done.sentence
    assert len(promoted_shop.platform.ledger.all(Promotion)) == 1
    assert passed(promoted_shop, "two", "2024-02-12")


def test_a_promotion_killed_before_the_alias_moved_is_no_champion_to_compare_with(promoted_shop, monkeypatch):
    verdict = passed(promoted_shop, "two", "2024-02-12")
    model = register(promoted_shop.pipeline, "two", promoted_shop.platform)

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(history, "move_aliases", die)
        with pytest.raises(KeyboardInterrupt):
            promote(promoted_shop.pipeline, model, verdict, promoted_shop.platform)
    promoted_shop.trained("three", "2024-02-14")
    with pytest.raises(GatesRefused, match=r"version 2 was promoted in the ledger, but the alias .* not moved from version 1"):
        gate(promoted_shop.pipeline, "three", promoted_shop.platform)
    assert promote(promoted_shop.pipeline, model, verdict, promoted_shop.platform).moved
    evaluate(promoted_shop.pipeline, "three", promoted_shop.platform)
    assert gate(promoted_shop.pipeline, "three", promoted_shop.platform)


def test_of_two_trainings_at_once_the_second_is_promoted_only_after_it_was_compared_with_the_first(promoted_shop):
    shop = promoted_shop
    verdicts = {name: passed(shop, name, day) for name, day in (("two", "2024-02-12"), ("three", "2024-02-13"))}
    models = {name: register(shop.pipeline, name, shop.platform) for name in verdicts}
    assert promote(shop.pipeline, models["two"], verdicts["two"], shop.platform).moved
    with pytest.raises(
        ComparedWithAnother, match=r"compared with version 1, but the champion is now version 2.*clear the task"
    ):
        promote(shop.pipeline, models["three"], verdicts["three"], shop.platform)
    assert (champion(shop), len(shop.platform.ledger.all(Promotion))) == (2, 2)
    assert shop.platform.ledger.get(Training, "three").state == "failed"
    evaluate(shop.pipeline, "three", shop.platform)
    assert TrainingFolder(shop.platform, "three").read(Evaluation).champion_version == 2
    again = gate(shop.pipeline, "three", shop.platform)
    assert promote(shop.pipeline, register(shop.pipeline, "three", shop.platform), again, shop.platform).moved
    assert promote(shop.pipeline, models["two"], verdicts["two"], shop.platform).moved is False


def test_two_first_trainings_at_once_are_not_both_promoted_without_a_comparison(shop):
    verdicts = {name: passed(shop, name, day) for name, day in (("one", "2024-02-12"), ("two", "2024-02-13"))}
    models = {name: register(shop.pipeline, name, shop.platform) for name in verdicts}
    assert promote(shop.pipeline, models["one"], verdicts["one"], shop.platform).moved
    with pytest.raises(ComparedWithAnother, match="compared with no champion, but the champion is now version 1"):
        promote(shop.pipeline, models["two"], verdicts["two"], shop.platform)


def test_a_model_compared_with_a_former_champion_is_not_even_registered_nor_rolled_out(promoted_shop):
    shop = promoted_shop
    passed(shop, "three", "2024-02-13")
    third = register(shop.pipeline, "three", shop.platform).version
    passed(shop, "four", "2024-02-14")
    assert shop.promoted("two", "2024-02-12").moved
    with pytest.raises(ComparedWithAnother):
        register(shop.pipeline, "four", shop.platform)
    with pytest.raises(ComparedWithAnother):
        may_become_champion(shop.pipeline, third, shop.platform)
    assert "was compared with version 1" in overtaken_by(shop.pipeline, third, shop.platform)


@pytest.mark.parametrize("lose", [lose_alias, lambda shop: shop.platform.registry.set_alias("returns", "champion", 2)])
def test_an_alias_that_somebody_moved_or_removed_after_the_comparison_stops_the_promotion(promoted_shop, lose):
    shop = promoted_shop
    verdicts = {name: passed(shop, name, day) for name, day in (("two", "2024-02-12"), ("three", "2024-02-13"))}
    models = {name: register(shop.pipeline, name, shop.platform) for name in verdicts}
    lose(shop)
    with pytest.raises(ComparedWithAnother):
        promote(shop.pipeline, models["three"], verdicts["three"], shop.platform)


def test_where_no_gate_compares_the_newer_training_replaces_the_older(promoted_shop):
    shop = promoted_shop.declared(gates=(AtLeast("roc_auc", 0.6),))
    verdict = passed(shop, "three", "2024-02-13")
    assert shop.promoted("two", "2024-02-12").moved
    assert promote(shop.pipeline, register(shop.pipeline, "three", shop.platform), verdict, shop.platform).moved


def test_a_record_of_an_earlier_release_names_only_the_version_compared_with(promoted_shop):
    shop = promoted_shop.declared(gates=(NotWorseThanChampion("roc_auc", 0.5),))
    verdict = passed(shop, "two", "2024-02-12")
    folder = TrainingFolder(shop.platform, "two")
    folder.write(replace(folder.read(Evaluation), champion_recorded=None))
    assert promote(shop.pipeline, register(shop.pipeline, "two", shop.platform), verdict, shop.platform).moved
