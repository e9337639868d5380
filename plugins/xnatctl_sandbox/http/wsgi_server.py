"""The HTTP server below the application: werkzeug's, on loopback, with kept connections."""

from __future__ import annotations

import socket
import sys
import threading
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from werkzeug.serving import ThreadedWSGIServer, WSGIRequestHandler

from xnatctl.api.system import READABLE, SocketWaiter
from xnatctl_sandbox.world.errors import PortUnavailable


class _RequestHandler(WSGIRequestHandler):
    """HTTP/1.1 with kept connections, without a log."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log(self, type: str, message: str, *args: Any) -> None:  # noqa: A002 - werkzeug's name
        """Nothing."""

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Nothing."""

    def run_wsgi(self) -> None:
        try:
            urlsplit(self.path)
        except ValueError:
            self.send_error(400)
            return
        super().run_wsgi()

    def connection_dropped(self, error: BaseException, environ: dict[str, Any] | None = None) -> None:
        """The other side hung up, or a fault cut the connection."""
        self.close_connection = True


class WsgiServer(ThreadedWSGIServer):
    """Counts its connections, from before they are accepted until after they are closed. Raises PortUnavailable."""

    daemon_threads = True

    def __init__(self, port: int, application: Callable[..., Any]) -> None:
        self._lock = threading.Lock()
        self.connections = 0
        # werkzeug prints what is wrong with a port, and exits. It duplicates the socket that it is given.
        try:
            listening = socket.create_server(("127.0.0.1", port), backlog=self.request_queue_size)
        except OSError as error:
            raise PortUnavailable(port, error, dicom=False) from error
        with listening:
            super().__init__("127.0.0.1", port, application, _RequestHandler, fd=listening.fileno())

    def _count(self, change: int) -> None:
        with self._lock:
            self.connections += change

    def get_request(self) -> tuple[Any, Any]:
        self._count(1)
        try:
            return super().get_request()
        except BaseException:
            self._count(-1)
            raise

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Report errors, except those of a client that has gone."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        try:
            super().shutdown_request(request)
        finally:
            self._count(-1)

    def is_quiet(self) -> bool:
        """True when nobody is connected or waits for a connection."""
        return not SocketWaiter(self.socket).wait(READABLE, 0) and not self.connections
