"""Bandits over requests: the arm that batch gives the same unit, by the newest state, and what is learned from the log."""

from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest

from mlprod_tasks import declaration as ml
from mlprod_tasks.bandits.evaluate import evaluate
from mlprod_tasks.bandits.run import CannotStart, get, start, stop
from mlprod_tasks.bandits.state import recorded, update
from mlprod_tasks.features import labels
from mlprod_tasks.platform import names
from mlprod_tasks.platform.bandit_entries import BanditRun, BanditState
from mlprod_tasks.platform.ledger import Rollout
from mlprod_tasks.rollout.routing import CannotRollOut, roll_out
from mlprod_tasks.serving.app import Service
from mlprod_tasks.serving.bandits import split_of
from mlprod_tasks.serving.run import build_service
from tests.support.service import ORDER, ask_orders, post
from tests.support.trained_shop import Shop

NEVER = "champion@1.0"
SAVING = ml.Bandit("saved", warm_up=50, floor=0.1)
FIRST = date(2024, 1, 25)
Score = Callable[[Shop, str, str], None]


def started(shop: Shop, *arms: str, **rest: str) -> None:
    start(shop.pipeline, "saving", arms, "Ann", "a test", shop.platform, **rest)


def serving(shop: Shop) -> Service:
    return build_service(shop.platform, {shop.pipeline.name: shop.pipeline}, keys_needed=False)


def log(shop: Shop, *days: int) -> pd.DataFrame:
    return shop.platform.lake.rows(names.requests(shop.pipeline), [date(2024, 1, day) for day in days]).to_pandas()


def updated(shop: Shop, day: str) -> list[BanditState]:
    return update(shop.pipeline, get(shop.pipeline, "saving", shop.platform), shop.tick(day), shop.platform)


def answered(service: Service, n: int = 40) -> list[tuple[str | None, int | None]]:
    """Arm and version of some orders of the first tick, as they would be logged."""
    rows = [ORDER | {"order_id": f"o-{i}", "placed_at": "2024-01-25T09:30:00Z"} for i in range(n)]
    assert post(service, {"rows": rows}).status_code == 200
    return [(row.variant, row.of_bandit[0]) for row in list(service.scorers["returns"].log._waiting)[-n:]]


@pytest.mark.parametrize(
    "policy",
    [ml.ThompsonSampling(), ml.LinearThompson(("amount", "items"))],
    ids=lambda policy: type(policy).__name__,
)
def test_a_request_gets_the_arm_that_batch_gives_its_unit_by_the_same_version(make_shop, scored: Score, policy):
    shop = make_shop(ml.Bandit("saved", policy, warm_up=20, floor=0.1))
    started(shop, NEVER)
    scored(shop, "2024-01-25", "2024-01-27")
    for replica in (serving(shop), serving(shop)):
        ask_orders(shop, replica, [date(2024, 1, 27)])
    asked = log(shop, 27)
    batch = shop.platform.lake.rows(names.predictions(shop.pipeline), [date(2024, 1, 27)]).to_pandas()
    both = asked.merge(batch, left_on="key_order_id", right_on="order_id", suffixes=("", "_batch"))
    assert len(both) == len(asked) == 2 * len(batch)
    assert set(both["state_version"]) == {1}
    for name in ("experiment", "variant", "propensity", "state_version", "score", "decision", "model_version"):
        assert (both[name] == both[f"{name}_batch"]).all(), name
    assert set(both["variant"]) == {"control", NEVER}
    assert both["action"].isna().all()
    assert both["propensity"].nunique() > (2 if isinstance(policy, ml.LinearThompson) else 1)


def test_replicas_follow_a_new_version_with_the_next_look_at_the_ledger(make_shop, scored: Score):
    shop = make_shop(SAVING)
    started(shop, NEVER)
    scored(shop, "2024-01-25", "2024-01-25")
    shop.platform.clock.at = shop.tick("2024-01-25").start + timedelta(hours=12)
    service = serving(shop)
    before = answered(service)
    assert {version for _, version in before} == {0}
    assert {arm for arm, _ in before} == {"control", NEVER}
    shop.platform.clock.at = shop.tick("2024-01-27").start
    updated(shop, "2024-01-27")
    assert answered(service) == before  # it has not looked yet
    service.loader.read_ledger()
    assert {version for _, version in answered(service)} == {1}
    stop(shop.pipeline, "saving", "Ann", "enough", shop.platform)
    service.loader.read_ledger()
    assert set(answered(service)) == {(None, None)}


