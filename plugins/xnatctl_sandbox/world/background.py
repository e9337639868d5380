"""Work that goes on after the answer to a request."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Background:
    """Starts a thread for each piece of work; stopping the sandbox waits for all of them."""

    def __init__(self) -> None:
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()

    def run(self, work: Callable[[], object]) -> None:
        """Start the work and return."""
        thread = threading.Thread(target=work, name="sandbox-work", daemon=True)
        with self._lock:
            self._threads = [other for other in self._threads if other.is_alive()] + [thread]
            thread.start()

    def join(self) -> None:
        """Wait for what was started."""
        for thread in self._threads:
            thread.join()
