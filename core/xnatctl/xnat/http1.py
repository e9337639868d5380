"""HTTP/1.1 on the wire: a request's head, an answer's head, and where the answer's body ends (RFC 9112).

Written by hand because it is gone through once for every file of `--mode gradual`, where the general library took two
thirds of a request's time. Strict where leniency could hide an answer: what is no HTTP raises RemoteProtocolError.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from httpcore import LocalProtocolError, RemoteProtocolError

Headers = Sequence[tuple[bytes, bytes]]

#: Longest head of an answer, and longest line between two chunks, in bytes.
MAX_HEAD = 100 * 1024
_MAX_CHUNK_LINE = 4096
_READ_SIZE = 65536

_END = re.compile(rb"\r?\n\r?\n")
_STATUS = re.compile(rb"HTTP/1\.([01]) +([0-9]{3})(?: +(.*))?\Z")
_NAME = re.compile(rb"[-!#$%&'*+.^_`|~0-9a-zA-Z]+\Z")
_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,16})[ \t]*(?:;.*)?\Z")


def request_head(method: bytes, target: bytes, headers: Headers) -> bytes:
    """The request line and the headers. Raises LocalProtocolError for what would break out of its line."""
    lines = [b"%b %b HTTP/1.1" % (method, target), *[b"%b: %b" % header for header in headers], b"", b""]
    head = b"\r\n".join(lines)
    ends = len(lines) - 1
    if head.count(b"\n") != ends or head.count(b"\r") != ends or b"\0" in head or target.count(b" "):
        raise LocalProtocolError("a header or the target holds what cannot be sent")
    return head


@dataclass(frozen=True, slots=True)
class Head:
    """The head of an answer. `length` of the body in bytes; None = chunked or, when not `chunked`, until the end."""

    status: int
    reason: bytes
    headers: list[tuple[bytes, bytes]]
    length: int | None
    chunked: bool
    keeps_alive: bool


class Incoming:
    """Reads one answer; `more(n)` gives up to n bytes from the connection, b"" at its end."""

    def __init__(self, more: Callable[[int], bytes]) -> None:
        self._more = more
        self._buffer = b""

    @property
    def rest(self) -> bytes:
        """What came behind the answer: nothing, from a server in its senses."""
        return self._buffer

    def head(self, method: bytes) -> Head:
        """The final head; interim answers (1xx) are passed over. Raises RemoteProtocolError, ReadError."""
        while True:
            head = _parse_head(self._take_head(), method)
            if head.status >= 200:
                return head
            if head.status == 101:
                raise RemoteProtocolError("the server switches to another protocol")

    def _take_head(self) -> bytes:
        searched = 0
        while True:
            # A server may send empty lines before an answer (RFC 9112, 2.2).
            self._buffer = self._buffer.lstrip(b"\r\n")
            found = _END.search(self._buffer, searched)
            if found:
                head, self._buffer = self._buffer[: found.start()], self._buffer[found.end() :]
                return head
            if len(self._buffer) > MAX_HEAD:
                raise RemoteProtocolError(f"the head of the answer is longer than {MAX_HEAD // 1024} KiB")
            searched = max(0, len(self._buffer) - 3)
            data = self._more(_READ_SIZE)
            if not data:
                raise RemoteProtocolError(
                    "the connection ended within the head of the answer"
                    if self._buffer
                    else "Server disconnected without sending a response."
                )
            self._buffer += data

    def body(self, head: Head) -> Iterator[bytes]:
        """The body in pieces. Raises RemoteProtocolError when the connection ends before it does."""
        if head.chunked:
            return self._chunks()
        return self._plain(head.length)

    def _plain(self, left: int | None) -> Iterator[bytes]:
        while left != 0:
            piece = self._piece(_READ_SIZE if left is None else left)
            if not piece:
                if left is None:
                    return
                raise RemoteProtocolError("the connection ended before the whole answer was there")
            if left is not None:
                left -= len(piece)
            yield piece

    def _piece(self, most: int) -> bytes:
        if not self._buffer:
            return self._more(min(most, _READ_SIZE))
        piece, self._buffer = self._buffer[:most], self._buffer[most:]
        return piece

    def _chunks(self) -> Iterator[bytes]:
        while True:
            size = _CHUNK.match(self._line())
            if size is None:
                raise RemoteProtocolError("a chunk of the answer does not begin with its length")
            left = int(size.group(1), 16)
            if left == 0:
                break
            yield from self._plain(left)
            if self._line():
                raise RemoteProtocolError("a chunk of the answer is longer than it says")
        for _ in range(1000):  # trailers, which say nothing to us
            if not self._line():
                return
        raise RemoteProtocolError("the answer does not end")

    def _line(self) -> bytes:
        while b"\n" not in self._buffer:
            if len(self._buffer) > _MAX_CHUNK_LINE:
                raise RemoteProtocolError("a line of the answer does not end")
            data = self._more(_READ_SIZE)
            if not data:
                raise RemoteProtocolError("the connection ended before the whole answer was there")
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line.removesuffix(b"\r")


def _parse_head(head: bytes, method: bytes) -> Head:
    first, *lines = head.split(b"\n")
    status_line = _STATUS.match(first.removesuffix(b"\r"))
    if status_line is None:
        raise RemoteProtocolError("what the server says is not HTTP/1.1")
    status = int(status_line.group(2))
    headers = list(_fields(lines))
    chunked, length = _framing(status, method, headers)
    options = _tokens(headers, b"connection")
    keeps_alive = b"close" not in options and (status_line.group(1) == b"1" or b"keep-alive" in options)
    return Head(
        status=status,
        reason=status_line.group(3) or b"",
        headers=headers,
        length=length,
        chunked=chunked,
        keeps_alive=keeps_alive and (chunked or length is not None),
    )


def _fields(lines: Sequence[bytes]) -> Iterator[tuple[bytes, bytes]]:
    pending: tuple[bytes, bytes] | None = None
    for raw in lines:
        line = raw.removesuffix(b"\r")
        if line[:1] in (b" ", b"\t"):  # a value that goes on, as servers of old wrote it (RFC 9112, 5.2)
            if pending is None:
                raise RemoteProtocolError("a header of the answer has no name")
            pending = (pending[0], pending[1] + b" " + line.strip(b" \t"))
            continue
        if pending is not None:
            yield pending
        name, colon, value = line.partition(b":")
        if not colon or not _NAME.match(name) or b"\0" in value or b"\r" in value:
            raise RemoteProtocolError("a header of the answer is malformed")
        pending = (name, value.strip(b" \t"))
    if pending is not None:
        yield pending


def _tokens(headers: Headers, name: bytes) -> list[bytes]:
    """The comma-separated words of a header, in lower case."""
    found = [value for key, value in headers if key.lower() == name]
    return [token.strip().lower() for value in found for token in value.split(b",")] if found else []


def _framing(status: int, method: bytes, headers: Headers) -> tuple[bool, int | None]:
    """Whether the body is chunked, and its length otherwise; None = until the connection ends (RFC 9112, 6.3)."""
    if method == b"HEAD" or status < 200 or status in (204, 304) or (method == b"CONNECT" and status < 300):
        return False, 0
    codings = _tokens(headers, b"transfer-encoding")
    if codings:
        if codings != [b"chunked"]:
            raise RemoteProtocolError("the answer is encoded in a way that was not asked for")
        return True, None
    lengths = set(_tokens(headers, b"content-length"))
    if not lengths:
        return False, None
    if len(lengths) > 1 or not (text := lengths.pop()).isdigit() or len(text) > 18:
        raise RemoteProtocolError("the answer does not say how long it is in one number")
    return False, int(text)
