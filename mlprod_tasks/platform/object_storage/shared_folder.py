"""A folder in object storage whose files change together: a step shows all of its changes at once, or, if it is killed, none.

Below the folder, `files/` holds contents, named by their SHA-256, and `log/` the folder's states: numbered lists of names, each
with its content. A state is written by a conditional put, so of two writers one is refused; it then adds its changes to the
state that the other has written. Whoever opens the folder sees the newest state.
"""

from __future__ import annotations

import json
import os
import shutil
import time
import uuid
import weakref
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from mlprod_tasks.platform.digest import of_file
from mlprod_tasks.platform.files import delete_abandoned
from mlprod_tasks.platform.object_storage.addresses import Place
from mlprod_tasks.platform.object_storage.client import created, listed, telling_why
from mlprod_tasks.platform.object_storage.copies import AT_ONCE, Copies
from mlprod_tasks.platform.shared_files import FETCHED_LATER

if TYPE_CHECKING:
    from obstore.store import ObjectStore

# Nobody who has listed a folder's states takes longer to write the next one, and no step takes longer to read what it opened.
SETTLED = timedelta(days=2)
LINKED = ".parquet"  # such files are replaced, never changed, so a copy may be the same file


@dataclass(frozen=True)
class State:
    """The files of a folder at one moment. number: 0 before the first."""

    number: int = 0
    files: dict[str, str] = field(default_factory=dict)  # SHA-256 by name


class SharedFolder:
    """A folder as one process sees it, with its files in a folder of its own below `work`, which goes with this object.

    is_kept: whether `save` is allowed.

    Raises: StorageUnreachable, DiskFull.
    """

    def __init__(self, place: Place, client: ObjectStore, name: str, copies: Copies, work: Path, is_kept: bool) -> None:
        self._place, self._client, self._name, self._copies, self.is_kept = place, client, name, copies, is_kept
        work.mkdir(parents=True, exist_ok=True)
        delete_abandoned(work)
        last = name.rpartition("/")[2]
        scratch = work / f".{last}.{uuid.uuid4().hex}.part"
        self.path = scratch / last  # within the scratch folder, so that it may be replaced as a whole
        self.path.mkdir(parents=True)
        self._clean = weakref.finalize(self, shutil.rmtree, scratch, ignore_errors=True)
        self._base = self._newest()
        self._seen: dict[str, tuple[int, ...]] = {}
        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(self._place_file, (one for one in self._base.files if one not in FETCHED_LATER)))

    def __enter__(self) -> SharedFolder:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._clean()

    def fetch(self, file: str) -> Path:
        if file in self._base.files and file not in self._seen and not (self.path / file).exists():
            self._place_file(file)
        return self.path / file

    def save(self) -> None:
        """Add what was changed, added and deleted here to the folder's newest state."""
        if not self.is_kept:
            raise RuntimeError(f"{self._name} was opened to read from, not to write to")
        here = {str(path.relative_to(self.path)): _stamp(path) for path in _files(self.path)}
        changed = {name: stamp for name, stamp in here.items() if self._seen.get(name) != stamp}
        contents = {name: of_file(self.path / name) for name in changed}
        for name, content in contents.items():
            self._put(name, content)
        deleted = self._seen.keys() - here.keys()
        self._seen = here
        if contents.items() <= self._base.files.items() and not deleted:
            return
        self._commit(contents, deleted)
        self._tidy()

    def _commit(self, contents: dict[str, str], deleted: Iterable[str]) -> None:
        by = uuid.uuid4().hex
        while True:
            newest = self._newest()
            files = {name: content for name, content in newest.files.items() if name not in set(deleted)} | contents
            state = State(newest.number + 1, files)
            with telling_why(self._place, f"write {self._name} to"):
                if created(self._client, self._state_name(state.number), json.dumps({"by": by, "files": files}).encode()):
                    self._base = state
                    return

    def _newest(self) -> State:
        with telling_why(self._place, f"list {self._name} in"):
            states = listed(self._client, f"{self._name}/log/")
        if not states:
            return State()
        number = max(int(Path(one["path"]).stem) for one in states)
        with telling_why(self._place, f"read {self._name} in"):
            return State(number, self._read(number)["files"])

    def _read(self, number: int) -> dict:  # type: ignore[type-arg]
        import obstore

        found: dict = json.loads(bytes(obstore.get(self._client, self._state_name(number)).bytes()))  # type: ignore[type-arg]
        return found

    def _put(self, name: str, content: str) -> None:
        import obstore

        address = self._address(content)
        if content not in self._base.files.values():
            with telling_why(self._place, f"write {name} of {self._name} to"):
                obstore.put(self._client, self._relative(address), self.path / name)
        self._copies.keep(address, self.path / name, link=name.endswith(LINKED))

    def _place_file(self, name: str) -> None:
        """Make a file here from the copy of its content."""
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        self._copies.place_at(self._address(self._base.files[name]), path, link=name.endswith(LINKED))
        self._seen[name] = _stamp(path)

    def _tidy(self) -> None:
        """Delete states that have settled, but for the newest, and contents that no other state has."""
        import obstore

        oldest = time.time() - SETTLED.total_seconds()
        with telling_why(self._place, f"tidy {self._name} in"):
            states = sorted(listed(self._client, f"{self._name}/log/"), key=lambda one: one["path"])
            old = [one["path"] for one in states[:-1] if one["last_modified"].timestamp() < oldest]
            if not old:
                return
            needed: set[str] = set()
            for one in states[len(old) :]:
                needed |= set(self._read(int(Path(one["path"]).stem))["files"].values())
            contents = listed(self._client, f"{self._name}/files/")
            unneeded = [one for one in contents if Path(one["path"]).name not in needed]
            old += [one["path"] for one in unneeded if one["last_modified"].timestamp() < oldest]
            for path in old:
                with suppress(FileNotFoundError):  # another process tidies as well
                    obstore.delete(self._client, path)

    def _state_name(self, number: int) -> str:
        return f"{self._name}/log/{number:08d}.json"

    def _address(self, content: str) -> str:
        return f"{self._place.address}/{self._name}/files/{content}"

    def _relative(self, address: str) -> str:
        return address.removeprefix(f"{self._place.address}/")


def _files(folder: Path) -> list[Path]:
    """The files below a folder, without hidden ones: locks, what is not finished, and what can be computed again."""
    found = (path for path in folder.rglob("*") if path.is_file())
    return [path for path in found if not any(part.startswith(".") for part in path.relative_to(folder).parts)]


def _stamp(path: Path) -> tuple[int, ...]:
    """What changes when a file does."""
    of_file = os.stat(path)
    return of_file.st_mtime_ns, of_file.st_size, of_file.st_ino
