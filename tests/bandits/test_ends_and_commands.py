"""How a bandit ends, who is told, and what a shell shows: from its start to what another policy would have earned."""

from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from mlprod_tasks import declaration as ml
from mlprod_tasks.bandits import run as bandits
from mlprod_tasks.bandits.arm_rewards import ArmRewards
from mlprod_tasks.bandits.evaluate import CannotEvaluate, evaluate
from mlprod_tasks.bandits.follow import absent, follow_bandits
from mlprod_tasks.bandits.state import recorded
from mlprod_tasks.cli import main
from mlprod_tasks.cli.arguments import opened
from mlprod_tasks.declaration.source_text import source_text
from mlprod_tasks.platform import names
from mlprod_tasks.platform.bandit_entries import BanditState
from mlprod_tasks.platform.ledger import Promotion, PromotionKind
from mlprod_tasks.steps import measure, tell_experiments
from tests.support.paths import REPOSITORY
from tests.support.trained_shop import Shop

NEVER = "champion@1.0"
SAVING = ml.Bandit("saved", warm_up=50, floor=0.1, best=0.99)


def started(shop: Shop, *arms: str) -> None:
    bandits.start(shop.pipeline, "saving", arms, "Ann", "a test", shop.platform)


def run_of(shop: Shop):
    return bandits.get(shop.pipeline, "saving", shop.platform)


def test_an_arm_wins_when_it_is_the_best_with_the_declared_probability_and_one_mail_says_so(
    make_shop, scored, catcher, mailing
):
    shop = make_shop(replace(SAVING, warm_up=100))
    settings = replace(shop.platform.settings, connection=mailing(shop.platform.clock).settings.connection)
    shop = replace(shop, platform=replace(shop.platform, settings=settings))
    started(shop, NEVER)
    ended = None
    for day in shop.pipeline.schedule.names(date(2024, 1, 25), date(2024, 1, 30)):
        shop.platform.clock.at = shop.pipeline.schedule.moment(day)
        scored(shop, str(day), str(day))
        measure(shop.pipeline, shop.tick(str(day)), shop.platform)
        told = tell_experiments(shop.pipeline, shop.tick(str(day)), shop.platform)
        if run_of(shop).ended is not None and ended is None:
            ended = day
            assert told == ["saving"]
        else:
            assert told == []
    assert ended is not None
    run, states = run_of(shop), recorded(shop.pipeline, run_of(shop), shop.platform)
    assert run.ended == shop.pipeline.schedule.shift(ended, 1)
    assert run.ended_by == "its rule"
    assert run.end_reason.startswith("control is the best with probability ")
    assert states[-1].best["control"] >= 0.99
    rows = shop.platform.lake.rows(names.predictions(shop.pipeline), [run.ended])
    assert "variant" not in rows.column_names or rows["variant"].null_count == rows.num_rows
    (mail,) = [one for one in catcher.outbox.mails() if "bandit" in one["Subject"]]
    assert mail["Subject"] == "[returns] bandit saving: ended"
    plain = " ".join(mail.get_body(("plain",)).get_content().split())
    assert "Control is the best with probability " in plain
    assert "roll out what earns most" in plain
    assert [part.get_content_type() for part in mail.walk()].count("image/png") == 1


def test_a_bandit_among_versions_ends_when_another_one_is_promoted(make_shop, scored):
    shop = make_shop(SAVING)
    started(shop, NEVER)
    scored(shop, "2024-01-25", "2024-01-25")
    shop.platform.ledger.put(
        Promotion(
            pipeline="returns", model_version=2, effective=date(2024, 2, 11), training_id="two", reason="a test",
            at=shop.platform.clock.now(), kind=PromotionKind.BETTER,
        )
    )  # fmt: skip
    assert follow_bandits(shop.pipeline, shop.tick("2024-01-26"), shop.platform) == ["saving"]
    assert run_of(shop).ended_by == "a promotion"
    assert "version 2 became champion" in run_of(shop).end_reason


def test_the_last_day_ends_it_when_its_rewards_are_known(make_shop, scored):
    shop = make_shop(replace(SAVING, best=None, until=date(2024, 1, 26)))
    started(shop, NEVER)
    scored(shop, "2024-01-25", "2024-01-26")
    assert follow_bandits(shop.pipeline, shop.tick("2024-01-27"), shop.platform) == []
    shop.platform.clock.at = shop.pipeline.schedule.moment(date(2024, 1, 28))
    assert follow_bandits(shop.pipeline, shop.tick("2024-01-28"), shop.platform) == ["saving"]
    assert (run_of(shop).ended_by, run_of(shop).ended) == ("its last day", date(2024, 1, 27))
    assert follow_bandits(shop.pipeline, shop.tick("2024-01-28"), shop.platform) == []


