"""A version that predicts numbers is rolled out like any other: compared by its mean prediction and its mean absolute error."""

from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pytest

from demo.mail_catcher import MailCatcher
from mlprod_tasks import declaration as ml
from mlprod_tasks.rollout.checks import Group, Pair, quality, scores
from mlprod_tasks.rollout.rows import read
from mlprod_tasks.rollout.state import with_ramp
from mlprod_tasks.rollout.steps import begin, check, take_step
from mlprod_tasks.rollout.task_checks import NUMBERS
from mlprod_tasks.steps import finish, take_back
from tests.support.ramped_shop import RAMP, Ramped, of_two_versions
from tests.support.refund_shop import REFUNDS, refund_shop

WRONG = 0.0025
RAMPED = replace(REFUNDS, serving=ml.Serving(ramp=replace(RAMP, shares=(0.5, 1.0))))


def group(version: int, score: np.ndarray, outcome: np.ndarray) -> Group:
    n = np.arange(len(score), dtype=np.uint64)
    return Group(version, n, n, np.zeros(len(n), bool), np.ones(len(n)), score, outcome)


@pytest.fixture(scope="module")
def pair() -> Pair:
    random = np.random.default_rng(4)
    outcome = random.normal(1000, 200, 4000)
    predicted = outcome + random.normal(0, 50, 4000)
    return Pair(group(2, predicted[:2000], outcome[:2000]), group(3, predicted[2000:], outcome[2000:]))


def moved(pair: Pair, by: float) -> Pair:
    return replace(pair, challenger=replace(pair.challenger, score=pair.challenger.score + by))


@pytest.mark.parametrize(("by", "passed"), [(0.0, True), (10.0, True), (80.0, False), (-80.0, False)])
def test_how_far_mean_predictions_may_be_apart_is_in_standard_deviations_of_the_champions(
    pair: Pair, by: float, passed: bool
) -> None:
    found = scores(moved(pair, by), RAMP, WRONG, NUMBERS)
    assert found.passed is passed
    assert found.bound == pytest.approx(0.1 * np.std(pair.champion.score))
    assert "significantly more than 0.1 standard deviations (" in found.sentence


@pytest.mark.parametrize(("by", "passed"), [(0.0, True), (40.0, False)])
def test_the_mean_absolute_error_judges_the_quality_of_numbers(pair: Pair, by: float, passed: bool) -> None:
    found = quality(moved(pair, by), WRONG, NUMBERS)
    assert found.passed is passed
    assert found.champion_value == pytest.approx(np.abs(pair.champion.score - pair.champion.outcome).mean())
    assert "the mean absolute error (less is better) of version 3 is" in found.sentence


@pytest.fixture
def shop(filled_home: Path, catcher: MailCatcher, tmp_path: Path) -> Ramped:
    """Version 1 predicts refunds and is champion; version 2 passed its gates."""
    return of_two_versions(refund_shop(filled_home, tmp_path, pipeline=RAMPED), catcher)


def test_a_good_version_becomes_champion_and_a_worse_one_is_taken_back_by_its_errors(shop: Ramped) -> None:
    day = date(2024, 2, 10)
    keys = shop.platform.lake.rows("returns/raw/orders", [day])["order_id"].to_pylist()
    refund = {row["order_id"]: row["refund"] for row in shop.platform.lake.rows("returns/raw/returns").to_pylist()}
    shop.pipeline = with_ramp(shop.pipeline, rows=40)
    begin(shop.pipeline, 2, "Ada", "it is newer", shop.platform)
    take_step(shop.pipeline, 0.5, shop.platform)
    shop.answered(len(keys), keys, day, score=lambda values: refund.get(values["key"], 0.0) + 500.0)
    found = check(shop.pipeline, shop.platform)
    assert found.verdict == "failed"
    since = shop.rollout().at
    both = read(shop.pipeline, shop.platform, 1, 2, since=since, champion_since=since)
    known = both.challenger.outcome[np.isfinite(both.challenger.outcome)]
    assert set(known) <= set(refund.values()), "outcomes are compared as they are, not rounded"
    assert len(known) >= 30
    assert {one.what for one in found.checks if one.passed is False} == {"scores", "quality"}
    error = next(one for one in found.checks if one.what == "quality").challenger_value
    assert error == pytest.approx(500.0)
    take_back(shop.pipeline, "rule ramp", "a check failed", shop.platform)
    (mail,) = shop.mails()
    assert "mean absolute error" in mail
    assert "mean prediction" in mail
    assert "Brier" not in mail

    begin(shop.pipeline, 2, "Ada", "again", shop.platform)
    for share in (0.5, 1.0):
        take_step(shop.pipeline, share, shop.platform)
        shop.answered(800)
        assert check(shop.pipeline, shop.platform).verdict == "passed"
    assert finish(shop.pipeline, shop.platform).promoted
    assert shop.champion() == 2
