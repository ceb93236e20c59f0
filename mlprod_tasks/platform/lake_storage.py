"""Where the lake's files are: in a folder of this machine, or in object storage."""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote

import duckdb
import pyarrow.fs
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError

from mlprod_tasks.platform.compute.exchange import Exchange
from mlprod_tasks.platform.files import DiskFull, telling_full_disk
from mlprod_tasks.platform.object_storage import client
from mlprod_tasks.platform.object_storage.addresses import Place
from mlprod_tasks.platform.object_storage.copies import AT_ONCE, Copies

# What the engine takes for a pattern, or for a partition's column, in the path of a file.
PATTERN = re.compile(r"[*?\[\]]|[^/]*=[^/]*")
NO_SPACE = re.compile(rf"\(os error ({errno.ENOSPC}|{errno.EDQUOT})\)")  # in the message of an error of Delta
NO_LINK = {errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP}  # another disk, or one without links


class LakeStorage(Protocol):
    """What the lake asks of the place of its files."""

    root: str

    @property
    def options(self) -> dict[str, str] | None:
        """The storage options of delta-rs."""

    def file(self, uri: str) -> str:
        """The address of a file, as the engine opens it, of what delta-rs calls it."""

    def file_system(self, uri: str, files: Collection[str]) -> pyarrow.fs.FileSystem:
        """The files of the table at `uri` as Arrow reads them."""

    def opened_in(self, connection: duckdb.DuckDBPyConnection) -> AbstractContextManager[None]:
        """Let an engine read the files."""

    def place(self, folder: Exchange, files: Sequence[tuple[str, str]]) -> None:
        """Let files of a folder, each with its name, lie at addresses of the lake at which there is none."""

    def telling(self, uri: str) -> AbstractContextManager[None]:
        """Raise what people understand for errors of delta-rs that come from the storage."""

    def before_first_write(self) -> None:
        """Check whatever must hold before a table is created. Raises: what is wrong."""


class Folder:
    """A folder that all processes of the installation can access."""

    options: dict[str, str] | None = None

    def __init__(self, root: str) -> None:
        self.root = root.rstrip("/")
        if "%" in self.root:
            raise ValueError(f"the lake's folder {self.root} has a % in its path, which Delta cannot read: choose another")
        if found := PATTERN.search(self.root):
            raise ValueError(
                f"the lake's folder {self.root} has {found[0]!r} in its path: the engine reads * ? [ as patterns, and a folder "
                "NAME=VALUE as a column of every row. Choose another folder"
            )

    def file(self, uri: str) -> str:
        return unquote(uri)  # Delta writes a space as %20 even in a local path

    def file_system(self, uri: str, files: Collection[str]) -> pyarrow.fs.FileSystem:
        # With Delta's own file system, Arrow's threads keep Python objects, and a process that exits soon after is aborted.
        return pyarrow.fs.SubTreeFileSystem(uri, pyarrow.fs.LocalFileSystem())

    def opened_in(self, connection: duckdb.DuckDBPyConnection) -> AbstractContextManager[None]:
        return nullcontext()

    def place(self, folder: Exchange, files: Sequence[tuple[str, str]]) -> None:
        for name, address in files:
            to = Path(address)
            to.parent.mkdir(parents=True, exist_ok=True)
            with folder.reading(name) as (path,):
                try:
                    os.link(path, to)
                except OSError as error:
                    if error.errno not in NO_LINK:
                        raise
                    shutil.copyfile(path, to)

    @contextmanager
    def telling(self, uri: str) -> Iterator[None]:
        """Raise DiskFull, with the table's address, if Delta or we find no space left."""
        try:
            with telling_full_disk(uri):
                yield
        except DeltaError as error:
            if NO_SPACE.search(str(error)):
                raise DiskFull(uri) from error
            raise

    def before_first_write(self) -> None:
        return


class Bucket:
    """A folder in object storage. What is read is read from local copies."""

    def __init__(self, place: Place, copies: Copies) -> None:
        self.root = place.address
        self.options: dict[str, str] | None = client.delta_options(place)
        self._place = place
        self._copies = copies

    def file(self, uri: str) -> str:
        return uri

    def file_system(self, uri: str, files: Collection[str]) -> pyarrow.fs.FileSystem:
        self._copies.fetch(files)
        return pyarrow.fs.SubTreeFileSystem(str(self._copies.path(uri)), pyarrow.fs.LocalFileSystem())

    @contextmanager
    def opened_in(self, connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
        from mlprod_tasks.platform.object_storage.in_engine import RemoteFiles

        files = RemoteFiles(self._copies)
        connection.register_filesystem(files)
        try:
            yield
        except duckdb.Error as error:
            raise next(iter(files.failed.values()), error) from None
        finally:
            files.shut()

    def place(self, folder: Exchange, files: Sequence[tuple[str, str]]) -> None:
        import obstore

        bucket = client.store(self._place)

        def put(file: tuple[str, str]) -> None:
            name, to = file[0], file[1].removeprefix(f"{self.root}/")
            with client.telling_why(self._place, f"write {to} to"):
                if (there := folder.in_bucket(name)) is not None and client.copied(bucket, there, to):
                    return
                with folder.reading(name) as (path,):
                    obstore.put(bucket, to, path)

        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(put, files))

    @contextmanager
    def telling(self, uri: str) -> Iterator[None]:
        """Raise StorageUnreachable for what delta-rs could not read or write."""
        try:
            yield
        except (CommitFailedError, TableNotFoundError):
            raise
        except (DeltaError, OSError) as error:
            if isinstance(error, client.StorageUnreachable) or client.reason_of(error) is None:
                raise
            raise client.unreachable(self._place, f"read or write {uri.removeprefix(self.root + '/')} in", error) from None

    def before_first_write(self) -> None:
        _checked(self._place.address, tuple(self._place.options.items()))


@cache  # once in a process
def _checked(address: str, options: tuple[tuple[str, str], ...]) -> None:
    client.require_conditional_puts(Place(address, dict(options)))
