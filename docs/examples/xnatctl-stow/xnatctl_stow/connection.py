"""One connection to a DICOMweb service, which another thread can close.

httpx makes the requests: it follows the proxy variables, keeps the connection, and reads an answer that arrives before
the body was sent. It sends a body piece by piece, so memory does not grow with the size of a request.
"""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

import httpx

from xnatctl.api import Body, ConnectionFailed, TransportError
from xnatctl_stow.service import Service

#: Seconds for the connection alone.
_CONNECT = 10.0
#: No answer that is read has more bytes; the answer to a batch has about 500 for each instance.
_MOST = 1 << 25

_NOT_SENT: tuple[type[httpx.RequestError], ...] = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.ProxyError,
    httpx.UnsupportedProtocol,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """An HTTP response. `retry_after` is in seconds, None if the service named no time."""

    status: int
    media_type: str  # in lower case, without parameters
    content: bytes
    retry_after: float | None = None
    location: str = ""


class Connection:
    """Requests to one service, one at a time. `close` may be called from another thread."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._lock = threading.Lock()
        self._busy = self._closed = False
        self._socket: socket.socket | None = None
        authorization = {"Authorization": service.authorization} if service.authorization else {}
        self._client = httpx.Client(
            verify=ssl.create_default_context(),  # the authorities of the system
            timeout=httpx.Timeout(service.timeout, connect=min(_CONNECT, service.timeout)),
            headers={"Accept": "application/dicom+json", "Accept-Encoding": "identity", **authorization},
        )

    def get(self, path: str, query: Mapping[str, str | int]) -> Answer:
        """GET a path below the base URL. Raises ConnectionFailed, TransportError."""
        return self._send(self._client.build_request("GET", self._service.url + path, params=dict(query)))

    def post(self, path: str, content_type: str, body: Body, sent: Callable[[int], None]) -> Answer:
        """POST a body; `sent` gets the length of each piece. Raises ConnectionFailed, TransportError, SourceChanged."""
        headers = {"Content-Type": content_type, "Content-Length": str(body.length)}
        url, content = self._service.url + path, _counted(body.chunks(), sent)
        return self._send(self._client.build_request("POST", url, headers=headers, content=content))

    def close(self) -> None:
        """Release the connection. A request in flight fails, and the thread that waits for it is woken up."""
        with self._lock:
            self._closed = True
            if self._busy:
                self._cut()
                return  # the thread of the request closes the client
        self._client.close()

    def _cut(self) -> None:
        if self._socket is not None:
            with suppress(OSError):
                # Without TLS shutdown, which could block.
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def _send(self, request: httpx.Request) -> Answer:
        request.extensions["trace"] = self._trace
        with self._lock:
            if self._closed:
                raise ConnectionFailed(f"{self._service.url} was not asked: the run was interrupted.")
            self._busy = True
        try:
            return self._exchange(request)
        except _NOT_SENT as error:
            raise self._unreachable(error) from error
        except httpx.RequestError as error:
            why = "the run was interrupted" if self._closed else _text(error)
            raise TransportError(f"The answer of {self._service.url} was lost: {why}.") from error
        finally:
            with self._lock:
                self._busy = False
                closed = self._closed
            if closed:
                self._client.close()

    def _exchange(self, request: httpx.Request) -> Answer:
        response = self._client.send(request, stream=True)
        try:
            content = _limited(response)
        finally:
            response.close()
        return Answer(
            status=response.status_code,
            media_type=response.headers.get("content-type", "").partition(";")[0].strip().lower(),
            content=content,
            retry_after=_seconds(response.headers.get("retry-after", "")),
            location=response.headers.get("location", ""),
        )

    def _trace(self, event: str, info: Mapping[str, Any]) -> None:
        """Keep the socket of each new connection (the trace extension of httpcore), for `close`."""
        if event.endswith(("connect_tcp.complete", "start_tls.complete")):
            with self._lock:
                self._socket = info["return_value"].get_extra_info("socket")
                if self._closed:
                    self._cut()

    def _unreachable(self, error: httpx.RequestError) -> ConnectionFailed:
        text = _text(error)
        hint = "Check --stow-url, the network and the proxy variables."
        if "CERTIFICATE_VERIFY_FAILED" in text:
            hint = "Add the authority of the server to those of the system, or name its file in SSL_CERT_FILE."
        return ConnectionFailed(f"Cannot connect to {self._service.url}: {text}.", hint=hint)


def _counted(chunks: Iterator[bytes], sent: Callable[[int], None]) -> Iterator[bytes]:
    for chunk in chunks:
        yield chunk
        sent(len(chunk))


def _limited(response: httpx.Response) -> bytes:
    """The content of a response. Raises httpx.DecodingError for one that is too long to be an answer."""
    content = bytearray()
    for piece in response.iter_bytes():
        content += piece
        if len(content) > _MOST:
            raise httpx.DecodingError(f"the answer has more than {_MOST} bytes")
    return bytes(content)


def _text(error: httpx.RequestError) -> str:
    silent = "no connection in time" if isinstance(error, httpx.ConnectTimeout) else "no answer in time"
    return silent if isinstance(error, httpx.TimeoutException) else str(error).rstrip(".") or type(error).__name__


def _seconds(text: str) -> float | None:
    """Retry-After: seconds, or a date (RFC 9110 10.2.3)."""
    if text.isdecimal():
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except ValueError:
        return None
