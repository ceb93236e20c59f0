"""Trainings whose process was killed are closed, and continued without a second version."""

import os
import signal
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from mlprod_tasks import steps, workflows
from mlprod_tasks.declaration import AtLeast
from mlprod_tasks.platform.ledger import Promotion, Training
from mlprod_tasks.promotion import history, killed
from tests.support.clock import SetClock
from tests.support.processes import PROCESSES
from tests.support.shop import SHOP
from tests.support.trained_shop import Shop, platform_at

REASON, BY = "asked by hand", "Ada"


def die(*_: object, **__: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def train(shop, dies_at: str, day: str) -> None:
    """Train; the process is killed at a step, or before the alias is moved, or after everything was written."""
    if dies_at == "alias":
        history.move_aliases = die
    elif dies_at != "end":
        setattr(steps, dies_at, die)
    else:
        promote = steps.promote
        steps.promote = lambda *given: (promote(*given), die())
    workflows.train(shop.pipeline, shop.tick(day), REASON, shop.platform, by=BY)


def killed_training(shop, dies_at: str, day: str = "2024-02-10") -> Training:
    shop.platform.ledger.engine.dispose()
    process = PROCESSES.Process(target=_in_another_process, args=(shop.platform.settings.home, dies_at, day))
    process.start()
    process.join(timeout=120)
    assert process.exitcode == -signal.SIGKILL
    (training,) = shop.platform.ledger.all(Training)
    return training


def _in_another_process(home: Path, dies_at: str, day: str) -> None:
    train(Shop(SHOP, platform_at(home)), dies_at, day)


def versions(shop) -> int:
    return len(shop.platform.registry.client.search_model_versions("name = 'returns'"))


@pytest.mark.parametrize("dies_at", ["evaluate", "promote", "alias", "end"])
def test_the_same_request_continues_a_killed_training_and_makes_one_version(shop, dies_at):
    before = killed_training(shop, dies_at)
    assert before.state == ("promoted" if dies_at == "end" else "running")
    assert workflows.train(shop.pipeline, shop.tick(), REASON, shop.platform, by=BY) == 1
    (after,) = shop.platform.ledger.all(Training)
    assert (after.id, after.state) == (before.id, "promoted")
    assert (versions(shop), len(shop.platform.ledger.all(Promotion))) == (1, 1)
    assert shop.platform.registry.champion(shop.pipeline).version == 1
    assert not list((shop.platform.settings.home / killed.LOCKS).iterdir())


@pytest.mark.parametrize(("dies_at", "state"), [("evaluate", "failed"), ("alias", "promoted")])
def test_a_killed_training_is_closed_and_a_promotion_of_it_completed(shop, dies_at, state):
    training = killed_training(shop, dies_at)
    assert killed.close_killed(shop.pipeline, shop.platform) == [training.id]
    assert shop.platform.ledger.get(Training, training.id).state == state
    assert (shop.platform.registry.champion(shop.pipeline) is not None) == (state == "promoted")
    assert killed.close_killed(shop.pipeline, shop.platform) == []


def test_another_request_or_another_declaration_is_another_training(shop):
    training = killed_training(shop, "evaluate")
    asked = killed.TrainingRequest(training.as_of, REASON, BY, None)
    assert killed.to_continue(shop.pipeline, asked, shop.platform) == training.id
    assert killed.to_continue(shop.pipeline, replace(asked, by="Grace"), shop.platform) is None
    assert killed.to_continue(shop.declared(gates=(AtLeast("roc_auc", 0.5),)).pipeline, asked, shop.platform) is None
    later = replace(shop.platform, clock=SetClock(shop.platform.clock.now() + timedelta(days=3)))
    assert killed.to_continue(shop.pipeline, asked, later) is None


def test_a_training_in_a_living_process_is_neither_closed_nor_continued(shop):
    shop.trained("one")
    with killed.running("one", shop.platform):
        later = replace(shop.platform, clock=SetClock(shop.platform.clock.now() + timedelta(days=3)))
        assert killed.close_killed(shop.pipeline, later) == []
        assert (
            killed.to_continue(shop.pipeline, killed.TrainingRequest(shop.tick().name, "test", "", None), shop.platform) is None
        )
    assert shop.platform.ledger.get(Training, "one").state == "running"


def test_a_training_of_airflow_is_closed_after_two_days_unless_it_waits_for_a_rollout(shop):
    shop.trained("one")
    assert killed.close_killed(shop.pipeline, shop.platform) == []
    later = replace(shop.platform, clock=SetClock(shop.platform.clock.now() + timedelta(days=2)))
    assert killed.close_killed(shop.pipeline, later) == ["one"]
    assert shop.platform.ledger.get(Training, "one").state == "failed"


def test_an_exception_between_two_steps_leaves_no_training_running(shop):
    shop.trained("one")
    with pytest.raises(KeyboardInterrupt), killed.running("one", shop.platform):
        raise KeyboardInterrupt
    assert shop.platform.ledger.get(Training, "one").state == "failed"
