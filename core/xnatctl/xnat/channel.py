"""HTTP/1.1 by the standard library's http.client, on a stream of ours.

The library is lenient where that hides that an answer broke off: to it, the end of a connection ends a status line, a
head, a body and the trailers. A lost answer must not look like an empty one, so all of these are errors here.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from email.errors import (
    FirstHeaderLineIsContinuationDefect,
    InvalidHeaderDefect,
    MisplacedEnvelopeHeaderDefect,
    MissingHeaderBodySeparatorDefect,
)
from http import HTTPStatus
from http.client import HTTPConnection, HTTPResponse, InvalidURL
from typing import TYPE_CHECKING

from xnatctl.xnat.sockets import Stream, WireError, WriteError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

Headers = Iterable[tuple[bytes, bytes]]

_READ_SIZE = 65536
#: Other defects are about the body of a mail.
_MALFORMED = (
    FirstHeaderLineIsContinuationDefect,
    InvalidHeaderDefect,
    MisplacedEnvelopeHeaderDefect,
    MissingHeaderBodySeparatorDefect,
)


class _Plug:
    """As much of a socket as http.client asks for. It may let go of it; the stream is closed by whoever made it."""

    def __init__(self, stream: Stream) -> None:
        self.sendall = stream.write
        self.reader = _Reader(_Feed(stream))

    def makefile(self, _: str) -> _Reader:
        return self.reader

    def close(self) -> None:
        pass


class _Feed(io.RawIOBase):
    """The bytes of a stream, for a reader. While it is `paused` there are none."""

    def __init__(self, stream: Stream) -> None:
        super().__init__()
        self._stream = stream
        self.paused = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int | None:
        if self.paused:
            return None
        view = memoryview(buffer)
        data = self._stream.read(len(view))
        view[: len(data)] = data
        return len(data)


class _Reader(io.BufferedReader):
    """Reads all answers of a connection, so that it knows what came behind one."""

    def __init__(self, feed: _Feed) -> None:
        super().__init__(feed)
        self._feed = feed

    def readline(self, size: int | None = -1) -> bytes:
        """Only what is not the body is read by lines. Raises WireError when the connection ends before the line."""
        line = super().readline(size)
        if not line.endswith(b"\n") and len(line) != size:
            raise WireError("the server closed it")
        return line

    def holds(self) -> bool:
        """Whether more was received than was read."""
        self._feed.paused = True
        try:
            return bool(self.peek(1))
        finally:
            self._feed.paused = False

    def close(self) -> None:
        """An answer has done with it, the connection has not."""


class Response(HTTPResponse):
    """An answer; raises WireError for what does not say for certain where it ends."""

    def begin(self) -> None:
        """Read the final head; interim answers (1xx) are passed over, of which the library knows only the first."""
        super().begin()
        while self.status < HTTPStatus.OK:
            if self.status == HTTPStatus.SWITCHING_PROTOCOLS:
                raise WireError("the server switches to another protocol")
            self.headers = None  # type: ignore[assignment]  # the library's sign for a head that is still to come
            super().begin()
        self._check()

    def _check(self) -> None:
        """What the library lets pass (RFC 9112, 5 and 6.3)."""
        head = self.headers
        if any(isinstance(defect, _MALFORMED) for defect in head.defects):
            raise WireError("a header of the answer is malformed")
        if any("close" in option.lower() for option in head.get_all("connection", ())):
            self.will_close = True
        if self.status in (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED):
            self.chunked = False  # nothing follows, whatever it says
            return
        codings = head.get_all("transfer-encoding")
        if codings:
            if not self.chunked or len(codings) > 1:
                raise WireError("the answer is encoded in a way that was not asked for")
            return
        lengths = {length.strip() for length in head.get_all("content-length", ())}
        if lengths and (len(lengths) > 1 or self.length is None or not lengths.pop().isdigit()):
            raise WireError("the answer does not say how long it is in one number")

    def fields(self) -> list[tuple[bytes, bytes]]:
        """The headers as bytes; a value that went over several lines, as servers of old wrote it, is one."""
        return [
            (name.encode("ascii"), b" ".join(line.strip() for line in value.encode("latin-1").split(b"\n")).strip())
            for name, value in self.headers.items()
        ]

    def pieces(self) -> Iterator[bytes]:
        """The body, as it arrives."""
        while piece := self.read1(_READ_SIZE):
            yield piece
        if self.length:
            raise WireError("the server closed it")


class Channel(HTTPConnection):
    """One connection, for one request after the other."""

    auto_open = 0
    response_class = Response

    def __init__(self, stream: Stream) -> None:
        super().__init__("")  # the host is in the headers, and the connection is there
        self.stream = stream
        self._plug = _Plug(stream)
        self.sock = self._plug

    def ask(self, method: str, target: str, headers: Headers, content: Iterable[bytes] = ()) -> tuple[Response, bool]:
        """Send a request; returns when the head of the answer is there.

        False when the server did not take all of the request: then its answer says why. Raises WireError, Halted,
        HTTPException, and what `content` raises.
        """
        try:
            self.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
            for name, value in headers:
                self.putheader(name, value)
        except (ValueError, InvalidURL):
            # The library quotes the header, which may hold a secret.
            raise WireError("the request cannot be written as HTTP") from None
        whole = True
        try:
            self.endheaders()
            for piece in content:
                if piece:
                    self.send(piece)
        except WriteError:
            whole = False
        answer = self.getresponse()
        assert isinstance(answer, Response)
        return answer, whole

    def reusable(self, answer: Response) -> bool:
        """Whether another request may follow an answer that was read to its end and closed: nothing came behind it."""
        return not answer.will_close and not self._plug.reader.holds()
