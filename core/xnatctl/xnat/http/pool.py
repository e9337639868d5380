"""The connections to one server: made when needed, kept for the next request, one request at a time on each.

A connection that was kept is looked at before it is used: one that the server has closed meanwhile, or that was idle
for too long, is replaced. A server that closes after so many requests (Tomcat: 100) says so, and is believed.
"""

from __future__ import annotations

import base64
import ssl
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

from xnatctl.xnat.http.connection import Connection, Headers, Response
from xnatctl.xnat.http.sockets import ConnectError, Sockets, Stream
from xnatctl.xnat.http.urls import ProxyAddress

#: Kept at most; more than that are never in use for long.
_MOST_IDLE = 64


@dataclass(frozen=True, kw_only=True, slots=True)
class Route:
    """Where requests go. `host` without brackets; `proxy` is an HTTP proxy on the way."""

    host: str
    port: int
    tls: ssl.SSLContext | None = None
    proxy: ProxyAddress | None = None


class ConnectionPool:
    """Sends requests to one place; every method may be called from any thread. `keep` is in idle seconds."""

    def __init__(self, sockets: Sockets, place: Route, *, keep: float) -> None:
        self._sockets = sockets
        self._place = place
        self._keep = keep
        self._idle: list[tuple[float, Connection]] = []
        self._closed = False
        self._lock = threading.Lock()

    def send(self, method: str, target: str, headers: Headers, content: Iterable[bytes]) -> Answer:
        """Send a request; returns when the head of the answer is there.

        Raises WireError, Halted, HTTPException, and what `content` raises.
        """
        place = self._place
        if place.proxy is not None and place.tls is None:  # it forwards, and wants the whole URL, and its login
            host = {name.lower(): value for name, value in headers}[b"host"].decode("ascii")
            target, headers = f"http://{host}{target}", [*_proxy_login(place.proxy), *headers]
        channel = self._kept() or Connection(self._connect())
        try:
            response, whole = channel.ask(method, target, headers, content)
            return Answer(self, channel, response, reusable=whole)
        except BaseException:
            channel.stream.close()
            raise

    def _kept(self) -> Connection | None:
        """The connection that was used last, if it is still good."""
        while True:
            with self._lock:
                if not self._idle:
                    return None
                since, channel = self._idle.pop()
            if time.monotonic() - since < self._keep and channel.stream.silent:
                return channel
            channel.stream.close()

    def keep(self, channel: Connection) -> None:
        """Take back a connection that has done its request and is good for another."""
        with self._lock:
            if not self._closed and len(self._idle) < _MOST_IDLE:
                self._idle.append((time.monotonic(), channel))
                return
        channel.stream.close()

    def _connect(self) -> Stream:
        place = self._place
        if place.proxy is None:
            stream = self._sockets.connect(place.host, place.port)
        else:
            proxy = urlsplit(place.proxy.url)
            stream = self._sockets.connect(proxy.hostname or "", proxy.port or 80)
            if place.tls is not None:
                try:
                    self._tunnel(stream, place.proxy)
                except BaseException:
                    stream.close()
                    raise
        if place.tls is None:
            return stream
        return stream.start_tls(place.tls, place.host)

    def _tunnel(self, stream: Stream, proxy: ProxyAddress) -> None:
        """Ask a proxy for a way through (RFC 9110, 9.3.6). Raises ConnectError with what it says instead."""
        host = f"[{self._place.host}]" if ":" in self._place.host else self._place.host
        target = f"{host}:{self._place.port}"
        headers = [(b"Host", target.encode("ascii")), (b"Accept", b"*/*"), *_proxy_login(proxy)]
        try:
            response, _ = Connection(stream).ask("CONNECT", target, headers)
            response.close()
        finally:
            self._sockets.current.sent = 0  # this was not the request
        if not 200 <= response.status < 300:
            raise ConnectError(f"the proxy refuses with {response.status} {response.reason}")

    def close(self) -> None:
        """Close what is idle; what is in use is closed when it is done."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for _, channel in idle:
            channel.stream.close()


class Answer:
    """One answer: its head, and its body as it arrives. Close it; a body that was not read to its end is given up."""

    def __init__(self, owner: ConnectionPool, channel: Connection, response: Response, *, reusable: bool) -> None:
        self.status = response.status
        self.headers = response.fields()
        self._owner = owner
        self._channel = channel
        self._response = response
        self._reusable = reusable
        self._ended = False
        self._closed = False

    def __iter__(self) -> Iterator[bytes]:
        yield from self._response.pieces()
        self._ended = True

    def close(self) -> None:
        """Let the next request have the connection, if it is good for one."""
        if self._closed:
            return
        self._closed = True
        self._response.close()  # or the library would wait for its end
        if self._reusable and self._ended and self._channel.reusable(self._response):
            self._owner.keep(self._channel)
        else:
            self._channel.stream.close()


def _proxy_login(proxy: ProxyAddress) -> list[tuple[bytes, bytes]]:
    if not proxy.username:
        return []
    login = base64.b64encode(f"{proxy.username}:{proxy.password}".encode())
    return [(b"Proxy-Authorization", b"Basic " + login)]
