"""Reports the progress of an inventory to the command that asks for it. A large tree takes minutes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

#: Seconds between two reports.
_EVERY = 0.2
_hear: ContextVar[Callable[[int], None] | None] = ContextVar("hear", default=None)


@contextmanager
def watched(hear: Callable[[int], None]) -> Iterator[None]:
    """Inside, `hear` gets the number of files that an inventory has looked at so far, in the thread that looks."""
    token = _hear.set(hear)
    try:
        yield
    finally:
        _hear.reset(token)


class Looked:
    """Counts the files of one inventory; is called before each."""

    def __init__(self) -> None:
        self._hear = _hear.get()
        self._files = 0
        self._next = time.monotonic() + _EVERY

    def __call__(self) -> None:
        self._files += 1
        if self._hear is not None and (now := time.monotonic()) >= self._next:
            self._next = now + _EVERY
            self._hear(self._files)
