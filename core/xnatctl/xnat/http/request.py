"""A request that can be sent more than once, and its body."""

from __future__ import annotations

import json as json_module
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import urlencode

from xnatctl.errors import SourceChanged
from xnatctl.plugin.protocols import Body
from xnatctl.xnat.http.parsers import Feed

Parameters = Mapping[str, str] | Sequence[tuple[str, str]]


def pairs(parameters: Parameters | None) -> list[tuple[str, str]]:
    """Pairs of name and value in order. A name may occur twice."""
    if parameters is None:
        return []
    return list(parameters.items() if isinstance(parameters, Mapping) else parameters)


@lru_cache(maxsize=64)
def _query(parameters: tuple[tuple[str, str], ...]) -> str:
    """The query string. It is the same for every file of an import."""
    return urlencode(parameters)


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """One request.

    `limit` is the largest response that is read, in bytes. `timeout` is in seconds. `on_bytes` gets the number of bytes
    of the body that the kernel has taken. `into` makes the parser of a successful response, once for each sending.
    `begun` is the number of aborts when the request was made: a later abort ends it, also between two sendings.
    """

    method: str
    path: str
    limit: int
    timeout: float
    begun: int
    params: list[tuple[str, str]]
    body: Body | None = None
    content_type: str | None = None
    on_bytes: Callable[[int], None] | None = None
    into: Callable[[], Feed] | None = None

    def headers(self) -> list[tuple[bytes, bytes]]:
        """Content-Length is always given: XNAT takes a body without it for a zip only (xnat-import 1.3)."""
        headers = []
        if self.body is not None:
            headers.append((b"Content-Length", b"%d" % self.body.length))
        elif self.method in ("POST", "PUT"):
            headers.append((b"Content-Length", b"0"))
        if self.content_type:
            headers.append((b"Content-Type", self.content_type.encode("latin-1")))
        return headers

    @property
    def target(self) -> str:
        """Path and query."""
        return f"{self.path}?{_query(tuple(self.params))}" if self.params else self.path

    def content(self) -> Generator[bytes]:
        """The body from its first byte on, one chunk behind the source. Raises SourceChanged.

        The last chunk is sent only after the source has ended without error and at the promised length. So a file that
        is found changed at its end leaves no complete request on the server.
        """
        if self.body is None:
            return
        left = self.body.length
        with closing(_Guarded(self.body)) as source:
            held = source.take()
            while held is not None:
                left -= len(held)
                following = source.take()
                if left < 0 or (following is not None and left == 0):
                    raise SourceChanged("More data than was planned: a file grew while it was being sent.")
                if following is None and left > 0:
                    break
                yield held
                held = following
        if left:
            raise SourceChanged("Less data than was planned: a file shrank while it was being sent.")


class _Guarded:
    """The chunks of a body, without empty ones. An OSError becomes SourceChanged: it is not one of the network."""

    def __init__(self, body: Body) -> None:
        self._chunks = body.chunks()

    def take(self) -> bytes | None:
        while True:
            try:
                chunk = next(self._chunks, None)
            except OSError as error:
                message = f"A file could not be read while it was being sent: {error.strerror or error}."
                raise SourceChanged(message) from error
            if chunk is None or len(chunk):
                return chunk

    def close(self) -> None:
        """Let the source close its files now, not at the next garbage collection."""
        close = getattr(self._chunks, "close", None)
        if close is not None:
            close()


def content_of(
    body: Body | bytes | None, content_type: str | None, form: Parameters | None, json: object
) -> tuple[Body | None, str | None]:
    """The body and its type, made from the one of body, form and JSON that was given."""
    if sum(given is not None for given in (body, form, json)) > 1:
        raise TypeError("a request has one of body, form and json")
    if form is not None:
        return whole(urlencode(pairs(form)).encode()), "application/x-www-form-urlencoded"
    if json is not None:
        return whole(json_module.dumps(json).encode()), "application/json"
    return (whole(body) if isinstance(body, bytes) else body), content_type


def whole(data: bytes) -> Body:
    """A body that is in memory."""
    return Body(length=len(data), chunks=lambda: iter((data,)))
