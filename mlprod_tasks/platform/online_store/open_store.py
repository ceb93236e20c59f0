"""Open the online store that a URL names."""

from __future__ import annotations

from mlprod_tasks.platform.online_store.protocol import OnlineStore

SCHEMES = "sqlite:///, postgresql:// or redis:// (rediss:// with TLS)"


def open_store(url: str) -> OnlineStore:
    """The store at a URL; connects on first use.

    Raises: ValueError if the scheme is unknown.
    """
    scheme = url.split(":", 1)[0].split("+", 1)[0]
    match scheme:
        case "sqlite":
            from mlprod_tasks.platform.online_store.sqlite import SqliteStore

            return SqliteStore(url)
        case "postgresql" | "postgres":
            from mlprod_tasks.platform.online_store.postgres import PostgresStore

            return PostgresStore(url)
        case "redis" | "rediss":
            from mlprod_tasks.platform.online_store.redis import RedisStore

            return RedisStore(url)
    raise ValueError(f"MLPROD_ONLINE_URL has the unknown scheme {scheme!r}: use {SCHEMES}")
