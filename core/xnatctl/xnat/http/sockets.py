"""Sockets that can be cut, that know the clock of their request, and that hear an early answer.

The HTTP library writes a whole body before it reads. Whoever refuses a body (413) or a login (401) answers at once, and
a client that goes on writing sees a broken pipe instead of the answer. So every write looks first whether the server
has spoken. One request at a time uses a socket, in the thread that made it; each exchange keeps its clock.
"""

from __future__ import annotations

import select
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

#: A peer that vanished without a word is found by the kernel after about two minutes of silence, though an answer may
#: take hours: idle seconds, seconds between probes, probes.
_KEEPALIVE = (("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 15), ("TCP_KEEPCNT", 4))
#: What the system takes of a body before it can send it (bytes). It would take megabytes for each connection, so that
#: a slow link would look like a fast one.
_UNSENT = 1 << 18
_READ_SIZE = 65536
#: More than this before a status line is no HTTP.
_LONGEST_HEAD = 65536
#: Interim answers (1xx) that are kept while a body is being sent (bytes).
_MOST_EARLY = 1 << 20
#: A longer wait for room in the socket is reported to the progress (seconds).
_SOON = 0.1
_GONE = select.POLLHUP | select.POLLERR | select.POLLNVAL


class Halted(Exception):
    """We gave a request up. `why` is `aborted`, `late` (its time is over) or `stalled` (no progress)."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


class WireError(Exception):
    """A connection broke, or what came over it is no answer. The text says it in the system's words."""


class ConnectError(WireError):
    """No connection came about, so nothing of the request was sent."""


class WriteError(WireError):
    """The server takes no more of a request. Its answer, if there is one, says why."""


class Exchange:
    """The clock and the fate of one request.

    Times in seconds; `begun` is the count of aborts when it was made, `sent` the bytes handed to the system, head
    included; `on_bytes` hears how many of the body these were, each time, and 0 before a long wait for room.
    `answered` is True while an answer is being read; before its first byte the server may be silent until the deadline,
    because an import says nothing for as long as it takes (xnat-import 8).
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
        """Raises Halted when the request was cut or its time is over."""
        if self.aborted:
            raise Halted("aborted")
        if time.monotonic() > self.deadline:
            raise Halted("late")

    def connect_limit(self) -> float:
        """Seconds that one step of connecting may take."""
        self.check()
        return max(0.001, min(self.connect_timeout, self.deadline - time.monotonic()))


class Sockets:
    """Makes the connections of one client, and cuts those in use."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: set[Exchange] = set()
        self._aborts = 0
        self._local = threading.local()

    @contextmanager
    def carrying(self, exchange: Exchange) -> Iterator[None]:
        """What this thread sends and reads inside belongs to `exchange`."""
        with self._lock:
            exchange.aborted = exchange.begun != self._aborts
            self._running.add(exchange)
        self._local.exchange = exchange
        try:
            yield
        finally:
            self._local.exchange = None
            with self._lock:
                exchange.socket = None
                self._running.discard(exchange)

    @property
    def current(self) -> Exchange:
        """The exchange of this thread."""
        exchange: Exchange | None = getattr(self._local, "exchange", None)
        if exchange is None:
            raise RuntimeError("a socket was used outside of a request")
        return exchange

    @property
    def aborts(self) -> int:
        """How often `abort` was called."""
        with self._lock:
            return self._aborts

    def abort(self) -> None:
        """Cut every request in flight, also one that is just connecting; later requests are not touched."""
        with self._lock:
            self._aborts += 1
            for exchange in self._running:
                exchange.aborted = True
                if exchange.socket is not None:
                    # The plain shutdown also for TLS: a polite goodbye could block.
                    with suppress(OSError):
                        socket.socket.shutdown(exchange.socket, socket.SHUT_RDWR)

    def attach(self, sock: socket.socket) -> Exchange:
        """From now on `abort` cuts this socket for the exchange of this thread. Raises Halted when that is over."""
        exchange = self.current
        with self._lock:
            exchange.socket = sock
        exchange.check()
        return exchange

    def close(self, sock: socket.socket) -> None:
        """Close, never while `abort` holds the descriptor."""
        with self._lock:
            sock.close()

    def connect(self, host: str, port: int) -> Stream:
        """The first address that answers. Raises ConnectError, Halted."""
        self.current.check()
        try:
            addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise ConnectError(_text(error)) from error
        failure: OSError = OSError("the host has no address")
        for family, kind, protocol, _, address in addresses:
            try:
                return Stream(self, self._connect(socket.socket(family, kind, protocol), address))
            except OSError as error:
                failure = error
        if isinstance(failure, TimeoutError):
            raise ConnectError(f"no connection within {self.current.connect_timeout:g} s") from failure
        raise ConnectError(_text(failure)) from failure

    def _connect(self, sock: socket.socket, address: Any) -> socket.socket:
        try:
            exchange = self.attach(sock)
            sock.settimeout(exchange.connect_limit())
            sock.connect(address)
            exchange.check()
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for name, value in (*_KEEPALIVE, ("TCP_NOTSENT_LOWAT", _UNSENT)):
                if hasattr(socket, name):
                    sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
            sock.setblocking(False)
        except BaseException:
            self.close(sock)
            raise
        return sock


class Stream:
    """One connection. Never blocks without a limit, and notices an answer that comes before the body has gone."""

    def __init__(self, owner: Sockets, sock: socket.socket) -> None:
        self._owner = owner
        self._sock = sock
        self._exchange: Exchange | None = None
        self._early = b""
        self._ended = False
        self._listening = True
        self._direct = not isinstance(sock, ssl.SSLSocket)
        self._poller = select.poll()
        self._poller.register(sock, select.POLLIN)
        self._events = select.POLLIN

    def write(self, data: bytes, *, head: int = 0) -> None:
        """Send everything; the first `head` bytes are not of a body. Raises WriteError, Halted.

        Before the first bytes of a request there is nothing to listen for: its connection is new, or was `silent` a
        moment ago.
        """
        first = self._begin()
        exchange = self._owner.current
        view = memoryview(data)
        moved = time.monotonic()
        while view:
            exchange.check()
            if not first:
                self._listen()
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

    def _begin(self) -> bool:
        """True for the first write of the exchange of this thread; what the last one left is forgotten then."""
        exchange = self._owner.attach(self._sock)
        exchange.answered = False
        if exchange is self._exchange:
            return False
        self._exchange, self._early, self._listening = exchange, b"", True
        return True

    def _await_room(self, exchange: Exchange, moved: float) -> None:
        """Wait until the socket takes more. Raises Halted, or WriteError when an answer lies there."""
        limit = min(exchange.deadline, moved + exchange.stall_timeout)
        events = select.POLLOUT | (select.POLLIN if self._listening else 0)
        if self._await(events, min(_SOON, limit - time.monotonic())):
            return
        if exchange.on_bytes is not None:
            exchange.on_bytes(0)
        if not self._await(events, limit - time.monotonic()):
            exchange.check()
            if self._early:
                raise WriteError("the server answered and takes no more")
            raise Halted("stalled")

    def _listen(self) -> None:
        """Keep what the server says meanwhile; a refusal ends the sending.

        A success that comes early does not: the server may have all that it needs and still wants to see the rest.
        """
        if not self._listening or not self._await(select.POLLIN, 0):
            return
        try:
            data = self._sock.recv(_READ_SIZE)
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return  # TLS housekeeping, no data for us
        except OSError as error:
            raise WriteError(_text(error)) from error
        self._early += data
        if not data:
            self._ended = True
            raise WriteError("the server closed the connection")
        status = final_status(self._early)
        if status is None and len(self._early) > _MOST_EARLY:
            raise WriteError("the server sends interim answers without end")
        if status is not None:
            self._listening = False
            if status >= 300:
                raise WriteError("the server answered before the end of the body")

    def read(self, most: int) -> bytes:
        """The next bytes, b"" at the end. Raises WireError, Halted."""
        exchange = self._owner.attach(self._sock)
        if self._early:
            data, self._early = self._early[:most], self._early[most:]
            exchange.answered = True
            return data
        began = time.monotonic()
        if self._direct and not self._ended:  # the answer is still under way most of the time
            self._wait_for_answer(exchange, began, select.POLLIN)
        while not self._ended:
            exchange.check()
            events = select.POLLIN
            try:
                data = self._sock.recv(most)
            except (BlockingIOError, ssl.SSLWantReadError):
                pass
            except ssl.SSLWantWriteError:
                events = select.POLLOUT
            except OSError as error:
                exchange.check()
                raise WireError(_text(error)) from error
            else:
                exchange.check()  # a socket that was cut ends like one that was closed
                # An interim answer (1xx) is a sign of life, not the answer.
                exchange.answered = exchange.answered or final_status(data) is not None
                return data
            self._wait_for_answer(exchange, began, events)
        return b""

    def _wait_for_answer(self, exchange: Exchange, began: float, events: int) -> None:
        """Raises Halted."""
        limit = min(exchange.deadline, began + exchange.stall_timeout) if exchange.answered else exchange.deadline
        if not self._await(events, limit - time.monotonic()):
            exchange.check()
            raise Halted("stalled")

    def _await(self, events: int, seconds: float) -> int:
        """The events that are there within `seconds`; trouble counts as one, the next call on the socket names it."""
        if events != self._events:
            self._poller.modify(self._sock, events)
            self._events = events
        for _, happened in self._poller.poll(max(0, int(seconds * 1000 + 0.999))):
            return happened & (events | _GONE)
        return 0

    def close(self) -> None:
        """Without a goodbye."""
        self._owner.close(self._sock)

    def start_tls(self, context: ssl.SSLContext, host: str) -> Stream:
        """The same connection, encrypted; `host` is who must be at the other end. Raises ConnectError, Halted."""
        exchange = self._owner.current
        try:
            limit = exchange.connect_limit()
            wrapped = context.wrap_socket(self._sock, server_hostname=host, do_handshake_on_connect=False)
        except BaseException:
            self.close()
            raise
        try:
            self._owner.attach(wrapped)
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
        return Stream(self._owner, wrapped)

    @property
    def silent(self) -> bool:
        """Whether nothing lies there to be read, not even the end of the connection."""
        return self._sock.fileno() >= 0 and not self._await(select.POLLIN, 0)


def final_status(head: bytes) -> int | None:
    """The status of an answer that has begun; None while only interim answers (1xx) or too little is there.

    What is no HTTP counts as 999: a refusal that the library will name.
    """
    while True:
        if len(head) < 12 and b"HTTP/1."[: len(head)] == head[:7]:
            return None
        if not head.startswith(b"HTTP/1.") or not head[9:12].isdigit():
            return 999
        status = int(head[9:12])
        if status >= 200:
            return status
        _, found, rest = head.partition(b"\r\n\r\n")
        if not found:
            return None if len(head) < _LONGEST_HEAD else 999
        head = rest


def _text(error: Exception) -> str:
    """The trouble in the system's words."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the certificate is not trusted: {error.verify_message}"
    if isinstance(error, ssl.SSLError) and error.reason:
        return f"TLS: {error.reason.replace('_', ' ').lower()}"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
