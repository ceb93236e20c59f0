"""A tick that executors score which have nothing in common with the driver but the lake's bucket."""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from mlprod_tasks.features import key_ranges
from mlprod_tasks.platform import Platform, names
from mlprod_tasks.platform.compute import Piece, Result, Work
from mlprod_tasks.platform.compute.bucket_exchange import BucketExchange
from mlprod_tasks.scoring import in_pieces
from mlprod_tasks.scoring.score import score
from tests.support.object_storage import Bucket
from tests.support.shop_in_a_bucket import in_a_bucket
from tests.support.trained_shop import Shop

DAY = "2024-02-11"


class Elsewhere:
    """Sends work and pieces as Spark does, and computes them in an environment of its own, the first piece again at the end."""

    def __init__(self, driver: Path) -> None:
        self._driver = driver

    def map(self, work: Work[Piece, Result], pieces: Sequence[Piece], what: str) -> Iterator[Result]:
        sent = pickle.dumps((work, list(pieces)))
        assert str(self._driver).encode() not in sent
        assert b"s3cret" not in sent
        results = []
        for number in [*range(len(pieces)), 0]:
            its_work, its_pieces = pickle.loads(sent)
            results += [pickle.dumps(one) for one in its_work(iter(its_pieces[number : number + 1]))]
        return map(pickle.loads, results[: len(pieces)])


@pytest.fixture
def scored_elsewhere(promoted_shop: Shop, bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Platform:
    monkeypatch.setattr(key_ranges, "PIECE_ROWS", 40)
    in_pieces._model.cache_clear()  # an earlier test may have left the model in memory
    monkeypatch.setenv("MLPROD_HOME", str(tmp_path / "executor"))
    monkeypatch.setenv("MLPROD_CONNECTION_LAKE", bucket.connection())
    return in_a_bucket(promoted_shop, bucket, MLPROD_ENGINE="spark", MLPROD_SCORE_ROWS="100")


def test_scores_are_those_of_one_process_and_nothing_is_left(
    promoted_shop: Shop, scored_elsewhere: Platform, bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline, tick, driver = promoted_shop.pipeline, promoted_shop.tick(DAY), scored_elsewhere
    monkeypatch.setattr(in_pieces, "compute_of", lambda settings: Elsewhere(settings.home))
    score(pipeline, tick, promoted_shop.platform)
    whole = promoted_shop.platform.lake.rows(names.predictions(pipeline), [tick.name]).sort_by("order_id")
    done = score(pipeline, tick, driver)
    assert (done.rows, done.fallback_reason) == (120, None)
    assert driver.lake.rows(names.predictions(pipeline), [tick.name]).sort_by("order_id").equals(whole)
    folders = [tmp_path / "executor", driver.settings.home]
    assert [one for folder in folders for one in (folder / "exchange").iterdir()] == []
    (model,) = (tmp_path / "executor" / "models").glob("*/*")
    assert not BucketExchange(driver.settings.lake, "_mlprod/shared/exchange", driver.settings)._written()
    # What an executor has, it does not fetch again; and what somebody changed there is not loaded.
    kept = {file: file.stat().st_mtime_ns for file in model.rglob("*") if file.is_file()}
    in_pieces._model.cache_clear()
    score(pipeline, tick, driver)
    assert {file: file.stat().st_mtime_ns for file in kept} == kept
    in_pieces._model.cache_clear()
    trees = next(model.rglob("*.txt"))
    trees.write_text(trees.read_text() + " ")
    assert score(pipeline, tick, driver).fallback_reason is None
    assert driver.lake.rows(names.predictions(pipeline), [tick.name]).sort_by("order_id").equals(whole)
