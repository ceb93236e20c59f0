"""`mlprod serve`, `rollout` and `keys`: the scoring service, who answers, and API keys."""

from __future__ import annotations

from typing import Annotated

import typer

from mlprod_tasks.cli.arguments import By, Name, Reason, finite, one_name, opened, say
from mlprod_tasks.platform import platform
from mlprod_tasks.platform.storable_text import one_line

app = typer.Typer()
keys_app = typer.Typer(no_args_is_help=True, help="API keys of the scoring service.")
app.add_typer(keys_app, name="keys")


@app.command()
def serve(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[PIPELINE]...", help="Use cases to serve; all by default.")
    ] = None,
    host: Annotated[
        str, typer.Option(help="Address to listen on. For requests from other machines, put nginx in front of it.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65_535, help="Port to listen on.")] = 8090,
    without_keys: Annotated[bool, typer.Option(help="Require no API key; only for requests from this machine.")] = False,
    rows_a_second: Annotated[
        float,
        typer.Option(
            min=1,
            help="Rows per second that one key may request from this process; a burst may be twice that.",
            callback=finite,
        ),
    ] = 5_000,
    fast_path: Annotated[
        bool,
        typer.Option(envvar="MLPROD_SERVE_FAST_PATH", help="Answer small requests without ASGI; the answers are the same."),
    ] = True,
) -> None:
    """Answer requests for scores and explanations over HTTP, with the versions that the rollout says."""
    from mlprod_tasks.serving.limits import Limits
    from mlprod_tasks.serving.run import serve as run_service

    limits = Limits(rows_a_second=rows_a_second, burst=2 * rows_a_second)
    run_service(platform(), names or (), host=host, port=port, keys_needed=not without_keys, limits=limits, fast_path=fast_path)


@app.command()
def rollout(
    name: Name,
    mode: Annotated[str, typer.Argument(help="champion, blue-green, shadow or canary.")],
    by: By,
    challenger: Annotated[int | None, typer.Option(metavar="VERSION", help="The version to roll out.")] = None,
    share: Annotated[float, typer.Option(help="Share of entities that a canary answers, 0 to 1.", callback=finite)] = 0.0,
    automation: Annotated[str, typer.Option(help="full, band, assist or shadow.")] = "full",
    band: Annotated[tuple[float, float] | None, typer.Option(help="People decide scores in this range.")] = None,
    reason: Reason = "",
) -> None:
    """Set which version answers requests; all replicas follow within seconds."""
    from mlprod_tasks.rollout.routing import roll_out

    pipeline, here = opened(name)
    entry = roll_out(
        pipeline, here, mode=mode, by=by, reason=reason, challenger=challenger, share=share, automation=automation,
        band=band,
    )  # fmt: skip
    version = "" if entry.challenger is None else f" of version {entry.challenger}"
    of_entities = f", {entry.share:.0%} of entities" if entry.share else ""
    say(f"{name}: {entry.mode}{version}{of_entities}, {entry.automation}")


@keys_app.command("make")
def make_key(
    names: Annotated[list[str], typer.Argument(metavar="PIPELINE...", help="Use cases that the key opens; '*' for all.")],
    holder: Annotated[str, typer.Option(help="Who uses the key.", callback=one_name)],
    by: By,
    days: Annotated[
        float | None, typer.Option(help="How many days the key is valid; without an end by default.", callback=finite)
    ] = None,
) -> None:
    """Create an API key. It is shown only once: only its hash is stored."""
    from mlprod_tasks.declaration import load_all
    from mlprod_tasks.serving import keys

    here = platform()
    asked = [name for name in names if name != keys.ALL]
    known = load_all(here.settings.pipelines) if asked else ()
    if unknown := [name for name in asked if name not in known]:
        unknown_names = ", ".join(map(repr, unknown))
        raise LookupError(f"no use case {unknown_names} in {here.settings.pipelines}; known: {', '.join(known)}; '*' is all")
    key, entry = keys.make_key(names, holder, by, here, lasts=None if days is None else keys.lifetime(days))
    ends = f", valid until {entry.until:%Y-%m-%d %H:%M} UTC" if entry.until else ""
    say(f"{key}\nid {entry.id}{ends}; the key is not shown again")


@keys_app.command("list")
def list_keys() -> None:
    """List API keys by their id."""
    from mlprod_tasks.platform.key_entries import ApiKey

    here = platform()
    for one in here.ledger.all(ApiKey):
        holder, ended = one_line(one.holder), one.until is not None and one.until <= here.clock.now()
        if one.revoked_at:
            state = f"revoked {one.revoked_at:%Y-%m-%d}"
        else:
            state = f"{'ended' if ended else 'until'} {one.until:%Y-%m-%d}" if one.until else "valid"
        say(f"{one.id}  {one_line(', '.join(one.pipelines)):24}  {holder:24}  {state}")


@keys_app.command("revoke")
def revoke_key(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="The key's id, as `mlprod keys list` shows it.")],
) -> None:
    """Revoke an API key; running services follow within seconds."""
    from mlprod_tasks.serving import keys

    say(f"{keys.revoke_key(key_id, platform()).id} is revoked")
