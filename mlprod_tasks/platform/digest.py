"""Digests of files and code, to verify that they have not changed."""

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


def of_code(package: Path) -> str:
    """SHA-256 of the names and contents of a package's Python files."""
    total = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        total.update(f"{path.relative_to(package).as_posix()} {of_file(path)}\n".encode())
    return total.hexdigest()
