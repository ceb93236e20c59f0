"""Files that one step writes and another reads, on whatever machine each of them runs.

If the lake is a folder, these files are in the home folder, and all processes of the installation must reach that. If the
lake is in object storage, they are below its address (see `object_storage.shared`), and a machine's home folder holds copies.
A name such as 'staging/shop/orders/2024-02-10.parquet' is the same in both.
"""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol

from mlprod_tasks.platform.shared_records import RecordsInFolder, SharedRecords

# Large files of a folder, which are fetched only when a step asks for them.
FETCHED_LATER = frozenset({"training_set.parquet"})


class OpenFolder(Protocol):
    """A folder of files that belong together, such as those of a training, as this process sees it."""

    @property
    def path(self) -> Path:
        """Where its files are on this machine. Those of FETCHED_LATER may be missing."""

    @property
    def is_kept(self) -> bool:
        """Whether what is written there is kept, or the folder is only a copy to read from."""

    def fetch(self, file: str) -> Path:
        """The path of a file of FETCHED_LATER, which is there after this if the folder has it."""

    def save(self) -> None:
        """Show to other machines what was changed so far."""


class SharedFiles(Protocol):
    """What steps ask of the place of shared files."""

    many_machines: bool

    def address(self, name: str) -> str:
        """Where a file or folder is, for people."""

    def names(self, folder: str) -> dict[str, datetime]:
        """The names of the files in a folder, and when each got its name."""

    def share(self, name: str, path: Path) -> None:
        """Show a file of this machine to others; it replaces an earlier one as a whole."""

    def fetch(self, name: str, path: Path) -> None:
        """Make the file at `path` the shared one; delete it if there is none."""

    def forget(self, name: str, path: Path) -> None:
        """Delete a file here and for others."""

    def forget_old(self, folder: str, after: timedelta) -> None:
        """Delete the shared files below a folder that were not written for so long."""

    def mirrored(self, folder: str, path: Path) -> AbstractContextManager[None]:
        """Within the block, `path` holds the files of a shared folder; others then see what was changed there."""

    def outbox(self, folder: str) -> Path:
        """Where to write files with unique names that `send` is to bring to a shared folder."""

    def send(self, folder: str) -> None:
        """Bring the finished files of the outbox to the shared folder. What cannot be sent now is sent by a later call."""

    def opened(self, folder: str) -> AbstractContextManager[None]:
        """Within the block, `folder` gives what is written to; afterwards others see all of it, or, if killed, nothing."""

    def folder(self, folder: str) -> OpenFolder:
        """A folder of files that belong together: the opened one, or else a copy to read from."""

    def records(self, folder: str) -> SharedRecords:
        """Records of a folder by which processes share work. All see each at once, also within an opened folder."""


class HomeFolder:
    """A folder of this machine."""

    is_kept = True

    def __init__(self, path: Path) -> None:
        self.path = path

    def fetch(self, file: str) -> Path:
        return self.path / file

    def save(self) -> None:
        return


class InHome:
    """The files are in the home folder: there is nothing to bring anywhere."""

    many_machines = False

    def __init__(self, home: Path) -> None:
        self.home = home

    def address(self, name: str) -> str:
        return str(self.home / name)

    def names(self, folder: str) -> dict[str, datetime]:
        found = {}
        with suppress(FileNotFoundError):
            for entry in os.scandir(self.home / folder):
                with suppress(FileNotFoundError):  # deleted meanwhile
                    found[entry.name] = datetime.fromtimestamp(entry.stat().st_ctime, UTC)
        return found

    def share(self, name: str, path: Path) -> None:
        return

    def fetch(self, name: str, path: Path) -> None:
        return

    def forget(self, name: str, path: Path) -> None:
        path.unlink(missing_ok=True)

    def forget_old(self, folder: str, after: timedelta) -> None:
        return

    def mirrored(self, folder: str, path: Path) -> AbstractContextManager[None]:
        return nullcontext()

    def outbox(self, folder: str) -> Path:
        return self.home / folder

    def send(self, folder: str) -> None:
        return

    def opened(self, folder: str) -> AbstractContextManager[None]:
        return nullcontext()

    def folder(self, folder: str) -> OpenFolder:
        return HomeFolder(self.home / folder)

    def records(self, folder: str) -> RecordsInFolder:
        return RecordsInFolder(self.home / folder)
