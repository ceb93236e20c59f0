"""What follows a verdict: nothing, the champion for all again, or the promotion of the winner by the usual gates."""

from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from mlprod_tasks import declaration as ml
from mlprod_tasks.experiments import run as experiments
from mlprod_tasks.experiments.conclude import conclude
from mlprod_tasks.experiments.follow import follow
from mlprod_tasks.experiments.plan import CannotPlan, Wanted
from mlprod_tasks.experiments.read_out import Reading, told
from mlprod_tasks.experiments.run import CannotStart, plan_for, start
from mlprod_tasks.platform.experiment_entries import ExperimentRun
from mlprod_tasks.platform.ledger import PromotionKind, Training
from mlprod_tasks.promotion import history
from tests.experiments.conftest import ready
from tests.support.trained_shop import Shop

FIRST, LAST, END = date(2024, 1, 25), date(2024, 1, 31), "2024-02-02"
ACTED = ml.UnitMetric("acted", "decision", "orders that were acted on", of="proportion")
WANTED = Wanted("acted", difference=0.2, then="promote")


@pytest.fixture
def eager(eager_home: Path, tmp_path: Path) -> Shop:
    """A shop of the test's own with that version, and a metric by which it is better."""
    return ready(eager_home, tmp_path).declared(experiments=ml.Experiments(metrics=(ACTED,)))


def started(shop: Shop, wanted: Wanted = WANTED, treated: str = "2") -> ExperimentRun:
    planned = plan_for(shop.pipeline, wanted, [treated], shop.platform)
    return start(shop.pipeline, "eager", planned, "Ann", "a test", shop.platform)


def the_run(shop: Shop) -> ExperimentRun:
    return experiments.get(shop.pipeline, "eager", shop.platform)


def champions(shop: Shop) -> list[int]:
    return [one.model_version for one in history.promotions(shop.pipeline, shop.platform)]


def won(final: bool = True) -> Reading:
    """A reading that says that version 2 is better."""
    return Reading(END, str(FIRST), str(LAST), "better", "it is", 1.0, {}, {}, (), (), final, decided="version 2")


def test_a_winner_becomes_champion_once_and_all_that_was_done_is_told(eager, scored):
    run = started(eager)
    scored(eager, FIRST, LAST)
    eager.platform.clock.at = eager.tick(END).start
    (reading,) = follow(eager.pipeline, eager.tick(END), eager.platform)
    assert (reading.verdict, reading.decided, reading.final) == ("better", "version 2", True), reading.sentence
    assert champions(eager) == [1, 2]
    last = history.promotions(eager.pipeline, eager.platform)[-1]
    assert last.kind is PromotionKind.EXPERIMENT
    assert eager.platform.registry.champion(eager.pipeline).version == 2
    assert eager.platform.ledger.get(Training, "two").state == "promoted"
    assert f"is champion from tick {last.effective} on" in the_run(eager).conclusion
    assert the_run(eager).conclusion in told(the_run(eager), reading)
    assert follow(eager.pipeline, eager.tick(END), eager.platform) == []
    assert champions(eager) == [1, 2]
    assert run.ended is None


@pytest.mark.parametrize("then", ["nothing", "take_back"])
def test_without_promote_the_champion_stays(eager, then):
    run = started(eager, replace(WANTED, then=then))
    eager.platform.clock.at = eager.tick("2024-01-28").start
    done = conclude(eager.pipeline, run, won(), eager.platform)
    assert champions(eager) == [1]
    if then == "nothing":
        assert (done, the_run(eager).ended, the_run(eager).concluded_at) == (None, None, None)
    else:
        assert done == the_run(eager).conclusion == "version 1 stays champion and answers all rows again"
        assert (str(the_run(eager).ended), the_run(eager).ended_by) == ("2024-01-29", "plan")


def test_a_reading_that_may_still_change_has_no_consequence(eager):
    assert conclude(eager.pipeline, started(eager), won(final=False), eager.platform) is None
    assert champions(eager) == [1]


def test_a_call_that_was_killed_before_it_noted_the_promotion_is_completed(eager, monkeypatch):
    run = started(eager)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("mlprod_tasks.experiments.conclude.record", killed)
        with pytest.raises(KeyboardInterrupt):
            conclude(eager.pipeline, run, won(), eager.platform)
    assert champions(eager) == [1, 2]
    assert conclude(eager.pipeline, the_run(eager), won(), eager.platform) == "version 2 is champion"
    assert champions(eager) == [1, 2]


def test_what_became_champion_meanwhile_stays(eager):
    run = started(eager)
    eager.promoted("three", "2024-02-12")
    done = conclude(eager.pipeline, run, won(), eager.platform)
    assert done == "nothing was promoted: version 3 became champion meanwhile, and was not compared"
    assert champions(eager) == [1, 3]


def test_a_version_whose_gates_do_not_pass_any_more_is_not_promoted_and_the_ledger_says_why(eager):
    run = started(eager)
    stricter = eager.declared(gates=(ml.AtLeast("roc_auc", 0.999),))
    done = conclude(stricter.pipeline, run, won(), eager.platform)
    assert done is not None
    assert done.startswith("nothing was promoted: ")
    assert "roc_auc" in done
    assert champions(eager) == [1]


def test_a_version_that_may_not_become_champion_is_not_even_tried(eager):
    stricter = eager.declared(gates=(ml.AtLeast("roc_auc", 0.999),))
    with pytest.raises(CannotStart, match="version 2 could not be promoted"):
        started(stricter)
    assert started(stricter, replace(WANTED, then="take_back")).name == "eager"


@pytest.mark.parametrize("treated", ["champion@0.1", "2@0.1", "fallback"])
def test_what_is_no_version_of_its_own_cannot_be_promoted(eager, treated):
    with pytest.raises(CannotPlan, match=r"is no version of its own, so it cannot be promoted"):
        started(eager, treated=treated)
    with pytest.raises(CannotPlan, match="there are nothing, take_back, promote"):
        started(eager, replace(WANTED, then="hope"))
