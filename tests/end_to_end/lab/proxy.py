"""A TCP proxy that spoils connections by a seeded script: cuts after a byte, resets, half-closes, stalls, refuses."""

from __future__ import annotations

import random
import socket
import struct
import threading
import time
from contextlib import suppress


class FaultProxy:
    """Forwards loopback connections to `target`; each new one draws its fate. `bad` is the share that is spoilt."""

    def __init__(self, target: int, dice: random.Random, *, bad: float = 0.2, spare: int = 2) -> None:
        self._target = target
        self._dice = dice
        self._bad = bad
        self._spare = spare  # the first connections are let through, so that the run begins
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.fates: list[str] = []
        self._closing = False
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def close(self) -> None:
        """Stop taking connections."""
        self._closing = True
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(timeout=5)

    def _accept(self) -> None:
        while not self._closing:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            fate, amount = self._draw()
            thread = threading.Thread(target=self._carry, args=(client, fate, amount), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _draw(self) -> tuple[str, int]:
        with self._lock:
            if len(self.fates) < self._spare or self._dice.random() >= self._bad:
                self.fates.append("clean")
                return "clean", 0
            fate = self._dice.choice(["cut-request", "cut-answer", "reset", "stall", "refuse"])
            self.fates.append(fate)
            return fate, self._dice.randrange(1, 60_000)

    def _carry(self, client: socket.socket, fate: str, amount: int) -> None:
        if fate == "refuse":
            _reset(client)
            return
        try:
            server = socket.create_connection(("127.0.0.1", self._target))
        except OSError:
            client.close()
            return
        answers = threading.Thread(
            target=_pump, args=(server, client, amount % 400 if fate == "cut-answer" else None, False), daemon=True
        )
        answers.start()
        limit = amount if fate in ("cut-request", "reset", "stall") else None
        _pump(client, server, limit, fate == "reset", pause=0.7 if fate == "stall" else 0.0)
        answers.join(timeout=30)
        for sock in (client, server):
            sock.close()


def _pump(source: socket.socket, sink: socket.socket, limit: int | None, reset: bool, pause: float = 0.0) -> None:
    """Copy until the end, or until `limit` bytes; then stall for `pause` seconds, or cut both sides."""
    passed = 0
    try:
        while data := source.recv(16384):
            if limit is not None and passed + len(data) > limit:
                sink.sendall(data[: limit - passed])
                if pause:
                    time.sleep(pause)
                    sink.sendall(data[limit - passed :])
                    limit = None
                    continue
                for sock in (source, sink):
                    _reset(sock) if reset else _end(sock)
                return
            sink.sendall(data)
            passed += len(data)
        with suppress(OSError):
            sink.shutdown(socket.SHUT_WR)
    except OSError:
        _end(source)
        _end(sink)


def _end(sock: socket.socket) -> None:
    with suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)


def _reset(sock: socket.socket) -> None:
    with suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.shutdown(socket.SHUT_RD)
        sock.close()
