"""Asking again: a GET changes nothing, so one that met a bad moment is repeated a few times.

Only on a server that has answered before, so that a wrong URL is said to be wrong at once; and only within half a
minute, so that nobody waits long for a server that is gone.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final

from xnatctl.errors import ConnectionFailed
from xnatctl.xnat.replies import EndlessAnswer, Reply

#: Waits before the next try, in seconds.
_WAITS: Final = (0.2, 0.5, 1.0, 2.0, 4.0, 8.0, 8.0)
_LONGEST: Final = 30.0
#: What a proxy says while the server behind it restarts.
_MOMENTARY: Final = frozenset({502, 503, 504})


class Again:
    """Repeats GETs of one client. `stop` ends every wait."""

    def __init__(self) -> None:
        self._reached = False
        self._stopped = threading.Event()

    def stop(self) -> None:
        """No more repetitions: an interrupt."""
        self._stopped.set()

    def send(self, method: str, once: Callable[[], tuple[Reply, bool]]) -> tuple[Reply, bool]:
        """What `once()` returns, asked again while the answer is none. Raises what it raises in the end."""
        begun = time.monotonic()
        for wait in _WAITS:
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
        """True when it is not to be asked again; else waits."""
        if method != "GET" or not self._reached or time.monotonic() - begun > _LONGEST:
            return True
        return self._stopped.wait(wait)
