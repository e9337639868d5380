"""Ports of this machine for programs that tests start."""

from __future__ import annotations

import socket
import subprocess
import time
from contextlib import closing, suppress


def free_port() -> int:
    """A port that nothing listens at."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        return int(server.getsockname()[1])


def await_port(process: subprocess.Popen[bytes], port: int) -> None:
    """Returns when a process listens at its port; fails when it ends before, or does not within a minute."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assert process.poll() is None, "the receiver did not start"
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    raise AssertionError("the receiver does not listen")


def connected_pair() -> tuple[socket.socket, socket.socket]:
    """Two ends of a TCP connection."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        one = socket.create_connection(server.getsockname())
        other, _ = server.accept()
    return one, other
