"""Planted personal values stand in no database that mlprod writes: online stores, ledger, registry, published predictions."""

from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.byte_search import forms, places, unkeyed_hashes
from demo.mail_catcher import MailCatcher
from mlprod_tasks import declaration as ml
from mlprod_tasks import steps, workflows
from mlprod_tasks.ingest.tables import TablesFailed
from mlprod_tasks.notifications.events import Failure, tell_failure
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.pseudonym import pseudonym
from mlprod_tasks.platform.settings import from_environment
from tests.support.database_dump import dump
from tests.support.keys import PSEUDONYM_KEY
from tests.support.personal_shop import OF_PERSONS, PLANTED, fill_source, person
from tests.support.trained_shop import Shop

BAD_DAY = "2024-02-13"
SOMEBODY = "2024-02-11-5000"  # the order of a person
# What the store keeps is by person: how often one returned something, and whether the last time.
BY_PERSON = (
    ml.Trailing("person", "returns", {"order_id": "order_id"}, (ml.days(7),), (ml.Count(), ml.Rate("back", "returned"))),
    ml.AsOf("returns", {"order_id": "order_id"}, {"returned_before": "returned"}, max_age=ml.days(30)),
)
PUBLISHED = replace(OF_PERSONS, features=(*OF_PERSONS.features, *BY_PERSON), publish=ml.Publish("business", "scored_orders"))
NEEDLES = [*forms(PLANTED), *unkeyed_hashes(person(SOMEBODY)), PSEUDONYM_KEY.encode()]


def platform_of(tmp_path: Path, **given: str) -> Platform:
    settings = {
        "MLPROD_HOME": str(tmp_path / "var"), "MLPROD_PIPELINES": str(tmp_path), "MLPROD_EXPECTATIONS": str(tmp_path / "gx"),
        "MLPROD_PSEUDONYM_KEY": PSEUDONYM_KEY, "MLPROD_CONNECTION_SHOP": fill_source(tmp_path / "shop.db", BAD_DAY),
    }  # fmt: skip
    return Platform(from_environment(settings | given))


def test_an_online_store_by_person_holds_no_planted_person(store_url: str, tmp_path: Path) -> None:
    platform = platform_of(tmp_path, MLPROD_ONLINE_URL=store_url)
    tick = PUBLISHED.schedule.tick("2024-01-10")
    workflows.ingest(PUBLISHED, PUBLISHED.schedule.range("2024-01-01", tick.name), platform)
    filled = steps.fill_online(PUBLISHED, tick, platform)
    assert filled.entries > 900
    steps.check_online(PUBLISHED, tick, platform)
    with closing(platform.online_store):
        dump(store_url, tmp_path / "dumped")
    assert places(tmp_path / "dumped", [b"2024-01-10"]), "the search finds what is there"
    assert places(tmp_path / "dumped", NEEDLES) == []


def test_databases_hold_no_planted_person_after_a_normal_and_a_refused_day(
    postgres_database: str, tmp_path: Path, catcher: MailCatcher, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    platform = platform_of(
        tmp_path,
        MLPROD_LEDGER_URL=postgres_database,
        MLPROD_CONNECTION_BUSINESS=postgres_database,
        MLPROD_CONNECTION_SMTP=f"smtp://127.0.0.1:{catcher.smtp_port}",
    )
    schedule = PUBLISHED.schedule
    workflows.ingest(PUBLISHED, schedule.range("2024-01-01", "2024-02-11"), platform)
    with pytest.raises(TablesFailed) as failed:
        workflows.ingest(PUBLISHED, schedule.range("2024-02-12", BAD_DAY), platform)
    assert tell_failure(PUBLISHED, Failure("k", "ingest audit", failed.value), platform)
    assert Shop(PUBLISHED, platform).promoted("one").moved
    scored = schedule.range("2024-02-10", "2024-02-11")
    workflows.score(PUBLISHED, scored, platform)
    workflows.monitor(PUBLISHED, scored, platform)
    dump(postgres_database, tmp_path / "var" / "dumped")
    (tmp_path / "var" / "logged.txt").write_text(caplog.text)
    tables = {file.name for file in (tmp_path / "var" / "dumped").iterdir()}
    assert "public.scored_orders" in tables
    assert len(tables) > 10, "the ledger too"
    found = places(tmp_path / "var" / "dumped", [pseudonym(person(SOMEBODY), PSEUDONYM_KEY).encode()])
    assert found, "the predictions of a person are published by the hash"
    assert list((tmp_path / "outbox").iterdir()), "the refused day was mailed"
    for folder in ("var", "gx", "outbox"):
        assert places(tmp_path / folder, NEEDLES) == []
