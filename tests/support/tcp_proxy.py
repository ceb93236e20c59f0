"""A TCP proxy before a real server that loses an answer, or delivers a command late, where a test says so."""

import socket
import threading
from contextlib import suppress
from typing import Self

WAIT_SECONDS = 20.0


class _Connection:
    """One client's connection, passed on in both directions until it breaks."""

    def __init__(self, proxy: "TcpProxy", client: socket.socket) -> None:
        self.proxy, self.client = proxy, client
        self.server = socket.create_connection(("127.0.0.1", proxy.server_port))
        self.losing = threading.Event()
        self.answered_late = threading.Event()
        for task in (self._pass_commands, self._pass_answers):
            threading.Thread(target=task, daemon=True).start()

    def _pass_commands(self) -> None:
        with suppress(OSError):
            while command := self.client.recv(65536):
                if self.proxy.takes("late", command):
                    self.losing.set()
                    self.proxy.late = (self, command)
                    self.client.shutdown(socket.SHUT_RDWR)
                    return  # the server waits for it
                if self.proxy.takes("lost", command):
                    self.losing.set()
                self.server.sendall(command)
        self.close()

    def _pass_answers(self) -> None:
        with suppress(OSError):
            while answer := self.server.recv(65536):
                if self.losing.is_set():
                    self.answered_late.set()
                    break
                self.client.sendall(answer)
        self.close()

    def close(self) -> None:
        for one in (self.client, self.server):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)


class TcpProxy:
    """Pass bytes to and from a server on this machine, until told otherwise."""

    def __init__(self, server_port: int) -> None:
        self.server_port = server_port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.late: tuple[_Connection, bytes] | None = None
        self._faults: dict[str, bytes] = {}
        self._refusing = self._then_refuse = False
        self._connections: list[_Connection] = []

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()
        for connection in self._connections:
            connection.close()

    def lose_answer_to(self, command: bytes, *, then_refuse: bool = False) -> None:
        """Let the server do the next command with these bytes, and break the connection instead of answering.

        then_refuse: break every connection that is opened after that.
        """
        self._faults["lost"], self._then_refuse = command, then_refuse

    def keep_back(self, command: bytes) -> None:
        """Break the connection at the next command with these bytes; the server gets the command at `deliver`."""
        self._faults["late"] = command

    def deliver(self) -> None:
        """Hand the server the command that was kept back, and wait until it is done."""
        assert self.late is not None, "nothing was kept back"
        connection, command = self.late
        connection.server.sendall(command)
        assert connection.answered_late.wait(WAIT_SECONDS)

    def takes(self, fault: str, command: bytes) -> bool:
        """Whether the fault is to befall this command; it befalls one."""
        if self._faults.get(fault, b"\0") not in command:
            return False
        del self._faults[fault]
        self._refusing = self._then_refuse
        return True

    def _accept(self) -> None:
        with suppress(OSError):  # closed
            while True:
                client, _ = self._listener.accept()
                if self._refusing:
                    client.close()
                else:
                    self._connections.append(_Connection(self, client))
