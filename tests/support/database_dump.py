"""Everything that a database holds, written to files in which a planted value can be searched."""

import shutil
from pathlib import Path
from urllib.parse import urlsplit

import psycopg2
import redis
from sqlalchemy.engine import make_url


def dump(url: str, folder: Path) -> None:
    """Write every value of an SQLite, PostgreSQL or Redis database to files in a folder."""
    folder.mkdir(parents=True)
    kind = urlsplit(url).scheme.partition("+")[0]
    {"sqlite": _sqlite, "postgresql": _postgresql, "redis": _redis}[kind](url, folder)


def _sqlite(url: str, folder: Path) -> None:
    file = Path(make_url(url).database or "")
    for one in file.parent.glob(f"{file.name}*"):  # its write-ahead log too
        shutil.copy(one, folder)


def _postgresql(url: str, folder: Path) -> None:
    with psycopg2.connect(url.replace("+psycopg2", "")) as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT table_schema, table_name FROM information_schema.tables WHERE table_schema !~ '^(pg_|information)'"
        )
        for schema, table in cursor.fetchall():
            cursor.execute(f'SELECT * FROM "{schema}"."{table}"')
            names = [column.name for column in cursor.description or ()]
            (folder / f"{schema}.{table}").write_bytes(b"\n".join(map(_bytes, [names, *cursor.fetchall()])))
    connection.close()


def _redis(url: str, folder: Path) -> None:
    with redis.Redis.from_url(url) as client:
        for number, key in enumerate(client.scan_iter()):
            read = {
                b"string": client.get, b"hash": client.hgetall, b"set": client.smembers,
                b"zset": lambda name: client.zrange(name, 0, -1), b"list": lambda name: client.lrange(name, 0, -1),
            }[client.type(key)]  # fmt: skip
            (folder / f"{number}").write_bytes(_bytes([key, read(key)]))


def _bytes(value: object) -> bytes:
    """The bytes of a value of the database, and of all in it."""
    if isinstance(value, bytes | memoryview):
        return bytes(value)
    if isinstance(value, dict):
        return _bytes(list(value.items()))
    if isinstance(value, list | tuple | set):
        return b"\n".join(map(_bytes, value))
    return str(value).encode()
