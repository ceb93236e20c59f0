"""A proxy in front of a database whose connections break after a number of bytes, where a trial says so."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Self

from benchmarks.replicas import LOOPBACK


class Proxy:
    """Passes bytes on, and counts those that come from the server: at a path, or at a port of this machine."""

    def __init__(self, server: Path | int) -> None:
        self._server = server
        self._listener = socket.create_server((LOOPBACK, 0))
        self.port: int = self._listener.getsockname()[1]
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self.passed, self._broken = 0, False
        self._most: int | None = None
        self._instead: Callable[[], object] | None = None

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()
        self._close_all()

    def count(self) -> None:
        """Count anew."""
        self.passed = 0

    def break_after(self, most: int, instead: Callable[[], object] | None = None) -> None:
        """When that many bytes have come from the server, break all connections and refuse new ones until `heal`.

        instead: done then, once, instead.
        """
        self.passed, self._most, self._instead = 0, most, instead

    def heal(self) -> bool:
        """Pass everything on again. Whether it had come to that many bytes."""
        reached = self._broken or (self._most is None and self._instead is None)
        self._most, self._broken, self._instead = None, False, None
        return reached

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                if self._broken:
                    client.close()
                    continue
                server = self._connect()
                self._open |= {client, server}
                threading.Thread(target=self._pass, args=(client, server, False), daemon=True).start()
                threading.Thread(target=self._pass, args=(server, client, True), daemon=True).start()

    def _connect(self) -> socket.socket:
        if isinstance(self._server, int):
            return socket.create_connection((LOOPBACK, self._server))
        server = socket.socket(socket.AF_UNIX)
        server.connect(str(self._server))
        return server

    def _pass(self, given: socket.socket, taken: socket.socket, counted: bool) -> None:
        with suppress(OSError):
            while content := given.recv(4096):
                passing = self._passing(len(content)) if counted else len(content)
                taken.sendall(content[:passing])
                if passing < len(content):
                    self._close_all()
                    return
        for one in (given, taken):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            self._open.discard(one)

    def _passing(self, more: int) -> int:
        """How many of so many bytes from the server are passed on."""
        with self._lock:
            if self._broken:
                return 0
            before, self.passed = self.passed, self.passed + more
            if self._most is None or self.passed <= self._most:
                return more
            if self._instead is not None:
                do, self._instead, self._most = self._instead, None, None
                do()
                return more
            self._broken = True
            return self._most - before

    def _close_all(self) -> None:
        for one in list(self._open):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        self._open.clear()
