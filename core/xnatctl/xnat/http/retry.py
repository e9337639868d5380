"""Repeating a GET that got no answer: a GET changes nothing.

Only on a server that has answered before, so that a wrong URL is reported at once; and only for half a minute, or as
long as the user asked for.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final

from xnatctl.errors import ConnectionFailed
from xnatctl.xnat.http.responses import EndlessAnswer, Response

#: Waits before the next try, in seconds; the last one again and again when there is time.
_WAITS: Final = (0.2, 0.5, 1.0, 2.0, 4.0, 8.0, 8.0)
_LONGEST: Final = 30.0
#: What a proxy answers while the server behind it restarts.
_MOMENTARY: Final = frozenset({502, 503, 504})


class GetRetry:
    """Repeats GETs of one client, for `longest` seconds. `stop` ends every wait."""

    def __init__(self, longest: float | None = None) -> None:
        self._longest = _LONGEST if longest is None else longest
        self._reached = False
        self._stopped = threading.Event()

    def stop(self) -> None:
        """No more repetitions: an interrupt."""
        self._stopped.set()

    def send(self, method: str, once: Callable[[], tuple[Response, bool]]) -> tuple[Response, bool]:
        """What `once()` returns, repeated while there is no answer. Raises what it raises in the end."""
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
        """True when it is not to be repeated; else waits."""
        if method != "GET" or not self._reached or time.monotonic() - begun >= self._longest:
            return True
        return self._stopped.wait(wait)
