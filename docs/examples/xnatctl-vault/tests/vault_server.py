"""A small vault on this machine: `python vault_server.py` prints its address, and keeps one entry."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

TOKEN = "practice-token"


class VaultServer:
    """Keeps entries by path; an entry may be a function that is called at each read. `reads` lists the paths."""

    def __init__(self, port: int = 0) -> None:
        self.entries: dict[str, Any] = {}
        self.reads: list[str] = []
        self.lease = 0
        self.raw: tuple[int, bytes] | None = None
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", port), _handler(self))
        self.address = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def answer(self, path: str, token: str | None) -> tuple[int, bytes]:
        """Status and body of a read."""
        with self._lock:
            self.reads.append(path)
            if self.raw is not None:
                return self.raw
            if token != TOKEN:
                return 403, b'{"errors":["permission denied"]}'
            entry: dict[str, str] | Callable[[], dict[str, str]] | None = self.entries.get(path)
            if entry is None:
                return 404, b'{"errors":[]}'
            data = entry() if callable(entry) else entry
            return 200, json.dumps({"data": data, "lease_duration": self.lease}).encode()


def _handler(server: VaultServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = server.answer(self.path.removeprefix("/v1/"), self.headers.get("X-Vault-Token"))
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: object) -> None:
            """Print nothing."""

    return Handler


if __name__ == "__main__":
    with VaultServer() as practice:
        practice.entries["xnat/alice"] = {"username": "alice", "password": "alice"}
        print(practice.address, flush=True)
        with suppress(KeyboardInterrupt):
            threading.Event().wait()
