"""Ending a connection without an answer."""

from __future__ import annotations

import os
import socket
import struct


def drop_connection(sock: socket.socket, *, reset: bool) -> None:
    """End a connection without an answer, by FIN or with `reset` by RST."""
    if reset:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        os.close(sock.detach())  # close() would wait for the server's own files on the socket
        return
    try:
        sock.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # the other side was faster
