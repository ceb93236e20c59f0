"""The example of a client, as people start it, against a service in a process of its own."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from mlprod_tasks.serving.keys import make_key
from tests.support.paths import REPOSITORY
from tests.support.service import ORDER, running
from tests.support.trained_shop import Shop


@contextmanager
def service(shop: Shop, *, fast_path: bool, **limits: Any) -> Iterator[tuple[str, str]]:
    """The address of a service that asks for keys, and a key."""
    key, _ = make_key(("returns",), "the desk", "ada", shop.platform)
    with running(shop.platform.settings.home, keys_needed=True, fast_path=fast_path, **limits) as (url, _):
        yield url, key


def asked(url: str, key: str, row: Any, *options: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "examples/ask.py", "returns", row if isinstance(row, str) else json.dumps(row), "--url", url]
    return subprocess.run(
        [*command, *options], cwd=REPOSITORY, env={**os.environ, "MLPROD_KEY": key}, capture_output=True, text=True, timeout=60
    )


def test_it_prints_score_version_and_route_and_why_a_row_or_a_key_is_refused(
    promoted_shop: Shop, tmp_path: Path, fast_path: bool
) -> None:
    with service(promoted_shop, fast_path=fast_path) as (url, key):
        told = asked(url, key, ORDER)
        assert told.returncode == 0, told.stderr
        body, headers = {"rows": [ORDER]}, {"authorization": f"Bearer {key}"}
        (row,) = httpx.post(f"{url}/v1/pipelines/returns/score", json=body, headers=headers).json()["rows"]
        first, last = told.stdout.splitlines()
        assert (
            first == f"o-1: score {row['score']:.4f}, {'act' if row['decision'] else 'do not act'}; version 1, route champion"
        )
        assert last.startswith("request ")
        (tmp_path / "row.json").write_text(json.dumps(ORDER))
        assert asked(url, key, str(tmp_path / "row.json")).stdout.splitlines()[0] == first

        earlier = asked(url, key, ORDER, "--moment", "2024-02-12T09:00:00Z")
        assert earlier.stdout.splitlines()[0] == first, "nothing that this model reads depends on the moment"
        later = asked(url, key, ORDER, "--moment", "2999-01-01T00:00:00Z")
        assert (later.returncode, "  moment: " in later.stdout) == (1, True)

        wrong = asked(url, key, ORDER | {"items": 2.5, "colour": "red"})
        assert wrong.returncode == 1
        assert "refused, 422" in wrong.stdout
        assert "  items: must be an integer" in wrong.stdout
        assert "  colour: is not a field of this use case" in wrong.stdout
        assert (stranger := asked(url, "mlprod_nobody", ORDER)).returncode == 1
        assert "refused, 401" in stranger.stdout
        assert key not in told.stdout + told.stderr + wrong.stdout + wrong.stderr


def test_the_end_of_a_line_after_the_key_is_no_part_of_it(promoted_shop: Shop, fast_path: bool) -> None:
    with service(promoted_shop, fast_path=fast_path) as (url, key):
        for end in ("\n", "\r\n", " \t"):
            told = asked(url, key + end, ORDER)
            assert (told.returncode, told.stderr) == (0, ""), end


@pytest.mark.parametrize("key", ["mlprod_secret\r\nx-other: 1", "mlprod_secret\x7fx", "mlprod_secret\u00e9x"])
def test_a_key_that_cannot_be_one_is_refused_unasked_and_unprinted(key: str) -> None:
    with socket.socket() as unasked:
        unasked.bind(("127.0.0.1", 0))
        told = asked(f"http://127.0.0.1:{unasked.getsockname()[1]}", key, ORDER)
    assert told.returncode == 1
    assert "the key has characters" in told.stdout
    assert "mlprod_secret" not in told.stdout + told.stderr
    assert "trying again" not in told.stderr


def test_told_to_come_back_it_waits_as_long_and_asks_again(promoted_shop: Shop, fast_path: bool) -> None:
    with service(promoted_shop, fast_path=fast_path, rows_a_second=0.7, burst=1) as (url, key):
        assert asked(url, key, ORDER).stderr == ""
        again = asked(url, key, ORDER)
        assert again.returncode == 0, again.stderr
        assert "429" in again.stderr
        waited = float(again.stderr.split("again in ")[1].split(" s")[0])
        assert 1.0 <= waited <= 2.5, "Retry-After says one or two seconds"


def test_it_gives_up_in_time_where_the_service_is_too_busy_for_good(promoted_shop: Shop, fast_path: bool) -> None:
    with service(promoted_shop, fast_path=fast_path, under_way=0) as (url, key):
        began = time.monotonic()
        told = asked(url, key, ORDER, "--patience", "6")
        assert told.returncode == 2
        assert told.stderr.count("503: ") >= 2, "each is told a second late"
        assert "no answer within 6 seconds; the last try: " in told.stdout
        assert time.monotonic() - began < 10


@pytest.mark.parametrize("listens", [True, False])
def test_it_does_not_wait_for_one_that_never_answers_nor_for_one_that_is_not_there(listens: bool) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        if listens:
            silent.listen()
        began = time.monotonic()
        told = asked(f"http://127.0.0.1:{silent.getsockname()[1]}", "", ORDER, "--timeout", "0.3", "--patience", "1.5")
        assert (told.returncode, time.monotonic() - began < 5) == (2, True), told.stderr
        assert told.stderr.count("trying again") >= 2
        assert ("timed out" if listens else "refused") in told.stdout
