"""Make the folder through which a driver and whoever computes pieces for it exchange files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from mlprod_tasks.platform.compute.exchange import FOLDER, Exchange, FolderExchange
from mlprod_tasks.platform.files import scratch_folder
from mlprod_tasks.platform.object_storage.addresses import is_remote

if TYPE_CHECKING:
    from mlprod_tasks.platform.settings import Settings


@contextmanager
def exchange(settings: Settings, name: str) -> Iterator[Exchange]:
    """Yield an empty folder, which is deleted at the end; also those that killed processes left. name: for people."""
    if _is_here(settings):
        with scratch_folder(settings.home / FOLDER / name) as folder:
            yield FolderExchange(folder)
        return
    from mlprod_tasks.platform.compute.bucket_exchange import bucket_exchange

    with bucket_exchange(settings, name) as made:
        yield made


@contextmanager
def exchange_into(settings: Settings, folder: Path, name: str) -> Iterator[Exchange]:
    """Yield an empty folder; at the end its files are in `folder` of this machine, which exists. name: for people."""
    if _is_here(settings):
        yield FolderExchange(folder)
        return
    from mlprod_tasks.platform.compute.bucket_exchange import bucket_exchange

    with bucket_exchange(settings, name) as made:
        yield made
        made.fetch_all(folder)


def _is_here(settings: Settings) -> bool:
    """Whether files need not leave the home folder: this process computes, or executors share it as they share the lake's."""
    return settings.engine == "local" or not is_remote(settings.lake)
