"""Which entities a rollout is tried on: the same ones while it goes on, and others than in the rollout before."""

from datetime import UTC, datetime
from itertools import count

from mlprod_tasks.platform.ledger import Rollout
from mlprod_tasks.rollout.routing import BUCKETS, Routing, answers, bucket, roll_out, routing
from tests.support.ramped_shop import Ramped

KEYS = [f"k-{i}" for i in range(20_000)]


def rolled_out(shop: Ramped, challenger: int | None, share: float = 0.1, mode: str = "canary") -> set[str]:
    """The entities that the challenger answers once this rollout is in force."""
    roll_out(shop.pipeline, shop.platform, mode=mode, by="ada", reason="a test", challenger=challenger, share=share)
    asked = routing(shop.rollout())
    return {key for key in KEYS if answers(asked, "returns", key) == "challenger"}


def test_two_rollouts_are_tried_on_entities_that_have_nothing_to_do_with_each_other(shop: Ramped) -> None:
    first = rolled_out(shop, 3)
    assert rolled_out(shop, None, mode="champion") == set()
    second = rolled_out(shop, 3)
    third = rolled_out(shop, 1)
    for entities in (first, second, third):
        assert abs(len(entities) / len(KEYS) - 0.1) < 0.01
    for one, other in ((first, second), (second, third), (first, third)):
        assert abs(len(one & other) / len(KEYS) - 0.01) < 0.005


def test_an_entity_stays_with_the_challenger_while_its_share_grows(shop: Ramped) -> None:
    taken: set[str] = set()
    for share, mode in ((0.0, "shadow"), (0.05, "canary"), (0.2, "canary"), (1.0, "blue-green"), (1.0, "canary")):
        answered = rolled_out(shop, 3, share, mode)
        assert taken <= answered
        taken = answered
    assert taken == set(KEYS)


def test_a_rollout_that_an_earlier_release_began_keeps_its_entities(shop: Ramped) -> None:
    earlier = Rollout(
        pipeline="returns", at=datetime.now(UTC), mode="canary", by="ada", reason="before", challenger=3, share=0.05
    )
    shop.platform.ledger.put(earlier)
    grown = rolled_out(shop, 3)
    assert grown == {key for key in KEYS if bucket("returns", key) < 1_000}
    assert {key for key in KEYS if answers(routing(earlier), "returns", key) == "challenger"} <= grown


def canary(share: float) -> Routing:
    return Routing("canary", 3, share, "full", None, None, salt=b"1")


def a_key_of_each_bucket() -> dict[int, str]:
    keys: dict[int, str] = {}
    for i in count():
        keys.setdefault(bucket("returns", f"k-{i}", b"1"), f"k-{i}")
        if len(keys) == BUCKETS:
            return keys
    raise AssertionError


def test_a_share_with_up_to_four_decimals_lets_exactly_that_many_buckets_through() -> None:
    keys = a_key_of_each_bucket()
    for buckets in range(1, BUCKETS):
        rollout = canary(float(f"{buckets / BUCKETS:.4f}"))
        assert answers(rollout, "returns", keys[buckets - 1]) == "challenger", rollout.share
        assert answers(rollout, "returns", keys[buckets]) == "champion", rollout.share
    assert {answers(canary(1.0), "returns", key) for key in keys.values()} == {"challenger"}
    assert sum(answers(canary(0.07), "returns", key) == "challenger" for key in keys.values()) == 700


def test_a_share_with_more_decimals_is_rounded_up_to_whole_buckets() -> None:
    keys = a_key_of_each_bucket()
    for share, buckets in ((0.00001, 1), (0.00015, 2), (0.12341, 1235)):
        assert sum(answers(canary(share), "returns", key) == "challenger" for key in keys.values()) == buckets
