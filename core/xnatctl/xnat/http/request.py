"""What one request sends, kept so that it can be sent again, and its body on the way."""

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
    """Name and value in order; a name may come twice."""
    if parameters is None:
        return []
    return list(parameters.items() if isinstance(parameters, Mapping) else parameters)


@lru_cache(maxsize=64)
def _query(parameters: tuple[tuple[str, str], ...]) -> str:
    """Those of an import are the same for every file."""
    return urlencode(parameters)


class BodyError(Exception):
    """Something inside a body stopped its request; `cause` is the error for the caller.

    Wrapped, so that the HTTP library does not take an OSError of a local file for one of the network.
    """

    def __init__(self, cause: SourceChanged) -> None:
        super().__init__(str(cause))
        self.cause = cause


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """One request, as often as it must be sent.

    `limit` is the longest answer that is read, in bytes; `on_bytes` hears of what the system took of the body; `into`
    makes what takes the body of a success, anew for each sending; `begun` is the count of aborts when the request was
    made: a later abort ends it, also between two sendings.
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
        """Content-Length always: XNAT takes a body of unknown length for a zip only (xnat-import 1.3)."""
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
        """The body from its first byte on, one chunk behind the source. Raises BodyError.

        The last bytes go only when the source has ended well and at the promised length: a file found changed at its
        end must not leave a complete request on the server.
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
                    raise BodyError(SourceChanged("More data than was planned: a file grew while it was being sent."))
                if following is None and left > 0:
                    break
                yield held
                held = following
        if left:
            raise BodyError(SourceChanged("Less data than was planned: a file shrank while it was being sent."))


class _Guarded:
    """The chunks of a body, without empty ones; its troubles become BodyError."""

    def __init__(self, body: Body) -> None:
        self._chunks = body.chunks()

    def take(self) -> bytes | None:
        while True:
            try:
                chunk = next(self._chunks, None)
            except SourceChanged as error:
                raise BodyError(error) from error
            except OSError as error:
                message = f"A file could not be read while it was being sent: {error.strerror or error}."
                raise BodyError(SourceChanged(message)) from error
            if chunk is None or len(chunk):
                return chunk

    def close(self) -> None:
        """Let the source close its files now, not when somebody collects it."""
        close = getattr(self._chunks, "close", None)
        if close is not None:
            close()


def content_of(
    body: Body | bytes | None, content_type: str | None, form: Parameters | None, json: object
) -> tuple[Body | None, str | None]:
    """The body and its type, from whichever of body, form and JSON was given."""
    if sum(given is not None for given in (body, form, json)) > 1:
        raise TypeError("a request has one of body, form and json")
    if form is not None:
        return whole(urlencode(pairs(form)).encode()), "application/x-www-form-urlencoded"
    if json is not None:
        return whole(json_module.dumps(json).encode()), "application/json"
    return (whole(body) if isinstance(body, bytes) else body), content_type


def whole(data: bytes) -> Body:
    """A body that is in memory already."""
    return Body(length=len(data), chunks=lambda: iter((data,)))
