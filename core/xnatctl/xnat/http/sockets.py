"""Sockets that can be aborted, keep the time limits of their request, and detect an early response.

A server that refuses a body (413) or a login (401) responds at once and may close. A client that only writes would see
a broken pipe instead of the response. So every write first checks whether the server has sent something. One request at
a time uses a socket.
"""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from xnatctl.operating_system.sockets import READABLE, WRITABLE, SocketWaiter

#: The kernel finds a peer that vanished after about two minutes of silence; a response may take hours. Seconds idle,
#: seconds between probes, number of probes.
_KEEPALIVE = (("TCP_KEEPIDLE", 60), ("TCP_KEEPALIVE", 60), ("TCP_KEEPINTVL", 15), ("TCP_KEEPCNT", 4))
#: What the kernel buffers of a body that it cannot send yet (bytes). By default it is megabytes for each connection, so
#: that a slow link would look like a fast one.
_UNSENT = 1 << 18
_READ_SIZE = 65536
#: A longer wait for room in the socket is reported to the progress (seconds).
_SOON = 0.1


class Halted(Exception):
    """A request was abandoned. `why` is `aborted`, `late` (its time is over) or `stalled` (no progress)."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


class WireError(Exception):
    """A connection broke, or the data received are not a response. The text is that of the system, if any."""


class ConnectError(WireError):
    """No connection was made, so nothing of the request was sent."""


class WriteError(WireError):
    """The server takes no more of a request. Its response, if there is one, says why."""


class Exchange:
    """The time limits and the state of one request and its response.

    Times in seconds. `begun` is the number of aborts when the request was made. `sent` counts the bytes handed to the
    kernel, head included. `on_bytes` gets how many bytes of the body these were, each time, and 0 before a long wait
    for room. `answered` is True from the first byte of the response on; before that the server may be silent until the
    deadline, because an import is silent for as long as it takes (xnat-import 8).
    """

    def __init__(
        self,
        *,
        begun: int,
        timeout: float,
        connect_timeout: float,
        stall_timeout: float,
        on_bytes: Callable[[int], None] | None = None,
    ) -> None:
        self.begun = begun
        self.deadline = time.monotonic() + timeout
        self.connect_timeout = connect_timeout
        self.stall_timeout = stall_timeout
        self.on_bytes = on_bytes
        self.sent = 0
        self.answered = False
        self.aborted = False
        self.socket: socket.socket | None = None

    def check(self) -> None:
        """Raises Halted when the request was aborted or its time is over."""
        if self.aborted:
            raise Halted("aborted")
        if time.monotonic() > self.deadline:
            raise Halted("late")

    def connect_limit(self) -> float:
        """Seconds that one step of connecting may take."""
        self.check()
        return max(0.001, min(self.connect_timeout, self.deadline - time.monotonic()))


class Sockets:
    """Makes the connections of one client, and aborts those in use."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: set[Exchange] = set()
        self._aborts = 0

    @contextmanager
    def carrying(self, exchange: Exchange) -> Iterator[None]:
        """Inside, `abort` ends the exchange."""
        with self._lock:
            exchange.aborted = exchange.begun != self._aborts
            self._running.add(exchange)
        try:
            yield
        finally:
            with self._lock:
                exchange.socket = None
                self._running.discard(exchange)

    @property
    def aborts(self) -> int:
        """How often `abort` was called."""
        return self._aborts

    def abort(self) -> None:
        """Abort every request in flight, also one that is connecting. Later requests work."""
        with self._lock:
            self._aborts += 1
            for exchange in self._running:
                exchange.aborted = True
                if exchange.socket is not None:
                    # Without TLS shutdown, which could block.
                    with suppress(OSError):
                        socket.socket.shutdown(exchange.socket, socket.SHUT_RDWR)

    def attach(self, exchange: Exchange, sock: socket.socket) -> None:
        """From now on `abort` shuts down this socket for the exchange. Raises Halted when that was aborted already."""
        with self._lock:
            exchange.socket = sock
        exchange.check()

    def close(self, sock: socket.socket) -> None:
        """Close, never while `abort` holds the descriptor."""
        with self._lock:
            sock.close()

    def connect(self, exchange: Exchange, host: str, port: int) -> Stream:
        """Connect to the first address that accepts. Raises ConnectError, Halted."""
        exchange.check()
        try:
            addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise ConnectError(_text(error)) from error
        failure: OSError = OSError("the host has no address")
        for family, kind, protocol, _, address in addresses:
            try:
                return Stream(self, exchange, self._connect(exchange, socket.socket(family, kind, protocol), address))
            except OSError as error:
                failure = error
        if isinstance(failure, TimeoutError):
            raise ConnectError(f"no connection within {exchange.connect_timeout:g} s") from failure
        raise ConnectError(_text(failure)) from failure

    def _connect(self, exchange: Exchange, sock: socket.socket, address: Any) -> socket.socket:
        try:
            self.attach(exchange, sock)
            sock.settimeout(exchange.connect_limit())
            sock.connect(address)
            exchange.check()
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for name, value in (*_KEEPALIVE, ("TCP_NOTSENT_LOWAT", _UNSENT)):
                if hasattr(socket, name):
                    with suppress(OSError):  # an older system knows the name only
                        sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
            sock.setblocking(False)
        except BaseException:
            self.close(sock)
            raise
        return sock


