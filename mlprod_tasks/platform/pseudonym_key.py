"""The key of the hash of personal columns: strong enough, and the one that the lake was hashed with.

Whoever can guess the key finds the person behind each hash by trying names. A key that differs from the earlier one gives each
person another hash: old and new rows no longer join, without an error anywhere. So the ledger keeps a check value of the key,
an HMAC of a constant, which reveals nothing of it.
"""

from __future__ import annotations

import hmac
import secrets
from typing import TYPE_CHECKING

from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.settings import SettingMissing

if TYPE_CHECKING:
    from mlprod_tasks.platform.key_entries import PseudonymKey

VARIABLE = "MLPROD_PSEUDONYM_KEY"
CONSTANT = b"\0mlprod: check value of the pseudonym key"
RANDOM_BYTES = 32
FEWEST_DIFFERENT = 10  # characters; a random key of this length has more
HOW_TO_MAKE = "make one with `mlprod pseudonym-key make` or `openssl rand -hex 32`"
REPLACE = "docs/production.md, Secrets, says how to replace a key"


class PseudonymKeyWeak(ValueError):
    """The key is not 32 random bytes. The message does not show it."""


class PseudonymKeyChanged(ValueError):
    """The key is not the one that earlier rows were hashed with. The message shows neither."""


def made_key() -> str:
    """Make a key: 32 random bytes as hexadecimal digits."""
    return secrets.token_hex(RANDOM_BYTES)


def needs_key(pipeline: Pipeline) -> bool:
    """Whether a column of the use case is hashed."""
    return any(column.personal == "hash" for table in pipeline.tables for column in table.columns)


def strong_key(platform: Platform) -> str:
    """Return the configured key. Raises: SettingMissing, PseudonymKeyWeak."""
    key = platform.settings.pseudonym_key
    if not key:
        raise SettingMissing(f"no key is set for hashing personal columns: {HOW_TO_MAKE}, and set {VARIABLE} to it")
    if key != key.strip() or len(set(key)) < FEWEST_DIFFERENT or len(key) * _bits_a_character(key) < 8 * RANDOM_BYTES:
        raise PseudonymKeyWeak(
            f"{VARIABLE} is not {RANDOM_BYTES} random bytes: it needs 64 hexadecimal digits or 43 characters of base64, and no "
            f"spaces around them. With a weaker key, people can be found by trying names: {HOW_TO_MAKE}. If rows are hashed "
            f"with it already, {REPLACE}"
        )
    return key


def pseudonym_key(platform: Platform, *, note: bool = False) -> str:
    """Return the configured key; it is strong, and the one of earlier rows.

    note: let the ledger keep the check value if this key is the first.

    Raises: SettingMissing, PseudonymKeyWeak, PseudonymKeyChanged.
    """
    key = strong_key(platform)
    known = _in_force(platform)
    if known is None and note:
        _note(1, key, "", platform)
        known = _in_force(platform)
    if known is not None and not hmac.compare_digest(known.check_value, check_value(key)):
        raise PseudonymKeyChanged(
            f"{VARIABLE} is not the key in use since {known.at:%Y-%m-%d}, that earlier rows were hashed with: the same person "
            "would get another hash, and old and new rows would not join. Set it to the earlier key again. If that one is lost "
            f"or no longer secret, {REPLACE}"
        )
    return key


def adopt_key(by: str, platform: Platform) -> PseudonymKey:
    """Let the configured key be the one in use from now on. Does nothing if it is already.

    Rows that were hashed with the earlier key do not join new ones: ingest them again.

    Raises: SettingMissing, PseudonymKeyWeak; ValueError if `by` is empty.
    """
    if not by.strip():
        raise ValueError("who replaces the pseudonym key? Give a name with `by`")
    key, known = strong_key(platform), _in_force(platform)
    if known is not None and hmac.compare_digest(known.check_value, check_value(key)):
        return known
    return _note(1 if known is None else known.number + 1, key, by, platform)


def check_value(key: str) -> str:
    """Return what tells one key from another without revealing it: 64 hexadecimal digits."""
    return hmac.new(key.encode(), CONSTANT, "sha256").hexdigest()


def _in_force(platform: Platform) -> PseudonymKey | None:
    from mlprod_tasks.platform.key_entries import PseudonymKey
    from mlprod_tasks.platform.ledger import newest

    return newest(platform.ledger.all(PseudonymKey), "number")


def _note(number: int, key: str, by: str, platform: Platform) -> PseudonymKey:
    from mlprod_tasks.platform.key_entries import PseudonymKey

    row = PseudonymKey(number=number, check_value=check_value(key), at=platform.clock.now(), by=by)
    platform.ledger.add_once(row)  # of several processes that use a key for the first time, one notes it
    return row


def _bits_a_character(key: str) -> int:
    """The bits that a character of a random key carries, by the alphabet: base64 6, base32 5, hexadecimal 4."""
    if key != key.lower() and key != key.upper():
        return 6
    return 4 if set(key.lower()) <= set("0123456789abcdef") else 5
