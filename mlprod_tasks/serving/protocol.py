"""uvicorn's HTTP protocol, which takes no trailers and notes whether a body has arrived whole.

It uses uvicorn's internals, so pyproject.toml limits uvicorn to the versions it was tested with.
"""

from __future__ import annotations

from typing import cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from mlprod_tasks.serving.body import ANSWERED_EARLY, ARRIVED


class ServiceProtocol(HttpToolsProtocol):
    """The protocol of the service, with or without the fast path."""

    _in_body = False
    _ending = False  # a request was answered before its body came, so whatever follows is not a request

    def on_message_begin(self) -> None:
        self._in_body, self._ending = False, self._ends()
        super().on_message_begin()
        self._note_arrived(False)

    def on_header(self, name: bytes, value: bytes) -> None:
        # After the body come trailers. uvicorn would add them to the headers: an Authorization of a trailer would then count,
        # or not, depending on whether the request was answered before it came.
        if not self._in_body:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._in_body = True
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._note_arrived(True)
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        if self._ends():  # its answer is sent; a second one would be taken for that of the next request
            self.transport.close()
        else:
            super().send_400_response(msg)

    def _ends(self) -> bool:
        return self._ending or (self.scope is not None and ANSWERED_EARLY in self.scope)

    def _note_arrived(self, arrived: bool) -> None:
        cast("dict[str, object]", self.scope)[ARRIVED] = arrived
