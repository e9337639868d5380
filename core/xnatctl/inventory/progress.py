"""Reports the progress of an inventory to the command that requested it. A large tree takes minutes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

#: Seconds between two reports.
_EVERY = 0.2
_report: ContextVar[Callable[[int], None] | None] = ContextVar("report", default=None)


@contextmanager
def reporting_progress(report: Callable[[int], None]) -> Iterator[None]:
    """Inside, `report` gets the number of files that an inventory has examined so far, in its thread."""
    token = _report.set(report)
    try:
        yield
    finally:
        _report.reset(token)


class FileCounter:
    """Counts the files of one inventory; is called before each."""

    def __init__(self) -> None:
        self._report = _report.get()
        self._files = 0
        self._next = time.monotonic() + _EVERY

    def __call__(self) -> None:
        self._files += 1
        if self._report is not None and (now := time.monotonic()) >= self._next:
            self._next = now + _EVERY
            self._report(self._files)
