"""The connections to one server, as an httpx transport. Each carries one request at a time and is kept for the next.

A kept connection is checked before it is used. It is replaced when the server has closed it, or when it was idle for
too long. Tomcat closes a connection after 100 requests; it says so in the last response.
"""

from __future__ import annotations

import base64
import ssl
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

import httpx

from xnatctl.xnat.http.connection import Connection, request_head
from xnatctl.xnat.http.sockets import ConnectError, Exchange, Sockets, Stream
from xnatctl.xnat.http.urls import ProxyAddress

_MAX_IDLE = 64
#: Key of the exchange in the extensions of an httpx request.
EXCHANGE = "exchange"


@dataclass(frozen=True, kw_only=True, slots=True)
class Route:
    """Where requests go. `host` has no brackets; `proxy` is an HTTP proxy on the way."""

    host: str
    port: int
    tls: ssl.SSLContext | None = None
    proxy: ProxyAddress | None = None


class ConnectionPool(httpx.BaseTransport):
    """Sends requests along one route, from any thread. `keep` is how long an idle connection is kept, in seconds.

    Each request carries its `Exchange` in its extensions, under `EXCHANGE`.
    """

    def __init__(self, sockets: Sockets, route: Route, *, keep: float) -> None:
        self._sockets = sockets
        self._route = route
        self._keep = keep
        self._idle: list[tuple[float, Connection]] = []
        self._closed = False
        self._lock = threading.Lock()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request. Returns when the head of the response has arrived.

        Raises WireError, Halted, and what the body of the request raises.
        """
        assert isinstance(request.stream, httpx.SyncByteStream)
        exchange: Exchange = request.extensions[EXCHANGE]
        target, headers = request.url.raw_path, tuple(request.headers.raw)
        route = self._route
        if route.proxy is not None and route.tls is None:  # it forwards, and needs the whole URL and its own login
            target = b"http://%b%b" % (request.headers["host"].encode("ascii"), target)
            headers = (*_proxy_login(route.proxy), *headers)
        head = request_head(request.method, target, headers)
        connection = self._idle_connection() or Connection(self._connect(exchange))
        try:
            response = connection.send(exchange, head, request.stream)
        except BaseException:
            connection.close()
            raise
        return httpx.Response(
            response.status_code,
            headers=response.headers.raw_items(),
            stream=_ResponseBody(self, connection),
        )

    def _idle_connection(self) -> Connection | None:
        """The connection that was used last, if it is still open."""
        while True:
            with self._lock:
                if not self._idle:
                    return None
                since, connection = self._idle.pop()
            if time.monotonic() - since < self._keep and connection.stream.silent:
                return connection
            connection.close()

    def release(self, connection: Connection) -> None:
        """Take back a connection that is ready for another request."""
        with self._lock:
            if not self._closed and len(self._idle) < _MAX_IDLE:
                self._idle.append((time.monotonic(), connection))
                return
        connection.close()

    def _connect(self, exchange: Exchange) -> Stream:
        route = self._route
        if route.proxy is None:
            stream = self._sockets.connect(exchange, route.host, route.port)
        else:
            proxy = urlsplit(route.proxy.url)
            stream = self._sockets.connect(exchange, proxy.hostname or "", proxy.port or 80)
            if route.tls is not None:
                try:
                    self._tunnel(exchange, stream, route.proxy)
                except BaseException:
                    stream.close()
                    raise
        if route.tls is None:
            return stream
        return stream.start_tls(exchange, route.tls, route.host)

    def _tunnel(self, exchange: Exchange, stream: Stream, proxy: ProxyAddress) -> None:
        """Ask a proxy for a tunnel (RFC 9110, 9.3.6). Raises ConnectError with its refusal."""
        host = f"[{self._route.host}]" if ":" in self._route.host else self._route.host
        target = f"{host}:{self._route.port}".encode("ascii")
        head = request_head("CONNECT", target, ((b"Host", target), (b"Accept", b"*/*"), *_proxy_login(proxy)))
        try:
            response = Connection(stream).send(exchange, head)
        finally:
            exchange.sent = 0  # this was not the request
        if not 200 <= response.status_code < 300:
            reason = f"{response.status_code} {response.reason.decode('latin-1')}".strip()
            raise ConnectError(f"the proxy refuses with {reason}")

    def close(self) -> None:
        """Close the idle connections. A connection in use is closed when its request is done."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for _, connection in idle:
            connection.close()


class _ResponseBody(httpx.SyncByteStream):
    """The body of a response as it arrives. A body that was not read to its end closes the connection."""

    def __init__(self, pool: ConnectionPool, connection: Connection) -> None:
        self._pool = pool
        self._connection: Connection | None = connection

    def __iter__(self) -> Iterator[bytes]:
        assert self._connection is not None
        return self._connection.body()

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is None:
            return
        if connection.reuse():
            self._pool.release(connection)
        else:
            connection.close()


def _proxy_login(proxy: ProxyAddress) -> list[tuple[bytes, bytes]]:
    if not proxy.username:
        return []
    login = base64.b64encode(f"{proxy.username}:{proxy.password}".encode())
    return [(b"Proxy-Authorization", b"Basic " + login)]
