"""A frozen bandit keeps its shares, in batch and on request, learns nothing, and goes on when it is thawed."""

from dataclasses import replace
from datetime import date, timedelta
from importlib import import_module

import numpy as np
import pytest

from mlprod_tasks import declaration as ml
from mlprod_tasks.bandits import run as bandits
from mlprod_tasks.bandits.arm_rewards import ArmRewards
from mlprod_tasks.bandits.follow import follow_bandits
from mlprod_tasks.bandits.freeze import CannotFreeze, freeze, freezes, frozen_now, thaw
from mlprod_tasks.bandits.state import for_tick, recorded, update
from mlprod_tasks.bandits.told import told
from mlprod_tasks.dashboard.bandits import bandits as shown_bandits
from mlprod_tasks.platform.bandit_entries import BanditState
from mlprod_tasks.serving.bandits import FollowedBandits
from tests.support.paths import REPOSITORY
from tests.support.trained_shop import Shop

NEVER = "champion@1.0"
SAVING = ml.Bandit("saved", warm_up=50, floor=0.1, best=0.99, until=date(2024, 2, 2))
FIRST = date(2024, 1, 25)


def run_of(shop: Shop):
    return bandits.get(shop.pipeline, "saving", shop.platform)


def learned(shop: Shop, *versions: int, control: float = 0.7) -> None:
    """Record versions as they follow from ticks of 60 rewards of each arm."""
    rewards = ArmRewards.of(2, np.repeat([0, 1], 60), np.tile([1.0, 0.0], 60)).as_json()
    for version in versions:
        through = FIRST + timedelta(days=version - 1)
        shop.platform.ledger.put(
            BanditState(
                pipeline="returns", name="saving", version=version, through=through, tick=through + timedelta(days=2),
                at=shop.platform.clock.now(), rewards=rewards, best={"control": 0.6, NEVER: 0.4},
                shares={"control": control + version / 100, NEVER: 0.3 - version / 100},
            )
        )  # fmt: skip


@pytest.fixture
def shop(make_shop) -> Shop:
    """A shop whose bandit knows two versions; it is noon of its fourth tick."""
    shop = make_shop(SAVING)
    bandits.start(shop.pipeline, "saving", [NEVER], "Ann", "a test", shop.platform)
    learned(shop, 1, 2)
    shop.platform.clock.at = shop.tick("2024-01-28").start + timedelta(hours=8)
    return shop


def version_at(shop: Shop, day: str) -> int:
    return for_tick(shop.pipeline, run_of(shop), shop.tick(day), shop.platform).version


def test_rows_and_requests_keep_the_shares_of_the_moment_whatever_becomes_known(shop: Shop) -> None:
    followed = FollowedBandits(shop.platform)
    assert followed.splits(shop.pipeline)[0].version == 2
    assert version_at(shop, "2024-01-27") == 1
    frozen = freeze(shop.pipeline, "saving", "Bob", "the till lost receipts", shop.platform)
    assert (frozen.version, frozen.since) == (2, date(2024, 1, 28))
    learned(shop, 3, 4)  # by a process that had read the ledger before
    replica = FollowedBandits(shop.platform)
    for one in (followed, replica):
        (split,) = one.splits(shop.pipeline)
        assert (split.version, split.assignments[0].propensity) == (2, pytest.approx(0.72))
    assert [version_at(shop, day) for day in ("2024-01-26", "2024-01-28", "2024-01-31")] == [0, 2, 2]
    again = freeze(shop.pipeline, "saving", "Cid", "again", shop.platform)
    assert again.by == "Bob", "it is frozen once"
    shop.platform.clock.at = shop.tick("2024-01-31").start + timedelta(hours=8)
    assert thaw(shop.pipeline, "saving", "Ann", "they are found", shop.platform).until == date(2024, 2, 1)
    assert [version_at(shop, day) for day in ("2024-01-30", "2024-01-31", "2024-02-01")] == [2, 2, 4]
    for one in (followed, replica):
        assert one.splits(shop.pipeline)[0].version == 4
    with pytest.raises(CannotFreeze, match="bandit 'saving' is not frozen"):
        thaw(shop.pipeline, "saving", "Ann", "", shop.platform)
    freeze(shop.pipeline, "saving", "Bob", "once more", shop.platform)
    assert [one.reason for one in freezes(run_of(shop), shop.platform)] == ["the till lost receipts", "once more"]


