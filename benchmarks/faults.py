"""What the service does while something around it breaks: two replicas behind nginx under constant load, fault by fault.

Replicas, nginx, Redis (the online store) and PostgreSQL (the ledger) are real processes on loopback; the use case is
benchmarks/shop, whose features ask the store for each of 2,000 customers. Requests of one row come at a fixed rate, and each
counts as failed that is not answered with 200. What is 'during' a fault begins with it and ends when it is over. Swaps go
round among more versions than a replica keeps loaded, so that each is loaded anew. Of the overload see overload.py.

`python -m benchmarks.faults [TRIAL]... [--rate N]`: all trials where none is named. Needs nginx, redis-server and wrk. About
five minutes.
"""

from __future__ import annotations

import argparse
import json
import logging
import re
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq

from benchmarks import served_shop
from benchmarks.load import PATH, Outcome, order
from benchmarks.overload import overloaded, overloaded_proxy
from benchmarks.replicas import Nginx, PostgreSQL, Redis, Replica, allow_open_files, ask, wait_for, where_is
from benchmarks.senders import bad_bodies, slow_clients
from benchmarks.trial import CHANCE, Place, Trial, under_load, with_told
from mlprod_tasks.online.plan import serving_of
from mlprod_tasks.platform.ledger import Rollout
from mlprod_tasks.promotion.rollback import rollback
from mlprod_tasks.scoring.prediction_log import log_folder

RATE = 300.0
HOLD = 6.0  # seconds that something stays away
NEXT = 3.0  # seconds that nginx may take to ask a replica again that was away
SWAPS = 20


def main() -> int:
    """Print the table, then what else was seen."""
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("trials", nargs="*", metavar="TRIAL", help=", ".join(TRIALS))
    asked.add_argument("--rate", type=float, default=RATE, help="requests a second")
    given = asked.parse_args()
    if unknown := set(given.trials) - set(TRIALS):
        asked.error(f"no trial {', '.join(unknown)}")
    if absent := [name for name in ("nginx", "redis-server", "wrk") if where_is(name) is None]:
        sys.exit(f"not installed: {', '.join(absent)}")
    allow_open_files()
    logging.getLogger("mlprod_tasks").setLevel(logging.ERROR)
    told: list[str] = []
    with tempfile.TemporaryDirectory() as folder, PostgreSQL() as postgres, Redis(Path(folder) / "redis") as redis:
        home, run = Path(folder) / "home", Path(folder) / "run"
        redis.start()
        variables = served_shop.environment(home, MLPROD_ONLINE_URL=redis.url, MLPROD_LEDGER_URL=postgres.url)
        platform = served_shop.make(variables)
        replicas = [Replica(number, variables, run) for number in (1, 2)]
        with replicas[0], replicas[1], Nginx(replicas, run) as nginx:
            started = [one.start() for one in replicas]
            nginx.start()
            print(f"{given.rate:g} requests a second, two replicas; a replica is ready {max(started):.1f} s after its start\n")
            print("| fault | requests | failed | by fallback during | p99 before, ms | p99 during, ms | longest, ms |")
            print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |", flush=True)
            place = Place(run, platform, replicas, nginx, redis, postgres, given.rate)
            for name in given.trials or TRIALS:
                trial = TRIALS[name](place)
                print(trial.line, flush=True)
                told += [f"- {trial.name}: {sentence}" for sentence in trial.told]
    print("\n" + "\n".join(told))
    return 0


def killed(place: Place) -> Trial:
    """One replica is killed under way, and started again."""
    one, moments = place.replicas[0], []

    def fault() -> None:
        one.kill()
        moments.append(time.monotonic())
        time.sleep(1)
        one.start()

    seconds = serving_of(served_shop.declared()).log_seconds
    trial, began, _ = under_load(place, "a replica killed with -9, and started again", fault)
    logged = logged_rows(place, trial.whole, seconds)
    lost = trial.whole.answered.where(lambda one: one.request_id not in logged.ids)
    oldest = max((moments[0] - one.until for one in lost.asked), default=0.0)
    return with_told(
        trial,
        f"nobody was answered for at most {1000 * trial.whole.between(began - 1, began + 3).longest_silence:.0f} ms",
        f"{len(lost)} of {len(trial.whole.answered):,} answered rows are not in the log; the oldest was answered "
        f"{oldest:.1f} s before the kill (log_seconds {seconds:g}); logged twice: {logged.twice}",
    )