def test_what_another_policy_would_have_earned_is_between_what_its_arms_earned(make_shop, scored):
    shop = make_shop(replace(SAVING, best=None))
    started(shop, NEVER)
    scored(shop, "2024-01-25", "2024-02-01")
    tick = shop.tick("2024-02-03")
    found = {
        share: evaluate(shop.pipeline, "saving", tick, shop.platform, shares={"control": share, NEVER: 1 - share}).value
        for share in (0.0, 0.5, 1.0)
    }
    for one in ("ips", "snips", "doubly_robust"):
        never, half, control = (getattr(found[share], one).value for share in (0.0, 0.5, 1.0))
        assert never < half < control
    assert found[0.0].snips.value == pytest.approx(0, abs=1e-9)  # never acting saves nothing
    assert found[0.0].effective < found[0.5].effective
    declared = evaluate(shop.pipeline, "saving", tick, shop.platform)
    # The log's own policy, replayed from the same rewards, chooses as it did.
    assert declared.value.snips.value == pytest.approx(declared.value.logged.value)
    assert declared.value.effective == pytest.approx(declared.value.rows)
    greedy = replace(SAVING, policy=ml.EpsilonGreedy(0.1))
    other = shop.declared(experiments=replace(shop.pipeline.experiments, bandit=greedy))
    assert np.isfinite(evaluate(other.pipeline, "saving", tick, shop.platform).value.ips.value)


def test_what_a_log_cannot_tell_is_refused(make_shop, scored):
    shop = make_shop(SAVING)
    started(shop, NEVER)
    with pytest.raises(CannotEvaluate, match="no unit of 'saving' has a complete outcome yet"):
        evaluate(shop.pipeline, "saving", shop.tick("2024-01-26"), shop.platform)
    scored(shop, "2024-01-25", "2024-01-25")
    tick = shop.tick("2024-01-27")
    for shares, why in (
        ({"gone": 1.0}, "has no arm 'gone'; its arms are control, champion@1.0"),
        ({"control": 0.5}, "add up to 0.5"),
        ({"control": 1.5, NEVER: -0.5}, "must be at least 0"),
    ):
        with pytest.raises(CannotEvaluate, match=why):
            evaluate(shop.pipeline, "saving", tick, shop.platform, shares=shares)
    other = ml.Bandit("saved", actions=("coupon", "call"))
    actions = shop.declared(experiments=replace(shop.pipeline.experiments, bandit=other))
    with pytest.raises(CannotEvaluate, match="are not the arms"):
        evaluate(actions.pipeline, "saving", tick, shop.platform)


