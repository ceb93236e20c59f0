"""A key that can be guessed is refused, and so is another key than the one that rows were hashed with."""

import base64
import os
import secrets
import string
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from mlprod_tasks.cli.main import app
from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.ingest.extract import extract
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.key_entries import PseudonymKey
from mlprod_tasks.platform.pseudonym_key import (
    PseudonymKeyChanged,
    PseudonymKeyWeak,
    check_value,
    made_key,
    pseudonym_key,
    strong_key,
)
from mlprod_tasks.platform.settings import SettingMissing, from_environment
from tests.support.shop import order

DAY = "2024-03-15"


def with_key(platform: Platform, key: str) -> Platform:
    return Platform(replace(platform.settings, pseudonym_key=key))


@pytest.fixture(params=["sqlite", "postgresql"])
def here(request: pytest.FixtureRequest, tmp_path: Path) -> Platform:
    given = {"MLPROD_HOME": str(tmp_path)}
    if request.param == "postgresql":
        given["MLPROD_LEDGER_URL"] = request.getfixturevalue("postgres_database")
    return Platform(from_environment(given))


@pytest.mark.parametrize(
    "made",
    [
        made_key,
        lambda: secrets.token_urlsafe(32),
        lambda: base64.b64encode(os.urandom(32)).decode(),
        lambda: base64.b32encode(os.urandom(32)).decode(),
        lambda: os.urandom(32).hex().upper(),
        lambda: "".join(secrets.choice(string.ascii_letters + string.punctuation) for _ in range(44)),
    ],
)
def test_every_usual_way_to_make_32_random_bytes_gives_a_key(made: Callable[[], str], make_platform: Any) -> None:
    for _ in range(50):
        key = made()
        assert strong_key(with_key(make_platform(), key)) == key


@pytest.mark.parametrize(
    "key",
    ["x", "a key for tests", "hunter2" * 10, "a" * 64, "0123456789abcdef" * 3, secrets.token_hex(16), f"{made_key()}\n"],
    ids=["one character", "words", "a word often", "one digit often", "a pattern", "16 bytes", "a line break"],
)
def test_a_weak_key_is_refused_with_how_to_make_one_and_not_shown(key: str, make_platform: Any) -> None:
    with pytest.raises(PseudonymKeyWeak, match=r"mlprod pseudonym-key make.*production\.md") as refused:
        strong_key(with_key(make_platform(), key))
    assert len(key) < 2 or key.strip() not in str(refused.value)


def test_the_ledger_tells_another_key_and_holds_neither(here: Platform, tmp_path: Path) -> None:
    first, second = made_key(), made_key()
    assert pseudonym_key(with_key(here, second)) == second
    assert here.ledger.all(PseudonymKey) == [], "only hashed rows make a key the one in use"
    assert pseudonym_key(with_key(here, first), note=True) == pseudonym_key(with_key(here, first)) == first
    for note in (False, True):
        with pytest.raises(PseudonymKeyChanged, match=r"not the key in use since.*earlier key again.*replace a key") as refused:
            pseudonym_key(with_key(here, second), note=note)
        assert second not in str(refused.value)
        assert first not in str(refused.value)
    (entry,) = here.ledger.all(PseudonymKey)
    assert (entry.number, entry.check_value) == (1, check_value(first))
    written = b"".join(file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())
    assert first.encode() not in written


def test_of_two_keys_that_are_used_for_the_first_time_at_once_one_wins(here: Platform) -> None:
    keys = [made_key() for _ in range(6)]
    here.ledger.answers()

    def taken(key: str) -> bool:
        try:
            return pseudonym_key(with_key(here, key), note=True) == key
        except PseudonymKeyChanged:
            return False

    with ThreadPoolExecutor(6) as processes:
        assert sum(processes.map(taken, keys)) == 1


def test_extract_refuses_a_weak_and_another_key_before_anything_is_hashed(
    orders_pipeline: Callable[..., Pipeline], orders_in: Callable[..., str], make_platform: Any
) -> None:
    pipeline = orders_pipeline()
    platform = make_platform(shop=orders_in([order(1, customer="Ann")]))
    ticks = pipeline.schedule.range(DAY)
    done = extract(pipeline, "orders", ticks, platform)
    before = done.path.read_bytes()
    for key, error in (("x", PseudonymKeyWeak), (made_key(), PseudonymKeyChanged), ("", SettingMissing)):
        with pytest.raises(error, match="pipeline 'shop', table 'orders': a personal column must be hashed, but"):
            extract(pipeline, "orders", ticks, with_key(platform, key))
    assert done.path.read_bytes() == before
    assert extract(pipeline, "orders", ticks, platform).rows == 1


def test_a_key_is_made_and_replaced_from_a_shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shell = CliRunner()
    key = shell.invoke(app, ["pseudonym-key", "make"]).output.strip()
    old = Platform(from_environment({"MLPROD_HOME": str(tmp_path), "MLPROD_PSEUDONYM_KEY": made_key()}))
    pseudonym_key(old, note=True)
    monkeypatch.setenv("MLPROD_HOME", str(tmp_path))
    monkeypatch.setenv("MLPROD_PSEUDONYM_KEY", key)
    for _ in range(2):
        done = shell.invoke(app, ["pseudonym-key", "adopt", "--by", "ada"])
        assert done.output.startswith("key 2 is in use since ")
    assert [(one.number, one.by) for one in old.ledger.all(PseudonymKey)] == [(1, ""), (2, "ada")]
    assert pseudonym_key(with_key(old, key)) == key
    with pytest.raises(PseudonymKeyChanged):
        pseudonym_key(old)
    monkeypatch.setenv("MLPROD_PSEUDONYM_KEY", "x")
    assert isinstance(shell.invoke(app, ["pseudonym-key", "adopt", "--by", "ada"]).exception, PseudonymKeyWeak)
