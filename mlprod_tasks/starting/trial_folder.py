"""The folder of a trial: a home of its own, emptied each time, so that nothing of a production home is touched."""

from __future__ import annotations

import errno
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from mlprod_tasks.declaration import Pipeline
from mlprod_tasks.platform import Platform
from mlprod_tasks.platform.files import DiskFull, locked
from mlprod_tasks.platform.settings import Settings

MARK = ".mlprod-try"  # tells a folder of trials from any other, and is locked while one runs
PAGE = "index.html"
TRIAL_KEY = "the pseudonym key of trials, which keeps nothing secret: what it hashes stays in the folder of the trial"
NO_SPACE = ("no space left on device", "database or disk is full", "disk quota exceeded")


class FolderTaken(ValueError):
    """The folder has files that are no trial's, or another trial is running in it."""


class NoTrial(LookupError):
    """A folder holds no trial."""


@contextmanager
def emptied(folder: Path) -> Iterator[Path]:
    """Delete what an earlier trial, also a killed one, left in the folder, and keep other trials out meanwhile.

    Yields the trial's home in it, whose name is new: a process keeps databases of an earlier home open.

    Raises: FolderTaken; DiskFull, also if the block finds no space left.
    """
    if folder.exists() and (not folder.is_dir() or (any(folder.iterdir()) and not (folder / MARK).is_file())):
        raise FolderTaken(f"{folder} holds files that are no trial's, and a trial empties its folder: give another with --out")
    with _telling_full_disk(folder):
        folder.mkdir(parents=True, exist_ok=True)
        try:
            with locked(folder / MARK, wait=False):
                for path in folder.iterdir():
                    if path.name != MARK:
                        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
                yield folder.resolve() / f"home-{uuid.uuid4().hex[:8]}"
        except BlockingIOError:
            raise FolderTaken(f"another trial is running in {folder}: wait for it, or give another folder with --out") from None


def platform_in(home: Path, pipeline: Pipeline, settings: Settings) -> Platform:
    """A platform below a home: lake, SQLite ledger and registry. Only sources are those of `settings`."""
    hashes = any(column.personal == "hash" for table in pipeline.tables for column in table.columns)
    return Platform(
        replace(
            settings,
            home=home,
            lake=str(home / "lake"),
            ledger_url=f"sqlite:///{home / 'ledger.db'}",
            mlflow_url=f"sqlite:///{home / 'mlflow.db'}",
            online_url=f"sqlite:///{home / 'online.db'}",
            mlflow_base_url="",
            expectations=home / "expectations",
            pseudonym_key=TRIAL_KEY if hashes else "",
        )
    )


def platform_of_last(folder: Path, pipeline: Pipeline, settings: Settings) -> Platform:
    """The platform of the last trial in a folder. Raises: NoTrial."""
    homes = sorted(folder.glob("home-*"))
    if not homes:
        raise NoTrial(f"there is no trial in {folder}: run `mlprod try {pipeline.name}` first")
    return platform_in(homes[-1].resolve(), pipeline, settings)


@contextmanager
def _telling_full_disk(folder: Path) -> Iterator[None]:
    try:
        yield
    except DiskFull:
        raise
    except Exception as error:
        # Lake, ledger and engine each have an error of their own for it.
        words = str(error).lower()
        if getattr(error, "errno", None) == errno.ENOSPC or any(one in words for one in NO_SPACE):
            raise DiskFull(folder) from error
        raise