@dataclass(frozen=True)
class Logged:
    """Requests of the log, and how many rows are there under two of them."""

    ids: frozenset[str]
    twice: int


def logged_rows(place: Place, whole: Outcome, seconds: float) -> Logged:
    """What the log holds once nothing can be waiting any more."""
    time.sleep(seconds + 1)
    pipeline = served_shop.declared()
    files = log_folder(pipeline, place.platform).glob("*.parquet")
    pairs = [
        pair
        for file in files
        for pair in zip(*(pq.read_table(file, columns=["request_id", "key"])[c].to_pylist() for c in ("request_id", "key")),
            strict=True)
    ]  # fmt: skip
    times = Counter(key for _, key in pairs)
    mine = {one.request_id for one in whole.asked}
    return Logged(frozenset(one for one, _ in pairs), sum(times[key] > 1 for one, key in pairs if one in mine))


def ended(place: Place) -> Trial:
    """Each replica in turn is told to end and started again, as an update does it."""

    def fault() -> None:
        for one in place.replicas:
            one.stop()
            one.start()
            time.sleep(NEXT)

    trial, _, _ = under_load(place, "replicas ended and started, one after the other", fault)
    logged = logged_rows(place, trial.whole, serving_of(served_shop.declared()).log_seconds)
    lost = trial.whole.answered.where(lambda one: one.request_id not in logged.ids)
    return with_told(trial, f"{len(lost)} answered rows are not in the log; statuses {trial.whole.statuses()}")


def swapped(place: Place) -> Trial:
    """Another version becomes champion, again and again; each time it is loaded and checked anew."""
    took: list[float] = []

    def fault() -> None:
        for _ in range(SWAPS):
            version = swap(place)
            took.append(followed(place, version))

    trial, _, _ = under_load(place, f"{SWAPS} swaps of the model", fault)
    versions = Counter(one.version for one in trial.during.answered.asked)
    told = ", ".join(f"{count:,} by version {version}" for version, count in sorted(versions.items()))
    return with_told(trial, f"answered: {told}; both replicas had swapped after {max(took):.1f} s at most")


def swap(place: Place) -> int:
    """Make the version champion that was it longest ago. Its number."""
    version = served(place.replicas[0]) % len(served_shop.TRAINED) + 1
    rollback(served_shop.declared(), place.platform, to=version, by="ada", reason="a trial")
    return version


def followed(place: Place, version: int) -> float:
    """Seconds until all replicas answer by a version."""
    return wait_for(lambda: {served(one) for one in place.replicas} == {version}, f"version {version}", 60)


def served(replica: Replica) -> int:
    """The version that answers at a replica."""
    _, body = ask(replica.url + PATH, json.loads(order(0, CHANCE)))
    rows = json.loads(body or b"{}").get("rows") or [{}]
    return int(rows[0].get("version") or 0)


def store_stopped(place: Place) -> Trial:
    """Redis is stopped, and started again with what it held."""

    def fault() -> None:
        place.redis.stop()
        time.sleep(HOLD)
        place.redis.start()

    trial, _, over = under_load(place, "the online store stopped", fault, lambda: time.sleep(8))
    return with_told(trial, back_to_the_model(trial.whole, over))


def store_frozen(place: Place) -> Trial:
    """Redis hangs: it takes connections and answers nothing."""

    def fault() -> None:
        place.redis.signal(signal.SIGSTOP)
        time.sleep(HOLD)
        place.redis.signal(signal.SIGCONT)

    trial, _, over = under_load(place, "the online store hangs", fault, lambda: time.sleep(8))
    return with_told(trial, back_to_the_model(trial.whole, over))


