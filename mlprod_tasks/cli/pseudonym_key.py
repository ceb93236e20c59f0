"""`mlprod pseudonym-key`: make the key of the hash of personal columns, and replace it."""

from __future__ import annotations

import typer

from mlprod_tasks.cli.arguments import By, say
from mlprod_tasks.platform import platform

app = typer.Typer()
key_app = typer.Typer(no_args_is_help=True, help="The key of the hash of personal columns.")
app.add_typer(key_app, name="pseudonym-key")


@key_app.command("make")
def make() -> None:
    """Print a new key: 32 random bytes. Set MLPROD_PSEUDONYM_KEY to it; it is stored nowhere."""
    from mlprod_tasks.platform.pseudonym_key import made_key

    say(made_key())


@key_app.command("adopt")
def adopt(by: By) -> None:
    """Let the key that is now in MLPROD_PSEUDONYM_KEY replace the earlier one. Everything must be ingested again afterwards."""
    from mlprod_tasks.platform.pseudonym_key import adopt_key

    entry = adopt_key(by, platform())
    say(f"key {entry.number} is in use since {entry.at:%Y-%m-%d %H:%M} UTC; ingest rows of earlier keys again")
