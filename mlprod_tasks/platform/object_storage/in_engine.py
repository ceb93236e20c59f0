"""Files of object storage as DuckDB opens them: through local copies, as its own client of S3 cannot be downloaded."""

from __future__ import annotations

import threading
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any, BinaryIO

from fsspec import AbstractFileSystem

from mlprod_tasks.platform.object_storage.addresses import SCHEMES
from mlprod_tasks.platform.object_storage.copies import AT_ONCE, Copies

# The files of the lake never change, so they all count as changed at one moment: DuckDB may keep what it knows of them.
NEVER = datetime(2000, 1, 1, tzinfo=UTC)


class RemoteFiles(AbstractFileSystem):  # type: ignore[misc]  # fsspec has no types
    """Opens addresses such as s3://bucket/file for DuckDB, which opens files in the order in which it looked them up.

    While one is read, copies of the next ones are made. failed: the errors of files that could not be opened, as DuckDB shows
    only their texts.
    """

    protocol = tuple(SCHEMES)
    cachable = False

    def __init__(self, copies: Copies) -> None:
        super().__init__()
        self._copies = copies
        self._order: dict[str, int] = {}
        self._names: list[str] = []
        self._coming: dict[str, Future[None]] = {}
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(AT_ONCE)
        self.failed: dict[str, Exception] = {}

    def shut(self) -> None:
        self._pool.shutdown(cancel_futures=True)

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return path

    def glob(self, path: str, **_: Any) -> list[str]:
        with self._lock:
            if path not in self._order:
                self._order[path] = len(self._names)
                self._names.append(path)
        return [path]

    def exists(self, path: str, **_: Any) -> bool:
        return True

    def modified(self, path: str) -> datetime:
        return NEVER

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        with self.open(path) as file:
            return {"name": path, "type": "file", "size": file.seek(0, 2)}

    def open(self, path: str, mode: str = "rb", **_: Any) -> BinaryIO:
        try:
            with self._lock:
                at = self._order.get(path, len(self._names))
                for name in self._names[at : at + AT_ONCE]:
                    if name not in self._coming:
                        self._coming[name] = self._pool.submit(self._copies.fetch_one, name)
                coming = self._coming.get(path)
            if coming is not None:
                coming.result()
            opened = self._copies.open(path)
        except Exception as error:
            self._coming.pop(path, None)  # another query may try again
            self.failed[path] = error
            raise
        self.failed.pop(path, None)
        return opened