def back_to_the_model(whole: Outcome, over: float) -> str:
    last = max((one.at for one in whole.asked if one.route == "fallback"), default=over)
    return f"the last answer of the fallback came {max(last - over, 0.0):.1f} s after the store was back"


def ledger_stopped(place: Place) -> Trial:
    """PostgreSQL, which holds the ledger, is stopped and started again."""
    took: list[float] = []

    def fault() -> None:
        place.postgres.stop()
        time.sleep(HOLD)
        place.postgres.start()

    def after() -> None:
        took.append(followed(place, swap(place)))

    trial, _, _ = under_load(place, "the ledger stopped", fault, after)
    return with_told(trial, f"a promotion right after it was followed within {took[0]:.1f} s")


def ledger_frozen(place: Place) -> Trial:
    """PostgreSQL hangs: its connections stay open and nothing comes over them."""

    def fault() -> None:
        place.postgres.signal(signal.SIGSTOP)
        try:
            time.sleep(HOLD)
            ago.extend(looked_seconds_ago(one) for one in place.replicas)
        finally:
            place.postgres.signal(signal.SIGCONT)

    ago: list[float] = []
    took: list[float] = []
    trial, _, _ = under_load(place, "the ledger hangs", fault, lambda: took.append(followed(place, swap(place))))
    return with_told(
        trial,
        f"it was {min(ago):.1f} s since a replica had last read it when it went on; a promotion right after that was followed "
        f"within {took[0]:.1f} s",
    )


def looked_seconds_ago(replica: Replica) -> float:
    """How long ago it last read the ledger, as it says itself."""
    told = re.search(rb"^mlprod_looked_seconds_ago ([\d.]+)", ask(f"{replica.url}/metrics")[1], re.MULTILINE)
    return float(told[1]) if told else float("nan")


def registry_away(place: Place) -> Trial:
    """MLflow's database and its artifacts are gone while a rollout asks for a version that is not loaded."""
    home, name = place.platform.settings.home, served_shop.NAME
    held = [home / one for one in ("mlflow.db", "mlartifacts", "models")]
    before = served(place.replicas[0])
    version = before % len(served_shop.TRAINED) + 1
    took: list[float] = []

    def rolled_out(mode: str, challenger: int | None) -> None:
        # Beside `roll_out`, which first looks into the registry.
        now = place.platform.clock.now()
        made = Rollout(
            pipeline=name, at=now, mode=mode, by="ada", reason="a trial", challenger=challenger, share=0.0, automation="full"
        )
        place.platform.ledger.put(made)

    def fault() -> None:
        for path in held:
            path.rename(path.with_name(f"away-{path.name}"))
        rolled_out("blue-green", version)
        time.sleep(HOLD)
        for path in held:
            if path.is_dir():
                shutil.rmtree(path)  # who asked meanwhile made an empty one
            path.with_name(f"away-{path.name}").replace(path)

    trial, _, _ = under_load(place, "the registry away", fault, lambda: took.append(followed(place, version)))
    versions = Counter(one.version for one in trial.during.answered.asked)
    rolled_out("champion", None)
    followed(place, before)
    return with_told(
        trial,
        f"version {before} answered {versions[before]:,} of {versions.total():,} although version {version} was rolled out; "
        f"that was followed {took[0]:.1f} s after the registry was back",
    )


TRIALS: dict[str, Callable[[Place], Trial]] = {
    "killed": killed,
    "ended": ended,
    "swapped": swapped,
    "store-stopped": store_stopped,
    "store-hangs": store_frozen,
    "ledger": ledger_stopped,
    "ledger-hangs": ledger_frozen,
    "registry": registry_away,
    "slow": slow_clients,
    "bad": bad_bodies,
    "overload": overloaded,
    "overload-proxy": overloaded_proxy,
}


if __name__ == "__main__":
    sys.exit(main())
