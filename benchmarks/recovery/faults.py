"""What a step needs goes away in its middle: the disk, a database, the registry, the ledger, the mail server, the time."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from functools import partial

from benchmarks.recovery.child import Ended, Moment
from benchmarks.recovery.place import BUSINESS, LEDGER, REGISTRY, SOURCE, Place, SmallDisk, may_mount
from benchmarks.recovery.trial import TO_END, TURNS, Line, Reference, Trial, first_line, healed, left
from benchmarks.replicas import LOOPBACK, free_port

Chance = random.Random
Fault = Callable[[Place, str, Reference, Chance], Trial]
# What an error has to name, so that who reads it knows where to look.
TOLD = {
    "disk": re.compile(r"no space|disk is full|disk full", re.IGNORECASE),
    SOURCE: re.compile(r"'shop'|/source|database"),
    BUSINESS: re.compile(r"/business"),
    LEDGER: re.compile(r"ledger", re.IGNORECASE),
    REGISTRY: re.compile(r"registry|MLflow", re.IGNORECASE),
    "mail": re.compile(r"mail server"),
}
WRITERS = (
    "extract",
    "audit",
    "publish",
    "assemble",
    "search",
    "fit",
    "train",
    "report",
    "register",
    "score",
    "measure",
    "collect",
)
OF_REGISTRY = ("train", "evaluate", "run_checks", "report", "register", "promote", "score", "measure", "verify")
OF_LEDGER = ("audit", "publish", "assemble", "gate", "promote", "score", "measure", "decide", "tell_decision", "collect")
OF_CLOCK = ("extract", "publish", "assemble", "register", "promote", "score", "measure", "decide", "tell_decision", "collect")
MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)
JUMPS = (MINUTE, timedelta(hours=1), DAY, 3 * DAY, 40 * DAY, 400 * DAY)


def faults(place: Place, expected: Reference, trials: int, seed: int, only: str = "") -> Iterator[Line]:
    """A line for each kind of fault, with that many trials."""
    for name, works, fault in _kinds(place):
        if only not in name:
            continue
        line, tried = Line(name), [work for work in works if work in expected.usual]
        for number in range(trials):
            chance = Chance(f"{seed} {name} {number}")
            for _ in range(TURNS):
                trial = fault(place, chance.choice(tried), expected, chance)
                if not trial.missed:
                    break
            line.trials.append(trial)
        yield line


def _kinds(place: Place) -> Iterator[tuple[str, Sequence[str], Fault]]:
    if may_mount():
        yield "the disk full", WRITERS, _disk_full
    yield "the source dies while it is read", ("extract",), partial(_database_dies, SOURCE)
    yield "the source ends its connections", ("extract",), partial(_connections_end, SOURCE)
    yield "the database for predictions dies", ("score",), partial(_database_dies, BUSINESS)
    yield "the clock jumps", OF_CLOCK, _clock_jumps
    yield "the mail server away", ("tell_decision",), _mail_away
    if place.servers:
        yield "the registry (PostgreSQL) dies", OF_REGISTRY, partial(_database_dies, REGISTRY)
        yield "the ledger (PostgreSQL) dies", OF_LEDGER, partial(_database_dies, LEDGER)
        yield "the ledger ends its connections", OF_LEDGER, partial(_connections_end, LEDGER)
    else:
        yield "the registry's file away", OF_REGISTRY, partial(_file_away, "mlflow.db", REGISTRY)
        yield "the ledger's file away", OF_LEDGER, partial(_file_away, "ledger.db", LEDGER)


def _disk_full(place: Place, work: str, expected: Reference, chance: Chance) -> Trial:
    with SmallDisk(place) as disk:
        place.restore(work)
        free = int(chance.random() * max(expected.usual[work].bytes_added, 4096))
        disk.leave(free)
        ended = place.run(work)
        disk.free()
        if ended.succeeded and left(place, work, expected, ended).none:
            return Trial(missed=True)
        return _then(place, work, expected, f"{work} with {free:,} bytes free", ended, "disk", chance)


def _database_dies(database: str, place: Place, work: str, expected: Reference, chance: Chance) -> Trial:
    """Its connections break after a number of bytes, and new ones are refused."""
    place.restore(work)
    most = int(chance.random() * expected.usual[work].bytes_read[database])
    proxy = place.proxies[database]
    proxy.break_after(most)
    ended = place.run(work)
    if not proxy.heal():
        return Trial(missed=True)
    return _then(place, work, expected, f"{work}, {database} after {most:,} bytes", ended, database, chance)


def _connections_end(database: str, place: Place, work: str, expected: Reference, chance: Chance) -> Trial:
    """The server ends them after a number of bytes; new ones are welcome."""
    place.restore(work)
    most = int(chance.random() * expected.usual[work].bytes_read[database])
    proxy = place.proxies[database]
    proxy.break_after(most, lambda: place.end_connections(database))
    ended = place.run(work)
    if not proxy.heal():
        return Trial(missed=True)
    return _then(place, work, expected, f"{work}, {database} ended after {most:,} bytes", ended, database, chance)


def _file_away(name: str, what: str, place: Place, work: str, expected: Reference, chance: Chance) -> Trial:
    """SQLite's file is moved away at a moment, and back after the step."""
    place.restore(work)
    files = [f"{name}{end}" for end in ("", "-wal", "-shm")]
    away = place.folder / "away"
    away.mkdir(exist_ok=True)

    def move() -> None:
        for one in files:
            if (place.home / one).exists():
                (place.home / one).rename(away / one)

    moment = Moment(chance.randrange(1, len(expected.usual[work].moments) + 1))
    ended = place.run(work, moment, act=move)
    moved = [one for one in files if (away / one).exists()]
    if not moved:
        return Trial(missed=True)
    for one in files:
        (place.home / one).unlink(missing_ok=True)  # who asked meanwhile made an empty one
    for one in moved:
        (away / one).rename(place.home / one)
    return _then(place, work, expected, f"{work}, {name} away at {moment}", ended, what, chance)


def _clock_jumps(place: Place, work: str, expected: Reference, chance: Chance) -> Trial:
    """In the middle of the step, and back after it."""
    place.restore(work)
    jump = chance.choice(JUMPS) * chance.choice((-1, 1))
    looks = chance.randrange(4)
    ended = place.run(work, jump=(looks, jump))
    what = f"{work}, the clock jumps by {jump} after {looks} looks"
    told = () if ended.succeeded else (f"it failed: {first_line(ended)}",)
    return healed(place, work, expected, what, ended, chance.random() < TO_END, told)


def _mail_away(place: Place, work: str, expected: Reference, chance: Chance) -> Trial:
    place.restore(work)
    ended = place.run(work, MLPROD_CONNECTION_SMTP=f"smtp://{LOOPBACK}:{free_port()}")
    if ended.succeeded and left(place, work, expected, ended).none:
        return Trial(missed=True)
    return _then(place, work, expected, work, ended, "mail", chance)


def _then(place: Place, work: str, expected: Reference, what: str, ended: Ended, named: str, chance: Chance) -> Trial:
    """A step that fails has to say what was away; one that succeeds has to have done its work. Then run it again."""
    told = () if ended.succeeded or TOLD[named].search(ended.error) else (f"an unclear error: {first_line(ended)}",)
    trial = healed(place, work, expected, what, ended, chance.random() < TO_END, told)
    return replace(trial, error=f"{what}: {'succeeded' if ended.succeeded else first_line(ended)}")
