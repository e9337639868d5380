"""A connected socket: whole sends, exact reads, and a limit on waiting without progress.

Nagle's algorithm and delayed acknowledgements together cost 40 ms per instance, so the first is switched off and, where
the system can (Linux), the second before each read, which also cures a receiver that has left the first switched on.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Sequence
from contextlib import suppress

from xnatctl.api import FailureClass
from xnatctl.api.system import (
    READABLE,
    SCATTERS,
    SHUTDOWN_ENDS_WAITS,
    SocketWaiter,
    acknowledge_at_once,
    limit_in_kernel,
    send_parts,
)
from xnatctl_cstore.receiver import Receiver, Tls
from xnatctl_cstore.trouble import NotAssociated

Buffer = bytes | memoryview

#: Seconds for a connection, and without any progress of a send.
CONNECT = 10.0
STALL = 60.0

#: Buffers of one system call (Linux takes 1024), and bytes of one TLS write, which cannot scatter.
_BUFFERS = 1000
_JOINED = 1 << 18
_BLOCK = 1 << 16


class Stream:
    """Bytes to and from a receiver. Raises OSError, EOFError, TimeoutError after `seconds` without progress."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._tls = sock if isinstance(sock, ssl.SSLSocket) else None
        self._data = b""
        self._ended = False
        self._is_cut = False
        self._waiter = SocketWaiter(sock)
        self.limit(STALL)

    def limit(self, seconds: float) -> None:
        """How long a read may wait."""
        self.seconds = seconds
        if self._tls is not None:
            self._tls.settimeout(seconds)
            return
        limit_in_kernel(self._sock, receive=seconds, send=STALL)

    def send(self, parts: Sequence[Buffer]) -> None:
        """All of the buffers, in order."""
        if self._tls is not None or not SCATTERS:
            self._send_joined(self._sock, parts)
            return
        for first in range(0, len(parts), _BUFFERS):
            self._send_scattered(list(parts[first : first + _BUFFERS]))

    def _send_scattered(self, parts: list[Buffer]) -> None:
        left = sum(map(len, parts))
        while True:
            try:
                sent = send_parts(self._sock, parts)
            except BlockingIOError:
                raise TimeoutError from None
            left -= sent
            if not left:
                return
            done = 0
            while sent >= len(parts[done]):
                sent -= len(parts[done])
                done += 1
            parts = [memoryview(parts[done])[sent:], *parts[done + 1 :]]

    @staticmethod
    def _send_joined(sock: socket.socket, parts: Sequence[Buffer]) -> None:
        group: list[Buffer] = []
        size = 0
        for part in parts:
            group.append(part)
            size += len(part)
            if size >= _JOINED:
                sock.sendall(b"".join(group))
                group, size = [], 0
        if group:
            sock.sendall(b"".join(group))

    def read(self, count: int) -> bytes:
        """Exactly `count` bytes."""
        while len(self._data) < count:
            data = b"" if self._ended else self._receive()
            if not data:
                self._ended = True
                raise EOFError
            self._data += data
        taken, self._data = self._data[:count], self._data[count:]
        return taken

    def _receive(self) -> bytes:
        acknowledge_at_once(self._sock)
        if not (SHUTDOWN_ENDS_WAITS or (self._tls is not None and self._tls.pending())):
            if not self._waiter.wait(READABLE, self.seconds, lambda: self._is_cut):
                raise TimeoutError
            if self._is_cut:
                return b""
        try:
            return self._sock.recv(_BLOCK)
        except BlockingIOError:
            raise TimeoutError from None

    def pending(self) -> bool:
        """Whether something can be read without waiting: a message, or the end."""
        if self._data or self._ended:
            return True
        if self._tls is None:
            return self._waiter.wait(READABLE, 0)
        if not (self._tls.pending() or self._waiter.wait(READABLE, 0)):
            return False
        # What waits may be a message of TLS itself, such as a session ticket.
        self._tls.settimeout(0)
        try:
            self._data = self._tls.recv(_BLOCK)
            self._ended = not self._data
        except ssl.SSLWantReadError:
            return False
        except OSError:
            self._ended = True
        finally:
            self._tls.settimeout(self.seconds)
        return True

    def cut(self) -> None:
        """Shut the socket down from another thread, which ends waiting calls."""
        self._is_cut = True
        with suppress(OSError):
            socket.socket.shutdown(self._sock, socket.SHUT_RDWR)  # beneath TLS, which is the other thread's

    def close(self) -> None:
        """Close the socket; never raises."""
        with suppress(OSError):
            self._sock.close()


def connect(receiver: Receiver) -> Stream:
    """Connect to the receiver, with TLS if configured. Raises NotAssociated."""
    try:
        sock = socket.create_connection((receiver.host, receiver.port), CONNECT)
    except OSError as error:
        raise _not_connected(receiver, error) from None
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if receiver.tls is not None:
            sock = _context(receiver.tls).wrap_socket(sock, server_hostname=receiver.host)
        return Stream(sock)
    except (OSError, ValueError) as error:
        sock.close()
        raise _not_encrypted(receiver, error) from None


def _context(tls: Tls) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=tls.ca_cert)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if tls.client_cert is not None:
        context.load_cert_chain(tls.client_cert, tls.client_key)
    return context


def other_port(receiver: Receiver) -> str:
    """The hint for a port that does not answer."""
    usual, other = "The standard DICOM port is 104; many XNAT servers use 8104", 8104
    if receiver.port == 8104:
        usual, other = "The standard DICOM port is 104", 104
    return f"Check --host and --port. {usual}; try: {receiver.echo(port=other)}"


def _not_connected(receiver: Receiver, error: OSError) -> NotAssociated:
    look = f"To test the connection: telnet {receiver.host} {receiver.port}"
    if isinstance(error, socket.gaierror):
        return NotAssociated(f"Cannot resolve host {receiver.host}.", FailureClass.UNREACHABLE, hint="Check --host.")
    if isinstance(error, ConnectionRefusedError):
        return NotAssociated(
            f"{receiver.place} refuses the connection: nothing listens there.",
            FailureClass.UNREACHABLE,
            hint=f"{look}. {other_port(receiver)}",
        )
    what = f"no answer within {CONNECT:.0f} s" if isinstance(error, TimeoutError) else error.strerror or str(error)
    return NotAssociated(
        f"{receiver.place} cannot be reached: {what}.",
        FailureClass.UNREACHABLE,
        hint=f"A firewall may block the connection.  {look}. {other_port(receiver)}",
    )


def _not_encrypted(receiver: Receiver, error: Exception) -> NotAssociated:
    if isinstance(error, ssl.SSLCertVerificationError):
        return NotAssociated(
            f"The certificate of {receiver.place} is not trusted: {error.verify_message}",
            FailureClass.ASSOCIATION,
            hint="Name the authority that signed it with --ca-cert FILE; --host must be a name in the certificate.",
        )
    reason = getattr(error, "reason", None)
    if reason in ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE"):
        return NotAssociated(
            f"{receiver.place} does not speak TLS.",
            FailureClass.ASSOCIATION,
            hint=f"Try without --tls: {receiver.echo(tls=None)}",
        )
    problem = reason or getattr(error, "strerror", None) or str(error)
    if isinstance(error, TimeoutError):
        problem = f"no answer within {CONNECT:.0f} s"
    return NotAssociated(
        f"The TLS handshake with {receiver.place} failed: {problem}.",
        FailureClass.ASSOCIATION,
        hint=f"Check --ca-cert, --client-cert and --client-key. If this port does not use TLS, try: "
        f"{receiver.echo(tls=None)}",
    )