def test_a_version_that_cannot_be_read_leaves_the_last_good_one_and_then_the_champion(make_shop, scored: Score):
    shop = make_shop(SAVING)
    started(shop, NEVER)
    scored(shop, "2024-01-25", "2024-01-26")
    updated(shop, "2024-01-28")
    shop.platform.clock.at = shop.tick("2024-01-27").start
    followed = serving(shop)
    assert {version for _, version in answered(followed)} == {2}
    run = get(shop.pipeline, "saving", shop.platform)
    one, two = recorded(shop.pipeline, run, shop.platform)
    shop.platform.ledger.put(_changed(two, version=3, shares={"control": float("nan"), NEVER: 0.5}))
    followed.loader.read_ledger()
    assert {version for _, version in answered(followed)} == {2}
    assert {version for _, version in answered(serving(shop))} == {2}  # one that starts now finds it, too
    scored(shop, "2024-01-28", "2024-01-28")  # and so does batch
    batch = shop.platform.lake.rows(names.predictions(shop.pipeline), [date(2024, 1, 28)])
    assert set(batch["state_version"].to_pylist()) == {2}
    shop.platform.ledger.put(_changed(one, rewards={}))
    assert {version for _, version in answered(serving(shop))} == {0}
    shop.platform.ledger.put(_changed(run, plan={"bandit": run.plan["bandit"]}))
    assert set(answered(serving(shop))) == {(None, None)}
    followed.loader.read_ledger()
    assert {version for _, version in answered(followed)} == {2}


def _changed(row: BanditState | BanditRun, **changes: object) -> BanditState | BanditRun:
    kept = {column.name: getattr(row, column.name) for column in type(row).__table__.columns}
    return type(row)(**kept | changes)


def test_with_actions_an_answer_says_what_to_do_as_batch_does(make_shop, scored: Score):
    shop = make_shop(ml.Bandit("acted", actions=("coupon", "call", "nothing"), warm_up=10, floor=0.1))
    started(shop)
    scored(shop, "2024-01-25", "2024-01-25")
    service = serving(shop)
    ask_orders(shop, service, [FIRST])
    batch = shop.platform.lake.rows(names.predictions(shop.pipeline), [FIRST]).to_pandas()
    both = log(shop, 25).merge(batch, left_on="key_order_id", right_on="order_id", suffixes=("", "_batch"))
    assert len(both) == len(batch)
    for name in ("experiment", "variant", "propensity", "action", "state_version", "decision"):
        assert (both[name] == both[f"{name}_batch"]).all(), name
    assert set(both["action"]) == {"coupon", "call", "nothing"}
    answer = post(service, {"rows": [ORDER | {"placed_at": "2024-01-25T09:30:00Z"}]}).json()["rows"][0]
    assert answer["action"] in {"coupon", "call", "nothing"}
    assert "action" not in post(serving(make_shop(SAVING, "other")), {"rows": [ORDER]}).json()["rows"][0]


def test_what_is_learned_from_requests_is_what_pandas_finds_in_the_log(make_shop):
    shop = make_shop(SAVING)
    started(shop, NEVER, rows="requests")
    service = serving(shop)
    ask_orders(shop, service, [FIRST, FIRST + timedelta(days=1)])
    (first,) = updated(shop, "2024-01-27")
    # Some of the first tick's orders are asked for again, by a version that gives them arms anew: their last answers count.
    ask_orders(shop, service, [FIRST], "7", minutes=600)
    shop.platform.ledger.put_instead(BanditState, [], pipeline="returns", name="saving")
    (again,) = updated(shop, "2024-01-27")
    assert again.rewards != first.rewards
    rows = log(shop, 25).sort_values("at").groupby("key_order_id").tail(1)
    assert len(log(shop, 25)) > len(rows)
    assert set(rows["state_version"]) == {0, 1}
    ticks = shop.pipeline.schedule.range("2024-01-25")
    known = labels(shop.pipeline, ticks, shop.tick("2024-01-27"), shop.platform).to_pandas()
    rows = rows.merge(known[["order_id", "label"]].dropna(), left_on="key_order_id", right_on="order_id")
    saved = rows["decision"].astype(bool) * (rows["label"].astype(bool) * 14 - 4)
    for arm, name in enumerate(("control", NEVER)):
        mine = (rows["variant"] == name).to_numpy()
        assert again.rewards["n"][arm] == mine.sum() > 0
        assert again.rewards["total"][arm] == pytest.approx(saved[mine].sum())


