"""Digests of files, to verify that a file has not changed."""

import hashlib
from pathlib import Path


def of_file(path: Path) -> str:
    """SHA-256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def of_folder(folder: Path) -> str:
    """SHA-256 of the names and contents of a folder's files; '' if there is no folder."""
    if not folder.is_dir():
        return ""
    total = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        total.update(f"{path.relative_to(folder).as_posix()} {of_file(path)}\n".encode())
    return total.hexdigest()
