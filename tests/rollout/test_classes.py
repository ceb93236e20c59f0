"""A version that predicts classes is rolled out like any other: compared by the probabilities of each and their log loss."""

import json
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from scipy import stats
from sklearn.metrics import log_loss

from demo.mail_catcher import MailCatcher
from mlprod_tasks import declaration as ml
from mlprod_tasks.rollout.checks import FEWEST, Group, Pair, quality, scores
from mlprod_tasks.rollout.rows import read
from mlprod_tasks.rollout.state import with_ramp
from mlprod_tasks.rollout.steps import begin, check, take_step
from mlprod_tasks.rollout.task_checks import CLASSES as COMPARED
from mlprod_tasks.statistics.class_scores import ClassScores
from mlprod_tasks.steps import finish, take_back
from tests.support.ramped_shop import RAMP, Ramped, of_two_versions
from tests.support.reason_shop import CLASSES, REASONS, reason_shop

WRONG = 0.0025
RAMPED = replace(REASONS, serving=ml.Serving(ramp=replace(RAMP, shares=(0.5, 1.0))))


def group(version: int, score: ClassScores, outcome: np.ndarray) -> Group:
    n = np.arange(len(score), dtype=np.uint64)
    return Group(version, n, n, np.zeros(len(n), bool), np.ones(len(n)), score, outcome)


def some(version: int, seed: int, tilt: float = 0.0, n: int = 1500, classes: tuple[str, ...] = CLASSES) -> Group:
    """Rows whose outcomes come as often as their probabilities say; tilt: what is added to the last class's pull."""
    random = np.random.default_rng(seed)
    pull = random.normal(size=(n, len(classes)))
    chances = np.exp(pull) / np.exp(pull).sum(axis=1, keepdims=True)
    outcome = np.array(classes, object)[(chances.cumsum(axis=1) > random.random((n, 1))).argmax(axis=1)]
    pull[:, -1] += tilt
    return group(version, ClassScores(classes, np.exp(pull) / np.exp(pull).sum(axis=1, keepdims=True)), outcome)


@pytest.mark.parametrize(("tilt", "passed"), [(0.0, True), (0.2, True), (1.5, False), (-1.5, False)])
def test_the_mean_probability_of_every_class_is_compared_at_a_shared_level(tilt: float, passed: bool) -> None:
    pair = Pair(some(2, 1), some(3, 2, tilt))
    found = scores(pair, RAMP, WRONG, COMPARED)
    assert found.passed is passed
    ours, theirs = pair.challenger.score.shares, pair.champion.score.shares
    furthest = int(np.abs(ours.mean(axis=0) - theirs.mean(axis=0)).argmax())
    test = stats.ttest_ind(ours[:, furthest], theirs[:, furthest], equal_var=False)
    low, high = test.confidence_interval(1 - 2 * WRONG / 2 / len(CLASSES))
    if not passed:
        assert f"The mean probability of {CLASSES[furthest]!r} of version 3 is" in found.sentence
        assert f"the difference is between {low:+.3f} and {high:+.3f}" in found.sentence
        assert (found.challenger_value, found.champion_value) == pytest.approx(
            (ours[:, furthest].mean(), theirs[:, furthest].mean())
        )


def test_a_class_that_only_one_version_knows_counts_as_probability_nothing_of_the_other() -> None:
    found = scores(Pair(some(2, 1), some(3, 2, classes=(*CLASSES, "lost"))), RAMP, WRONG, COMPARED)
    assert found.passed is False
    assert found.champion_value == 0.0
    assert "'lost'" in found.sentence


@pytest.mark.parametrize(("tilt", "passed"), [(0.0, True), (2.0, False)])
def test_the_log_loss_judges_the_quality_of_classes(tilt: float, passed: bool) -> None:
    pair = Pair(some(2, 3), some(3, 4, tilt))
    pair.champion.outcome[:200] = None
    pair.challenger.score.shares[:100] = np.nan
    found = quality(pair, WRONG, COMPARED)
    assert found.passed is passed
    order = np.argsort(CLASSES)
    expected = [
        log_loss(one.outcome[from_:].astype(str), one.score.shares[from_:, order], labels=np.array(CLASSES)[order])
        for one, from_ in ((pair.champion, 200), (pair.challenger, 100))
    ]
    assert (found.champion_value, found.challenger_value) == pytest.approx(tuple(expected))
    assert "the log loss (mean of the class that came, less is better) of version 3 is" in found.sentence


