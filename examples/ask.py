"""Ask the scoring service about one row, and say what it answered. Python's standard library is enough.

    MLPROD_KEY=... python examples/ask.py flight_delays '{"flight_id": "2013-06-24-B6-1271-LGA", ...}'
    MLPROD_KEY=... python examples/ask.py flight_delays row.json --moment 2013-06-24T08:00:00Z --url https://scores.example.com

Exit status: 0 answered, 1 the row or the key is refused (asking again would not help), 2 nobody answered in time. Copy it, or
what you need of it.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import time
from collections.abc import Mapping
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

LATER = (429, 503)  # too many rows for this key; too busy, or a replica that stops
LONGEST_WAIT = 10.0


class Refused(Exception):
    """The service will not answer this request, however often it is asked: `problems` says row, field and reason."""

    def __init__(self, status: int, told: Mapping[str, Any]) -> None:
        super().__init__(f"{status}: {told.get('error', 'no reason given')}")
        self.problems: list[dict[str, Any]] = told.get("problems", [])


class NoAnswer(Exception):
    """Nobody answered in time: decide without a score."""


class HalfAnAnswer(Exception):
    """Something came that is no answer: asking again may help."""


def ask(
    url: str,
    use_case: str,
    rows: list[dict[str, Any]],
    key: str = "",
    *,
    moment: str | None = None,
    timeout: float = 2.0,
    patience: float = 10.0,
) -> dict[str, Any]:
    """The answer to some rows.

    moment: as of when they are scored, such as 2024-05-01T12:30:00Z; now where it is left out. timeout: seconds for one try;
    patience: for all of them, waits included. Asking twice changes nothing, so that a try that failed half-way may be made
    again. Raises: Refused; NoAnswer; ValueError.
    """
    if not url.startswith(("http://", "https://")):
        raise ValueError(f"{url!r} is no address of a service, such as http://127.0.0.1:8090")
    key = key.strip()  # files and shells leave a line's end
    if not key.isascii() or not key.isprintable():
        raise ValueError("the key has characters that no key has")  # without the key: this is read by others
    headers = {"content-type": "application/json", **({"authorization": f"Bearer {key}"} if key else {})}
    body = json.dumps({"rows": rows} if moment is None else {"rows": rows, "moment": moment}).encode()
    until, wait = time.monotonic() + patience, 0.1
    while True:
        left = until - time.monotonic()
        asked = Request(f"{url.rstrip('/')}/v1/pipelines/{use_case}/score", body, headers)  # noqa: S310  (its scheme is checked)
        try:
            with urlopen(asked, timeout=max(0.05, min(timeout, left))) as answer:  # noqa: S310
                return _read(answer.read())
        except HTTPError as error:
            told = _told(error)
            if error.code not in LATER:
                raise Refused(error.code, told) from None
            why, wanted = f"{error.code}: {told.get('error', '')}", _seconds(error.headers.get("retry-after"))
        except (OSError, HTTPException, HalfAnAnswer) as error:  # no connection, no time, half an answer
            why, wanted = f"{type(error).__name__}: {error}", None
        # Not all at the same moment: others were told the same time.
        pause = (wait if wanted is None else wanted) * random.SystemRandom().uniform(1.0, 1.2)
        wait = min(2 * wait, LONGEST_WAIT)
        if time.monotonic() + pause >= until:
            raise NoAnswer(f"no answer within {patience:g} seconds; the last try: {why}")
        print(f"{why}; trying again in {pause:.1f} s", file=sys.stderr)
        time.sleep(pause)


def _read(body: bytes) -> dict[str, Any]:
    try:
        return dict(json.loads(body))
    except (TypeError, ValueError):
        raise HalfAnAnswer("what came is no answer of the service") from None


def _told(error: HTTPError) -> dict[str, Any]:
    """What a refusal says; a proxy's may be no JSON."""
    try:
        told = json.load(error)
    except (OSError, HTTPException, ValueError):
        return {}
    return told if isinstance(told, dict) else {}


def _seconds(retry_after: str | None) -> float | None:
    return float(retry_after) if retry_after is not None and retry_after.isdigit() else None


def main() -> int:
    """Ask about the row that is given, and print what was answered."""
    given = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    given.add_argument("use_case")
    given.add_argument("row", help="JSON, or a file that holds it")
    given.add_argument("--url", default="http://127.0.0.1:8090")
    given.add_argument("--moment", help="as of when, such as 2024-05-01T12:30:00Z; else now")
    given.add_argument("--timeout", type=float, default=2.0, help="seconds for one try")
    given.add_argument("--patience", type=float, default=10.0, help="seconds for all tries")
    chosen = given.parse_args()
    text = chosen.row if chosen.row.lstrip().startswith("{") else Path(chosen.row).read_text(encoding="utf-8")
    # The key from the environment: arguments stand in the list of processes.
    key = os.environ.get("MLPROD_KEY", "")
    try:
        answer = ask(
            chosen.url, chosen.use_case, [json.loads(text)], key,
            moment=chosen.moment, timeout=chosen.timeout, patience=chosen.patience,
        )  # fmt: skip
    except Refused as refused:
        print(f"refused, {refused}")
        for one in refused.problems:
            print(f"  {one.get('field') or 'the body'}: {one.get('reason')}")
        return 1
    except ValueError as error:  # no row, no address, no key
        print(f"refused, {error}")
        return 1
    except NoAnswer as error:
        print(error)
        return 2
    for row in answer["rows"]:
        print(f"{'/'.join(map(str, row['key'].values()))}: {_said(row)}; version {row['version']}, route {row['route']}")
        if row.get("reason"):
            print(f"  {row['reason']}")
    print(f"request {answer['request_id']}")
    return 0


def _said(row: dict[str, Any]) -> str:
    """Put an answer into words: a score and what is decided, a predicted number, or a class."""
    if "score" in row:
        score = "no score" if row["score"] is None else f"score {row['score']:.4f}"
        undecided = "people decide" if row.get("review") else "no decision"
        return f"{score}, { ({True: 'act', False: 'do not act', None: undecided}[row['decision']]) }"
    if row["prediction"] is None:
        return "no prediction"
    if "probability" in row:
        return f"{row['prediction']}, probability {row['probability']:.4f}"
    ends = f", between {row['prediction_low']:.6g} and {row['prediction_high']:.6g}" if "prediction_low" in row else ""
    return f"{row['prediction']:.6g}{ends}"


if __name__ == "__main__":
    sys.exit(main())