@pytest.fixture
def mlprod(make_shop, scored, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """The command in a shop whose bandit has run for three ticks."""
    shop = make_shop(SAVING)
    started(shop, NEVER)
    scored(shop, "2024-01-25", "2024-01-27")
    (tmp_path / "pipelines").mkdir()
    (tmp_path / "pipelines" / "returns.py").write_text(source_text(shop.pipeline))
    monkeypatch.setenv("MLPROD_HOME", str(shop.platform.settings.home))
    monkeypatch.setenv("MLPROD_PIPELINES", str(tmp_path / "pipelines"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)

    def call(*words: str) -> Any:
        return CliRunner().invoke(main.app, ["bandit", *words])

    return call


def test_a_shell_shows_evaluates_and_stops_it(mlprod: Callable[..., Result], monkeypatch: pytest.MonkeyPatch) -> None:
    shown = mlprod("status", "returns")
    assert shown.exit_code == 0, shown.output
    assert "saving: runs from 2024-01-25; knows the rewards of 2024-01-25 to 2024-01-27 (version 3)" in shown.output
    assert "control: " in shown.output
    assert "the best with probability" in shown.output
    told = mlprod("evaluate", "returns", "saving", "--share", "control=0.5", "--share", f"{NEVER}=0.5")
    assert told.exit_code == 0, told.output
    assert "saved of a unit in a tick, 2024-01-25 to 2024-01-27" in told.output
    assert "doubly robust: " in told.output
    stopped = mlprod("stop", "returns", "saving", "--by", "Bob")
    assert stopped.exit_code == 0, stopped.output
    shown = mlprod("status", "returns", "saving").output
    assert "ended by Bob" in shown
    assert "less than the best arm alone" in shown
    again = mlprod("start", "returns", "again", "--arm", NEVER, "--by", "Ann")
    assert "replayed on the units of saving:\nsaved of a unit in a tick, 2024-01-25 to 2024-01-27" in again.output, again.output
    mlprod("stop", "returns", "again", "--by", "Ann")
    monkeypatch.syspath_prepend(str(REPOSITORY / "plugins"))
    on_page = import_module("mlprod_airflow.page.apart").FUNCTIONS["bandit"]
    done = on_page(*opened("returns"), name="third", arms=[NEVER], rows="batch", by="Ann", reason="which is best?")
    assert done.partition("\n")[2] == again.output.partition("\n")[2].rstrip(), "the page replays it, too"
    assert isinstance(mlprod("status", "returns", "gone").exception, bandits.NoBandit)
    assert "give an arm and its share" in mlprod("evaluate", "returns", "saving", "--share", "control").output


def test_a_metric_that_cannot_be_computed_ends_it_and_the_rest_of_the_tick_goes_on(make_shop, scored):
    shop = make_shop(SAVING)
    broken = ml.UnitMetric("saved", "value / (amount - amount)", "what acting saved")
    shop = shop.declared(experiments=replace(shop.pipeline.experiments, metrics=(broken,)))
    started(shop, NEVER)
    scored(shop, "2024-01-25", "2024-01-27")
    assert follow_bandits(shop.pipeline, shop.tick("2024-01-27"), shop.platform) == ["saving"]
    assert run_of(shop).ended_by == "its metric"
    assert "metric 'saved' is infinite or no number for" in run_of(shop).end_reason
    assert follow_bandits(shop.pipeline, shop.tick("2024-01-28"), shop.platform) == []


def test_the_page_starts_and_ends_one_as_the_shell_does(make_shop, monkeypatch):
    monkeypatch.syspath_prepend(str(REPOSITORY / "plugins"))
    apart = import_module("mlprod_airflow.page.apart")
    shop = make_shop(SAVING)
    given = {"arms": [NEVER], "rows": "requests", "by": "ada", "reason": "which is best?"}
    done = apart.FUNCTIONS["bandit"](shop.pipeline, shop.platform, name="saving", **given)
    chooses = f"saving of returns chooses among control, {NEVER} from 2024-01-25 on"
    assert done == f"{chooses}\nno log of these arms to replay it on"
    run = run_of(shop)
    assert (run.by, run.reason, bandits.plan_of(run).rows) == ("ada", "which is best?", "requests")
    with pytest.raises(bandits.CannotStart) as refused:
        apart.FUNCTIONS["bandit"](shop.pipeline, shop.platform, name="another", **given)
    assert apart.STATUSES[type(refused.value).__name__] == 409
    done = apart.FUNCTIONS["end_bandit"](shop.pipeline, shop.platform, name="saving", by="bob", reason="enough")
    assert done == "saving of returns is ended: 2024-01-25 is the first tick that it does not choose for"
    with pytest.raises(bandits.NoBandit) as unknown:
        apart.FUNCTIONS["end_bandit"](shop.pipeline, shop.platform, name="other", by="bob", reason="enough")
    assert apart.STATUSES[type(unknown.value).__name__] == 404


def test_an_arm_that_answers_no_row_any_more_ends_it(make_shop):
    shop = make_shop(SAVING)
    started(shop, NEVER)

    def state(version: int, n: list[float]) -> BanditState:
        rewards = ArmRewards.of(2, np.repeat([0, 1], np.array(n, int)), np.ones(int(sum(n)))).as_json()
        day = date(2024, 1, 24) + timedelta(days=version)
        return BanditState(
            pipeline="returns", name="saving", version=version, through=day, tick=day + timedelta(days=2),
            at=shop.platform.clock.now(), rewards=rewards, best={"control": 0.5, NEVER: 0.5},
            shares={"control": 0.5, NEVER: 0.5},
        )  # fmt: skip

    plan, both = bandits.plan_of(run_of(shop)), [60.0, 60.0]
    gone = [60.0, 0.0]
    cases = {
        "nothing": ([], None),
        "two ticks": ([gone, gone], None),
        "three": ([gone, gone, gone], NEVER),
        "one with": ([both, gone, gone], None),
        "by its floor of 10 % it was to have 18": ([both, gone, gone, gone], None),
        "and here 60": ([both, *[[200.0, 0.0]] * 3], NEVER),
        "too few to tell": ([[9.0, 0.0]] * 3, None),
    }
    for ticks, arm in cases.values():
        assert absent(plan, [state(i + 1, n) for i, n in enumerate(ticks)]) == arm, ticks
    shop.platform.ledger.put(*(state(i + 1, gone) for i in range(3)))
    assert follow_bandits(shop.pipeline, shop.tick("2024-01-29"), shop.platform) == ["saving"]
    assert run_of(shop).end_reason.startswith(f"{NEVER} had no row in 3 ticks: its version is not registered any more")


def test_a_declaration_without_a_bandit_ends_it(make_shop):
    shop = make_shop(SAVING)
    started(shop, NEVER)
    for changed in (ml.Experiments(shop.pipeline.experiments.metrics), None):
        other = shop.declared(experiments=changed)
        ended = follow_bandits(other.pipeline, shop.tick("2024-01-26"), shop.platform)
        assert ended == (["saving"] if changed is not None else [])
    assert run_of(shop).end_reason == "returns declares no bandit any more"
