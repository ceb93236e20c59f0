"""Names that would forge lines and numbers that are none are refused, and what clients sent is shown in one line."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import text
from typer.testing import CliRunner

from mlprod_tasks.cli.main import app
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.key_entries import ApiKey
from mlprod_tasks.platform.ledger import Asker, Intervention, Review, Rollout
from mlprod_tasks.platform.settings import from_environment
from tests.support.paths import REPOSITORY

AT = datetime(2024, 5, 6, 12, tzinfo=UTC)
NAME = "flight_delays"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Platform:
    given = {"MLPROD_HOME": str(tmp_path / "var"), "MLPROD_PIPELINES": str(REPOSITORY / "pipelines")}
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    return Platform(from_environment(given))


def shell(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, arguments)
    return done.exit_code, done.output if done.exception is None or done.exit_code == 2 else str(done.exception)


def test_a_key_is_made_for_declared_use_cases_alone_and_for_a_time(here: Platform) -> None:
    make = ("keys", "make", NAME, "--holder", "the desk", "--by", "ada")
    code, said = shell("keys", "make", "flights", NAME, "--holder", "the desk", "--by", "ada")
    assert (code, "no use case 'flights' in" in said, NAME in said.partition("known: ")[2]) == (1, True, True)
    for days in ("0", "-1", "1e300", "1e-12"):
        code, said = shell(*make, f"--days={days}")
        assert (code, "cannot be valid for" in said) == (1, True)
    for days in ("nan", "inf"):
        assert shell(*make, f"--days={days}")[0] == 2
    assert here.ledger.all(ApiKey) == []
    code, said = shell(*make, "--days", "0.5")
    assert (code, "valid until 20" in said) == (0, True)
    assert shell("keys", "make", "*", "--holder", "all", "--by", "ada")[0] == 0
    assert {tuple(one.pipelines) for one in here.ledger.all(ApiKey)} == {(NAME,), ("*",)}


@pytest.mark.parametrize("name", ["a\nmlprod_forged  *  root  valid", "a\x1b[1A", "x" * 201])
def test_a_name_of_several_lines_is_refused_wherever_a_name_is_given(here: Platform, name: str) -> None:
    for arguments in (
        ("keys", "make", "*", "--holder", name, "--by", "ada"),
        ("keys", "make", "*", "--holder", "x", "--by", name),
        ("rollback", NAME, "--by", name),
        ("approve", NAME, "t", "--by", name),
        ("reviews", "decide", NAME, "r", "0", "yes", "--by", name),
        ("mute", NAME, "--until", "2999-01-01", "--by", name),
        ("pseudonym-key", "adopt", "--by", name),
    ):
        code, said = shell(*arguments)
        assert code == 2, said
    assert here.ledger.all(Intervention) == here.ledger.all(ApiKey) == []


def test_a_list_shows_each_entry_in_one_line_whatever_stands_in_the_ledger(here: Platform) -> None:
    """Also for entries of earlier releases, and for keys that a client sent."""
    key = ApiKey(id="mlprod_a", hash="0" * 64, pipelines=["x"], holder="?", by="ada", at=AT, until=AT + timedelta(days=1))
    here.ledger.put(key, Review(pipeline=NAME, request_id="r1", row=0, key="o\nr2 0  forged\x1b[A", score=0.5,
                                model_version=1, predict_at=AT, at=AT))  # fmt: skip
    with here.ledger.engine.connect() as connection, connection.begin():
        connection.execute(text("UPDATE api_keys SET holder = :holder"), {"holder": "a\nmlprod_b  *  root  valid"})
    _, keys = shell("keys", "list")
    assert len(keys.splitlines()) == 1
    assert "ended 2024-05-07" in keys
    _, reviews = shell("reviews", "list", NAME)
    assert reviews == "r1 0  o r2 0 forged\\x1b[A  score 0.5000, version 1, since 2024-05-06 12:00 UTC\n"


def test_reasons_and_names_are_kept_in_one_line_whoever_writes_them(here: Platform) -> None:
    here.ledger.put(
        Intervention(id="1", pipeline="p", kind="mute", by="ada\nroot", at=AT, reason="one\r\n\r\ntwo\0", asker=Asker.PERSON),
        Rollout(pipeline="p", at=AT, mode="champion", by="a\u2028b", reason="x\x85y"),
    )
    (done,), (rollout,) = here.ledger.all(Intervention), here.ledger.all(Rollout)
    assert (done.by, done.reason) == ("ada root", "one two\\x00")
    assert (rollout.by, rollout.reason) == ("a b", "x y")


@pytest.mark.parametrize(
    "arguments",
    [
        ("serve", "--rows-a-second", "nan"),
        ("serve", "--rows-a-second", "inf"),
        ("serve", "--port", "70000"),
        ("rollout", NAME, "canary", "--challenger", "2", "--share", "nan"),
        ("ramp", NAME, "--challenger", "2", "--hold-minutes", "inf"),
        ("reproduce", NAME, "--tolerance", "nan"),
        ("backfill", NAME, "--from", "2013-06-17", "--at-once", "0"),
    ],
)
def test_a_number_that_is_none_or_beyond_its_limits_is_refused(here: Platform, arguments: tuple[str, ...]) -> None:
    assert shell(*arguments)[0] == 2
