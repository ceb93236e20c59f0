"""Write .env from .env.example, with a fresh random secret wherever the example leaves a value empty.

    python3 deploy/new_env.py

Needs nothing but Python. An .env that is there is never touched: its keys open what is stored.
"""

from __future__ import annotations

import base64
import os
import re
import secrets
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]


def filled(example: str) -> str:
    """The example's text with its empty values filled."""
    return re.sub(r"^([A-Z_]+)=$", lambda found: f"{found[1]}={_secret(found[1])}", example, flags=re.MULTILINE)


def _secret(name: str) -> str:
    if "FERNET" in name:
        return base64.urlsafe_b64encode(os.urandom(32)).decode()
    # Letters and digits only: these become parts of URLs.
    return secrets.token_hex(16 if name.endswith("_PASSWORD") else 32)


def write(folder: Path) -> Path:
    """Make folder/.env, readable by its owner alone. Raises: FileExistsError."""
    target = folder / ".env"
    text = filled((folder / ".env.example").read_text())
    with open(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    return target


if __name__ == "__main__":
    try:
        print(f"wrote {write(REPOSITORY)}")
    except FileExistsError as error:
        sys.exit(f"{error.filename} is there already: delete it yourself if you are sure that nothing needs its keys")
