"""Files that a driver and whoever computes pieces for it give each other while one computation lasts.

If the lake is a folder, they are in the home folder, which both must reach by the same path. If the lake is in object storage,
they are below its address (see `bucket_exchange`), and executors need no folder in common with the driver.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from mlprod_tasks.platform.compute import NotComputed
from mlprod_tasks.platform.files import replacing

if TYPE_CHECKING:
    import pyarrow.compute as pc

FOLDER = "exchange"  # of the home folder, and of the shared files of a bucket
# Keeps a copy of a folder's files below a home folder, fetched to a new path if it is missing; where it is.
Keep = Callable[[Path, Callable[[Path], None]], Path]


class ExchangeNotShared(NotComputed, RuntimeError):
    """Files that one machine wrote are not there for another one: they do not share what they should."""


class ExchangeUnreachable(NotComputed, OSError):
    """Object storage did not take or give a file of a computation; the message says what may be the reason."""


class Exchange(Protocol):
    """A folder for files, which can be sent to another machine. It goes at the end of the computation.

    Names are relative, such as 'events/0.parquet'.
    """

    def below(self, folder: str) -> Exchange:
        """A folder in it."""

    def writing(self, name: str) -> AbstractContextManager[Path]:
        """Yield a path of this machine to write to. At the end its file replaces the one of that name as a whole."""

    def reading(
        self, *names: str, where: pc.Expression | None = None, columns: Sequence[str] | None = None
    ) -> AbstractContextManager[list[Path]]:
        """Within the block, files are at the paths of this machine that it yields.

        where, columns: of Parquet files only rows that fulfil it, and these columns, are read there.

        Raises: ExchangeNotShared if one is missing.
        """

    def delete(self, names: Iterable[str]) -> None:
        """Delete files."""

    def lend(self, folder: Path, name: str) -> Exchange:
        """Let whoever computes read the files of a folder of this machine."""

    def local(self, keep: Keep) -> Path:
        """A folder of this machine that has all files: this one, or a copy. Raises: ExchangeNotShared."""

    def in_bucket(self, name: str) -> str | None:
        """Where a file is below the lake's address; None if it is a file of this machine."""


@dataclass(frozen=True)
class FolderExchange:
    """A folder that all machines reach by the same path."""

    path: Path

    def below(self, folder: str) -> FolderExchange:
        return FolderExchange(self.path / folder)

    def writing(self, name: str) -> AbstractContextManager[Path]:
        file = self.path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        return replacing(file, clean=False)

    @contextmanager
    def reading(
        self, *names: str, where: pc.Expression | None = None, columns: Sequence[str] | None = None
    ) -> Iterator[list[Path]]:
        files = [self.path / name for name in names]
        if missing := next((file for file in files if not file.exists()), None):
            raise _not_shared(missing)
        yield files

    def delete(self, names: Iterable[str]) -> None:
        for name in names:
            (self.path / name).unlink(missing_ok=True)

    def lend(self, folder: Path, name: str) -> FolderExchange:
        return FolderExchange(folder)

    def local(self, keep: Keep) -> Path:
        if not self.path.is_dir():
            raise _not_shared(self.path)
        return self.path

    def in_bucket(self, name: str) -> None:
        return None


def _not_shared(path: Path) -> ExchangeNotShared:
    return ExchangeNotShared(
        f"{path} was written by another machine and is not there on this one: put MLPROD_HOME on storage that driver and "
        "executors reach by the same path, or keep the lake in a bucket"
    )
