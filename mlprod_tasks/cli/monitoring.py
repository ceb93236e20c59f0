"""`mlprod why`, `alarms`, `acknowledge` and others: show decisions and act on them."""

from __future__ import annotations

from typing import Annotated

import typer

from mlprod_tasks.cli.arguments import By, EveryRule, Name, Reason, RuleName, moment, opened, say
from mlprod_tasks.documents.formatting import format_number
from mlprod_tasks.platform.storable_text import one_line

app = typer.Typer()


@app.command()
def why(name: Name, tick: Annotated[str, typer.Argument(metavar="TICK", help="Such as 2013-06-17.")]) -> None:
    """Explain the decision of a tick: each rule with its measurements and bounds, and what was done about it."""
    from mlprod_tasks.monitoring.why import why as explanation

    pipeline, here = opened(name)
    say(explanation(pipeline, pipeline.schedule.tick(tick), here).text())


@app.command()
def alarms(name: Name, every: Annotated[bool, typer.Option("--all", help="Also alarms that are over.")] = False) -> None:
    """List open alarms: when they began, why, and who acknowledged them."""
    from mlprod_tasks.monitoring.alarms import alarms as all_alarms

    pipeline, here = opened(name)
    shown = [alarm for alarm in all_alarms(pipeline, here) if alarm.open or every]
    for alarm in shown:
        say(alarm.line() if alarm.open else f"over after {alarm.last}: {alarm.line()}")
    if not shown:
        say(f"{name}: no alarm{'' if every else ' is open'}")


@app.command()
def acknowledge(
    name: Name, rule: RuleName, by: By, note: Annotated[str, typer.Option(help="What you found.", callback=one_line)] = ""
) -> None:
    """Acknowledge an open alarm, so that no more reminders of it are sent."""
    from mlprod_tasks.monitoring.alarms import acknowledge as acknowledged

    pipeline, here = opened(name)
    done = acknowledged(pipeline, rule, by, here, note=note)
    say(f"{name}: {rule!r} was acknowledged by {done.by} at {done.at:%Y-%m-%d %H:%M} UTC")


@app.command()
def mute(
    name: Name,
    until: Annotated[str, typer.Option(metavar="WHEN", help="A day or a moment: 2013-07-01, 2013-07-01T12:00.")],
    by: By,
    rule: EveryRule = "",
    reason: Reason = "",
) -> None:
    """Send no mails about a rule, or about all rules, until a day. Measuring and deciding go on."""
    from mlprod_tasks.monitoring.alarms import mute as muted

    pipeline, here = opened(name)
    done = muted(pipeline, rule, by, here, until=moment(pipeline, until), reason=reason)
    say(f"{name}: {rule or 'every rule'} is muted until {done.until:%Y-%m-%d %H:%M} UTC")


@app.command()
def unmute(name: Name, by: By, rule: EveryRule = "", reason: Reason = "") -> None:
    """Send mails about a rule, or all rules, again."""
    from mlprod_tasks.monitoring.alarms import unmute as unmuted

    pipeline, here = opened(name)
    unmuted(pipeline, rule, by, here, reason=reason)
    say(f"{name}: {rule or 'every rule'} is no longer muted")


@app.command()
def bound(
    name: Name,
    by: By,
    what: Annotated[
        str, typer.Argument(help="What is measured, such as feature_psi. Leave it out to list the bounds in force.")
    ] = "",
    slice: Annotated[str, typer.Option(metavar="NAME", help="Only of this feature, table or step.")] = "",
    low: Annotated[float | None, typer.Option(help="Values below it are a breach.")] = None,
    high: Annotated[float | None, typer.Option(help="Values above it are a breach.")] = None,
    clear: Annotated[bool, typer.Option("--clear", help="Use the declared and learned bounds again.")] = False,
    reason: Reason = "",
) -> None:
    """Replace a declared or learned bound from the newest tick on, or list the bounds in force."""
    from mlprod_tasks.monitoring.bounds import bounds_in_force, clear_bound, set_bound

    pipeline, here = opened(name)
    if not what:
        for one in bounds_in_force(pipeline, here):
            say(f"{one.subject:40} {_bounds(one.low, one.high):>20}  {one.origin}")
    elif clear:
        ended = clear_bound(pipeline, what, slice, by, reason, here)
        say(
            f"{name}: {ended.subject}: the bound {_bounds(ended.low, ended.high)} ends"
            if ended
            else f"{name}: no bound was set"
        )
    else:
        set_to = set_bound(pipeline, what, slice, low, high, by, reason, here)
        say(f"{name}: {set_to.subject}: {_bounds(set_to.low, set_to.high)} {set_to.origin}, from tick {set_to.since} on")


@app.command()
def fallback(
    name: Name,
    by: By,
    on: Annotated[bool, typer.Option("--on/--off", help="Let the fallback score, or the champion again.")],
    reason: Reason = "",
) -> None:
    """Let the fallback score from the next scoring on, until a new champion is promoted, or let the champion score again."""
    from mlprod_tasks.promotion.fallback_switch import sentence, switch_to_champion, switch_to_fallback

    pipeline, here = opened(name)
    if on:
        say(f"{name}: {sentence(switch_to_fallback(pipeline, by, here, reason=reason))}")
    elif switch_to_champion(pipeline, by, here, reason=reason):
        say(f"{name}: the champion answers again")
    else:
        say(f"{name}: the champion already answers; nothing changed")


@app.command()
def digest(
    name: Name,
    to: Annotated[str, typer.Option(metavar="TICK", help="The last tick of the week, such as 2013-06-30.")],
    send: Annotated[bool, typer.Option("--send", help="Mail it, once a week, instead of printing it.")] = False,
) -> None:
    """Print the weekly digest that ends with a tick: value, quality, events, open alarms."""
    from mlprod_tasks.notifications import digest as weekly

    pipeline, here = opened(name)
    tick = pipeline.schedule.tick(to)
    if not send:
        say(weekly.text(pipeline, tick, here))
    elif weekly.tell_digest(pipeline, tick, here):
        say(f"{name}: mailed")
    else:
        say(f"{name}: the digest of this week was already mailed")


def _bounds(low: float | None, high: float | None) -> str:
    if low is None:
        return "no bound" if high is None else f"at most {format_number(high)}"
    return f"at least {format_number(low)}" if high is None else f"{format_number(low)} to {format_number(high)}"
