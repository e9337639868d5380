"""Sockets: waiting until one is ready, limits of the kernel, and sending several buffers at once."""

from __future__ import annotations

import select
import socket
import struct
import sys
import time
from collections.abc import Callable, Sequence
from typing import Final

#: Events: data, an end or a connection can be read; the socket takes data.
READABLE: Final = 1
#: See READABLE.
WRITABLE: Final = 4
#: Longest wait of one call where signals do not end it (seconds).
_SLICE: Final = 0.25


class SocketWaiter:
    """Waits for one socket; not for several threads at once. Windows has no `poll`, so `select` waits there."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._events = READABLE
        self._poller = None
        if hasattr(select, "poll"):
            self._poller = select.poll()
            self._poller.register(sock, select.POLLIN)

    def wait(self, events: int, seconds: float, stopped: Callable[[], bool] | None = None) -> bool:
        """True if one of the events (READABLE, WRITABLE) is there within `seconds`, at once with 0.

        An error and the end of the connection count as well; the next call on the socket names it. A thread that ends
        the wait by shutting down the socket makes `stopped` return True before: on Windows a shutdown ends no wait.
        """
        if self._poller is None:
            return self._select(events, seconds, stopped)
        if events != self._events:
            reading, writing = events & READABLE, events & WRITABLE
            self._poller.modify(self._sock, (reading and select.POLLIN) | (writing and select.POLLOUT))
            self._events = events
        return bool(self._poller.poll(max(0, int(seconds * 1000 + 0.999))))

    def _select(self, events: int, seconds: float, stopped: Callable[[], bool] | None) -> bool:
        sock = [self._sock]
        reading, writing = sock if events & READABLE else [], sock if events & WRITABLE else []
        deadline = time.monotonic() + max(0.0, seconds)
        while True:
            left = max(0.0, deadline - time.monotonic())
            try:
                # Neither Ctrl-C nor a shutdown ends the wait on Windows, so it is short.
                if any(select.select(reading, writing, sock, min(left, _SLICE))):
                    return True
            except (OSError, ValueError):  # it was closed
                return True
            if stopped is not None and stopped():
                return True
            if left <= _SLICE:
                return False


def limit_in_kernel(sock: socket.socket, *, receive: float, send: float) -> None:
    """Let calls on a blocking socket fail with BlockingIOError or TimeoutError after some seconds without progress.

    Limits of the kernel: a socket with a time-out of Python's needs a second system call for every operation. Windows
    counts them in another unit and leaves the socket unusable afterwards, so it gets the larger one from Python.
    """
    if sys.platform == "win32":
        sock.settimeout(receive)
        return
    sock.settimeout(None)
    for option, seconds in ((socket.SO_RCVTIMEO, receive), (socket.SO_SNDTIMEO, send)):
        sock.setsockopt(socket.SOL_SOCKET, option, struct.pack("@ll", int(seconds), int(seconds % 1 * 1e6)))


#: True if shutting a socket down ends the waiting calls of other threads on it; elsewhere wait by `SocketWaiter`.
SHUTDOWN_ENDS_WAITS: Final = sys.platform != "win32"

#: True if the system can send several buffers by one call (`send_parts`).
SCATTERS: Final = hasattr(socket.socket, "sendmsg")


def send_parts(sock: socket.socket, parts: Sequence[bytes | memoryview]) -> int:
    """Send some of the buffers by one call; returns the number of bytes. Where `SCATTERS`. Raises OSError."""
    return sock.sendmsg(parts)


def acknowledge_at_once(sock: socket.socket) -> None:
    """Acknowledge what comes next without waiting for data to send; Linux can, and forgets it after the next call."""
    if hasattr(socket, "TCP_QUICKACK"):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
