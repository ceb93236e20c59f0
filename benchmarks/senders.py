"""Those who send slowly, and what nobody can answer: at a replica and at nginx, amid requests that are good."""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time
from collections import Counter
from contextlib import suppress

from benchmarks.load import PATH, order
from benchmarks.replicas import LOOPBACK
from benchmarks.trial import CHANCE, Place, Trial, under_load, with_told

SLOW = 50


def slow_clients(place: Place) -> Trial:
    """Senders that take their time: at a replica a byte at a time, at nginx one byte and then nothing."""
    came: list[tuple[list[tuple[int, float]], list[tuple[int, float]]]] = []

    async def both() -> None:
        direct = asyncio.gather(*(slowly(place.replicas[0].port, every=0.2) for _ in range(SLOW)))
        proxied = asyncio.gather(*(slowly(place.nginx.port, every=60) for _ in range(SLOW)))
        came.append((await direct, await proxied))

    trial, _, _ = under_load(place, f"{SLOW} slow senders at a replica, {SLOW} at nginx", lambda: asyncio.run(both()))
    direct, proxied = came[0]
    return with_told(
        trial,
        *(
            f"at {where} they got {dict(Counter(status for status, _ in one))} after {max(s for _, s in one):.1f} s"
            for where, one in (("the replica", direct), ("nginx", proxied))
        ),
    )


async def slowly(port: int, every: float) -> tuple[int, float]:
    """Send a request a byte at a time. The status that came, 0 where the connection was closed without, and after how long."""
    body, began = order(1, CHANCE), time.monotonic()
    reader, writer = await asyncio.open_connection(LOOPBACK, port)
    writer.write(f"POST {PATH} HTTP/1.1\r\nhost: {LOOPBACK}\r\ncontent-length: {len(body)}\r\n\r\n".encode())
    answer = asyncio.create_task(reader.read(100))
    for place in range(len(body)):
        with suppress(OSError):
            writer.write(body[place : place + 1])
        await asyncio.wait([answer], timeout=every)
        if answer.done():
            break
    found = re.match(rb"HTTP/1.1 (\d+)", await answer)
    writer.close()
    return int(found[1]) if found else 0, time.monotonic() - began


def bad_bodies(place: Place) -> Trial:
    """What makes no sense, and what is too large, at nginx and at a replica, amid what is good."""
    came: Counter[int] = Counter()

    def fault() -> None:
        for _ in range(10):
            for port in (place.nginx.port, place.replicas[0].port):
                for name, request in bad_requests().items():
                    status = asyncio.run(sent(port, request))
                    came[status] += 1
                    if status >= 500:
                        print(f"{name}: {status}", file=sys.stderr)

    trial, _, _ = under_load(place, f"{20 * len(bad_requests())} bad requests amid good ones", fault)
    return with_told(
        trial, f"the bad ones got {dict(sorted(came.items()))}; 500 or more: {sum(came[s] for s in came if s >= 500)}"
    )


def bad_requests() -> dict[str, bytes]:
    """Requests that nobody can answer."""
    row = json.loads(order(1, CHANCE))
    bodies: dict[str, bytes] = {
        "nothing": b"",
        "no JSON": b"{rows: nothing}",
        "half of it": order(1, CHANCE)[:40],
        "not UTF-8": b'{"rows":[{"order_id":"\xff\xfe"}]}',
        "nested": b"[" * 100_000,
        "another thing": b'"rows"',
        "no rows": b'{"rows":[]}',
        "too many rows": json.dumps({"rows": row["rows"] * 2_000}).encode(),
        "another field": json.dumps({"rows": [row["rows"][0] | {"colour": "red"}]}).encode(),
        "not a number": json.dumps({"rows": [row["rows"][0] | {"amount": float("nan")}]}).encode(),
        "a number without end": b'{"rows":[{"order_id":"o","items":' + b"9" * 5000 + b"}]}",
        "a moment to come": json.dumps(row | {"moment": "2999-01-01T00:00:00Z"}).encode(),
        "too large": b" " * 1_200_000,
    }
    head = f"POST {PATH} HTTP/1.1\r\nhost: {LOOPBACK}\r\nconnection: close\r\n"
    made = {name: f"{head}content-length: {len(body)}\r\n\r\n".encode() + body for name, body in bodies.items()}
    part = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
    made["too large, length untold"] = f"{head}transfer-encoding: chunked\r\n\r\n".encode() + part * 20 + b"0\r\n\r\n"
    made["too large, as it is told"] = f"{head}content-length: 999999999\r\n\r\n".encode()
    made["another verb"] = made["no rows"].replace(b"POST", b"PUT", 1)
    made["another place"] = made["no rows"].replace(PATH.encode(), b"/v1/pipelines/nobody/score", 1)
    made["no HTTP"] = b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n"
    return made


async def sent(port: int, request: bytes) -> int:
    """The status of the answer to these bytes; 0 where the connection was closed without one."""
    reader, writer = await asyncio.open_connection(LOOPBACK, port, limit=2**22)
    answer = b""
    with suppress(OSError):
        writer.write(request)
        answer = await asyncio.wait_for(reader.read(100), 15)
    writer.close()
    found = re.match(rb"HTTP/1.1 (\d+)", answer)
    return int(found[1]) if found else 0
