"""What listens on a port instead of a DICOM receiver: a web server, or something that expects TLS."""

from __future__ import annotations

import socket
import ssl
from contextlib import closing

from xnatctl_cstore.receiver import Receiver

#: Seconds for a connection, and for each answer.
_PATIENCE = 2.0
_TLS_ALERT = b"\x15\x03"


def identify(receiver: Receiver) -> str:
    """`HTTP`, `HTTPS`, `TLS` where it is not expected, or nothing. Opens connections of its own; never raises."""
    if receiver.tls is None and (plain := _answer_of(_connected(receiver), receiver)):
        return plain
    tls = "TLS" if receiver.tls is None else ""
    try:
        with closing(_encrypted(receiver)) as sock:
            return "HTTPS" if _answer_of(sock, receiver) == "HTTP" else tls
    except ssl.SSLError as error:
        return tls if "ALERT" in str(error.reason) else ""  # of the other side, which wants a certificate of ours
    except OSError:
        return ""


def of_bytes(data: bytes) -> str:
    """The same, of what was received instead of a DICOM PDU."""
    if data.startswith(_TLS_ALERT):
        return "TLS"
    return "HTTP" if data[:4] in (b"HTTP", b"<htm", b"<!DO") else ""


def _connected(receiver: Receiver) -> socket.socket | None:
    try:
        return socket.create_connection((receiver.host, receiver.port), _PATIENCE)
    except OSError:
        return None


def _encrypted(receiver: Receiver) -> ssl.SSLSocket:
    """Nothing is sent over it that would be worth an authority. Raises OSError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    sock = socket.create_connection((receiver.host, receiver.port), _PATIENCE)
    try:
        return context.wrap_socket(sock)
    except BaseException:
        sock.close()
        raise


def _answer_of(sock: socket.socket | None, receiver: Receiver) -> str:
    """What an answer to an HTTP request is made of."""
    if sock is None:
        return ""
    try:
        with closing(sock):
            sock.sendall(f"GET / HTTP/1.1\r\nHost: {receiver.place}\r\nConnection: close\r\n\r\n".encode())
            return of_bytes(sock.recv(16))
    except OSError:
        return ""