def test_nothing_is_learned_while_it_is_frozen_and_all_of_it_afterwards(make_shop, scored) -> None:
    frozen, free = (make_shop(replace(SAVING, until=None), name) for name in ("frozen", "free"))
    for shop in (frozen, free):
        bandits.start(shop.pipeline, "saving", [NEVER], "Ann", "a test", shop.platform)
        scored(shop, "2024-01-25", "2024-01-26")
        shop.platform.clock.at = shop.tick("2024-01-27").start + timedelta(hours=8)
    freeze(frozen.pipeline, "saving", "Bob", "", frozen.platform)
    assert follow_bandits(frozen.pipeline, frozen.tick("2024-01-28"), frozen.platform) == []
    assert recorded(frozen.pipeline, run_of(frozen), frozen.platform) == []
    thaw(frozen.pipeline, "saving", "Bob", "", frozen.platform)
    states = [update(one.pipeline, run_of(one), one.tick("2024-01-28"), one.platform) for one in (frozen, free)]
    assert [(one.version, one.rewards, one.shares) for one in states[0]] == [
        (one.version, one.rewards, one.shares) for one in states[1]
    ]
    assert len(states[0]) == 2


def test_a_frozen_bandit_ends_by_its_last_day_or_a_person_and_by_no_rewards(shop: Shop) -> None:
    freeze(shop.pipeline, "saving", "Bob", "", shop.platform)
    shop.platform.ledger.put(*(replaced(one) for one in recorded(shop.pipeline, run_of(shop), shop.platform)))
    assert follow_bandits(shop.pipeline, shop.tick("2024-02-02"), shop.platform) == []
    shop.platform.clock.at = shop.tick("2024-02-03").start
    assert follow_bandits(shop.pipeline, shop.tick("2024-02-03"), shop.platform) == ["saving"]
    assert (run_of(shop).ended_by, run_of(shop).end_reason) == ("its last day", "no arm won; it was frozen")
    assert frozen_now(run_of(shop), shop.platform) is None
    for change in (freeze, thaw):
        with pytest.raises(CannotFreeze, match="is over"):
            change(shop.pipeline, "saving", "Bob", "", shop.platform)
        with pytest.raises(bandits.NoBandit):
            change(shop.pipeline, "other", "Bob", "", shop.platform)


def replaced(state: BanditState) -> BanditState:
    """The version, by which an arm would win."""
    state.best = {"control": 0.999, NEVER: 0.001}
    return state


def test_status_and_page_say_so_and_the_page_freezes_and_thaws(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(REPOSITORY / "plugins"))
    apart = import_module("mlprod_airflow.page.apart")
    asked = {"name": "saving", "by": "bob", "reason": "a sale"}
    said = "bob froze it at 2024-01-28: a sale; shares stay those of version 2, and nothing is learned"
    assert apart.FUNCTIONS["freeze_bandit"](shop.pipeline, shop.platform, **asked) == f"saving of returns: {said}"
    assert said in told(run_of(shop), [], frozen_now(run_of(shop), shop.platform))
    moments = [shop.platform.clock.at - timedelta(hours=1), shop.platform.clock.at]
    with shop.platform.ledger.session() as session:
        assert [shown_bandits(session, shop.pipeline, until)[0].frozen for until in moments] == ["", said]
    done = apart.FUNCTIONS["thaw_bandit"](shop.pipeline, shop.platform, **asked)
    assert done == "saving of returns learns again: 2024-01-29 is the first tick with new shares"
    with pytest.raises(CannotFreeze) as refused:
        apart.FUNCTIONS["thaw_bandit"](shop.pipeline, shop.platform, **asked)
    assert apart.STATUSES[type(refused.value).__name__] == 409
