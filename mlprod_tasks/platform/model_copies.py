"""This machine's copies of registered models: verified, shared by its processes, and the longest unused go."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

from mlprod_tasks.platform.files import delete_unused, replacing_folder
from mlprod_tasks.platform.model_files import ModelRef, holds, require

# Of a model's versions so many are kept, and whatever a process may still be reading.
MOST_COPIES, COPY_UNUSED = 20, timedelta(days=2)


def kept_copy(ref: ModelRef, home: Path, fetch: Callable[[Path], object]) -> Path:
    """The copy of a version's files below a home folder. fetch: makes a folder of them, if it is missing or damaged.

    Raises: BrokenArtifact if what is fetched is not the registered model; what `fetch` raises.
    """
    folder = home / "models" / ref.name / f"{ref.version}-{ref.digest[:16]}"
    with suppress(FileNotFoundError):
        os.utime(folder)  # when it was last used
    if holds(folder, ref):
        return folder
    # Other processes never see half a model. If another one was faster, its copy stays, because it may be in use.
    with replacing_folder(folder, unless=lambda: holds(folder, ref)) as copy:
        fetch(copy)
        require(copy, ref)
    delete_unused(folder.parent, MOST_COPIES, COPY_UNUSED)
    return folder
