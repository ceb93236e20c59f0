"""API keys: stored as a hash, scoped to use cases, revocable while the service runs."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.key_entries import ApiKey
from mlprod_tasks.platform.storable_text import is_one_line
from mlprod_tasks.serving.messages import RETRY_LATER, RequestRefused

PREFIX = "mlprod_"
ALL = "*"
ID_LENGTH = 15
SHORTEST_DAYS, LONGEST_DAYS = 1 / 86_400, 36_500


class NoSuchKey(LookupError):
    """There is no key with that id."""


def make_key(
    pipelines: Sequence[str], holder: str, by: str, platform: Platform, *, lasts: timedelta | None = None
) -> tuple[str, ApiKey]:
    """Make a key; return it and its ledger row.

    The ledger keeps only a hash: the key cannot be shown again.
    pipelines: the use cases it may score, or ("*",).

    Raises: ValueError without a holder or a use case, if a name has line breaks or control characters, or if the key would end
    at once.
    """
    if not pipelines or not holder.strip():
        raise ValueError("an API key needs at least one use case, or '*', and a holder")
    if not all(is_one_line(name) for name in (*pipelines, holder, by)):
        raise ValueError("an API key's use cases, holder and maker are names in one line, without control characters")
    if lasts is not None and lasts <= timedelta(0):
        raise ValueError(f"an API key that is valid for {lasts} would never be valid: give a time above 0, or none")
    key = PREFIX + secrets.token_urlsafe(32)
    now = platform.clock.now()
    row = ApiKey(
        id=key[:ID_LENGTH],
        hash=hashed(key),
        pipelines=list(dict.fromkeys(pipelines)),
        holder=holder.strip(),
        by=by,
        at=now,
        until=None if lasts is None else now + lasts,
    )
    platform.ledger.put(row)
    return key, row


def lifetime(days: float) -> timedelta:
    """Return how long a key is valid. Raises: ValueError if that is not between a second and a hundred years."""
    if not SHORTEST_DAYS <= days <= LONGEST_DAYS:
        raise ValueError(f"an API key cannot be valid for {days:g} days: give a number above 0, at most {LONGEST_DAYS:,}")
    return timedelta(days=days)


def revoke_key(key_id: str, platform: Platform) -> ApiKey:
    """Revoke a key. Running services refuse it within seconds. Raises: NoSuchKey."""
    known = platform.ledger.get(ApiKey, key_id)
    if known is None:
        raise NoSuchKey(f"there is no API key {key_id!r}: `mlprod keys list` shows them")
    known.revoked_at = known.revoked_at or platform.clock.now()
    platform.ledger.put(known)
    return known


def hashed(key: str) -> str:
    """Return the hash that the ledger stores for a key."""
    return hashlib.sha256(key.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class KeyHolder:
    """What the holder of a key may do."""

    id: str
    pipelines: frozenset[str]
    until: datetime | None

    def may_ask(self, pipeline: str) -> bool:
        """Whether the key is valid for that use case."""
        return pipeline in self.pipelines or ALL in self.pipelines


class ValidKeys:
    """The keys that are not revoked, by hash.

    The time of a look-up by hash reveals nothing about a key.
    """

    def __init__(self, known: Sequence[ApiKey] = ()) -> None:
        self._by_hash = {
            one.hash: KeyHolder(one.id, frozenset(one.pipelines), one.until) for one in known if one.revoked_at is None
        }
        self._by_header: dict[bytes, KeyHolder] = {}  # valid ones, so that not every request hashes its key

    def of_header(self, header: bytes, now: datetime) -> KeyHolder | None:
        """Return the holder of the key in an Authorization header.

        None if it is not valid now.
        """
        holder = self._by_header.get(header)
        if holder is None:
            scheme, _, key = header.decode("latin-1").partition(" ")
            holder = self._by_hash.get(hashed(key)) if scheme.lower() == "bearer" else None
            if holder is not None and scheme == "Bearer":  # one spelling only, so there are at most as many entries as keys
                self._by_header[header] = holder
        return holder if holder is not None and (holder.until is None or now < holder.until) else None


def authorize(headers: Sequence[tuple[bytes, bytes]], keys: ValidKeys | None, pipeline: str, now: datetime) -> str:
    """Return the id of a request's key. Raises: RequestRefused: 503, 400, 401 or 403.

    headers: names in lower case. keys: None until they have been read.
    """
    if keys is None:
        raise RequestRefused(503, "API keys are not loaded yet", headers=RETRY_LATER)
    given = [value for name, value in headers if name == b"authorization"]
    if len(given) > 1:  # a proxy in front may have looked at the other one
        raise RequestRefused(400, "give one Authorization header, not several")
    holder = keys.of_header(given[0] if given else b"", now)
    if holder is None:
        raise RequestRefused(401, "give an API key: Authorization: Bearer ...", headers=((b"www-authenticate", b"Bearer"),))
    if not holder.may_ask(pipeline):
        raise RequestRefused(403, f"this key is not for use case {pipeline!r}")
    return holder.id