def test_off_policy_estimates_read_the_log_of_requests(make_shop):
    shop = make_shop(SAVING)
    started(shop, NEVER, rows="requests")
    ask_orders(shop, serving(shop), [FIRST, FIRST + timedelta(days=1)])
    found = evaluate(shop.pipeline, "saving", shop.tick("2024-01-28"), shop.platform, shares={"control": 0.9, NEVER: 0.1})
    rows = log(shop, 25, 26)
    ticks = shop.pipeline.schedule.range("2024-01-25", "2024-01-26")
    known = labels(shop.pipeline, ticks, shop.tick("2024-01-28"), shop.platform).to_pandas()
    rows = rows.merge(known[["order_id", "label"]].dropna(), left_on="key_order_id", right_on="order_id")
    saved = rows["decision"].astype(bool) * (rows["label"].astype(bool) * 14 - 4)
    weight = np.where(rows["variant"] == "control", 0.9, 0.1) / rows["propensity"]
    assert found.value.rows == len(rows)
    assert found.value.ips.value == pytest.approx((weight * saved).mean())
    assert found.value.snips.value == pytest.approx((weight * saved).sum() / weight.sum())


def test_a_row_that_its_arm_could_not_answer_teaches_nothing(make_shop):
    shop = make_shop(SAVING)
    started(shop, NEVER)
    service = serving(shop)
    shop.platform.clock.at = shop.tick("2024-01-25").start + timedelta(hours=12)
    service.loader.refresh()
    assert {arm for arm, _ in answered(service)} == {"control", NEVER}
    champion = service.loader.loaded["returns"].champion
    while not champion.breaker.open:
        champion.breaker.failed()
    assert set(answered(service)) == {(None, None)}
    last = list(service.scorers["returns"].log._waiting)[-1]
    assert (last.experiment, last.propensity, last.route) == ("saving", None, "fallback")


def test_rollouts_and_bandits_keep_out_of_each_others_way_unless_arms_are_actions(make_shop):
    shop, acting = make_shop(SAVING), make_shop(ml.Bandit("acted", actions=("coupon", "call")), "acting")

    def rolled(one: Shop, minute: int, mode: str = "champion", **rest: Any) -> None:
        at = one.platform.clock.now() + timedelta(minutes=minute)
        one.platform.ledger.put(Rollout(pipeline="returns", at=at, by="ada", reason="", mode=mode, **rest))

    canary = {"mode": "canary", "challenger": 1, "share": 0.5, "salt": "1"}
    rolled(shop, 0, **canary)
    with pytest.raises(CannotStart, match="rollout 'canary' lets version 1 answer requests"):
        started(shop, NEVER)
    rolled(shop, 1, automation="assist")
    with pytest.raises(CannotStart, match="people decide on requests"):
        started(shop, NEVER, rows="requests")
    started(shop, NEVER)
    with pytest.raises(CannotRollOut, match="end it with `mlprod bandit stop returns saving`"):
        roll_out(shop.pipeline, shop.platform, mode="blue-green", by="ada", reason="", challenger=2)
    started(acting)
    rolled(acting, 0, **canary)
    acting.platform.clock.at = acting.tick("2024-01-25").start + timedelta(hours=12)
    service = serving(acting)
    answered(service)
    rows = list(service.scorers["returns"].log._waiting)
    both = {(route, action) for route in ("champion", "challenger") for action in ("coupon", "call")}
    assert {(row.route, row.of_bandit[1]) for row in rows} == both
    assert {row.propensity for row in rows} == {0.5}


def test_a_unit_that_requests_do_not_know_is_refused_for_learning_from_them(make_shop):
    shop = make_shop(SAVING)
    shop = shop.declared(experiments=ml.Experiments(shop.pipeline.experiments.metrics, unit=("weekday",), bandit=SAVING))
    with pytest.raises(CannotStart, match="unit 'weekday' is looked up or computed"):
        started(shop, NEVER, rows="requests")
    started(shop, NEVER)
    shop.platform.clock.at = shop.tick("2024-01-25").start + timedelta(hours=12)
    assert set(answered(serving(shop))) == {(None, None)}


def test_shares_of_requests_are_those_of_the_version(make_shop, scored: Score):
    shop = make_shop(ml.Bandit("saved", warm_up=20, floor=0.1))
    started(shop, NEVER, "champion@0.9")
    scored(shop, "2024-01-25", "2024-01-25")
    states = updated(shop, "2024-01-27")
    split = split_of(shop.pipeline, get(shop.pipeline, "saving", shop.platform), states)
    given = [split.of(f"unit {i}", ()).name for i in range(20_000)]
    counts = {arm: given.count(arm) / len(given) for arm in states[-1].shares}
    assert counts == pytest.approx(states[-1].shares, abs=0.012)
