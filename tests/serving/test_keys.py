"""API keys: told once, kept as a hash."""

from datetime import datetime, timedelta
from pathlib import Path

import pytest

from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.key_entries import ApiKey
from mlprod_tasks.platform.settings import from_environment
from mlprod_tasks.serving.keys import KeyHolder, NoSuchKey, ValidKeys, lifetime, make_key, revoke_key


@pytest.fixture
def platform(tmp_path: Path) -> Platform:
    return Platform(from_environment({"MLPROD_HOME": str(tmp_path)}))


def keys(platform: Platform) -> ValidKeys:
    return ValidKeys(platform.ledger.all(ApiKey))


def holder(known: ValidKeys, key: str, now: datetime, scheme: str = "Bearer") -> KeyHolder | None:
    return known.of_header(f"{scheme} {key}".encode(), now)


def test_a_key_opens_its_use_cases_and_no_other(platform: Platform) -> None:
    key, made = make_key(("flights",), "the gate desk", "ada", platform)
    everything, _ = make_key(("*",), "a test", "ada", platform)
    now, known = platform.clock.now(), keys(platform)
    for scheme in ("Bearer", "bearer", "BEARER", "Bearer"):
        one = holder(known, key, now, scheme)
        assert one is not None
        assert (one.id, one.may_ask("flights"), one.may_ask("returns")) == (key[:15], True, False)
    assert holder(known, key[:-1] + "x", now) is None
    assert holder(known, key, now, "Basic") is None
    assert known.of_header(b"", now) is None
    assert known.of_header(b"Bearer \xff\xfe", now) is None
    all_of_them = holder(known, everything, now)
    assert all_of_them is not None
    assert all_of_them.may_ask("returns")
    assert made.id == key[:15]


def test_the_ledger_does_not_hold_the_key_itself(platform: Platform, tmp_path: Path) -> None:
    key, _ = make_key(("flights",), "the gate desk", "ada", platform)
    platform.ledger.engine.dispose()
    written = b"".join(file.read_bytes() for file in tmp_path.glob("ledger.db*"))
    assert key[:15].encode() in written
    assert key[15:].encode() not in written


def test_a_revoked_key_and_one_past_its_time_open_nothing(platform: Platform) -> None:
    key, made = make_key(("*",), "x", "ada", platform, lasts=timedelta(days=1))
    now, known = platform.clock.now(), keys(platform)
    assert holder(known, key, now) is not None
    assert holder(known, key, now + timedelta(days=2)) is None, "also where it was known before"
    first = revoke_key(made.id, platform).revoked_at
    assert holder(keys(platform), key, now) is None
    assert revoke_key(made.id, platform).revoked_at == first


@pytest.mark.parametrize("lasts", [timedelta(0), timedelta(microseconds=-1), timedelta(days=-1)])
def test_a_key_that_would_never_be_valid_is_not_made(platform: Platform, lasts: timedelta) -> None:
    with pytest.raises(ValueError, match="would never be valid"):
        make_key(("*",), "x", "ada", platform, lasts=lasts)
    assert platform.ledger.all(ApiKey) == []


@pytest.mark.parametrize("days", [0.0, -1.0, 1e-9, 36_501.0, 1e300, float("inf"), float("nan")])
def test_a_lifetime_is_a_time(days: float) -> None:
    with pytest.raises(ValueError, match="above 0, at most 36,500"):
        lifetime(days)
    assert lifetime(0.5) == timedelta(hours=12)


@pytest.mark.parametrize("strange", ["a\nmlprod_other", "a\rb", "a\x1b[2Kb", "a\0", "a\u2028b", "a\u202eb"])
def test_a_name_that_would_forge_a_line_is_refused(platform: Platform, strange: str) -> None:
    for pipelines, holder_name, by in (((strange,), "x", "ada"), (("*",), strange, "ada"), (("*",), "x", strange)):
        with pytest.raises(ValueError, match="in one line"):
            make_key(pipelines, holder_name, by, platform)
    assert platform.ledger.all(ApiKey) == []


def test_a_key_for_nothing_and_an_unknown_key_are_refused(platform: Platform) -> None:
    with pytest.raises(ValueError, match="at least one use case"):
        make_key((), "x", "ada", platform)
    with pytest.raises(NoSuchKey, match="mlprod keys list"):
        revoke_key("mlprod_nothing", platform)