class Stream:
    """One connection. It never blocks without a limit, and it detects a response that arrives before the body was sent.

    The user of the stream sets `answered` of the exchange, because the stream does not parse HTTP.
    """

    def __init__(self, owner: Sockets, exchange: Exchange, sock: socket.socket) -> None:
        self._owner = owner
        self.exchange = exchange
        self._sock = sock
        self._direct = not isinstance(sock, ssl.SSLSocket)
        self._waiter = SocketWaiter(sock)

    def begin(self, exchange: Exchange) -> None:
        """Belong to a new exchange. Raises Halted when that was aborted already."""
        self.exchange = exchange
        exchange.answered = False
        self._owner.attach(exchange, self._sock)

    def write(self, data: bytes, early: Callable[[bytes], None], *, head: int = 0) -> None:
        """Send everything; the first `head` bytes are not of a body. Raises WriteError, Halted.

        `early` gets what the server sends meanwhile (b"" at the end of the connection), until the exchange is
        answered. It may raise WriteError. Nothing is read before the head: the connection is new or was `silent`.
        """
        exchange = self.exchange
        view = memoryview(data)
        moved = time.monotonic()
        first = head > 0
        while view:
            exchange.check()
            if not first and not exchange.answered:
                self._read_early(early)
            first = False
            try:
                count = self._sock.send(view)
            except (BlockingIOError, ssl.SSLWantWriteError, ssl.SSLWantReadError):
                self._await_room(exchange, moved)
            except OSError as error:
                exchange.check()
                raise WriteError(_text(error)) from error
            else:
                exchange.sent += count
                if exchange.on_bytes is not None and count > head:
                    exchange.on_bytes(count - head)
                head = max(0, head - count)
                view = view[count:]
                moved = time.monotonic()

    def _await_room(self, exchange: Exchange, moved: float) -> None:
        """Wait until the socket takes more, or has an early response to read. Raises Halted, WriteError."""
        limit = min(exchange.deadline, moved + exchange.stall_timeout)
        events = WRITABLE | (0 if exchange.answered else READABLE)
        if self._wait(events, min(_SOON, limit - time.monotonic())):
            return
        if exchange.on_bytes is not None:
            exchange.on_bytes(0)
        if not self._wait(events, limit - time.monotonic()):
            exchange.check()
            if exchange.answered:
                raise WriteError("the server answered and takes no more")
            raise Halted("stalled")

    def _read_early(self, early: Callable[[bytes], None]) -> None:
        """Pass on data that can be read, if any."""
        if not self._waiter.wait(READABLE, 0):
            return
        try:
            data = self._sock.recv(_READ_SIZE)
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return  # TLS housekeeping, no data for us
        except OSError as error:
            raise WriteError(_text(error)) from error
        early(data)

    def read(self, size: int) -> bytes:
        """The next bytes, b"" at the end. Raises WireError, Halted."""
        exchange = self.exchange
        began = time.monotonic()
        if self._direct:  # the response is still under way most of the time
            self._wait_for_answer(exchange, began, READABLE)
        while True:
            exchange.check()
            events = READABLE
            try:
                data = self._sock.recv(size)
            except (BlockingIOError, ssl.SSLWantReadError):
                pass
            except ssl.SSLWantWriteError:
                events = WRITABLE
            except OSError as error:
                exchange.check()
                raise WireError(_text(error)) from error
            else:
                exchange.check()  # a socket that was aborted ends like one that was closed
                return data
            self._wait_for_answer(exchange, began, events)

    def _wait_for_answer(self, exchange: Exchange, began: float, events: int) -> None:
        """Raises Halted."""
        limit = min(exchange.deadline, began + exchange.stall_timeout) if exchange.answered else exchange.deadline
        if not self._wait(events, limit - time.monotonic()):
            exchange.check()
            raise Halted("stalled")

    def _wait(self, events: int, seconds: float) -> bool:
        """See `SocketWaiter.wait`; an abort ends it."""
        return self._waiter.wait(events, seconds, lambda: self.exchange.aborted)

    def close(self) -> None:
        """Close at once, without TLS shutdown."""
        self._owner.close(self._sock)

    def start_tls(self, exchange: Exchange, context: ssl.SSLContext, host: str) -> Stream:
        """The same connection, encrypted. The certificate must be for `host`. Raises ConnectError, Halted."""
        try:
            limit = exchange.connect_limit()
            wrapped = context.wrap_socket(self._sock, server_hostname=host, do_handshake_on_connect=False)
        except BaseException:
            self.close()
            raise
        try:
            self._owner.attach(exchange, wrapped)
            wrapped.settimeout(limit)
            wrapped.do_handshake()
            wrapped.setblocking(False)
        except TimeoutError as error:
            self._owner.close(wrapped)
            exchange.check()
            raise ConnectError(f"no TLS handshake within {exchange.connect_timeout:g} s") from error
        except (OSError, ValueError) as error:
            self._owner.close(wrapped)
            exchange.check()
            raise ConnectError(_text(error)) from error
        except BaseException:
            self._owner.close(wrapped)
            raise
        return Stream(self._owner, exchange, wrapped)

    @property
    def silent(self) -> bool:
        """Whether nothing can be read, not even the end of the connection."""
        return self._sock.fileno() >= 0 and not self._waiter.wait(READABLE, 0)


def _text(error: Exception) -> str:
    """The text of the system for an error."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the certificate is not trusted: {error.verify_message}"
    if isinstance(error, ssl.SSLError) and error.reason:
        return f"TLS: {error.reason.replace('_', ' ').lower()}"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
