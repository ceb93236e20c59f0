"""API keys: made once, kept as a hash, scoped to use cases, revoked and replaced while the service runs."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.ledger import ApiKey

PREFIX = "mlprod_"
ALL = "*"
ID_LENGTH = 15


class NoSuchKey(LookupError):
    """There is no key of that id."""


def make_key(
    pipelines: Sequence[str], holder: str, by: str, platform: Platform, *, lasts: timedelta | None = None
) -> tuple[str, ApiKey]:
    """A new key and what the ledger keeps of it. The key itself is told here and never again.

    pipelines: the use cases it may ask, or ("*",). Raises: ValueError where nobody or nothing is named.
    """
    if not pipelines or not holder.strip():
        raise ValueError("an API key needs at least one use case, or '*', and a holder")
    key = PREFIX + secrets.token_urlsafe(32)
    now = platform.clock.now()
    made = ApiKey(
        id=key[:ID_LENGTH],
        hash=hashed(key),
        pipelines=list(pipelines),
        holder=holder,
        by=by,
        at=now,
        until=None if lasts is None else now + lasts,
    )
    platform.ledger.put(made)
    return key, made


def revoke_key(key_id: str, platform: Platform) -> ApiKey:
    """Take a key out of use. Running services refuse it at their next look into the ledger. Raises: NoSuchKey."""
    known = platform.ledger.get(ApiKey, key_id)
    if known is None:
        raise NoSuchKey(f"there is no API key {key_id!r}: `mlprod keys list` shows them")
    known.revoked_at = known.revoked_at or platform.clock.now()
    platform.ledger.put(known)
    return known


def hashed(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Holder:
    """What a key may do."""

    id: str
    pipelines: frozenset[str]
    until: datetime | None

    def may_ask(self, pipeline: str) -> bool:
        return pipeline in self.pipelines or ALL in self.pipelines


class Keys:
    """The keys that hold now, by their hash: a look-up by hash tells nothing by the time it takes."""

    def __init__(self, known: Sequence[ApiKey] = ()) -> None:
        self._by_hash = {
            one.hash: Holder(one.id, frozenset(one.pipelines), one.until) for one in known if one.revoked_at is None
        }
        self._by_header: dict[bytes, Holder] = {}  # those that have held: not hashed at every request

    def of_header(self, header: bytes, now: datetime) -> Holder | None:
        """Whose key an Authorization header bears, where that holds now; None otherwise."""
        one = self._by_header.get(header)
        if one is None:
            scheme, _, key = header.decode("latin-1").partition(" ")
            one = self._by_hash.get(hashed(key)) if scheme.lower() == "bearer" else None
            if one is not None and scheme == "Bearer":  # in its usual spelling only: as many as there are keys
                self._by_header[header] = one
        return one if one is not None and (one.until is None or now < one.until) else None
