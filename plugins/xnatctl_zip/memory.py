"""Limits the memory of compressed bundles of all workers of a run."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

#: Uncompressed bytes of the bundles that are held compressed, at about half the size.
LIMIT = 112 * 2**20
#: Larger bundles are never compressed in memory; smaller ones are not cut further (bytes).
LARGEST, SMALLEST = 64 * 2**20, 4 * 2**20
_USUAL = 32 * 2**20
#: Seconds between two checks whether the run is being stopped.
_LOOK = 0.5


def batch_size(workers: int) -> int:
    """The largest batch, in bytes, of which each worker may hold one."""
    return max(SMALLEST, min(_USUAL, LIMIT // workers))


class MemoryBudget:
    """Shared by the workers of a run."""

    def __init__(self) -> None:
        self._held = 0
        self._changed = threading.Condition()

    @contextmanager
    def hold(self, size: int, stopped: Callable[[], bool]) -> Iterator[None]:
        """Wait until `size` bytes fit, or no other bytes are held, or the run is `stopped`."""
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
