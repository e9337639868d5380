"""Retry of GET requests, which change nothing on the server.

A GET is repeated only when the server has answered before, so that a wrong URL is reported at once. By default it is
repeated for half a minute.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final

from xnatctl.errors import ConnectionFailed
from xnatctl.operating_system.waiting import wait_for
from xnatctl.xnat.http.responses import EndlessAnswer, Response

#: Waits between attempts, in seconds. The last one is repeated while there is time.
_WAITS: Final = (0.2, 0.5, 1.0, 2.0, 4.0, 8.0, 8.0)
_LONGEST: Final = 30.0
#: Status codes of a proxy while the server behind it restarts.
_MOMENTARY: Final = frozenset({502, 503, 504})


class GetRetry:
    """Repeats the GETs of one client for at most `longest` seconds each."""

    def __init__(self, longest: float | None = None) -> None:
        self._longest = _LONGEST if longest is None else longest
        self._reached = False
        self._stopped = threading.Event()

    def stop(self) -> None:
        """Repeat nothing until `restart`, and end every wait: an interrupt."""
        self._stopped.set()

    def restart(self) -> None:
        """Repeat again: another run begins."""
        self._stopped.clear()

    def send(self, method: str, once: Callable[[], tuple[Response, bool]]) -> tuple[Response, bool]:
        """Call `once()` until there is a response, and return its result. Raises what the last call raises."""
        begun = time.monotonic()
        more = max(0, int((self._longest - _LONGEST) / _WAITS[-1]))
        for wait in (*_WAITS, *(_WAITS[-1:] * more)):
            try:
                reply, alive = once()
            except EndlessAnswer:
                raise
            except ConnectionFailed:
                if self._last(method, begun, wait):
                    raise
            else:
                if reply.status not in _MOMENTARY or self._last(method, begun, wait):
                    self._reached = True
                    return reply, alive
        return once()

    def _last(self, method: str, begun: float, wait: float) -> bool:
        """True if there is no further attempt; else waits before it."""
        if method != "GET" or not self._reached or time.monotonic() - begun >= self._longest:
            return True
        return wait_for(self._stopped, wait)
