"""HTTP/1.1 on a stream of ours; answers are read by the standard library's http.client.

The library is lenient where that hides that an answer broke off: to it, the end of a connection ends a status line, a
head, a body and the trailers. A lost answer must not look like an empty one, so all of these are errors here.

It reads heads as if they were mails, which takes as long as all the rest of a small request. So a head in which every
line is of the plainest form is taken apart here; whatever is the least bit unusual is left to the library.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Iterator
from email.errors import (
    FirstHeaderLineIsContinuationDefect,
    InvalidHeaderDefect,
    MisplacedEnvelopeHeaderDefect,
    MissingHeaderBodySeparatorDefect,
)
from http import HTTPStatus
from http.client import HTTPMessage, HTTPResponse
from typing import TYPE_CHECKING, Any, NamedTuple

from xnatctl.xnat.http.sockets import Stream, WireError, WriteError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

Headers = Iterable[tuple[bytes, bytes]]

_READ_SIZE = 65536
#: Interim answers (1xx) before the final one; a server that works for a day sends one every few seconds.
_MOST_INTERIM = 100_000
#: More than this is not copied to go with the head (bytes): fresh memory costs more than a system call.
_TOGETHER = 65536
#: Other defects are about the body of a mail.
_MALFORMED = (
    FirstHeaderLineIsContinuationDefect,
    InvalidHeaderDefect,
    MisplacedEnvelopeHeaderDefect,
    MissingHeaderBodySeparatorDefect,
)

#: What a request is written of (RFC 9110, 5.5 and 5.6.2; RFC 9112, 3): a line end in one of these would begin another.
_TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_TARGET = re.compile(rb"[\x21-\x7e]+")
_VALUE = re.compile(rb"[^\r\n\0]*")

#: A head that needs no library: a final status, and lines of a name and printable ASCII, each ended as it should be.
_PLAIN = re.compile(
    rb"HTTP/1\.1 ([2-5][0-9][0-9])(?: ([\x20-\x7e]*))?\r\n"
    rb"((?:[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t\x20-\x7e]*\r\n)*)\r\n"
)
_LENGTH = re.compile(rb"[0-9]{1,18}")
_PLAIN_METHODS = frozenset({"GET", "POST", "PUT", "DELETE"})
_NO_MESSAGE = HTTPMessage()


class _Plug:
    """As much of a socket as http.client asks for to read from it."""

    def __init__(self, stream: Stream) -> None:
        self.reader = _Reader(_Feed(stream))

    def makefile(self, _: str) -> _Reader:
        return self.reader


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


class _Head(NamedTuple):
    """A plain head: `length` of the body, None when it is chunked; `size` is its own length, in bytes."""

    status: int
    reason: bytes
    fields: list[tuple[bytes, bytes]]
    length: int | None
    close: bool
    size: int


def plain_head(data: bytes) -> _Head | None:
    """The head at the beginning of `data`; None when it is not all there, or not so plain as to be certain.

    It must say in exactly one way where the body ends, and say nothing of the connection but that it goes on or ends.
    """
    match = _PLAIN.match(data)
    if match is None or match[1] in (b"204", b"304"):
        return None
    fields, said = [], {}
    for line in match[3].split(b"\r\n")[:-1]:
        name, _, value = line.partition(b":")
        value = value.strip(b" \t")
        fields.append((name, value))
        if (low := name.lower()) in (b"content-length", b"transfer-encoding", b"connection"):
            if low in said:
                return None
            said[low] = value.lower()
    coding, length = said.get(b"transfer-encoding"), said.get(b"content-length")
    if said.get(b"connection", b"close") not in (b"close", b"keep-alive"):
        return None
    if not (coding == b"chunked" and length is None) and not (coding is None and length and _LENGTH.fullmatch(length)):
        return None
    close = said.get(b"connection") == b"close"
    return _Head(int(match[1]), match[2] or b"", fields, None if length is None else int(length), close, match.end())


class Response(HTTPResponse):
    """An answer; raises WireError for what does not say for certain where it ends."""

    def __init__(self, plug: Any, method: str) -> None:
        super().__init__(plug, method=method)
        self._plain = method in _PLAIN_METHODS
        self._fields: list[tuple[bytes, bytes]] | None = None

    def flush(self) -> None:
        """Nothing is ever written. An answer that is let go of would flush its reader, which may be gone already."""

    def begin(self) -> None:
        """Read the final head; interim answers (1xx) are passed over, of which the library knows only the first."""
        reader: Any = self.fp
        head = plain_head(reader.peek(1)) if self._plain else None
        if head is None:
            self._begin()
            return
        reader.read(head.size)
        self._fields = head.fields
        self.headers = self.msg = _NO_MESSAGE
        self.code = self.status = head.status
        self.reason, self.version = head.reason.decode("ascii").strip(), 11
        self.chunked, self.chunk_left, self.length = head.length is None, None, head.length
        self.will_close = head.close

    def _begin(self) -> None:
        super().begin()
        interim = 0
        while self.status < HTTPStatus.OK:
            interim += 1
            if interim > _MOST_INTERIM:
                raise WireError("the server sends interim answers without end")
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
        if self._fields is not None:
            return self._fields
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


class Connection:
    """One connection, for one request after the other."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self._plug = _Plug(stream)

    def ask(self, method: str, target: str, headers: Headers, content: Iterable[bytes] = ()) -> tuple[Response, bool]:
        """Send a request; returns when the head of the answer is there.

        False when the server did not take all of the request: then its answer says why. Raises WireError, Halted,
        HTTPException, and what `content` raises.
        """
        head = _request_head(method, target, headers)
        pieces = iter(content)
        whole = True
        try:
            try:
                first = next(pieces, b"")
            except Exception:
                # Begun and broken off, like one whose source fails later: servers log that.
                self.stream.write(head, head=len(head))
                raise
            if len(first) > _TOGETHER:
                self.stream.write(head, head=len(head))
                self.stream.write(first)
            else:
                self.stream.write(head + first, head=len(head))  # a small request is one packet, and one system call
            for piece in pieces:
                if piece:
                    self.stream.write(piece)
        except WriteError:
            whole = False
        answer = Response(self._plug, method)
        answer.begin()
        return answer, whole

    def reusable(self, answer: Response) -> bool:
        """Whether another request may follow an answer that was read to its end and closed: nothing came behind it."""
        return not answer.will_close and not self._plug.reader.holds()


def _request_head(method: str, target: str, headers: Headers) -> bytes:
    """Request line and headers. Raises WireError for what cannot be written; it may be a secret, so it is not told."""
    try:
        lines = [b"%b %b HTTP/1.1\r\n" % (method.encode("ascii"), target.encode("ascii"))]
    except UnicodeEncodeError:
        raise WireError("the request cannot be written as HTTP") from None
    right = _TOKEN.fullmatch(method.encode("ascii")) and _TARGET.fullmatch(target.encode("ascii"))
    for name, value in headers:
        right = right and _TOKEN.fullmatch(name) and _VALUE.fullmatch(value)
        lines.append(b"%b: %b\r\n" % (name, value))
    if not right:
        raise WireError("the request cannot be written as HTTP")
    lines.append(b"\r\n")
    return b"".join(lines)
