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
from types import TracebackType
from typing import Self

from httpcore import NetworkStream, ProxyError, WriteError

from xnatctl.xnat.addresses import ProxyAddress
from xnatctl.xnat.http1 import Head, Headers, Incoming, request_head
from xnatctl.xnat.sockets import Sockets

#: Kept at most; more than that are never in use for long.
_MOST_IDLE = 64


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Where requests go. `host` without brackets; `proxy` is an HTTP proxy on the way."""

    host: str
    port: int
    tls: ssl.SSLContext | None = None
    proxy: ProxyAddress | None = None


class Wires:
    """Sends requests to one place; every method may be called from any thread. `keep` is in idle seconds."""

    def __init__(self, sockets: Sockets, place: Place, *, keep: float) -> None:
        self._sockets = sockets
        self._place = place
        self._keep = keep
        self._idle: list[tuple[float, NetworkStream]] = []
        self._closed = False
        self._lock = threading.Lock()

    def send(self, method: bytes, target: bytes, headers: Headers, content: Iterable[bytes]) -> Answer:
        """Send a request; returns when the head of the answer is there. Raises httpcore's errors, and the body's."""
        head = self._head(method, target, headers)
        stream = self._kept() or self._connect()
        try:
            whole = _write(stream, head, content)
            incoming = Incoming(stream.read)
            return Answer(self, stream, incoming, incoming.head(method), reusable=whole)
        except BaseException:
            stream.close()
            raise

    def _head(self, method: bytes, target: bytes, headers: Headers) -> bytes:
        """A proxy that forwards wants the whole URL, and its login."""
        place = self._place
        if place.proxy is None or place.tls is not None:
            return request_head(method, target, headers)
        host = {name.lower(): value for name, value in headers}[b"host"]
        return request_head(method, b"http://" + host + target, [*_proxy_login(place.proxy), *headers])

    def _kept(self) -> NetworkStream | None:
        """The connection that was used last, if it is still good."""
        while True:
            with self._lock:
                if not self._idle:
                    return None
                since, stream = self._idle.pop()
            if time.monotonic() - since < self._keep and not stream.get_extra_info("is_readable"):
                return stream
            stream.close()

    def keep(self, stream: NetworkStream) -> None:
        """Take back a connection that has done its request and is good for another."""
        with self._lock:
            if not self._closed and len(self._idle) < _MOST_IDLE:
                self._idle.append((time.monotonic(), stream))
                return
        stream.close()

    def _connect(self) -> NetworkStream:
        place = self._place
        if place.proxy is None:
            stream = self._sockets.connect_tcp(place.host, place.port)
        else:
            host, _, port = place.proxy.url.removeprefix("http://").rpartition(":")
            stream = self._sockets.connect_tcp(host.strip("[]"), int(port))
            if place.tls is not None:
                try:
                    self._tunnel(stream, place.proxy)
                except BaseException:
                    stream.close()
                    raise
        if place.tls is None:
            return stream
        return stream.start_tls(place.tls, server_hostname=place.host)

    def _tunnel(self, stream: NetworkStream, proxy: ProxyAddress) -> None:
        """Ask a proxy for a way through (RFC 9110, 9.3.6). Raises ProxyError with what it says instead."""
        host = f"[{self._place.host}]" if ":" in self._place.host else self._place.host
        target = f"{host}:{self._place.port}".encode()
        stream.write(request_head(b"CONNECT", target, [(b"Host", target), (b"Accept", b"*/*"), *_proxy_login(proxy)]))
        answer = Incoming(stream.read).head(b"CONNECT")
        if not 200 <= answer.status < 300:
            raise ProxyError(f"{answer.status} {answer.reason.decode('ascii', 'ignore')}")

    def close(self) -> None:
        """Close what is idle; what is in use is closed when it is done."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for _, stream in idle:
            stream.close()


class Answer:
    """One answer: its head, and its body as it arrives. Close it; a body that was not read to its end is given up."""

    def __init__(self, owner: Wires, stream: NetworkStream, incoming: Incoming, head: Head, *, reusable: bool) -> None:
        self.head = head
        self._owner = owner
        self._stream = stream
        self._incoming = incoming
        self._body = incoming.body(head)
        self._reusable = reusable and head.keeps_alive
        self._ended = False
        self._closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __iter__(self) -> Iterator[bytes]:
        yield from self._body
        self._ended = True

    def close(self) -> None:
        """Let the next request have the connection, if it is good for one."""
        if self._closed:
            return
        self._closed = True
        if self._reusable and self._ended and not self._incoming.rest:
            self._owner.keep(self._stream)
        else:
            self._stream.close()


def _write(stream: NetworkStream, head: bytes, content: Iterable[bytes]) -> bool:
    """Send a request. False when the server did not take all of it; then its answer says why, or that it is gone."""
    try:
        stream.write(head)
        for piece in content:
            if piece:
                stream.write(piece)
    except WriteError:
        return False
    return True


def _proxy_login(proxy: ProxyAddress) -> list[tuple[bytes, bytes]]:
    if not proxy.username:
        return []
    login = base64.b64encode(f"{proxy.username}:{proxy.password}".encode())
    return [(b"Proxy-Authorization", b"Basic " + login)]
