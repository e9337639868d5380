"""Identifies a service that is not a DICOM receiver: a web server, or a service that expects TLS."""

from __future__ import annotations

import socket
import ssl
from contextlib import closing
from enum import Enum, auto

from xnatctl_cstore.receiver import Receiver

#: Seconds for a connection, and for each answer.
_PATIENCE = 2.0
_TLS_ALERT = b"\x15\x03"


class Service(Enum):
    """`WEB`: it speaks HTTP, with or without TLS. `TLS`: it speaks TLS, with an unknown protocol inside."""

    WEB = auto()
    TLS = auto()


def identify(receiver: Receiver) -> Service | None:
    """Identify a web server or an unexpected TLS port. Opens connections; never raises.

    Many a web server answers a plain request on its port for TLS, too.
    """
    plain = _answer_of(_connected(receiver), receiver)
    if plain is Service.WEB:
        return plain
    tls = Service.TLS if receiver.tls is None else None
    try:
        with closing(_encrypted(receiver)) as sock:
            return Service.WEB if _answer_of(sock, receiver) is Service.WEB else tls
    except ssl.SSLError as error:
        return tls if "ALERT" in str(error.reason) else None  # from the peer, which requires a client certificate
    except OSError:
        return None


def of_bytes(data: bytes) -> Service | None:
    """Identify a service by the data that it sent instead of a DICOM PDU."""
    if data.startswith(_TLS_ALERT):
        return Service.TLS
    return Service.WEB if data[:4] in (b"HTTP", b"<htm", b"<!DO") else None


def _connected(receiver: Receiver) -> socket.socket | None:
    try:
        return socket.create_connection((receiver.host, receiver.port), _PATIENCE)
    except OSError:
        return None


def _encrypted(receiver: Receiver) -> ssl.SSLSocket:
    """Wrap a socket in TLS without verification, because nothing secret is sent. Raises OSError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    sock = socket.create_connection((receiver.host, receiver.port), _PATIENCE)
    try:
        return context.wrap_socket(sock)
    except BaseException:
        sock.close()
        raise


def _answer_of(sock: socket.socket | None, receiver: Receiver) -> Service | None:
    """What an answer to an HTTP request is made of."""
    if sock is None:
        return None
    try:
        with closing(sock):
            sock.sendall(f"GET / HTTP/1.1\r\nHost: {receiver.place}\r\nConnection: close\r\n\r\n".encode())
            return of_bytes(sock.recv(16))
    except OSError:
        return None
