"""How much may be held packed at once, by all workers of a run together."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

#: Unpacked bytes of the bundles that are held packed; they shrink to about half of it.
LIMIT = 112 * 2**20
#: A bundle beyond this is never packed in memory, and one below it not cut further.
LARGEST, SMALLEST = 64 * 2**20, 4 * 2**20
_USUAL = 32 * 2**20
#: Seconds between two looks whether the run is being stopped.
_LOOK = 0.5


def batch_size(workers: int) -> int:
    """The largest batch, in bytes, of which each worker may hold one."""
    return max(SMALLEST, min(_USUAL, LIMIT // workers))


class Room:
    """Shared by the workers of a run."""

    def __init__(self) -> None:
        self._held = 0
        self._changed = threading.Condition()

    @contextmanager
    def hold(self, size: int, stopped: Callable[[], bool]) -> Iterator[None]:
        """Wait until there is room for `size` bytes, or nobody holds any, or the run is `stopped`."""
        with self._changed:
            while self._held and self._held + size > LIMIT and not stopped():
                self._changed.wait(_LOOK)
            self._held += size
        try:
            yield
        finally:
            with self._changed:
                self._held -= size
                self._changed.notify_all()
