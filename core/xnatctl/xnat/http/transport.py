"""What httpx sends its requests through: our own connections."""

from __future__ import annotations

from collections.abc import Iterator

import httpx

from xnatctl.xnat.http.pool import Answer, ConnectionPool

#: What httpx sees of a `Location` header: it would parse it even though it follows none, and fail at what is no URL.
_LOCATION = "x-unfollowed-location"


def received_fields(response: httpx.Response) -> list[tuple[str, str]]:
    """The headers of a response that came through `PoolTransport`, in lower case."""
    return [("location" if name == _LOCATION else name, value) for name, value in response.headers.multi_items()]


class PoolTransport(httpx.BaseTransport):
    """Httpx over http.client: its own way, through httpcore and h11, takes three times as long for a small file.

    And our sockets are under it, which hear an early answer and can be cut.
    """

    def __init__(self, pool: ConnectionPool) -> None:
        self._pool = pool

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        assert isinstance(request.stream, httpx.SyncByteStream)
        target = request.url.raw_path.decode("ascii")
        answer = self._pool.send(request.method, target, request.headers.raw, request.stream)
        headers = [
            (_LOCATION.encode() if name.lower() == b"location" else name, value) for name, value in answer.headers
        ]
        return httpx.Response(status_code=answer.status, headers=headers, stream=_Body(answer))

    def close(self) -> None:
        self._pool.close()


class _Body(httpx.SyncByteStream):
    """The body of an answer, as it arrives."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._answer)

    def close(self) -> None:
        self._answer.close()