def test_too_few_rows_of_classes_are_not_compared() -> None:
    pair = Pair(some(2, 1), some(3, 2, n=FEWEST - 1))
    found = scores(pair, RAMP, WRONG, COMPARED)
    assert found.passed is None
    assert "too few rows to compare probabilities" in found.sentence


@pytest.mark.parametrize("answered", [0, FEWEST - 1])
def test_a_version_that_answers_nothing_has_no_probabilities_to_compare(answered: int) -> None:
    champion = some(2, 1)
    texts = [json.dumps(dict.fromkeys(CLASSES[:2], 0.5))] * answered + [None] * (len(champion.outcome) - answered)
    logged = COMPARED.read_scores(pa.table({"probabilities": pa.array(texts, pa.string())}))
    for pair in (Pair(champion, group(3, logged, champion.outcome)), Pair(group(3, logged, champion.outcome), champion)):
        assert scores(pair, RAMP, WRONG, COMPARED).passed is None
        found = quality(pair, WRONG, COMPARED)
        assert found.passed is None
        assert "its quality cannot be measured" in found.sentence


@pytest.fixture
def shop(filled_home: Path, catcher: MailCatcher, tmp_path: Path) -> Ramped:
    """Version 1 predicts reasons and is champion; version 2 passed its gates."""
    return of_two_versions(reason_shop(filled_home, tmp_path, pipeline=RAMPED), catcher)


def certain(reason: str, other: str) -> dict[str, Any]:
    """An answer that is rather sure of one class."""
    shares = dict.fromkeys(CLASSES, 0.1) | {reason: 0.7, other: 0.2}
    return {"prediction": reason, "score": 0.7, "probabilities": json.dumps(shares)}


def test_a_worse_version_fails_by_its_log_loss_and_a_good_one_becomes_champion(shop: Ramped) -> None:
    day = date(2024, 2, 10)
    keys = shop.platform.lake.rows("returns/raw/orders", [day])["order_id"].to_pylist()
    came = {row["order_id"]: row["reason"] for row in shop.platform.lake.rows("returns/raw/returns").to_pylist()}

    def of_order(values: dict[str, Any], by: int = 0) -> dict[str, Any]:
        at = CLASSES.index(came.get(values["key"], CLASSES[0]))
        return certain(CLASSES[(at + by) % 3], CLASSES[(at + 1 - by) % 3])

    shop.pipeline = with_ramp(shop.pipeline, rows=40)
    begin(shop.pipeline, 2, "Ada", "it is newer", shop.platform)
    take_step(shop.pipeline, 0.5, shop.platform)
    shop.answer = of_order
    mistaken = {name: lambda values, name=name: of_order(values, 1)[name] for name in ("prediction", "probabilities")}
    shop.answered(len(keys), keys, day, **mistaken)
    found = check(shop.pipeline, shop.platform)
    assert found.verdict == "failed"
    since = shop.rollout().at
    both = read(shop.pipeline, shop.platform, 1, 2, since=since, champion_since=since)
    known = np.array([one is not None for one in both.challenger.outcome])
    assert known.sum() >= 30
    assert set(both.challenger.outcome[known]) <= set(CLASSES)
    (failed,) = (one for one in found.checks if one.what == "quality")
    assert failed.passed is False
    assert (failed.challenger_value, failed.champion_value) == pytest.approx((-np.log(0.2), -np.log(0.7)))
    take_back(shop.pipeline, "rule ramp", "a check failed", shop.platform)
    (mail,) = shop.mails()
    assert "log loss" in mail
    assert "mean probability" in mail
    assert "Brier" not in mail

    begin(shop.pipeline, 2, "Ada", "again", shop.platform)
    for share in (0.5, 1.0):
        take_step(shop.pipeline, share, shop.platform)
        shop.answered(800, [f"{i}" for i in range(800)])
        assert check(shop.pipeline, shop.platform).verdict == "passed"
    assert finish(shop.pipeline, shop.platform).promoted
    assert shop.champion() == 2
