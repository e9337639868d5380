"""One HTTP/1.1 connection: h11 writes the requests and reads the responses, on an abortable stream.

Errors have fixed texts: those of h11 may quote what the server sent.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import lru_cache
from typing import Final

import h11

from xnatctl.xnat.http.sockets import Exchange, Stream, WireError, WriteError

_READ_SIZE: Final = 65536
#: Limit for the head of a response, for a chunk header and for trailers, in bytes. Up to one read more may pass.
_MAX_HEAD: Final = 65536
#: Interim responses (1xx) before the final one. A server that works for a day sends one every few seconds.
_MAX_INTERIM: Final = 100_000
#: A larger first piece of a body is not copied behind the head (bytes): the copy costs more than a system call.
_MAX_JOINED: Final = 65536
#: Of every response that h11 reads.
_BEGINNING: Final = b"HTTP/1."

Headers = tuple[tuple[bytes, bytes], ...]


@lru_cache(maxsize=16)
def request_head(method: str, target: bytes, headers: Headers) -> h11.Request:
    """Request line and headers; the imports of files of one size have the same.

    Raises WireError for a value that HTTP cannot carry. The message omits the value, which may be a secret.
    """
    try:
        return h11.Request(method=method, target=target, headers=list(headers))
    except h11.LocalProtocolError:
        raise WireError("the request cannot be written as HTTP") from None


class Connection:
    """Carries one request after the other. Only one thread may use it at a time."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=_MAX_HEAD)
        self._response: h11.Response | None = None
        self._interim = 0
        #: Whether anything of the response has arrived.
        self._received = False

    def send(self, exchange: Exchange, head: h11.Request, content: Iterable[bytes] = ()) -> h11.Response:
        """Send a request. Returns when the head of the final response has arrived.

        A response that refuses the request (3xx to 5xx) ends the sending of the body. Raises WireError, Halted, and
        what `content` raises.
        """
        self._response, self._interim, self._received = None, 0, False
        self.stream.begin(exchange)
        with suppress(WriteError):  # the response, if there is one, says why
            self._send(head, iter(content))
        while self._response is None:
            self._take_head(self._next_event())
        return self._response

    def _send(self, head: h11.Request, pieces: Iterator[bytes]) -> None:
        start = self._http.send(head)
        try:
            first = next(pieces, b"")
        except Exception:
            # The server logs a request that breaks off, as it does when the source fails later.
            self.stream.write(start, self._receive_early, head=len(start))
            raise
        if len(first) <= _MAX_JOINED:  # a small request is one packet and one system call
            self.stream.write(start + b"".join(self._data(first)), self._receive_early, head=len(start))
        else:
            self.stream.write(start, self._receive_early, head=len(start))
            self._write(first)
        for piece in pieces:
            self._write(piece)
        self._http.send(h11.EndOfMessage())

    def _data(self, piece: bytes) -> list[bytes]:
        return self._http.send_with_data_passthrough(h11.Data(data=piece)) or [] if piece else []

    def _write(self, piece: bytes) -> None:
        for part in self._data(piece):
            self.stream.write(part, self._receive_early)

    def _receive_early(self, data: bytes) -> None:
        """Take what the server sends before it has the whole body. Raises WriteError when the body is to end here.

        An early success does not end it: the server may have all that it needs, and still reads the rest.
        """
        self._receive(data)
        if not data:
            raise WriteError("the server closed the connection")
        while self._response is None:
            event = self._parse()
            if event is h11.NEED_DATA:
                return
            self._take_head(event)
        if self._response.status_code >= 300:
            raise WriteError("the server answered before the end of the body")

    def _take_head(self, event: object) -> None:
        if isinstance(event, h11.Response):
            if not event.http_version.startswith(b"1."):
                raise WireError("the response is not HTTP/1.1")
            self._response = event
            self.stream.exchange.answered = True
            return
        self._interim += 1
        if self._interim > _MAX_INTERIM:
            raise WireError("the server sends interim responses without end")

    def body(self) -> Iterator[bytes]:
        """The body of the response as it arrives. Raises WireError, Halted."""
        while isinstance(event := self._next_event(), h11.Data):
            yield bytes(event.data)

    def _next_event(self) -> object:
        """The next event of the response, which is read as far as that takes."""
        if not self._received:
            self._receive(self.stream.read(_READ_SIZE))
        while (event := self._parse()) is h11.NEED_DATA:
            # A head that has begun must go on, like a body.
            self.stream.exchange.answered = self._response is not None or bool(self._buffered)
            self._receive(self.stream.read(_READ_SIZE))
        return event

    def _receive(self, data: bytes) -> None:
        self._http.receive_data(data)
        self._received = True

    def _parse(self) -> object:
        """The next event of what has arrived, or NEED_DATA. Raises WireError."""
        try:
            event = self._http.next_event()
        except h11.RemoteProtocolError:
            if self._http.trailing_data[1]:
                reason = "the server closed it"
            elif self._response is None:
                reason = "the head of the response is not valid HTTP/1.1"
            else:
                reason = "a part of the response is not valid HTTP/1.1"
            raise WireError(reason) from None
        # Many a service greets with one line and then waits; h11 would wait for an empty line.
        if event is h11.NEED_DATA and self._response is None and not _BEGINNING.startswith(self._buffered[:7]):
            raise WireError("the server does not speak HTTP/1.1")
        return event

    @property
    def _buffered(self) -> bytes:
        return self._http.trailing_data[0]

    def reuse(self) -> bool:
        """Get ready for another request. False when this connection cannot carry one.

        It can when both sides have finished, the server keeps the connection open, and nothing followed the response.
        """
        http = self._http
        if http.our_state is not h11.DONE or http.their_state is not h11.DONE or http.trailing_data != (b"", False):
            return False
        http.start_next_cycle()
        return True

    def close(self) -> None:
        """Close at once, without TLS shutdown."""
        self.stream.close()
